"""Nodes and clients: who they are, and their addresses in the VPC and on the internet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nslab.api.objects import LabSpec, NodeSpec, Object
from nslab.cluster import ipam
from nslab.cluster.ipv4 import to_int, to_text
from nslab.cluster.memo import Memo
from nslab.cluster.model import Client, Leases, Node, Taint

ZONE = "topology.kubernetes.io/zone"


def addresses(
    lab: LabSpec, balancers: Iterable[ipam.Request], leases: Leases, cursors: dict[str, str]
) -> dict[str, int]:
    """The addresses of "Node NAME" and "client NAME", and of "Service NAMESPACE/NAME" for each of the internal
    load `balancers`: all who live in nodeRange, and the clients on the internet.

    One walk serves them all, nodes first, so that what one asks for is not given to another before.
    """
    vpc = [_request(f"Node {node.name}", node.address, lab.where) for node in lab.nodes]
    internet: list[ipam.Request] = []
    for client in lab.clients:
        side = vpc if client.network == "vpc" else internet
        side.append(_request(f"client {client.name}", client.address, lab.where))
    for service, asked, where in balancers:
        vpc.append(ipam.Request(f"Service {service}", asked, where))
    leased = {"Node": leases.node_ips, "client": leases.client_ips, "Service": leases.load_balancer_ips}
    held = {
        f"{noun} {holder}": to_int(address) for noun, kind in leased.items() for holder, address in kind.items()
    }
    given: dict[str, int] = {}
    for make, cidr, requests in (
        (ipam.node_pool, lab.vpc.node_range, vpc), (ipam.internet_pool, lab.vpc.internet_range, internet)
    ):
        pool = make(cidr, ipam.cursor(cursors, cidr))
        given |= pool.grant(requests, held)
        ipam.remember(cursors, cidr, pool)
    return given


def nodes(
    lab: LabSpec, objects: Iterable[Object], given: Mapping[str, int], leased_ranges: Mapping[str, str], memo: Memo
) -> dict[str, Node]:
    """The Lab's nodes with their addresses and Pod ranges; taints and cordon come from the Node objects."""
    written = {item.name: item for item in objects if item.kind == "Node"}
    places = {node.name: written[node.name].where if node.name in written else lab.where for node in lab.nodes}
    prefix = ipam.pod_prefix(lab.cluster.max_pods_per_node)
    ranges = ipam.pod_ranges(lab.nodes, lab.vpc.pod_range, prefix, leased_ranges, places)
    causes = {
        spec.name: (spec, written.get(spec.name), to_text(given[f"Node {spec.name}"]), ranges[spec.name])
        for spec in lab.nodes
    }
    return memo.each("nodes", causes, lambda name: _node(*causes[name]))


def clients(lab: LabSpec, given: Mapping[str, int]) -> dict[str, Client]:
    """The Lab's clients with their addresses."""
    return {
        client.name: Client(client.name, client.network, to_text(given[f"client {client.name}"]))
        for client in lab.clients
    }


def _request(holder: str, address: str, where: str) -> ipam.Request:
    return ipam.Request(holder, to_int(address) if address else None, where)


def _node(spec: NodeSpec, item: Object | None, ip: str, pod_range: str) -> Node:
    """A node with the labels that the kubelet gives it, under those the user wrote."""
    labels = {"kubernetes.io/hostname": spec.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    if spec.zone:
        labels[ZONE] = spec.zone
    labels |= spec.labels
    body = item.body if item else {}
    wishes = body.get("spec") or {}
    taints = tuple(
        Taint(taint["key"], taint.get("value") or "", taint["effect"]) for taint in wishes.get("taints") or ()
    )
    return Node(
        spec.name, ip, pod_range, labels, labels.get(ZONE, ""), bool(wishes.get("unschedulable")), taints, body
    )
