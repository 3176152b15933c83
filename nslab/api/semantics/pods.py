"""Pods, written or as a workload's template: containers, ports, probes, and the workload's hold on its Pods."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from nslab.api.defaults import WORKLOADS, containers_of
from nslab.api.findings import Entry, Findings, Step
from nslab.api.objects import Body
from nslab.api.semantics.names import (
    LABEL_RULE,
    PORT_NAME_RULE,
    check_labels,
    check_selector,
    is_label,
    is_port_name,
    matches,
)

_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc")


@dataclass(frozen=True, slots=True)
class Template:
    """What a Pod or a workload says of its Pods: where in the object it says so, and how many there are.
    `pods` is None for a DaemonSet, which has one a node."""

    entry: Entry
    path: tuple[Step, ...]
    labels: dict[str, str]
    spec: Body
    pods: int | None

    @property
    def namespace(self) -> str:
        return self.entry.object.namespace


def template_of(entry: Entry) -> Template | None:
    """The Pods of an object; None if it makes none."""
    kind, spec = entry.object.kind, entry.spec
    if kind == "Pod":
        return Template(entry, (), entry.body.get("metadata", {}).get("labels", {}), spec, 1)
    if kind not in WORKLOADS:
        return None
    template = spec.get("template", {})
    labels = template.get("metadata", {}).get("labels", {})
    if kind == "DaemonSet":
        count = None
    elif kind == "Job":
        count = min(spec.get("parallelism", 1), spec.get("completions", spec.get("parallelism", 1)))
    else:
        count = spec.get("replicas", 1)
    return Template(entry, ("spec", "template"), labels, template.get("spec", {}), count)


def check(template: Template, findings: Findings) -> None:
    entry, path = template.entry, (*template.path, "spec")
    if template.path:
        _check_workload(template, findings)
    _check_names(template, findings)
    _check_ports(template, findings)
    for field, index, container in containers_of(template.spec):
        _check_container(container, entry, (*path, field, index), findings)
    for index, alias in enumerate(template.spec.get("hostAliases", ())):
        _check_ip(alias.get("ip", ""), entry, (*path, "hostAliases", index, "ip"), findings)
    _check_dns(template, findings)
    _drop_machine_selector(template, findings)


def _check_workload(template: Template, findings: Findings) -> None:
    """The selector must select the template's Pods, and Pods restart as their workload needs."""
    entry = template.entry
    kind, spec = entry.object.kind, entry.spec
    check_labels(template.labels, entry, (*template.path, "metadata", "labels"), findings)
    restart = template.spec.get("restartPolicy", "Always")
    path: tuple[Step, ...] = (*template.path, "spec", "restartPolicy")
    if kind == "Job":
        if restart == "Always":
            findings.fault(entry, path, "must be OnFailure or Never in a Job")
        return
    if restart != "Always":
        findings.fault(entry, path, f"{restart} is not allowed in a {kind}, only Always")
    selector = spec.get("selector")
    if selector is None or "selector" in [step for broken in entry.broken for step in broken]:
        return
    if kind == "ReplicationController":
        selector = {"matchLabels": selector}
    check_selector(selector, entry, ("spec", "selector"), findings)
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        findings.fault(entry, ("spec", "selector"), f"must not be empty in a {kind}")
    elif not matches(selector, template.labels):
        shown = ", ".join(f"{key}={value}" for key, value in template.labels.items()) or "none"
        remedy = f"spec.template.metadata.labels (they are: {shown})"
        findings.fault(entry, ("spec", "selector"), f"does not select its own Pods: make it match {remedy}")


def _check_names(template: Template, findings: Findings) -> None:
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(template.spec.get(field, ())):
            name = container.get("name")
            path = (*template.path, "spec", field, index, "name")
            if name is None:
                continue
            if not is_label(name):
                findings.fault(template.entry, path, f'"{name}" is no DNS label: {LABEL_RULE}')
            elif name in seen:
                findings.fault(template.entry, path, f'"{name}" is the name of another container already')
            seen.add(name)


def _check_ports(template: Template, findings: Findings) -> None:
    """Containers share their Pod's netns: two that listen on one port cannot both have it."""
    entry = template.entry
    holders: dict[tuple[int, str], str] = {}
    host_ports: Counter[tuple[int, str]] = Counter()
    for field, index, container in containers_of(template.spec):
        name = container.get("name", "")
        port_names: set[str] = set()
        for number, port in enumerate(container.get("ports", ())):
            path = (*template.path, "spec", field, index, "ports", number)
            protocol = port.get("protocol", "TCP")
            if "containerPort" not in port:
                continue
            key = (port["containerPort"], protocol)
            holder = holders.setdefault(key, name)
            if holder != name:
                message = f'{key[0]}/{protocol} is held by container "{holder}" of the same Pod; choose another port'
                findings.fault(entry, (*path, "containerPort"), message)
            _check_port_name(port.get("name", ""), port_names, entry, (*path, "name"), findings)
            _check_host_port(port, template, path, host_ports, findings)
            if protocol == "SCTP":
                findings.warn(entry, path, "SCTP needs a kernel with it, which `nslab doctor` tells")


def _check_port_name(
    name: str, names: set[str], entry: Entry, path: tuple[Step, ...], findings: Findings
) -> None:
    if not name:
        return
    if not is_port_name(name):
        findings.fault(entry, path, f'"{name}" is no port name: {PORT_NAME_RULE}')
    elif name in names:
        findings.fault(entry, path, f'"{name}" is the name of another port of this container already')
    names.add(name)


def _check_host_port(
    port: Body, template: Template, path: tuple[Step, ...], seen: Counter[tuple[int, str]], findings: Findings
) -> None:
    host_port = port.get("hostPort", 0)
    if not host_port:
        return
    key = (host_port, port.get("protocol", "TCP"))
    seen[key] += 1
    if template.spec.get("hostNetwork") and host_port != port["containerPort"]:
        findings.fault(template.entry, (*path, "hostPort"), "must equal containerPort with hostNetwork")
    elif seen[key] > 1 and not template.spec.get("hostNetwork"):
        findings.fault(template.entry, (*path, "hostPort"), f"{host_port}/{key[1]} is a hostPort of this Pod already")


def _check_container(container: Body, entry: Entry, path: tuple[Step, ...], findings: Findings) -> None:
    if container.get("image") == "host" and not container.get("command"):
        findings.fault(entry, (*path, "command"), "is required with image: host, which runs it on the host's files")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _check_probe(name, container, entry, (*path, name), findings)


def _check_probe(name: str, container: Body, entry: Entry, path: tuple[Step, ...], findings: Findings) -> None:
    probe = container[name]
    handlers = [handler for handler in _HANDLERS if handler in probe]
    if len(handlers) != 1:
        given = f"has {' and '.join(handlers)}" if handlers else "has none"
        findings.fault(entry, path, f"needs exactly one of {', '.join(_HANDLERS)}; it {given}")
    if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        findings.fault(entry, (*path, "successThreshold"), f"must be 1 in a {name}")
    names = [port.get("name") for port in container.get("ports", ())]
    for handler in ("httpGet", "tcpSocket"):
        port = probe.get(handler, {}).get("port")
        if isinstance(port, int) and not 1 <= port <= 65535:
            findings.fault(entry, (*path, handler, "port"), f"{port} is outside 1-65535")
        elif isinstance(port, str) and not port.isdigit() and port not in names:
            findings.warn(entry, (*path, handler, "port"), f'{name} asks port "{port}", which its container has not')


def _check_ip(text: str, entry: Entry, path: tuple[Step, ...], findings: Findings) -> None:
    try:
        ip_address(text)
    except ValueError:
        findings.fault(entry, path, f'"{text}" is no IP address')


def _check_dns(template: Template, findings: Findings) -> None:
    entry, spec, path = template.entry, template.spec, (*template.path, "spec")
    servers = spec.get("dnsConfig", {}).get("nameservers", [])
    if spec.get("dnsPolicy") == "None" and not servers:
        findings.fault(entry, (*path, "dnsConfig", "nameservers"), "is required with dnsPolicy: None")
    for index, server in enumerate(servers):
        _check_ip(server, entry, (*path, "dnsConfig", "nameservers", index), findings)
    for field in ("hostname", "subdomain"):
        name = spec.get(field)
        if name and not is_label(name):
            findings.fault(entry, (*path, field), f'"{name}" is no DNS label: {LABEL_RULE}')


def _drop_machine_selector(template: Template, findings: Findings) -> None:
    """Leave out of a nodeSelector what asks the cloud for a kind of machine: a lab's nodes are all of one kind."""
    selector = template.spec.get("nodeSelector", {})
    for key in [key for key in selector if key.startswith("cloud.google.com/")]:
        path = (*template.path, "spec", "nodeSelector", key)
        findings.warn(template.entry, path, f"nodeSelector {key} asks for a kind of machine; left out")
        del selector[key]
