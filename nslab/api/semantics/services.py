"""A Service by itself: what the API server's ValidateService refuses (pkg/apis/core/validation), and what an IPv4
lab cannot do."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

from nslab.api.findings import Entry, Findings
from nslab.api.objects import Body
from nslab.api.semantics.names import LABEL_RULE, PORT_NAME_RULE, check_labels, is_label, is_port_name, is_subdomain

NODE_PORTS: Final = range(30000, 32768)
_SCTP: Final = "SCTP needs a kernel with it, which `nslab doctor` tells"


def check(entry: Entry, findings: Findings) -> None:
    spec = entry.spec
    kind = spec.get("type", "ClusterIP")
    check_labels(spec.get("selector", {}), entry, ("spec", "selector"), findings)
    _check_type(kind, spec, entry, findings)
    _check_policies(kind, spec, entry, findings)
    _check_ports(kind, spec, entry, findings)
    _check_addresses(kind, spec, entry, findings)


def _check_type(kind: str, spec: Body, entry: Entry, findings: Findings) -> None:
    cluster_ip = spec.get("clusterIP", "")
    if kind == "ExternalName":
        name = spec.get("externalName", "")
        if not name:
            findings.fault(entry, ("spec", "externalName"), "is required for type ExternalName")
        elif not is_subdomain(name.removesuffix(".")):
            findings.fault(entry, ("spec", "externalName"), f'"{name}" is no DNS name')
        if cluster_ip:
            findings.fault(entry, ("spec", "clusterIP"), "must be left out for type ExternalName")
    elif cluster_ip == "None" and kind in ("NodePort", "LoadBalancer"):
        findings.fault(entry, ("spec", "clusterIP"), f'must not be "None" for type {kind}; headless is for ClusterIP')
    elif cluster_ip not in ("", "None"):
        _check_ip(cluster_ip, entry, ("spec", "clusterIP"), findings)
    listed = spec.get("clusterIPs", [])
    if cluster_ip and listed and listed[0] != cluster_ip:
        findings.fault(entry, ("spec", "clusterIPs", 0), f'must equal clusterIP, "{cluster_ip}"')
    for index, family in enumerate(spec.get("ipFamilies", ())):
        if family == "IPv6":
            findings.fault(entry, ("spec", "ipFamilies", index), "a lab has IPv4 only")
    if spec.get("ipFamilyPolicy") == "RequireDualStack":
        findings.fault(entry, ("spec", "ipFamilyPolicy"), "a lab has IPv4 only: use SingleStack or PreferDualStack")


def _check_policies(kind: str, spec: Body, entry: Entry, findings: Findings) -> None:
    external = kind in ("NodePort", "LoadBalancer") or spec.get("externalIPs")
    if "externalTrafficPolicy" in spec and not external:
        remedy = "only NodePort and LoadBalancer Services and externalIPs have it"
        findings.fault(entry, ("spec", "externalTrafficPolicy"), f"must be left out for type {kind}: {remedy}")
    if "sessionAffinityConfig" in spec and spec.get("sessionAffinity") != "ClientIP":
        findings.fault(entry, ("spec", "sessionAffinityConfig"), "needs sessionAffinity: ClientIP")
    check_port = spec.get("healthCheckNodePort")
    if check_port and (kind != "LoadBalancer" or spec.get("externalTrafficPolicy") != "Local"):
        path = ("spec", "healthCheckNodePort")
        findings.fault(entry, path, "needs type LoadBalancer with externalTrafficPolicy: Local")
    elif check_port and check_port not in NODE_PORTS:
        findings.fault(entry, ("spec", "healthCheckNodePort"), f"{check_port} is outside 30000-32767")
    if "loadBalancerSourceRanges" in spec and kind != "LoadBalancer":
        findings.fault(entry, ("spec", "loadBalancerSourceRanges"), "is only for type LoadBalancer")


def _check_ports(kind: str, spec: Body, entry: Entry, findings: Findings) -> None:
    ports = spec.get("ports", [])
    headless = spec.get("clusterIP") == "None"
    if not ports and not headless and kind != "ExternalName":
        findings.fault(entry, ("spec", "ports"), "is required: at least one port")
    names: dict[str, int] = {}
    numbers: dict[tuple[Any, str], int] = {}
    for index, port in enumerate(ports):
        path = ("spec", "ports", index)
        name, protocol = port.get("name", ""), port.get("protocol", "TCP")
        if not name and len(ports) > 1:
            findings.fault(entry, (*path, "name"), "is required where a Service has several ports")
        elif name and not is_label(name):
            findings.fault(entry, (*path, "name"), f'"{name}" is no DNS label: {LABEL_RULE}')
        elif name and names.setdefault(name, index) != index:
            findings.fault(entry, (*path, "name"), f'"{name}" is the name of ports[{names[name]}] already')
        first = numbers.setdefault((port.get("port"), protocol), index)
        if first != index and "port" in port:
            findings.fault(entry, path, f"{port['port']}/{protocol} is ports[{first}] already")
        check_port_reference(port.get("targetPort"), entry, (*path, "targetPort"), findings)
        _check_node_port(kind, port, entry, index, findings)
        if protocol == "SCTP":
            findings.warn(entry, path, _SCTP)


def _check_node_port(kind: str, port: Body, entry: Entry, index: int, findings: Findings) -> None:
    path = ("spec", "ports", index, "nodePort")
    number = port.get("nodePort", 0)
    if number and kind not in ("NodePort", "LoadBalancer"):
        findings.fault(entry, path, f"must be left out for type {kind}; use type NodePort or LoadBalancer")
    elif number and number not in NODE_PORTS:
        findings.fault(entry, path, f"{number} is outside 30000-32767")


def check_port_reference(port: Any, entry: Entry, path: tuple[str | int, ...], findings: Findings) -> None:
    """A port by number or by name (IntOrString)."""
    if isinstance(port, str) and not is_port_name(port):
        number = ": write the number without quotes" if port.isdigit() else f": {PORT_NAME_RULE}"
        findings.fault(entry, path, f'"{port}" is no port name{number}')
    elif isinstance(port, int) and not 1 <= port <= 65535:
        findings.fault(entry, path, f"{port} is outside 1-65535")


def _check_addresses(kind: str, spec: Body, entry: Entry, findings: Findings) -> None:
    for index, text in enumerate(spec.get("externalIPs", ())):
        path = ("spec", "externalIPs", index)
        address = _check_ip(text, entry, path, findings)
        if address and not is_unicast(address):
            findings.fault(entry, path, f"{text} is loopback, link-local, multicast or unspecified")
    for index, text in enumerate(spec.get("loadBalancerSourceRanges", ())):
        path = ("spec", "loadBalancerSourceRanges", index)
        try:
            ip_network(text.strip(), strict=False)
        except ValueError:
            findings.fault(entry, path, f'"{text}" is no CIDR; such as 10.0.0.0/8')
        else:
            if "/" not in text:
                findings.fault(entry, path, f'"{text}" has no prefix length; such as {text}/32')
    load_balancer_ip = spec.get("loadBalancerIP")
    if load_balancer_ip and not _is_ip(load_balancer_ip):
        message = f'loadBalancerIP "{load_balancer_ip}" is no IP address; the lab chooses one'
        findings.warn(entry, ("spec", "loadBalancerIP"), message)
        del spec["loadBalancerIP"]


def is_unicast(address: IPv4Address | IPv6Address) -> bool:
    """Whether an endpoint or an external IP may have the address (ValidateNonSpecialIP)."""
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _check_ip(text: str, entry: Entry, path: tuple[str | int, ...], findings: Findings) -> Any:
    """The address, or None after a fault."""
    try:
        address = ip_address(text)
    except ValueError:
        findings.fault(entry, path, f'"{text}" is no IP address')
        return None
    if address.version == 6:
        findings.fault(entry, path, f"{text}: a lab has IPv4 only")
        return None
    return address
