"""Objects that speak of others: Services of Pods and their ports, policies of Pods, Ingresses and endpoints of
Services."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from nslab.api.defaults import containers_of
from nslab.api.findings import Entry, Findings
from nslab.api.objects import STATIC_POD_LABELS, STATIC_POD_NAMESPACE, Body
from nslab.api.semantics.names import matches
from nslab.api.semantics.pods import Template
from nslab.api.yaml_reader import Path

_SERVICE_NAME: Final = "kubernetes.io/service-name"


def check(entries: Sequence[Entry], templates: Sequence[Template], findings: Findings) -> None:
    pods = _Pods(templates)
    services = {
        (entry.object.namespace, entry.object.name): entry for entry in entries if entry.object.kind == "Service"
    }
    for entry in entries:
        match entry.object.kind:
            case "Service":
                _check_service(entry, pods, findings)
            case "NetworkPolicy":
                _check_policy(entry, pods, findings)
            case "Ingress":
                _check_ingress(entry, services, findings)
            case "Endpoints" if (entry.object.namespace, entry.object.name) not in services:
                findings.warn(entry, (), "has no Service of its name, and carries nothing without one")
            case "EndpointSlice":
                _check_slice(entry, services, findings)


class _Pods:
    """Templates found by label, so that thousands of Services need not look at each of them."""

    def __init__(self, templates: Sequence[Template]) -> None:
        self.in_namespace: dict[str, list[Template]] = {}
        self.with_label: dict[tuple[str, str, str], list[Template]] = {}
        for template in templates:
            self.in_namespace.setdefault(template.namespace, []).append(template)
            for key, value in template.labels.items():
                self.with_label.setdefault((template.namespace, key, value), []).append(template)

    def selected(self, namespace: str, selector: Body) -> list[Template]:
        """The templates whose Pods a LabelSelector selects."""
        found = self.in_namespace.get(namespace, [])
        for key, value in selector.get("matchLabels", {}).items():
            labelled = self.with_label.get((namespace, key, value), [])
            found = min(found, labelled, key=len)
        return [template for template in found if matches(selector, template.labels)]


def _shown(selector: Body) -> str:
    labels = ",".join(f"{key}={value}" for key, value in selector.get("matchLabels", {}).items())
    return labels or "its matchExpressions"


def _selects_static(entry: Entry, selector: Body) -> bool:
    """Whether the selector of an object selects the nodes' static Pods."""
    return entry.object.namespace == STATIC_POD_NAMESPACE and matches(selector, STATIC_POD_LABELS)


def _check_service(entry: Entry, pods: _Pods, findings: Findings) -> None:
    labels = entry.spec.get("selector")
    if not labels or entry.spec.get("type") == "ExternalName":
        return
    selector = {"matchLabels": labels}
    selected = pods.selected(entry.object.namespace, selector)
    if not selected:
        if not _selects_static(entry, selector):
            findings.warn(entry, ("spec", "selector"), f"selects no Pod: none has {_shown(selector)}")
        return
    ports = [port for template in selected for port in _ports(template)]
    for index, port in enumerate(entry.spec.get("ports", ())):
        target, protocol = port.get("targetPort"), port.get("protocol", "TCP")
        path = ("spec", "ports", index, "targetPort")
        if isinstance(target, str):
            names = sorted({one.get("name", "") for one in ports if one.get("protocol", "TCP") == protocol} - {""})
            if target not in names:
                known = f"their {protocol} ports are named {', '.join(names)}" if names else "none of them is named"
                findings.fault(entry, path, f'no container of the selected Pods has a port "{target}": {known}')
        elif target is not None and not _listens(selected, target, protocol):
            findings.warn(entry, path, f"no container of the selected Pods listens on {target}/{protocol}")


def _ports(template: Template) -> Iterable[Body]:
    for _, _, container in containers_of(template.spec):
        yield from container.get("ports", ())


def _listens(selected: Sequence[Template], number: int, protocol: str) -> bool:
    """Whether a Pod may listen on a port: it declares it, declares none at all, or runs a command of its own."""
    for template in selected:
        ports = list(_ports(template))
        commands = any(container.get("image") == "host" for _, _, container in containers_of(template.spec))
        declared = any(
            port.get("containerPort") == number and port.get("protocol", "TCP") == protocol for port in ports
        )
        if declared or commands or not ports:
            return True
    return False


def _check_policy(entry: Entry, pods: _Pods, findings: Findings) -> None:
    selector = entry.spec.get("podSelector", {})
    if selector and not pods.selected(entry.object.namespace, selector) and not _selects_static(entry, selector):
        findings.warn(entry, ("spec", "podSelector"), f"selects no Pod: none has {_shown(selector)}")


def _check_ingress(entry: Entry, services: dict[tuple[str, str], Entry], findings: Findings) -> None:
    spec = entry.spec
    backends: list[tuple[Path, Body]] = [(("spec", "defaultBackend"), spec.get("defaultBackend", {}))]
    for index, rule in enumerate(spec.get("rules", ())):
        for number, item in enumerate(rule.get("http", {}).get("paths", ())):
            place = ("spec", "rules", index, "http", "paths", number, "backend")
            backends.append((place, item.get("backend", {})))
    for path, backend in backends:
        wanted: Any = backend.get("service", {})
        name = wanted.get("name")
        if name is None:
            continue
        service = services.get((entry.object.namespace, name))
        if service is None:
            findings.warn(entry, (*path, "service", "name"), f'there is no Service "{name}" in its namespace')
            continue
        port = wanted.get("port", {})
        ports = service.spec.get("ports", ())
        asked = port.get("name") or port.get("number")
        if asked and not any(asked in (one.get("name"), one.get("port")) for one in ports):
            findings.warn(entry, (*path, "service", "port"), f'Service "{name}" has no port {asked}')


def _check_slice(entry: Entry, services: dict[tuple[str, str], Entry], findings: Findings) -> None:
    name = entry.body.get("metadata", {}).get("labels", {}).get(_SERVICE_NAME)
    if name is None:
        findings.warn(entry, (), f"has no label {_SERVICE_NAME}, and carries nothing without a Service")
    elif (entry.object.namespace, name) not in services:
        findings.warn(entry, (), f'belongs to the Service "{name}", which there is not')
