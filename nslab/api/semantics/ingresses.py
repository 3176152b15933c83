"""An Ingress by itself: the basics of the API server's ValidateIngress (pkg/apis/networking/validation)."""

from __future__ import annotations

from ipaddress import ip_address

from nslab.api.findings import Entry, Findings, Step
from nslab.api.objects import Body
from nslab.api.semantics.names import SUBDOMAIN_RULE, is_subdomain


def check(entry: Entry, findings: Findings) -> None:
    spec = entry.spec
    if not spec.get("rules") and "defaultBackend" not in spec:
        findings.fault(entry, ("spec",), "needs rules, or a defaultBackend")
    if "defaultBackend" in spec:
        _check_backend(spec["defaultBackend"], entry, ("spec", "defaultBackend"), findings)
    for index, rule in enumerate(spec.get("rules", ())):
        path: tuple[Step, ...] = ("spec", "rules", index)
        _check_host(rule.get("host", ""), entry, (*path, "host"), findings)
        for number, item in enumerate(rule.get("http", {}).get("paths", ())):
            _check_path(item, entry, (*path, "http", "paths", number), findings)
    for index, tls in enumerate(spec.get("tls", ())):
        for number, host in enumerate(tls.get("hosts", ())):
            _check_host(host, entry, ("spec", "tls", index, "hosts", number), findings)


def _check_host(host: str, entry: Entry, path: tuple[Step, ...], findings: Findings) -> None:
    try:
        ip_address(host)
    except ValueError:
        if host and not is_subdomain(host.removeprefix("*.")):
            findings.fault(entry, path, f'"{host}" is no host name: {SUBDOMAIN_RULE}, and may begin with "*."')
    else:
        findings.fault(entry, path, f"{host} is an address; a host is a DNS name, and none means every host")


def _check_path(item: Body, entry: Entry, path: tuple[Step, ...], findings: Findings) -> None:
    text, kind = item.get("path", ""), item.get("pathType")
    if (text or kind in ("Exact", "Prefix")) and not text.startswith("/"):
        findings.fault(entry, (*path, "path"), f'"{text}" must begin with "/"')
    _check_backend(item.get("backend", {}), entry, (*path, "backend"), findings)


def _check_backend(backend: Body, entry: Entry, path: tuple[Step, ...], findings: Findings) -> None:
    if ("service" in backend) == ("resource" in backend):
        findings.fault(entry, path, "needs a service (or a resource, and not both)")
        return
    if "service" not in backend:
        return
    port = backend["service"].get("port", {})
    if bool(port.get("name")) == bool(port.get("number")):
        findings.fault(entry, (*path, "service", "port"), "needs either name or number")
