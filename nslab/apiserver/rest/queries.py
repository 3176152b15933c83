"""The parameters of a list or a watch: label and field selectors, and pages."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from typing import Any, Final

from nslab.api.label_selectors import parse
from nslab.api.objects import Body
from nslab.apiserver.errors import BadRequest
from nslab.apiserver.events import Predicate
from nslab.apiserver.rest.messages import Request
from nslab.apiserver.shelves import Key, Record
from nslab.cluster.selectors import satisfies
from nslab.errors import UsageError

_EVERYWHERE: Final = ("metadata.name", "metadata.namespace")
_FIELDS: Final = {
    "Pod": (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.nominatedNodeName",
    ),
    "Event": (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
        "reportingComponent", "source", "type",
    ),
    "Node": ("spec.unschedulable",),
    "Namespace": ("status.phase",),
    "Secret": ("type",),
    "ReplicaSet": ("status.replicas",),
    "ReplicationController": ("status.replicas",),
    "Job": ("status.successful",),
    "Service": ("spec.clusterIP", "spec.type"),
}  # fmt: skip
"""The fields that each kind can be selected by (pkg/apis/*/v1/conversion.go)."""


def predicate(request: Request, kind: str, namespace: str | None, name: str = "") -> Predicate:
    """Whether an object is one that the request asks for. Raises BadRequest for a selector that cannot be read."""
    try:
        expressions = parse(request.query.get("labelSelector", ""))
    except UsageError as error:
        raise BadRequest(f"unable to parse requirement: {error.message}") from error
    fields = _field_selector(request.query.get("fieldSelector", ""), kind)
    if name:
        fields.append((("metadata", "name"), True, name))

    def matches(body: Body) -> bool:
        metadata = body["metadata"]
        if namespace is not None and metadata.get("namespace", "") != namespace:
            return False
        if expressions and not satisfies(expressions, metadata.get("labels") or {}):
            return False
        return all((_text(body, path) == value) == equal for path, equal, value in fields)

    return matches


def _field_selector(text: str, kind: str) -> list[tuple[tuple[str, ...], bool, str]]:
    """(path, whether equal is wanted, value) of each requirement."""
    requirements = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        field, sign, value = part.partition("=")
        if not sign:
            raise BadRequest(f"invalid field selector: {part!r} has no =, == or !=")
        wanted = field.removesuffix("!").strip()
        if wanted not in (*_EVERYWHERE, *_FIELDS.get(kind, ())):
            raise BadRequest(f"field label not supported: {wanted}")
        requirements.append((tuple(wanted.split(".")), not field.endswith("!"), value.removeprefix("=").strip()))
    return requirements


def _text(body: Body, path: tuple[str, ...]) -> str:
    value: Any = body
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def page(request: Request, records: list[Record]) -> tuple[list[Record], Body]:
    """The records that `limit` and `continue` ask for, and what the list's metadata says of the rest. A page begins
    behind the last object of the one before, in whatever state the store then is."""
    start = _position(request.query.get("continue", ""))
    if start is not None:
        records = records[bisect_right([_key(record) for record in records], start) :]
    limit = request.number("limit") or 0
    if limit < 0:
        raise BadRequest("invalid parameter limit: it is below 0")
    if not limit or len(records) <= limit:
        return records, {}
    shown = records[:limit]
    token = urlsafe_b64encode(json.dumps(_key(shown[-1])).encode()).decode()
    return shown, {"continue": token, "remainingItemCount": len(records) - limit}


def _key(record: Record) -> Key:
    metadata = record.body["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _position(token: str) -> Key | None:
    if not token:
        return None
    try:
        namespace, name = json.loads(urlsafe_b64decode(token))
    except (ValueError, TypeError) as error:
        raise BadRequest("continue key is not valid") from error
    return str(namespace), str(name)
