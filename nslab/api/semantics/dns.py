"""Names: the zones of the internet side, and the ConfigMap that tells kube-dns whom to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from nslab.api.addresses import ipv4
from nslab.api.findings import Entry, Findings, Step
from nslab.api.objects import LabSpec
from nslab.api.semantics.names import SUBDOMAIN_RULE, is_subdomain
from nslab.api.semantics.vpc import Ranges

KUBE_DNS: Final = ("ConfigMap", "kube-system", "kube-dns")
_SERVER_RULE: Final = "write an IPv4 address, with :PORT where it is not 53"


def check(lab_entry: Entry | None, lab: LabSpec, ranges: Ranges, findings: Findings) -> None:
    """The Lab's zones: names that can be, addresses that a host can have."""
    zones = lab_entry.spec.get("internet", {}).get("zones", {}) if lab_entry else {}
    for zone, names in zones.items():
        assert lab_entry is not None
        path: tuple[Step, ...] = ("spec", "internet", "zones", zone)
        text = zone.removesuffix(".")
        if not is_subdomain(text):
            findings.fault(lab_entry, path, f'"{zone}" is no zone: {SUBDOMAIN_RULE}')
        elif f".{text}".endswith(f".{lab.cluster.domain}"):
            findings.fault(lab_entry, path, f'"{zone}" is a zone of the cluster itself')
        for name, value in names.items() if isinstance(names, dict) else ():
            values = value if isinstance(value, list) else [value]
            _check_name(name, text, values, (*path, name), lab_entry, findings)
            for each in values:
                _check_address(each, (*path, name), ranges, lab_entry, findings)


def _check_name(
    name: str, zone: str, values: Sequence[str], path: tuple[Step, ...], entry: Entry, findings: Findings
) -> None:
    if name != "@" and not is_subdomain(f"{name}.{zone}".replace("_", "x")):
        findings.fault(entry, path, f'"{name}" is no name in a zone: {SUBDOMAIN_RULE}; @ is the zone itself')
    aliases = [value for value in values if ipv4(value) is None]
    for alias in aliases:
        if not is_subdomain(alias.removesuffix(".")) or alias.replace(".", "").isdigit():
            findings.fault(entry, path, f'"{alias}" is neither an IPv4 address nor a name')
    if aliases and (len(values) > 1 or name == "@"):
        findings.fault(entry, path, "an alias stands alone, and not for the zone itself")


def _check_address(
    text: str, path: tuple[Step, ...], ranges: Ranges, entry: Entry, findings: Findings
) -> None:
    found = ipv4(text)
    internet = ranges.internet
    if found is not None and found in (internet[0], internet[1], internet[-1]):
        findings.fault(entry, path, f"{text} is reserved; choose between {internet[2]} and {internet[-2]}")


def check_config(entry: Entry, findings: Findings) -> None:
    """ConfigMap kube-system/kube-dns, as far as kube-dns reads it: stubDomains and upstreamNameservers, JSON in texts
    (kubernetes.io/docs/tasks/administer-cluster/dns-custom-nameservers)."""
    item = entry.object
    if (item.kind, item.namespace, item.name) == KUBE_DNS:
        for field, message in config_faults(entry.body.get("data") or {}):
            findings.fault(entry, ("data", field), message)


def config_faults(data: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What is wrong in the data of that ConfigMap, by field."""
    stubs = _json(data, "stubDomains")
    if not isinstance(stubs, dict) or not all(is_subdomain(domain.removesuffix(".")) for domain in stubs):
        yield "stubDomains", 'is no JSON object of domains, such as {"corp.example": ["198.51.100.53"]}'
    elif not all(_are_servers(servers) for servers in stubs.values()):
        yield "stubDomains", f"a domain has a list of servers: {_SERVER_RULE}"
    upstreams = _json(data, "upstreamNameservers", [])
    if not isinstance(upstreams, list) or not _are_servers(upstreams, least=0):
        yield "upstreamNameservers", f"is no JSON list of servers: {_SERVER_RULE}"
    elif len(upstreams) > 3:
        yield "upstreamNameservers", "at most three servers can be asked"


def _json(data: dict[str, str], field: str, default: Any = None) -> Any:
    try:
        return json.loads(data[field]) if data.get(field) else {} if default is None else default
    except ValueError:
        return None


def _are_servers(servers: Any, least: int = 1) -> bool:
    return isinstance(servers, list) and len(servers) >= least and all(
        isinstance(server, str) and _is_server(server) for server in servers
    )


def _is_server(text: str) -> bool:
    host, _, port = text.partition(":")
    return ipv4(host) is not None and (":" not in text or (port.isdecimal() and 0 < int(port) < 65536))
