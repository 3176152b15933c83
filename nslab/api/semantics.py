"""The rules beyond an object's shape, one module a subject, in the order in which they are asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from nslab.api.findings import Entry, Findings
from nslab.api.kinds import Kind
from nslab.api.objects import LabSpec

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_1035: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def check_metadata(kind: Kind, entry: Entry, findings: Findings) -> None:
    metadata = entry.body.get("metadata")
    if not isinstance(metadata, dict) or "name" not in metadata:
        findings.fault(entry, ("metadata", "name"), "is required and missing")


def check_duplicates(entries: Sequence[Entry], findings: Findings) -> None:
    """Two objects of one kind, namespace and name: the second is a fault that says where the first is."""
    first: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        thing = entry.object
        if not thing.name:
            continue
        known = first.setdefault((thing.kind, thing.namespace, thing.name), entry)
        if known is not entry:
            findings.fault(entry, (), f"is given twice; the first is at {known.place.start}")


def check(lab_entry: Entry | None, lab: LabSpec, entries: Sequence[Entry], findings: Findings) -> None:
    """Every rule about the objects, each alone and all together."""
