"""Endpoints and EndpointSlices that the user writes: addresses and port names (pkg/apis/discovery/validation)."""

from __future__ import annotations

from ipaddress import ip_address

from nslab.api.findings import Entry, Findings, Step
from nslab.api.semantics.names import LABEL_RULE, is_label, is_subdomain
from nslab.api.semantics.services import is_unicast


def check_endpoints(entry: Entry, findings: Findings) -> None:
    for number, subset in enumerate(entry.body.get("subsets", ())):
        for field in ("addresses", "notReadyAddresses"):
            for index, address in enumerate(subset.get(field, ())):
                path = ("subsets", number, field, index, "ip")
                _check_address(address.get("ip", ""), "IPv4", entry, path, findings)
        ports = subset.get("ports", [])
        for index, port in enumerate(ports):
            path = ("subsets", number, "ports", index, "name")
            if len(ports) > 1 and not port.get("name"):
                findings.fault(entry, path, "is required where there are several ports")
            _check_name(port.get("name", ""), entry, path, findings)


def check_slice(entry: Entry, findings: Findings) -> None:
    family = entry.body.get("addressType", "IPv4")
    if family != "IPv4":
        findings.warn(entry, ("addressType",), f"a lab has IPv4 only; addresses of type {family} carry nothing")
    for number, endpoint in enumerate(entry.body.get("endpoints", ())):
        for index, address in enumerate(endpoint.get("addresses", ())):
            _check_address(address, family, entry, ("endpoints", number, "addresses", index), findings)
    names: set[str] = set()
    for index, port in enumerate(entry.body.get("ports", ())):
        path = ("ports", index, "name")
        name = port.get("name", "")
        if name in names:
            findings.fault(entry, path, f'"{name}" is the name of another port already')
        names.add(name)
        _check_name(name, entry, path, findings)


def _check_name(name: str, entry: Entry, path: tuple[Step, ...], findings: Findings) -> None:
    if name and not is_label(name):
        findings.fault(entry, path, f'"{name}" is no DNS label: {LABEL_RULE}')


def _check_address(text: str, family: str, entry: Entry, path: tuple[Step, ...], findings: Findings) -> None:
    if family == "FQDN":
        if not is_subdomain(text):
            findings.fault(entry, path, f'"{text}" is no DNS name')
        return
    try:
        address = ip_address(text)
    except ValueError:
        findings.fault(entry, path, f'"{text}" is no IP address')
        return
    if f"IPv{address.version}" != family:
        findings.fault(entry, path, f"{text} is no {family} address")
    elif not is_unicast(address):
        findings.fault(entry, path, f"{text} is loopback, link-local, multicast or unspecified")
