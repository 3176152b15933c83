"""What the responder says, whatever carries it: pure functions from a request to a reply.

The paths besides the catch-all are those of Kubernetes's own test image agnhost (netexec): /hostname, /clientip,
/echo?msg=, /healthz; and /status/NNN, as httpbin has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from nslab.servers.listeners import Identity

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


class Request(NamedTuple):
    """A request over HTTP of any version. `target` is path and query as received; header names are lower case."""

    method: str
    target: str
    host: str
    headers: Mapping[str, str]


class Reply(NamedTuple):
    """The answer to a request: status, media type and body."""

    status: int
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Speaker:
    """One listening socket's voice. `prefix` is the part of its JSON that is the same in every answer."""

    identity: Identity
    prefix: str

    @classmethod
    def of(cls, identity: Identity, port: int) -> Speaker:
        """The voice of `identity` on `port`."""
        said = {
            "pod": identity.pod,
            "namespace": identity.namespace,
            "node": identity.node,
            "podIP": identity.pod_ip,
            "container": identity.container,
            "port": port,
        }
        return cls(identity, _encode(said)[:-1])

    def introduce(self, client: str, request: Request | None = None) -> bytes:
        """The JSON of interface section 1, a line. Without a request, as for a datagram, its fields are empty."""
        method, target, host, headers = request or ("", "", "", {})
        return (
            f'{self.prefix},"client":{_encode(client)},"method":{_encode(method)},"path":{_encode(target)},'
            f'"host":{_encode(host)},"headers":{_encode(dict(headers))}}}\n'
        ).encode()


def reply(speaker: Speaker, client: str, request: Request) -> Reply:
    """The answer to a request of `client` ("IP:port"). Never raises: a wrong /status is a 400."""
    path, _, query = request.target.partition("?")
    if path == "/hostname":
        return _text(speaker.identity.pod or speaker.identity.node)
    if path == "/clientip":
        return _text(client)
    if path == "/healthz":
        return _text("ok")
    if path == "/echo":
        return _text(_parameter(query, "msg"))
    if path.startswith("/status/"):
        code = path[8:]
        if not (code.isascii() and code.isdigit() and 200 <= int(code[:4]) <= 599):
            return _text("a status is a number from 200 to 599\n", 400)
        return Reply(int(code), JSON_TYPE, speaker.introduce(client, request))
    return Reply(200, JSON_TYPE, speaker.introduce(client, request))


def endpoint(ip: str, port: int) -> str:
    """An address and port as one word: `IP:port`, or `[IPv6]:port`."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _text(body: str, status: int = 200) -> Reply:
    return Reply(status, TEXT_TYPE, body.encode())


def _parameter(query: str, name: str) -> str:
    from urllib.parse import parse_qs

    return parse_qs(query, keep_blank_values=True, max_num_fields=None).get(name, [""])[0]
