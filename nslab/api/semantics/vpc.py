"""The VPC's ranges: IPv4, apart from each other, and wide enough for what the objects ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import Final

from nslab.api.findings import Entry, Findings
from nslab.api.objects import LabSpec
from nslab.api.semantics.names import LABEL_RULE, SUBDOMAIN_RULE, is_label, is_subdomain

_PROXY_ONLY_PREFIX: Final = 26
_RESERVED_NODE_ADDRESSES: Final = 4


@dataclass(frozen=True, slots=True)
class Ranges:
    """The ranges that could be read, by their field in `spec.vpc`, and the fixed one of the internet's clients."""

    by_field: dict[str, IPv4Network]
    internet: IPv4Network

    def get(self, field: str) -> IPv4Network | None:
        return self.by_field.get(field)


def per_node_prefix(max_pods: int) -> int:
    """The prefix length of a node's Pod range: at least two addresses for each of its Pods
    (cloud.google.com/kubernetes-engine/docs/how-to/flexible-pod-cidr)."""
    return 31 - (max(max_pods, 8) - 1).bit_length()


def reserved_of_node_range(network: IPv4Network) -> set[IPv4Address]:
    """What the VPC keeps of a subnet's primary range: the first two addresses and the last two
    (cloud.google.com/vpc/docs/subnets#unusable-ip-addresses-in-every-subnet)."""
    return {network[0], network[1], network[-2], network[-1]}


def check(lab_entry: Entry | None, lab: LabSpec, entries: Sequence[Entry], findings: Findings) -> Ranges:
    """Check the Lab's ranges, nodes' and clients' names; returns the ranges that are sound."""
    ranges = Ranges(_parsed(lab_entry, lab, findings), IPv4Network(lab.vpc.internet_range))
    if lab_entry is None:
        _check_sizes(None, lab, ranges, entries, findings)
        return ranges
    _check_overlaps(lab_entry, ranges, findings)
    _check_sizes(lab_entry, lab, ranges, entries, findings)
    _check_names(lab_entry, findings)
    return ranges


def _parsed(lab_entry: Entry | None, lab: LabSpec, findings: Findings) -> dict[str, IPv4Network]:
    texts = {
        "nodeRange": lab.vpc.node_range,
        "podRange": lab.vpc.pod_range,
        "serviceRange": lab.vpc.service_range,
        "proxyOnlyRange": lab.vpc.proxy_only_range,
        "externalRange": lab.vpc.external_range,
    }
    networks: dict[str, IPv4Network] = {}
    for field, text in texts.items():
        try:
            network = IPv4Network(text, strict=False)
        except ValueError:
            if lab_entry:
                findings.fault(lab_entry, ("spec", "vpc", field), f'"{text}" is no IPv4 CIDR; such as 10.128.0.0/20')
            continue
        if lab_entry and "/" not in text:
            findings.fault(lab_entry, ("spec", "vpc", field), f'"{text}" has no prefix length, such as {text}/24')
        elif lab_entry and str(network) != text:
            findings.fault(lab_entry, ("spec", "vpc", field), f'"{text}" has host bits set: write {network}')
        elif network.is_loopback or network.is_multicast or network.is_link_local or network.prefixlen == 0:
            if lab_entry:
                findings.fault(lab_entry, ("spec", "vpc", field), f"{text} is no range that hosts can have")
        else:
            networks[field] = network
    return networks


def _check_overlaps(lab_entry: Entry, ranges: Ranges, findings: Findings) -> None:
    written = lab_entry.spec.get("vpc", {})
    fixed = {"the internet clients' range": ranges.internet}
    for (one, first), (other, second) in combinations((ranges.by_field | fixed).items(), 2):
        if first.overlaps(second):
            at, with_, its = (one, other, second) if one in written or other not in written else (other, one, first)
            place = ("spec", "vpc", at) if at in written else ()
            findings.fault(lab_entry, place, f"{ranges.by_field.get(at, its)} overlaps {with_} {its}")


def _check_sizes(
    lab_entry: Entry | None, lab: LabSpec, ranges: Ranges, entries: Sequence[Entry], findings: Findings
) -> None:
    prefix = per_node_prefix(lab.cluster.max_pods_per_node)
    services = [entry for entry in entries if entry.object.kind == "Service"]
    addressed = sum(
        entry.spec.get("clusterIP", "") != "None" and entry.spec.get("type") != "ExternalName" for entry in services
    )
    hosts = len(lab.nodes) + sum(client.network == "vpc" for client in lab.clients)
    wanted = {
        "nodeRange": (hosts + _RESERVED_NODE_ADDRESSES, f"{hosts} nodes and clients, and 4 reserved addresses"),
        "podRange": (len(lab.nodes) << 32 - prefix, f"{len(lab.nodes)} nodes of a /{prefix} each"),
        "serviceRange": (max(addressed + 4, 16), f"{addressed} Services, and those of the API server and DNS"),
        "proxyOnlyRange": (1 << 32 - _PROXY_ONLY_PREFIX, "the proxies"),
        "externalRange": (4, "a public address"),
    }
    for field, (count, reason) in wanted.items():
        network = ranges.get(field)
        if network is None or network.num_addresses >= count:
            continue
        needed = 32 - (count - 1).bit_length()
        size = f"{network.num_addresses} address{'es' if network.num_addresses > 1 else ''}"
        message = f"{network} has {size}, too few for {reason}: use a /{needed} or wider"
        if lab_entry is None:
            last = max(entries, key=lambda entry: entry.object.kind == "Service")
            findings.fault(last, (), f"{field} {message}")
        elif field in lab_entry.spec.get("vpc", {}):
            findings.fault(lab_entry, ("spec", "vpc", field), message)
        else:
            findings.fault(lab_entry, (), f"spec.vpc.{field}: {message}")


def _check_names(lab_entry: Entry, findings: Findings) -> None:
    """Names of nodes and clients: right, and given once."""
    for field, is_name, rule in (
        ("nodes", is_subdomain, SUBDOMAIN_RULE),
        ("clients", is_label, LABEL_RULE),
    ):
        items = lab_entry.spec.get(field, ())
        seen: set[str] = set()
        for index, item in enumerate(items if isinstance(items, list) else ()):
            name = item.get("name")
            if name is None:
                continue
            path = ("spec", field, index, "name")
            if not is_name(name):
                findings.fault(lab_entry, path, f'"{name}" is no name for a host: {rule}')
            elif name in seen:
                findings.fault(lab_entry, path, f'"{name}" is given twice')
            seen.add(name)
