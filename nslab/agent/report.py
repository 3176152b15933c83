"""What an `up` did, in a person's words, and the counts that `nslab ls` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from nslab.agent.store import State
from nslab.cluster.model import Cluster

NAMED = 8
"""Up to so many objects of a kind are named; more are counted."""


def summary(cluster: Cluster, state: State) -> dict[str, Any]:
    """The counts and times of a lab."""
    return {
        "name": cluster.lab.name,
        "nodes": len(cluster.nodes),
        "pods": len(cluster.asked_pods),
        "services": len(cluster.services),
        "created": state.created,
        "updated": state.updated,
        "file": cluster.lab.where.rsplit(":", 2)[0],
    }


def changes(before: Cluster | None, after: Cluster) -> list[str]:
    """What differs between two Clusters, one line a kind and direction: `+ Pod shop/web-7d4b9-x2x4z`."""
    lines: list[str] = []
    for kind, attribute in (("Node", "nodes"), ("Client", "clients"), ("Pod", "asked_pods"), ("Service", "services")):
        old: Mapping[str, Any] = getattr(before, attribute) if before else {}
        new: Mapping[str, Any] = getattr(after, attribute)
        lines += _lines("+", kind, (key for key in new if key not in old))
        lines += _lines("-", kind, (key for key in old if key not in new))
        lines += _lines("~", kind, (key for key in new if key in old and _identity(new[key]) != _identity(old[key])))
    return lines


def _identity(value: Any) -> Any:
    """What makes an object of a Cluster another one for its user; what is stored of it changes with its status."""
    if hasattr(value, "uid"):
        return value.uid, value.node, value.ip
    return replace(value, body={}) if hasattr(value, "body") else value


def _lines(sign: str, kind: str, keys: Iterable[str]) -> list[str]:
    names = list(keys)
    if len(names) > NAMED:
        return [f"{sign} {len(names)} {kind}s"]
    return [f"{sign} {kind} {name}" for name in names]
