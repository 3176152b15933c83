"""Nodes as the scheduler and the DaemonSets see them."""

from __future__ import annotations

from typing import Any

from nslab.api.objects import Body
from nslab.cluster.hosts import ZONE
from nslab.cluster.model import Node, Taint
from nslab.controllers.metadata import is_terminating, labels_of, status_of


def node_of(body: Body) -> Node:
    """The noun of a Node object, without its addresses."""
    spec, name = body.get("spec") or {}, body["metadata"]["name"]
    # A Node that comes from a manifest may not have the labels yet that its kubelet gives it.
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    labels |= labels_of(body)
    return Node(
        name, "", spec.get("podCIDR", ""), labels, labels.get(ZONE, ""), bool(spec.get("unschedulable")),
        taints_of(body), body,
    )


def taints_of(body: Body) -> tuple[Taint, ...]:
    taints = (body.get("spec") or {}).get("taints") or ()
    return tuple(Taint(taint["key"], taint.get("value") or "", taint["effect"]) for taint in taints)


def max_pods_of(body: Body, default: int) -> int:
    return int((status_of(body).get("allocatable") or {}).get("pods", default))


def scheduling_facts(body: Body | None, event_type: str = "") -> Any:
    """What of a Node decides who may run there; None for one that is gone or not there yet."""
    if body is None or event_type == "DELETED":
        return None
    spec = body.get("spec") or {}
    allocatable = status_of(body).get("allocatable")
    return labels_of(body), spec.get("taints"), spec.get("unschedulable"), allocatable, is_terminating(body)
