"""The Lab object, and Node objects, to a LabSpec."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Any

from nslab.api import notation
from nslab.api.addresses import ipv4
from nslab.api.findings import Entry, Findings
from nslab.api.objects import Body, ClientSpec, ClusterSpec, DnsSpec, LabSpec, NodeSpec, VpcSpec, Zones

ZONE_LABEL = "topology.kubernetes.io/zone"


def lab_name(stem: str) -> str:
    """A DNS label made of a file's or folder's name; "lab" where nothing of it is left."""
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:63].rstrip("-")
    return name or "lab"


def lab_spec(entry: Entry | None, nodes: Sequence[Entry], default_name: str, findings: Findings) -> LabSpec:
    """The Lab's specification with its defaults, joined with the Node objects of the manifests."""
    if entry is None:
        return LabSpec(name=default_name, nodes=_nodes(None, nodes, findings))
    spec = entry.spec
    zones = _zones(spec)
    return LabSpec(
        name=entry.body.get("metadata", {}).get("name", default_name),
        cluster=_cluster(entry, findings),
        vpc=_vpc(spec.get("vpc", {})),
        nodes=_nodes(entry, nodes, findings),
        clients=_with_hosts(_clients(spec.get("clients")), zones),
        checks=tuple(check for check in spec.get("checks", ()) if isinstance(check, dict)),
        where=entry.object.where,
        dns=_dns(spec.get("dns", {})),
        zones=zones,
    )


def _dns(spec: Body) -> DnsSpec:
    default = DnsSpec()
    return DnsSpec(
        engine=spec.get("engine", default.engine),
        upstream=spec.get("upstream", default.upstream),
        node_local=spec.get("nodeLocal", default.node_local),
        coredns=spec.get("coredns", default.coredns),
    )


def _zones(spec: Body) -> Zones:
    zones = spec.get("internet", {}).get("zones", {})
    return {
        zone.removesuffix("."): {
            name: tuple(value) if isinstance(value, list) else (value,) for name, value in names.items()
        }
        for zone, names in zones.items() if isinstance(names, dict)
    }


def _with_hosts(clients: tuple[ClientSpec, ...], zones: Zones) -> tuple[ClientSpec, ...]:
    """The clients, and a host on the internet for each address of the internet's range that a zone has and no client:
    it is called by the first name that it is given."""
    hosts = {client.address: client for client in clients if client.address}
    network = IPv4Network(LabSpec(name="").vpc.internet_range)
    for zone, names in zones.items():
        for name, values in names.items():
            full = zone if name == "@" else f"{name}.{zone}"
            for value in values:
                found = ipv4(value)
                if found is not None and found in network and value not in hosts:
                    hosts[value] = ClientSpec(full, "internet", value)
    return (*clients, *(host for host in hosts.values() if host not in clients))


def _cluster(entry: Entry, findings: Findings) -> ClusterSpec:
    default, spec = ClusterSpec(), entry.spec.get("cluster", {})
    return ClusterSpec(
        mode=spec.get("mode", default.mode),
        network_policy=spec.get("networkPolicy", default.network_policy),
        domain=spec.get("domain", default.domain),
        max_pods_per_node=spec.get("maxPodsPerNode", default.max_pods_per_node),
        node_monitor_grace_period=_grace_period(entry, findings),
    )


def _grace_period(entry: Entry, findings: Findings) -> float:
    """In seconds. At the least a node's kubelet must be able to speak a few times in it."""
    default = ClusterSpec().node_monitor_grace_period
    text = entry.spec.get("cluster", {}).get("nodeMonitorGracePeriod")
    try:
        period = default if text is None else notation.seconds(text)
    except ValueError:
        period = 0.0
    if 1.0 <= period <= 3600.0:
        return period
    path = ("spec", "cluster", "nodeMonitorGracePeriod")
    findings.fault(entry, path, f'"{text}" is no grace period: write 5s or 1m, from 1s to 1h')
    return default


def _vpc(spec: Body) -> VpcSpec:
    default = VpcSpec()
    return VpcSpec(
        node_range=spec.get("nodeRange", default.node_range),
        pod_range=spec.get("podRange", default.pod_range),
        service_range=spec.get("serviceRange", default.service_range),
        proxy_only_range=spec.get("proxyOnlyRange", default.proxy_only_range),
        external_range=spec.get("externalRange", default.external_range),
        mtu=spec.get("mtu", default.mtu),
    )


def _clients(clients: list[Body] | None) -> tuple[ClientSpec, ...]:
    if clients is None:
        return LabSpec(name="").clients
    return tuple(
        ClientSpec(client["name"], client["network"], client.get("address", ""))
        for client in clients
        if isinstance(client, dict) and "name" in client and "network" in client
    )


def _nodes(lab: Entry | None, objects: Sequence[Entry], findings: Findings) -> tuple[NodeSpec, ...]:
    """The Lab's nodes, each joined with the Node object of its name. With no `nodes` in the Lab, Node objects are
    the nodes."""
    asked = lab.spec.get("nodes") if lab else None
    if asked is None and objects:
        return tuple(_from_object(entry.body) for entry in objects)
    nodes = {node.name: node for node in _listed(asked)}
    for entry in objects:
        name = entry.object.name
        if name in nodes:
            nodes[name] = _joined(nodes[name], _from_object(entry.body))
        else:
            remedy = f"the Lab's nodes are {_some(list(nodes))}; add it there, or leave spec.nodes out"
            findings.fault(entry, ("metadata", "name"), f'the Lab has no node "{name}": {remedy}')
    return tuple(nodes.values())


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:3])} .. {names[-1]}"


def _listed(asked: Any) -> tuple[NodeSpec, ...]:
    if isinstance(asked, int):
        return tuple(NodeSpec(f"node-{number}") for number in range(1, asked + 1))
    if asked is None:
        return LabSpec(name="").nodes
    return tuple(
        NodeSpec(node["name"], node.get("labels", {}), node.get("zone", ""))
        for node in asked
        if isinstance(node, dict) and "name" in node
    )


def _from_object(body: Body) -> NodeSpec:
    """A node as a Node object describes it."""
    metadata, spec = body.get("metadata", {}), body.get("spec", {})
    labels = metadata.get("labels", {})
    addresses = body.get("status", {}).get("addresses", ())
    internal = [one.get("address", "") for one in addresses if one.get("type") == "InternalIP"]
    pod_cidr = spec.get("podCIDR") or next(iter(spec.get("podCIDRs", ())), "")
    return NodeSpec(metadata.get("name", ""), labels, labels.get(ZONE_LABEL, ""), pod_cidr, next(iter(internal), ""))


def _joined(node: NodeSpec, other: NodeSpec) -> NodeSpec:
    """`node` with what the Node object `other` says about it, which wins."""
    return NodeSpec(
        name=node.name,
        labels=node.labels | other.labels,
        zone=other.zone or node.zone,
        pod_cidr=other.pod_cidr,
        address=other.address,
    )
