"""Nodes and clients: who they are, and their addresses in the VPC and on the internet."""

from __future__ import annotations

from collections.abc import Iterable

from nslab.api.objects import Manifest, NodeSpec, Object
from nslab.cluster import ipam, services
from nslab.cluster.ipv4 import to_int, to_text
from nslab.cluster.model import Client, Leases, Node, Taint

ZONE = "topology.kubernetes.io/zone"


def place(
    manifest: Manifest, service_objects: Iterable[Object], leases: Leases, cursors: dict[str, str]
) -> tuple[dict[str, Node], dict[str, Client], dict[str, int]]:
    """Nodes, clients, and the VIPs of internal load balancers: all who live in nodeRange, and the internet's."""
    lab = manifest.lab
    written = {item.name: item for item in manifest.objects if item.kind == "Node"}
    specs = {node.name: node for node in lab.nodes}
    for name, item in written.items():
        specs.setdefault(name, NodeSpec(name, pod_cidr=(item.body.get("spec") or {}).get("podCIDR", "")))
    places = {name: written[name].where if name in written else lab.where for name in specs}

    internal = list(services.load_balancer_requests(service_objects, "internal"))
    requests = [
        ipam.Request(f"Node {node.name}", to_int(node.address) if node.address else None, places[node.name])
        for node in specs.values()
    ]
    internet: list[ipam.Request] = []
    for client in lab.clients:
        request = ipam.Request(f"client {client.name}", to_int(client.address) if client.address else None, lab.where)
        (requests if client.network == "vpc" else internet).append(request)
    requests += [ipam.Request(f"Service {service}", asked, where) for service, asked, where in internal]
    held = {f"Node {holder}": ip for holder, ip in ipam.addresses(leases.node_ips).items()}
    held |= {f"client {holder}": ip for holder, ip in ipam.addresses(leases.client_ips).items()}
    held |= {f"Service {holder}": ip for holder, ip in ipam.addresses(leases.load_balancer_ips).items()}

    given: dict[str, int] = {}
    for make, cidr, wanted in (
        (ipam.node_pool, lab.vpc.node_range, requests), (ipam.internet_pool, lab.vpc.internet_range, internet)
    ):
        pool = make(cidr, ipam.cursor(cursors, cidr))
        given |= pool.grant(wanted, held)
        ipam.remember(cursors, cidr, pool)

    prefix = ipam.pod_prefix(lab.cluster.max_pods_per_node)
    ranges = ipam.pod_ranges(specs.values(), lab.vpc.pod_range, prefix, leases.pod_ranges, places)
    nodes = {
        name: _node(spec, written.get(name), to_text(given[f"Node {name}"]), ranges[name])
        for name, spec in specs.items()
    }
    clients = {
        client.name: Client(client.name, client.network, to_text(given[f"client {client.name}"]))
        for client in lab.clients
    }
    return nodes, clients, {request.holder: given[f"Service {request.holder}"] for request in internal}


def _node(spec: NodeSpec, item: Object | None, ip: str, pod_range: str) -> Node:
    """A node with the labels that the kubelet gives it, under those of the Lab and of its Node object."""
    body = item.body if item else {}
    wishes = body.get("spec") or {}
    labels = {"kubernetes.io/hostname": spec.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    if spec.zone:
        labels[ZONE] = spec.zone
    labels |= spec.labels | ((body.get("metadata") or {}).get("labels") or {})
    taints = tuple(
        Taint(taint["key"], taint.get("value") or "", taint["effect"]) for taint in wishes.get("taints") or ()
    )
    return Node(
        spec.name, ip, pod_range, labels, labels.get(ZONE, ""), bool(wishes.get("unschedulable")), taints, body
    )
