"""A NetworkPolicy by itself: what the API server's ValidateNetworkPolicy refuses (pkg/apis/networking/validation)."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from nslab.api.findings import Entry, Findings, Step
from nslab.api.objects import Body
from nslab.api.semantics.names import check_selector
from nslab.api.semantics.services import check_port_reference


def check(entry: Entry, findings: Findings) -> None:
    spec = entry.spec
    check_selector(spec.get("podSelector", {}), entry, ("spec", "podSelector"), findings)
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction, ())):
            path = ("spec", direction, index)
            for number, port in enumerate(rule.get("ports", ())):
                _check_port(port, entry, (*path, "ports", number), findings)
            for number, peer in enumerate(rule.get(peers, ())):
                _check_peer(peer, entry, (*path, peers, number), findings)


def _check_port(port: Body, entry: Entry, path: tuple[Step, ...], findings: Findings) -> None:
    first, last = port.get("port"), port.get("endPort")
    check_port_reference(first, entry, (*path, "port"), findings)
    if last is None:
        return
    if first is None:
        findings.fault(entry, (*path, "endPort"), "needs port, the first of the range")
    elif isinstance(first, str):
        findings.fault(entry, (*path, "endPort"), f'must be left out with a named port, "{first}"')
    elif last < first:
        findings.fault(entry, (*path, "endPort"), f"{last} is below port, {first}")


def _check_peer(peer: Body, entry: Entry, path: tuple[Step, ...], findings: Findings) -> None:
    for field in ("podSelector", "namespaceSelector"):
        if field in peer:
            check_selector(peer[field], entry, (*path, field), findings)
    if not peer:
        findings.fault(entry, path, "selects nothing: needs podSelector, namespaceSelector or ipBlock")
    if "ipBlock" in peer:
        if len(peer) > 1:
            findings.fault(entry, path, "ipBlock cannot be joined with podSelector or namespaceSelector")
        _check_block(peer["ipBlock"], entry, (*path, "ipBlock"), findings)


def _check_block(block: Body, entry: Entry, path: tuple[Step, ...], findings: Findings) -> None:
    whole = _network(block.get("cidr", ""), entry, (*path, "cidr"), findings)
    for index, text in enumerate(block.get("except", ())):
        part = _network(text, entry, (*path, "except", index), findings)
        if whole is None or part is None:
            continue
        if part.version != whole.version or not part.subnet_of(whole) or part == whole:
            findings.fault(entry, (*path, "except", index), f"{text} is not strictly inside cidr, {whole}")


def _network(text: str, entry: Entry, path: tuple[Step, ...], findings: Findings) -> Any:
    """The network of a CIDR, host bits cleared as the API server does; None after a fault."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        findings.fault(entry, path, f'"{text}" is no CIDR; such as 10.0.0.0/8')
        return None
    if "/" not in text:
        findings.fault(entry, path, f'"{text}" has no prefix length; such as {text}/32')
        return None
    return network
