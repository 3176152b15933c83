"""Faults: what of the lab is broken on purpose."""

from __future__ import annotations

from collections.abc import Iterable

from nslab.api.objects import Object
from nslab.cluster.model import Fault


def faults(objects: Iterable[Object]) -> tuple[Fault, ...]:
    """The faults that the Fault objects ask for, in an order that does not depend on theirs."""
    specs = (item.body["spec"] for item in objects if item.kind == "Fault")
    return tuple(sorted(Fault(spec["target"], spec["effect"], spec.get("value", "")) for spec in specs))
