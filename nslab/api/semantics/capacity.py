"""Pods and nodes: the node that a Pod names exists, one node can hold what all together ask of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nslab.api.defaults import containers_of
from nslab.api.findings import Entry, Findings
from nslab.api.lab import ZONE_LABEL
from nslab.api.objects import LabSpec, NodeSpec
from nslab.api.semantics.pods import Template

_HOSTNAME: Final = "kubernetes.io/hostname"


def check(lab_entry: Entry | None, lab: LabSpec, templates: Sequence[Template], findings: Findings) -> None:
    """Judge the Pods' places and number; not where the Lab's nodes themselves are at fault."""
    if lab_entry and any(path[:2] == ("spec", "nodes") for path in lab_entry.broken):
        return
    labels = {node.name: _labels(node) for node in lab.nodes}
    _check_places(lab, labels, templates, findings)
    _check_room(lab, labels, templates, findings)
    _check_host_ports(lab, labels, templates, findings)


def _labels(node: NodeSpec) -> dict[str, str]:
    """A node's labels with those that the kubelet sets."""
    labels = {_HOSTNAME: node.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    if node.zone:
        labels[ZONE_LABEL] = node.zone
    return labels | node.labels


def _check_places(
    lab: LabSpec, labels: dict[str, dict[str, str]], templates: Sequence[Template], findings: Findings
) -> None:
    names = ", ".join(list(labels)[:5]) + (" .." if len(labels) > 5 else "")
    for template in templates:
        path = (*template.path, "spec")
        node = template.spec.get("nodeName", "")
        if node and node not in labels:
            findings.fault(template.entry, (*path, "nodeName"), f'there is no node "{node}"; the nodes are {names}')
        selector = template.spec.get("nodeSelector", {})
        fits = any(all(has.get(key) == value for key, value in selector.items()) for has in labels.values())
        if selector and not fits:
            wish = ",".join(f"{key}={value}" for key, value in selector.items())
            remedy = "label one in the Lab's spec.nodes or with a Node object"
            findings.fault(template.entry, (*path, "nodeSelector"), f"no node has the labels {wish}; {remedy}")


def _check_room(
    lab: LabSpec, labels: dict[str, dict[str, str]], templates: Sequence[Template], findings: Findings
) -> None:
    """More Pods than the nodes can hold: told at the workload that goes over."""
    limit = lab.cluster.max_pods_per_node
    room = limit * len(lab.nodes)
    total = 0
    pinned: dict[str, int] = {}
    for template in templates:
        count = len(_daemon_nodes(template, labels)) if template.pods is None else template.pods
        path = ("spec", "replicas") if "replicas" in template.entry.spec else ()
        before = total
        total += count
        if before <= room < total:
            remedy = "add nodes, or raise maxPodsPerNode"
            findings.fault(
                template.entry, path,
                f"with it there are {total} Pods or more; there is room for {room}, {limit} a node: {remedy}",
            )  # fmt: skip
        node = template.spec.get("nodeName", "")
        if node and template.pods is not None:
            before = pinned.get(node, 0)
            pinned[node] = before + count
            if before <= limit < pinned[node]:
                message = f"with it {pinned[node]} Pods ask for node {node}, which holds {limit} (maxPodsPerNode)"
                findings.fault(template.entry, path, message)


def _check_host_ports(
    lab: LabSpec, labels: dict[str, dict[str, str]], templates: Sequence[Template], findings: Findings
) -> None:
    """Two Pods that ask for one host port where both are sure to be: the same nodeName, a DaemonSet, a sole node."""
    holders: dict[tuple[str, int, str], str] = {}
    for template in templates:
        nodes = _sure_nodes(template, labels)
        if not nodes:
            continue
        copies = 1 if template.pods is None else template.pods
        for field, index, container in containers_of(template.spec):
            for number, port in enumerate(container.get("ports", ())):
                host_port, protocol = port.get("hostPort", 0), port.get("protocol", "TCP")
                if not host_port or not copies:
                    continue
                path = (*template.path, "spec", field, index, "ports", number)
                name = template.entry.object.reference
                taken = {holders.setdefault((node, host_port, protocol), name) for node in nodes} - {name}
                if taken or copies > 1:
                    whose = min(taken) if taken else f"another of its {copies} Pods"
                    message = f"port {host_port}/{protocol} of node {nodes[0]} is held by {whose}"
                    findings.fault(template.entry, path, message)


def _sure_nodes(template: Template, labels: dict[str, dict[str, str]]) -> list[str]:
    """The nodes that have a Pod of the template whatever the scheduler does."""
    if template.spec.get("nodeName"):
        return [node for node in labels if node == template.spec["nodeName"]]
    if len(labels) == 1:
        return list(labels)
    return _daemon_nodes(template, labels) if template.pods is None else []


def _daemon_nodes(template: Template, labels: dict[str, dict[str, str]]) -> list[str]:
    """The nodes that are sure to have a Pod of a DaemonSet; none are with an affinity, which may refuse any."""
    selector = template.spec.get("nodeSelector", {})
    if template.spec.get("affinity"):
        return []
    return [node for node, has in labels.items() if all(has.get(key) == value for key, value in selector.items())]
