"""Addresses and ports that the user chose: inside their range, not reserved, and nobody else's."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from nslab.api.addresses import ipv4
from nslab.api.findings import Entry, Findings, Step
from nslab.api.objects import Body, LabSpec
from nslab.api.semantics.vpc import Ranges, per_node_prefix, reserved_of_node_range

_INTERNAL = (
    "networking.gke.io/load-balancer-type",
    "cloud.google.com/load-balancer-type",
)
_OWN_ADDRESS = {("default", "kubernetes"): 1, ("kube-system", "kube-dns"): 10}


def is_internal(body: Body) -> bool:
    """Whether a LoadBalancer Service asks for GKE's internal load balancer."""
    annotations = body.get("metadata", {}).get("annotations", {})
    return any(annotations.get(key, "").lower() == "internal" for key in _INTERNAL)


def check(
    lab_entry: Entry | None, lab: LabSpec, ranges: Ranges, entries: Sequence[Entry], findings: Findings
) -> None:
    of_kind: dict[str, list[Entry]] = {}
    for entry in entries:
        of_kind.setdefault(entry.object.kind, []).append(entry)
    services = of_kind.get("Service", [])
    _check_cluster_ips(services, ranges, findings)
    _check_node_ports(services, findings)
    hosts: dict[IPv4Address, str] = {}
    _check_nodes(of_kind.get("Node", []), lab, ranges, hosts, findings)
    if lab_entry:
        _check_clients(lab_entry, ranges, hosts, findings)
    _check_load_balancers(services, ranges, hosts, findings)


def _check_cluster_ips(services: Sequence[Entry], ranges: Ranges, findings: Findings) -> None:
    network = ranges.get("serviceRange")
    holders: dict[IPv4Address, str] = {}
    for entry in services:
        address = ipv4(entry.spec.get("clusterIP", ""))
        if address is None or network is None:
            continue
        path = ("spec", "clusterIP")
        own = _OWN_ADDRESS.get((entry.object.namespace, entry.object.name), 0)
        kept = {network[offset]: holder for holder, offset in _OWN_ADDRESS.items() if offset != own}
        if address not in network or address in (network[0], network[-1]):
            findings.fault(entry, path, f"{address} is outside serviceRange {network}")
        elif address in kept:
            findings.fault(entry, path, f"{address} is reserved for {'/'.join(kept[address])}; choose another")
        elif address in holders:
            findings.fault(entry, path, f"{address} is the clusterIP of {holders[address]} already")
        holders.setdefault(address, entry.object.reference)


def _check_node_ports(services: Sequence[Entry], findings: Findings) -> None:
    """A nodePort is one Service's per protocol; a healthCheckNodePort is TCP."""
    holders: dict[tuple[int, str], Entry] = {}
    for entry in services:
        asked: list[tuple[tuple[Step, ...], int, str]] = [
            (("spec", "ports", index, "nodePort"), port.get("nodePort", 0), port.get("protocol", "TCP"))
            for index, port in enumerate(entry.spec.get("ports", ()))
        ]
        asked.append((("spec", "healthCheckNodePort"), entry.spec.get("healthCheckNodePort", 0), "TCP"))
        for path, number, protocol in asked:
            if not number:
                continue
            holder = holders.setdefault((number, protocol), entry)
            if holder is not entry:
                findings.fault(entry, path, f"{number}/{protocol} is a nodePort of {holder.object.reference} already")
            elif sum((number, protocol) == (one, other) for _, one, other in asked) > 1 and path != asked[0][0]:
                findings.fault(entry, path, f"{number}/{protocol} is given twice in this Service")


def _check_nodes(
    nodes: Sequence[Entry], lab: LabSpec, ranges: Ranges, hosts: dict[IPv4Address, str], findings: Findings
) -> None:
    pod_cidrs: list[tuple[IPv4Network, str]] = []
    prefix = per_node_prefix(lab.cluster.max_pods_per_node)
    for entry in nodes:
        for index, item in enumerate(entry.body.get("status", {}).get("addresses", ())):
            if item.get("type") == "InternalIP":
                path = ("status", "addresses", index, "address")
                address = item.get("address", "")
                _check_host(address, entry.object.reference, entry, path, ranges.get("nodeRange"), hosts, findings)
        text = entry.spec.get("podCIDR") or next(iter(entry.spec.get("podCIDRs", ())), "")
        if text:
            _check_pod_cidr(text, prefix, entry, ranges.get("podRange"), pod_cidrs, findings)


def _check_pod_cidr(
    text: str, prefix: int, entry: Entry, whole: IPv4Network | None, taken: list[tuple[IPv4Network, str]],
    findings: Findings,
) -> None:  # fmt: skip
    path: tuple[Step, ...] = ("spec", "podCIDR") if "podCIDR" in entry.spec else ("spec", "podCIDRs", 0)
    try:
        network = IPv4Network(text)
    except ValueError:
        findings.fault(entry, path, f'"{text}" is no IPv4 CIDR; such as 10.8.1.0/24')
        return
    if whole and not network.subnet_of(whole):
        findings.fault(entry, path, f"{network} is outside podRange {whole}")
    if network.prefixlen != prefix:
        findings.fault(entry, path, f"{network} must be a /{prefix}, which maxPodsPerNode asks for")
    for other, holder in taken:
        if network.overlaps(other):
            findings.fault(entry, path, f"{network} overlaps {other} of {holder}")
            break
    taken.append((network, entry.object.reference))


def _check_clients(
    lab_entry: Entry, ranges: Ranges, hosts: dict[IPv4Address, str], findings: Findings
) -> None:
    for index, client in enumerate(lab_entry.spec.get("clients", ())):
        text = client.get("address", "")
        if not text:
            continue
        path: tuple[Step, ...] = ("spec", "clients", index, "address")
        holder = f"client {client.get('name', '')}"
        if client.get("network") == "vpc":
            _check_host(text, holder, lab_entry, path, ranges.get("nodeRange"), hosts, findings)
            continue
        address = ipv4(text)
        internet = ranges.internet
        if address is None:
            findings.fault(lab_entry, path, f'"{text}" is no IPv4 address')
        elif address not in internet:
            findings.fault(lab_entry, path, f"{text} is outside the internet clients' range {internet}")
        elif address in (internet[0], internet[1], internet[-1]):
            findings.fault(lab_entry, path, f"{text} is reserved; choose between {internet[2]} and {internet[-2]}")
        elif hosts.setdefault(address, holder) != holder:
            findings.fault(lab_entry, path, f"{text} is the address of {hosts[address]} already")


def _check_host(
    text: str, holder: str, entry: Entry, path: tuple[Step, ...], network: IPv4Network | None,
    hosts: dict[IPv4Address, str], findings: Findings,
) -> None:  # fmt: skip
    """An address in nodeRange: a node's, a client's or an internal load balancer's."""
    address = ipv4(text)
    if address is None:
        findings.fault(entry, path, f'"{text}" is no IPv4 address')
    elif network and address not in network:
        findings.fault(entry, path, f"{text} is outside nodeRange {network}")
    elif network and address in reserved_of_node_range(network):
        findings.fault(entry, path, f"{text} is reserved; choose between {network[2]} and {network[-3]}")
    elif address in hosts:
        findings.fault(entry, path, f"{text} is the address of {hosts[address]} already")
    else:
        hosts[address] = holder


def _check_load_balancers(
    services: Sequence[Entry], ranges: Ranges, hosts: dict[IPv4Address, str], findings: Findings
) -> None:
    network = ranges.get("externalRange")
    holders: dict[IPv4Address, str] = {}
    for entry in services:
        text = entry.spec.get("loadBalancerIP", "")
        if not text or entry.spec.get("type") != "LoadBalancer":
            continue
        path = ("spec", "loadBalancerIP")
        if is_internal(entry.body):
            _check_host(text, entry.object.reference, entry, path, ranges.get("nodeRange"), hosts, findings)
            continue
        address = ipv4(text)
        if address is None:
            findings.fault(entry, path, f"{text}: a lab has IPv4 only")
        elif network and (address not in network or address in (network[0], network[-1])):
            findings.fault(entry, path, f"{text} is outside externalRange {network}; change spec.vpc.externalRange")
        elif address in holders:
            findings.fault(entry, path, f"{text} is the loadBalancerIP of {holders[address]} already")
        if address:
            holders.setdefault(address, entry.object.reference)
