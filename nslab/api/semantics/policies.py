"""A network policy by itself: what the API server refuses, in its words.

NetworkPolicy: ValidateNetworkPolicySpec (pkg/apis/networking/validation), strict about addresses as since Kubernetes
1.36 (KEP-4858). The cluster-wide kinds: the validation rules of their CustomResourceDefinitions (sig-network's
network-policy-api), as far as a schema cannot hold them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface
from typing import Final

from nslab.api.findings import Entry, Findings, Step
from nslab.api.objects import Body, LabSpec
from nslab.api.semantics.names import check_selector, port_name_faults

_Path = tuple[Step, ...]

_KINDS: Final = ("NetworkPolicy", "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
_DIRECTIONS: Final = (("ingress", "from"), ("egress", "to"))
_TYPES: Final = ("Ingress", "Egress")
_PROTOCOLS: Final = ("TCP", "UDP", "SCTP")
_CIDR: Final = re.compile(r"[0-9A-Fa-f:.]+/[0-9]+")
_LEADING_ZEROS: Final = re.compile(r"(?:(?<=[./])|^(?=[0-9.]+/))0+(?=[0-9])")
"""Of an IPv4 address's octets and of a prefix's length: some take such octets for octal ones."""
_WITHOUT_NAMED_PORTS: Final = ("networks", "nodes", "domainNames")


def check_enforced(lab: LabSpec, entries: Sequence[Entry], findings: Findings) -> None:
    """Policies in a lab that does not enforce them, as a GKE cluster without network policy: told once."""
    written = [entry for entry in entries if entry.object.kind in _KINDS]
    if written and not lab.cluster.network_policy:
        rest = f" (nor are {len(written) - 1} others)" if len(written) > 1 else ""
        findings.warn(
            written[0], (), f"is accepted and not enforced{rest}, as on GKE without network policy: "
            "spec.cluster.networkPolicy of the Lab is false",
        )


def check(entry: Entry, findings: Findings) -> None:
    """A NetworkPolicy."""
    spec = entry.spec
    check_selector(spec.get("podSelector", {}), entry, ("spec", "podSelector"), findings)
    for direction, peers in _DIRECTIONS:
        for index, rule in enumerate(spec.get(direction, ())):
            path = ("spec", direction, index)
            for number, port in enumerate(rule.get("ports", ())):
                _check_port(port, entry, (*path, "ports", number), findings)
            for number, peer in enumerate(rule.get(peers, ())):
                _check_peer(peer, entry, (*path, peers, number), findings)
    _check_types(spec.get("policyTypes", ()), entry, findings)


def _check_types(types: Sequence[str], entry: Entry, findings: Findings) -> None:
    path = ("spec", "policyTypes")
    if len(types) > len(_TYPES):
        findings.fault(entry, path, f"{json.dumps(types)}: may not specify more than two policyTypes")
        return
    for index, each in enumerate(types):
        _check_supported(each, _TYPES, entry, (*path, index), findings)


def _check_supported(value: str, supported: Sequence[str], entry: Entry, path: _Path, findings: Findings) -> None:
    if value not in supported:
        values = ", ".join(f'"{each}"' for each in supported)
        findings.fault(entry, path, f'Unsupported value: "{value}": supported values: {values}')


def _check_port(port: Body, entry: Entry, path: _Path, findings: Findings) -> None:
    first, last = port.get("port"), port.get("endPort")
    if "protocol" in port:
        _check_supported(port["protocol"], _PROTOCOLS, entry, (*path, "protocol"), findings)
    if isinstance(first, str):
        for words in port_name_faults(first):
            findings.fault(entry, (*path, "port"), f'"{first}": {words}')
    if isinstance(first, int):
        _check_number(first, entry, (*path, "port"), findings)
    if last is None:
        return
    path = (*path, "endPort")
    if first is None:
        findings.fault(entry, path, f"{last}: may not be specified when `port` is not specified")
    elif isinstance(first, str):
        findings.fault(entry, path, f"{last}: may not be specified when `port` is non-numeric")
    else:
        if last < first:
            findings.fault(entry, path, f"{last}: must be greater than or equal to `port`")
        _check_number(last, entry, path, findings)


def _check_number(number: int, entry: Entry, path: _Path, findings: Findings) -> None:
    if not 1 <= number <= 65535:
        findings.fault(entry, path, f"{number}: must be between 1 and 65535, inclusive")


def _check_peer(peer: Body, entry: Entry, path: _Path, findings: Findings) -> None:
    for field in ("podSelector", "namespaceSelector"):
        if field in peer:
            check_selector(peer[field], entry, (*path, field), findings)
    if not peer:
        findings.fault(entry, path, "Required value: must specify a peer: podSelector, namespaceSelector or ipBlock")
    if "ipBlock" in peer:
        if len(peer) > 1:
            findings.fault(entry, path, "Forbidden: may not specify both ipBlock and another peer")
        _check_block(peer["ipBlock"], entry, (*path, "ipBlock"), findings)


def _check_block(block: Body, entry: Entry, path: _Path, findings: Findings) -> None:
    if not block.get("cidr", "x"):
        findings.fault(entry, (*path, "cidr"), "Required value: must be a CIDR, such as 10.9.8.0/24")
        return
    whole = _network(block["cidr"], entry, (*path, "cidr"), findings) if "cidr" in block else None
    for index, text in enumerate(block.get("except", ())):
        place = (*path, "except", index)
        part = _network(text, entry, place, findings)
        if whole is None or part is None:
            continue
        if isinstance(whole, IPv4Network):
            inside = isinstance(part, IPv4Network) and part.subnet_of(whole)
        else:
            inside = isinstance(part, IPv6Network) and part.subnet_of(whole)
        if not inside or part == whole:
            findings.fault(entry, place, f'"{text}": must be a strict subset of `cidr`, {whole}')


def _network(text: str, entry: Entry, path: _Path, findings: Findings) -> IPv4Network | IPv6Network | None:
    """The network of a CIDR (IsValidCIDRForLegacyField); None where there is none."""
    written = _interface(text)
    if written is None:
        words = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
    elif _LEADING_ZEROS.search(text):
        words = "must not have leading 0s in IP or prefix length"
    elif _is_mapped(written):
        words = "must not have an IPv4-mapped IPv6 address"
    elif written.ip != written.network.network_address:
        words = f"must not have bits set beyond the prefix length; the block is {written.network}"
    else:
        return written.network
    findings.fault(entry, path, f'"{text}": {words}')
    return written.network if written else None


def _interface(text: str) -> IPv4Interface | IPv6Interface | None:
    """A CIDR as servers before 1.36 read it, leading zeros and host bits included; None where it is none."""
    try:
        return ip_interface(_LEADING_ZEROS.sub("", text)) if _CIDR.fullmatch(text) else None
    except ValueError:
        return None


def _is_mapped(written: IPv4Interface | IPv6Interface) -> bool:
    return isinstance(written, IPv6Interface) and written.ip.ipv4_mapped is not None


def check_cluster_wide(entry: Entry, findings: Findings) -> None:
    """A ClusterNetworkPolicy, AdminNetworkPolicy or BaselineAdminNetworkPolicy."""
    spec = entry.spec
    if entry.object.kind == "BaselineAdminNetworkPolicy" and entry.object.name not in ("", "default"):
        words = 'Only one baseline admin network policy with metadata.name="default" can be created in the cluster'
        findings.fault(entry, ("metadata", "name"), f'"{entry.object.name}": {words}')
    _check_selection(spec.get("subject", {}), entry, ("spec", "subject"), findings)
    for direction, peers in _DIRECTIONS:
        for index, rule in enumerate(spec.get(direction, ())):
            path = ("spec", direction, index)
            for number, peer in enumerate(rule.get(peers, ())):
                _check_selection(peer, entry, (*path, peers, number), findings)
            _check_rule_ports(rule, peers, entry, path, findings)


def _check_selection(words: Body, entry: Entry, path: _Path, findings: Findings) -> None:
    for field in ("namespaces", "nodes"):
        if field in words:
            check_selector(words[field], entry, (*path, field), findings)
    for field, selector in words.get("pods", {}).items():
        check_selector(selector, entry, (*path, "pods", field), findings)
    for index, text in enumerate(words.get("networks", ())):
        written = _interface(text)
        if written is None or _is_mapped(written) or _LEADING_ZEROS.search(text):
            findings.fault(entry, (*path, "networks", index), f'"{text}": Invalid CIDR format provided')
    for field in ("networks", "domainNames"):  # x-kubernetes-list-type: set
        for index, text in enumerate(words.get(field, ())):
            if text in words[field][:index]:
                findings.fault(entry, (*path, field, index), f'Duplicate value: "{text}"')


def _check_rule_ports(rule: Body, peers: str, entry: Entry, path: _Path, findings: Findings) -> None:
    nameless = [field for peer in rule.get(peers, ()) for field in _WITHOUT_NAMED_PORTS if field in peer]
    for field in ("protocols", "ports"):
        for index, words in enumerate(rule.get(field, ())):
            place = (*path, field, index)
            if nameless and ("destinationNamedPort" in words or "namedPort" in words):
                findings.fault(
                    entry, path, "networks/nodes/domainNames peer cannot be set with namedPorts since there are no "
                    "namedPorts for networks/nodes/domainNames",
                )
            for inner, ports in _ranges(words):
                if ports["start"] >= ports["end"]:
                    told = f"{ports['start']}-{ports['end']}: Start port must be less than End port"
                    findings.fault(entry, (*place, *inner), told)


def _ranges(words: Body) -> list[tuple[_Path, Body]]:
    """The ranges of ports in one entry of a rule, both ends given, with their places in it."""
    found: list[tuple[_Path, Body]] = [(("portRange",), words.get("portRange", {}))]
    for protocol in ("tcp", "udp", "sctp"):
        port = words.get(protocol, {}).get("destinationPort", {})
        found.append(((protocol, "destinationPort", "range"), port.get("range", {})))
    return [(path, ports) for path, ports in found if "start" in ports and "end" in ports]
