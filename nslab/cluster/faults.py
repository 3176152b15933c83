"""Faults: what of the lab is broken on purpose, and which Pods cannot be ready for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nslab.api.objects import Body, Object
from nslab.cluster.model import Fault

_NEVER_READY = frozenset(["unready", "crash"])


def fault_of(body: Body) -> Fault:
    """What an object of kind Fault says."""
    spec = body["spec"]
    return Fault(spec["target"], spec["effect"], spec.get("value", ""))


def faults(objects: Iterable[Object]) -> tuple[Fault, ...]:
    """The faults that the Fault objects ask for, in an order that does not depend on theirs."""
    return tuple(sorted(fault_of(item.body) for item in objects if item.kind == "Fault"))


def dead_nodes(present: Iterable[Fault]) -> frozenset[str]:
    """The nodes, by name, whose machines are dead."""
    return frozenset(target.removeprefix("node/") for target, effect, _ in present if effect == "dead")


def possible(ready: Mapping[str, bool], present: Iterable[Fault]) -> Mapping[str, bool]:
    """Ready conditions by Pod key, False for each Pod that its faults keep from being ready."""
    unfit = [target.removeprefix("pod/") for target, effect, _ in present if effect in _NEVER_READY]
    return {**ready, **dict.fromkeys(unfit, False)} if unfit else ready
