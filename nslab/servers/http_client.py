"""The asking side of HTTP/1.1, without a socket: a request's bytes, and an answer's parser."""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from nslab.servers.flows import HttpRequest

BODY_LIMIT = 64 * 1024
"""Bytes of a body that are kept; the rest is not read."""


def request_bytes(request: HttpRequest, host: str) -> bytes:
    """The request as HTTP/1.1 on a connection of its own. `host` is the Host header of a request without one."""
    body = request.body.encode()
    fields = [("Host", request.host or host), *request.headers]
    given = {name.lower() for name, _ in request.headers}
    if "user-agent" not in given:
        fields.append(("User-Agent", "nslab"))
    if "connection" not in given:
        fields.append(("Connection", "close"))
    if body and not given & {"content-length", "transfer-encoding"}:
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{request.method} {request.path or '/'} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode() + body


class HttpAnswer:
    """An answer as it comes in. `complete` once all of it, or BODY_LIMIT of its body, is there.

    Header names are lower case; values of the same name are joined by a comma.
    """

    def __init__(self, method: str) -> None:
        self._bodiless = method == "HEAD"
        self._parser = HttpResponseParser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False

    def receive(self, data: bytes) -> None:
        """Take the peer's bytes; none at all is its end of the connection. Raises ValueError where they are no HTTP,
        or end too early."""
        if not data:
            framed = {"content-length", "transfer-encoding"} & self.headers.keys()
            if not self.status or (framed and not self.complete):
                raise ValueError("the connection was closed before the answer's end")
            self.complete = True
            return
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self.complete = True
        except HttpParserError as fault:
            if not self.complete:
                raise ValueError("the answer is no HTTP") from fault

    # What httptools calls, in order.

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 and status != 101:
            self.headers = {}  # an interim answer (RFC 9110 section 15.2)
            return
        self.status = status
        self.complete = self.complete or self._bodiless

    def on_body(self, data: bytes) -> None:
        self.body = (self.body + data)[:BODY_LIMIT]
        self.complete = self.complete or len(self.body) == BODY_LIMIT

    def on_message_complete(self) -> None:
        self.complete = self.complete or self.status != 0
