"""What happened in a lab, as `nslab events` tells it: its objects' Events, and changes that its rules followed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from nslab.agent.programming import Programmed
from nslab.api.objects import Body

Json = dict[str, Any]

PROGRAMMED = "Programmed"
"""The reason of a line that says how long the rules took to follow a change."""


def lines(events: Iterable[Body], changes: Iterable[Programmed]) -> list[Json]:
    """One mapping a happening, the oldest first: `time` (RFC 3339), `type`, `reason`, `object` and `message` always,
    `count` of an Event that came again, and of a change `change`, `in_force_ms`, `operations` and `namespaces`.

    An Event's time has whole seconds, as Kubernetes writes it; it comes before the changes of the same second.
    """
    told = [*map(_event, events), *map(_change, changes)]
    return sorted(told, key=lambda line: datetime.fromisoformat(line["time"]))


def _event(body: Body) -> Json:
    involved = body["involvedObject"]
    return {
        "time": body["lastTimestamp"], "type": body["type"], "reason": body["reason"],
        "object": _reference(involved["kind"], "/".join(filter(None, [involved.get("namespace"), involved["name"]]))),
        "message": body["message"], "count": body.get("count", 1),
    }


def _change(record: Programmed) -> Json:
    at = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    followed = f"in force after {record.milliseconds:.1f} ms" if record.operations else "nothing had to follow"
    return {
        "time": at, "type": "Normal", "reason": PROGRAMMED, "object": _reference(record.kind, record.key),
        "message": f"{record.what.lower()}: {followed}", "change": record.what,
        "in_force_ms": round(record.milliseconds, 3), "operations": record.operations, "namespaces": record.netns,
    }


def _reference(kind: str, key: str) -> str:
    return f"{kind.lower()}/{key}"
