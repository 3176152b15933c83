"""Objects in Kubernetes' protobuf encoding, as the typed clients of newer kubectls send them (`kubectl create ns`).

A body is the magic `k8s\\0` and a runtime.Unknown, whose raw field is the message of the kind
(https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding). protobuf.json has the messages of
the served kinds as k8s.io/api publishes them: by field number, the field's name in JSON, how it is there (map, list,
pointer, inline) and its type. Only requests are read; answers are JSON, which every client takes.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from nslab.api.objects import Body
from nslab.apiserver.errors import BadRequest, UnsupportedMediaType

PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\0"
_MAX_DEPTH: Final = 100
_GROUPS: Final = {"": "core", "rbac.authorization.k8s.io": "rbac"}
_SIGNED: Final = 1 << 63

Messages = dict[str, dict[str, str]]


def decode_object(body: bytes) -> Body:
    """The object of a request's body. Raises BadRequest for what is broken, UnsupportedMediaType for a kind whose
    message is not known."""
    try:
        if not body.startswith(_MAGIC):
            raise ValueError("it does not begin with k8s and a zero octet")
        unknown = dict(_fields(body[len(_MAGIC) :]))
        head = {number: value.decode() for number, value in _fields(unknown.get(1, b""))}
        api_version, kind = head.get(1, ""), head.get(2, "")
        name = _message_name(api_version, kind)
        if name not in _messages():
            raise UnsupportedMediaType(f"{api_version} {kind} cannot be read in protobuf; send JSON")
        return {"apiVersion": api_version, "kind": kind, **_message(unknown.get(2, b""), name, 0)}
    except (ValueError, AttributeError, IndexError, TypeError, OverflowError) as error:
        raise BadRequest(f"the body is no protobuf of an object: {error}") from error


@cache
def _messages() -> Messages:
    found: Messages = json.loads(Path(__file__).with_name("protobuf.json").read_text())
    return found


def _message_name(api_version: str, kind: str) -> str:
    if kind == "DeleteOptions":
        return "meta.v1.DeleteOptions"
    group, _, version = api_version.rpartition("/")
    return f"{_GROUPS.get(group) or group.partition('.')[0]}.{version}.{kind}"


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        octet = data[position]
        position += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: number, and an integer or octets."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        match key & 7:
            case 0:
                value, position = _varint(data, position)
                yield key >> 3, value
                continue
            case 1:
                length = 8
            case 2:
                length, position = _varint(data, position)
            case 5:
                length = 4
            case other:
                raise ValueError(f"there is no wire type {other}")
        if position + length > len(data):
            raise ValueError("it ends too early")
        yield key >> 3, data[position : position + length]
        position += length


def _message(data: bytes, name: str, depth: int) -> Body:
    """A message as JSON has it. What is not a pointer in Kubernetes' types is always sent, and absent where empty."""
    if depth > _MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    described = _messages().get(name, {})
    result: Body = {}
    for number, raw in _fields(data):
        field, *form, kind = described.get(str(number), "").split() or ("", "", "")
        if not field:
            continue
        if form == ["map"]:
            entry = dict(_fields(raw))
            result.setdefault(field, {})[entry.get(1, b"").decode()] = _value(entry.get(2, b""), kind, depth)
        elif form == ["list"]:
            result.setdefault(field, []).append(_value(raw, kind, depth))
        elif form == ["inline"]:
            result |= _message(raw, kind, depth + 1)
        else:
            value = _value(raw, kind, depth)
            if form == ["pointer"] or value not in ("", 0, False, {}, None):
                result[field] = value
    return result


def _value(raw: Any, kind: str, depth: int) -> Any:
    match kind:
        case "string":
            return raw.decode()
        case "bytes":
            return b64encode(raw).decode()
        case "bool":
            return bool(raw)
        case "int32" | "int64":
            return raw - 2 * _SIGNED if raw >= _SIGNED else raw
        case "meta.v1.Time" | "meta.v1.MicroTime":
            seconds = dict(_fields(raw)).get(1, 0)
            return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None
        case "api.resource.Quantity":
            return dict(_fields(raw)).get(1, b"").decode()
        case "util.intstr.IntOrString":
            either = dict(_fields(raw))
            return either.get(3, b"").decode() if either.get(1, 0) else _value(either.get(2, 0), "int32", depth)
        case "runtime.RawExtension" | "meta.v1.FieldsV1":
            return json.loads(dict(_fields(raw)).get(1, b"null"))
    return _message(raw, kind, depth + 1)
