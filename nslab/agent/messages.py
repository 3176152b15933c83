"""The control socket's messages: one JSON object a line, in both directions.

A request names its operation ("op") and is answered by any number of progress lines and then one result or error:

    {"progress": [PHASE, DONE, TOTAL]}     {"result": {..}}     {"error": {..}}
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

from nslab import errors

Json = dict[str, Any]


def send(connection: socket.socket, message: Json) -> None:
    """Send one message. Raises OSError where the other side is gone."""
    connection.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")


def receive(connection: socket.socket) -> Iterator[Json]:
    """The messages that arrive, until the other side closes."""
    with connection.makefile("rb") as lines:
        for line in lines:
            yield json.loads(line)


def decode_request(line: bytes) -> Json:
    """What a client sent. Raises NslabError where it is no request."""
    try:
        request = json.loads(line)
    except ValueError:
        request = None
    if not isinstance(request, dict) or not isinstance(request.get("op"), str):
        raise errors.NslabError("this is no request", hint='a request is one line of JSON: {"op": ..}')
    return request


def encode_error(error: errors.NslabError) -> Json:
    """An error as JSON, so that the client raises the same one."""
    return {"type": type(error).__name__, "fields": vars(error)}


def decode_error(encoded: Json) -> errors.NslabError:
    """The inverse of `encode_error`."""
    kind = getattr(errors, encoded["type"], errors.NslabError)
    error: errors.NslabError = kind.__new__(kind)
    Exception.__init__(error, encoded["fields"]["message"])
    vars(error).update(encoded["fields"])
    return error
