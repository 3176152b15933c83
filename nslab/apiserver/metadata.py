"""What the API server does to an object's metadata: stamps, versions, marks of deletion, owners. Nothing is changed
in place."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, Literal

from nslab.api.objects import Body
from nslab.apiserver.errors import conflict

Propagation = Literal["Background", "Foreground", "Orphan"]
Reference = tuple[str, str, str]
"""Kind, namespace and name of an object."""

FOREGROUND: Final = "foregroundDeletion"
"""The finalizer of an owner that goes after what it owns."""

SERVER_OWNED: Final = frozenset([
    "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "resourceVersion",
])  # fmt: skip
"""Fields that no client sets."""

_NEVER_STORED: Final = frozenset(["managedFields", "selfLink"])
_HEAD: Final = frozenset(["apiVersion", "kind", "metadata", "status"])
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"

INITIAL_STATUS: Final[dict[str, Body]] = {
    "Namespace": {"phase": "Active"},
    "Pod": {"phase": "Pending", "qosClass": "BestEffort"},
    "PersistentVolume": {"phase": "Available"},
    "PersistentVolumeClaim": {"phase": "Pending"},
}
"""The status of a new object that comes with none."""

WITHOUT_GENERATION: Final = frozenset([
    "Namespace", "Node", "Service", "Endpoints", "Secret", "ConfigMap", "Event", "ServiceAccount", "Lease",
    "PersistentVolume", "PersistentVolumeClaim", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding",
    "StorageClass",
])  # fmt: skip
"""Kinds whose changes are not counted."""


def timestamp(seconds: float) -> str:
    """A Unix time as Kubernetes writes it (RFC 3339, whole seconds)."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def generated_name(prefix: str, uid: str) -> str:
    """A name of generateName: the prefix, cut to leave room, and five characters drawn from `uid`
    (k8s.io/apiserver/pkg/storage/names)."""
    number = int(uid.replace("-", ""), 16)
    suffix = ""
    for _ in range(5):
        number, digit = divmod(number, len(_ALPHABET))
        suffix += _ALPHABET[digit]
    return prefix[:58] + suffix


def check_version(kind: str, body: Body, wanted: Body) -> None:
    """Raise Conflict unless the object is the one of `wanted`'s uid and resourceVersion, where these are given."""
    metadata = body["metadata"]
    version, uid = wanted.get("resourceVersion"), wanted.get("uid")
    if uid and uid != metadata["uid"]:
        text = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
        raise conflict(kind, metadata["name"], text)
    if version and version != metadata["resourceVersion"]:
        text = "the object has been modified; please apply your changes to the latest version and try again"
        raise conflict(kind, metadata["name"], text)


def replaced(old: Body, body: Body) -> Body:
    """`body` in the place of `old`: what only the server sets, and the status, stay."""
    skipped = SERVER_OWNED | _NEVER_STORED
    metadata = {key: value for key, value in body["metadata"].items() if key not in skipped}
    metadata |= {key: value for key, value in old["metadata"].items() if key in SERVER_OWNED}
    head = {"apiVersion": body.get("apiVersion") or old["apiVersion"], "kind": old["kind"], "metadata": metadata}
    new = {**body, **head}
    if "status" in old:
        new["status"] = old["status"]
    else:
        new.pop("status", None)
    return new


def with_status(old: Body, body: Body) -> Body:
    """`old` with the status of `body`."""
    status = body.get("status") or {}
    return {**old, "status": status} if status or "status" in old else old


def is_new_generation(kind: str, old: Body, new: Body) -> bool:
    """Whether the change is one of the wish: of anything but metadata and status."""
    if kind in WITHOUT_GENERATION:
        return False
    return any(old.get(key) != new.get(key) for key in old.keys() | new.keys() if key not in _HEAD)


def marked(kind: str, body: Body, grace: int | None, now: float) -> Body:
    """The object with its deletionTimestamp, which a second deletion can only move nearer."""
    metadata = body["metadata"]
    period = _grace_period(kind, body, grace)
    if "deletionTimestamp" in metadata and metadata.get("deletionGracePeriodSeconds", 0) <= period:
        return body
    times = {"deletionTimestamp": timestamp(now + period), "deletionGracePeriodSeconds": period}
    return {**body, "metadata": {**metadata, **times}}


def _grace_period(kind: str, body: Body, grace: int | None) -> int:
    """Seconds from the deletion of an object to its end: only a Pod that runs on a node has any."""
    spec, status = body.get("spec") or {}, body.get("status") or {}
    if kind != "Pod" or not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    return int(spec.get("terminationGracePeriodSeconds", 30) if grace is None else grace)


def is_held(body: Body) -> bool:
    """Whether a grace period or a finalizer keeps an object that is being deleted."""
    metadata = body["metadata"]
    return bool(metadata.get("finalizers")) or metadata.get("deletionGracePeriodSeconds", 0) > 0


def with_finalizer(body: Body, finalizer: str) -> Body:
    finalizers = body["metadata"].get("finalizers") or []
    return body if finalizer in finalizers else _with(body, "finalizers", [*finalizers, finalizer])


def without_finalizer(body: Body, finalizer: str = FOREGROUND) -> Body:
    return _with(body, "finalizers", (item for item in body["metadata"]["finalizers"] if item != finalizer))


def owners(body: Body) -> list[Body]:
    """The object's ownerReferences."""
    return body["metadata"].get("ownerReferences") or []


def without_owner(body: Body, uid: str) -> Body:
    return _with(body, "ownerReferences", (owner for owner in owners(body) if owner["uid"] != uid))


def _with(body: Body, field: str, items: Iterable[Any]) -> Body:
    """The object with a list of its metadata replaced, or left out where empty."""
    metadata = {key: value for key, value in body["metadata"].items() if key != field}
    listed = list(items)
    return {**body, "metadata": {**metadata, **({field: listed} if listed else {})}}
