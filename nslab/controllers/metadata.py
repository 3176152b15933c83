"""Reading and rewriting the parts of objects that all controllers deal with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from nslab.api.objects import Body

Condition = Mapping[str, Any]


def key_of(body: Body) -> str:
    """NAMESPACE/NAME; for a cluster-scoped object /NAME."""
    metadata = body["metadata"]
    return f"{metadata.get('namespace') or ''}/{metadata['name']}"


def split(key: str) -> tuple[str, str]:
    """(namespace, name) of a key."""
    namespace, _, name = key.partition("/")
    return namespace, name


def namespace_of(body: Body) -> str:
    return body["metadata"].get("namespace") or ""


def uid_of(body: Body) -> str:
    uid: str = body["metadata"].get("uid", "")
    return uid


def labels_of(body: Body) -> dict[str, str]:
    return body["metadata"].get("labels") or {}


def annotations_of(body: Body) -> dict[str, str]:
    return body["metadata"].get("annotations") or {}


def status_of(body: Body) -> Body:
    return body.get("status") or {}


def owners_of(body: Body) -> list[Body]:
    return body["metadata"].get("ownerReferences") or []


def controller_of(body: Body) -> Body | None:
    """The owner reference of the one controller that the object has, if any."""
    for owner in owners_of(body):
        if owner.get("controller"):
            return owner
    return None


def is_terminating(body: Body) -> bool:
    return bool(body["metadata"].get("deletionTimestamp"))


def owner_reference(owner: Body) -> Body:
    """A reference from an object to its controller (metav1.NewControllerRef)."""
    return {
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": uid_of(owner), "controller": True, "blockOwnerDeletion": True,
    }


def with_metadata(body: Body, **fields: Any) -> Body:
    """The object with these fields of its metadata; None takes a field away."""
    metadata = {**body["metadata"], **fields}
    return {**body, "metadata": {name: value for name, value in metadata.items() if value is not None}}


def with_annotations(body: Body, **annotations: str) -> Body:
    return with_metadata(body, annotations={**annotations_of(body), **annotations})


def with_spec(body: Body, **fields: Any) -> Body:
    return {**body, "spec": {**(body.get("spec") or {}), **fields}}


def timestamp(now: float) -> str:
    """Unix seconds as metav1.Time prints them: RFC 3339, whole seconds."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(now: float) -> str:
    """Unix seconds as metav1.MicroTime prints them; clients of Leases refuse whole seconds."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(text: str | None) -> float:
    """The inverse of both, fractions allowed; 0 for none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def created(body: Body) -> float:
    return seconds(body["metadata"].get("creationTimestamp"))


def condition(body: Body, kind: str) -> Condition:
    """The condition of this type in the status, empty where there is none."""
    for item in status_of(body).get("conditions") or ():
        if item["type"] == kind:
            found: Condition = item
            return found
    return {}


def with_condition(conditions: Iterable[Body], new: Body, now: float) -> list[Body]:
    """The conditions with the new one in its place. Its lastTransitionTime is when its status last changed."""
    kept = list(conditions)
    for position, old in enumerate(kept):
        if old["type"] == new["type"]:
            same = old["status"] == new["status"] and old.get("lastTransitionTime")
            kept[position] = {**new, "lastTransitionTime": old["lastTransitionTime"] if same else timestamp(now)}
            return kept
    return [*kept, {**new, "lastTransitionTime": timestamp(now)}]


def without_condition(conditions: Iterable[Body], kind: str) -> list[Body]:
    return [item for item in conditions if item["type"] != kind]


def rounded(value: int | str, total: int, *, up: bool) -> int:
    """A number, or a percentage of `total` (intstr.GetScaledValueFromIntOrPercent)."""
    if isinstance(value, int):
        return value
    product = int(value.rstrip("%")) * total
    return -(-product // 100) if up else product // 100
