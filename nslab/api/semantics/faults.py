"""Faults: an effect that its target can have, a value that the effect takes, a target that the Lab has."""

from __future__ import annotations

from collections.abc import Sequence

from nslab.api.faults import EFFECTS, KIND, fault_name, split_target
from nslab.api.findings import Entry, Findings
from nslab.api.objects import LabSpec
from nslab.api.shape import nearest

_FORMS = "write pod/NAMESPACE/NAME, node/NAME or client/NAME"


def check(entry: Entry, findings: Findings) -> None:
    """What a Fault says by itself."""
    target, name = entry.spec.get("target"), entry.spec.get("effect")
    if not isinstance(target, str) or name not in EFFECTS:
        return  # told by the schema
    parts = split_target(target)
    effect = EFFECTS[name]
    if parts is None:
        findings.fault(entry, ("spec", "target"), f'"{target}" cannot be broken: {_FORMS}')
    elif parts[0] not in effect.targets:
        fitting = [one for one, other in EFFECTS.items() if parts[0] in other.targets]
        findings.fault(
            entry, ("spec", "effect"), f'"{name}" is no effect of a {parts[0]} (allowed: {", ".join(fitting)})'
        )
    elif entry.object.name and entry.object.name != fault_name(target, name):
        wanted = fault_name(target, name)
        findings.fault(
            entry, ("metadata", "name"), f'must be "{wanted}", so that a target has one Fault of each effect'
        )
    _check_value(entry, findings)


def _check_value(entry: Entry, findings: Findings) -> None:
    name, value = entry.spec["effect"], entry.spec.get("value")
    read = EFFECTS[name].read
    if read is None:
        if value:
            findings.fault(entry, ("spec", "value"), f"must be left out: {name} takes none")
        return
    try:
        read(value or "")
    except ValueError as error:
        if value:
            findings.fault(entry, ("spec", "value"), str(error))
        else:
            findings.fault(entry, ("spec",), f"{name} needs a value: {str(error).partition(': ')[2]}")


def check_targets(lab: LabSpec, entries: Sequence[Entry], findings: Findings) -> None:
    """Whether the Lab has the nodes and clients that Faults name. A Pod may come later, and meets its Fault then."""
    known = {"node": [node.name for node in lab.nodes], "client": [client.name for client in lab.clients]}
    for entry in entries:
        parts = split_target(str(entry.spec.get("target"))) if entry.object.kind == KIND else None
        if parts is not None and parts[0] in known and parts[1] not in known[parts[0]]:
            remedy = nearest(parts[1], known[parts[0]])
            tail = f": {remedy}" if remedy else ""
            findings.fault(entry, ("spec", "target"), f'the Lab has no {parts[0]} "{parts[1]}"{tail}')
