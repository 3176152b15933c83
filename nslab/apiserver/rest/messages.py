"""Requests and answers, as HTTP has them but without a connection."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nslab.api.objects import Body
from nslab.apiserver.errors import BadRequest, NotAcceptable, StatusError, UnsupportedMediaType
from nslab.apiserver.events import encode
from nslab.apiserver.rest.protobuf import PROTOBUF, decode_object

JSON: Final = "application/json"
TEXT: Final = "text/plain"
MAX_DEPTH: Final = 200
"""Levels of nesting in a body; encoding one of many thousands would exhaust the stack."""

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `query` has the first value of each parameter, `headers` have names in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def media_type(self) -> str:
        """The body's media type without parameters; JSON where none is given."""
        return self.headers.get("content-type", JSON).partition(";")[0].strip().lower()

    def flag(self, name: str) -> bool:
        """A boolean parameter, as Kubernetes reads it: there is and is neither 0 nor false."""
        return self.query.get(name, "false").lower() not in ("false", "0")

    def number(self, name: str) -> int | None:
        """A parameter that is a number, None where it is absent. Raises BadRequest."""
        text = self.query.get(name, "")
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise BadRequest(f'invalid parameter {name}: "{text}" is no integer') from None

    def json(self) -> Any:
        """The body as JSON. Raises UnsupportedMediaType for a body of another type, BadRequest for broken JSON."""
        if self.media_type not in (JSON, ""):
            text = f"the body of the request was in an unknown format - accepted media types include: {JSON}"
            raise UnsupportedMediaType(text)
        return decode(self.body)

    def object(self) -> Body:
        """The body as a JSON object, be it sent in JSON or in protobuf. Raises as `json`."""
        value = decode_object(self.body) if self.media_type == PROTOBUF else self.json()
        if not isinstance(value, dict):
            raise BadRequest("the object provided is unrecognized: it is no JSON object")
        return value

    def accepted(self) -> str:
        """What the client would like best of what there is: "application/json" or, of it, "Table" or
        "PartialObjectMetadata" (with "List"). Raises NotAcceptable where it takes no JSON."""
        for part in self.headers.get("accept", JSON).split(",") or [JSON]:
            media, *parameters = (piece.strip() for piece in part.split(";"))
            if media not in (JSON, "application/*", "*/*", ""):
                continue
            named = dict(piece.partition("=")[::2] for piece in parameters)
            form = named.get("as", "")
            if not form:
                return JSON
            if named.get("g") == "meta.k8s.io" and named.get("v") in ("v1", "v1beta1") and form in FORMS:
                return form
        raise NotAcceptable(f"only the following media types are accepted: {JSON}")


FORMS: Final = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")


def decode(text: bytes) -> Any:
    """JSON by the letter: no NaN, no Infinity, not nested beyond all sense. Raises BadRequest."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if text.count(b"{") + text.count(b"[") > MAX_DEPTH and _too_deep(value):
        raise BadRequest(f"the body is nested deeper than {MAX_DEPTH} levels")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list))
        level = [item for items in inner for item in items]
        if not level:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; a body that is an iterator is sent piece by piece as it comes."""

    code: int
    body: bytes | AsyncIterator[bytes]
    content_type: str = JSON
    headers: Headers = ()


def answered(value: Any, code: int = 200, warnings: tuple[str, ...] = ()) -> Response:
    """A value as JSON; each warning becomes a header that kubectl prints (RFC 7234, KEP-1693)."""
    headers = tuple(("Warning", f'299 - "{_quoted(text)}"') for text in warnings)
    return Response(code, value if isinstance(value, bytes) else encode(value), headers=headers)


def refused(error: StatusError) -> Response:
    """An error as its Status object."""
    headers = (("WWW-Authenticate", "Bearer"),) if error.code == 401 else ()
    return Response(error.code, encode(error.status()), headers=headers)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
