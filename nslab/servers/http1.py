"""HTTP/1.1 as the responder speaks it, without a socket (RFC 9112): bytes in, bytes out."""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from nslab.servers.answers import TEXT_TYPE, Reply, Request, Speaker, reply
from nslab.servers.conversation import Conversation

HEAD_LIMIT = 32 * 1024
"""Bytes of an unfinished request line and headers; more get a 431."""

TLS_HANDSHAKE = b"\x16"
"""The first octet of a TLS connection (RFC 8446 section 5.1), and of no HTTP request."""

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_BODILESS = frozenset((204, 304))


class Http1:
    """One HTTP/1 connection: keep-alive, pipelining, bodies of any kind read and ignored, and the three ways out of
    HTTP/1: a TLS ClientHello, an HTTP/2 preface (RFC 9113, prior knowledge) and a WebSocket upgrade (RFC 6455). Other
    upgrades are declined by answering as if they had not been asked for."""

    __slots__ = (
        "_body_bytes", "_client", "_fields", "_head_bytes", "_in_head", "_out", "_parser", "_request", "_speaker",
        "_start", "_target", "busy", "over", "successor",
    )  # fmt: skip
    patience: ClassVar[float] = 60.0

    def __init__(self, speaker: Speaker, client: str) -> None:
        self._speaker = speaker
        self._client = client
        self._parser = HttpRequestParser(self)
        self._out: list[bytes] = []
        self._start: bytes | None = b""  # what came so far, while it may yet be an HTTP/2 preface
        self._target = b""
        self._fields: dict[str, str] = {}
        self._in_head = False
        self._head_bytes = 0
        self._body_bytes = 0
        self._request = Request("", "", "", {})
        self.busy = False
        self.over = False
        self.successor: Conversation | None = None

    def receive(self, data: bytes) -> bytes:
        """See Conversation."""
        if self._start is not None:
            if not self._start and data.startswith(TLS_HANDSHAKE):
                return self._secure(data)
            data = self._start + data
            if HTTP2_PREFACE.startswith(data[: len(HTTP2_PREFACE)]):
                return self._await_preface(data)
            self._start = None
        self._body_bytes = 0
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except HttpParserError:
            if not self.over:
                self._refuse(400, "this is no HTTP request\n")
        if self._in_head:
            # Of what came at once, only the part behind the last whole request is this one's.
            self._head_bytes += max(0, len(data) - (data.rfind(b"\r\n\r\n") + 4) - self._body_bytes)
            if self._head_bytes > HEAD_LIMIT:
                self._refuse(431, f"the head of a request may have {HEAD_LIMIT} bytes\n")
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _secure(self, data: bytes) -> bytes:
        from nslab.servers.https import Https

        self.successor = Https(self._speaker, self._client)
        return self.successor.receive(data)

    def _await_preface(self, data: bytes) -> bytes:
        if len(data) < len(HTTP2_PREFACE):
            self._start, self.busy = data, True
            return b""
        from nslab.servers.http2 import Http2

        self.successor = Http2(self._speaker, self._client)
        return self.successor.receive(data)

    def _upgrade(self, rest: bytes) -> None:
        """Called behind on_message_complete, which left a request for an upgrade unanswered."""
        if self._request.headers.get("upgrade", "").lower() == "websocket" and self._request.target == "/ws":
            from nslab.servers.websocket import WebSocketEcho

            self.successor, opening = WebSocketEcho.accept(self._request, rest)
            if opening:
                self._out.append(opening)
            return
        self._answer(reply(self._speaker, self._client, self._request), keep=False)

    def _refuse(self, status: int, why: str) -> None:
        self._answer(Reply(status, TEXT_TYPE, why.encode()), keep=False)

    def _answer(self, answer: Reply, keep: bool, suffix: bytes = b"") -> None:
        status, media_type, body = answer
        if status in _BODILESS:
            head, body = b"", b""
        else:
            head = b"Content-Type: %b\r\nContent-Length: %d\r\n" % (media_type.encode(), len(body))
        if not keep:
            suffix = b"Connection: close\r\n"
        if self._request.method == "HEAD":
            body = b""
        reason = _REASONS.get(status, b"Unnamed")
        self._out.append(b"HTTP/1.1 %d %b\r\n%b%b\r\n%b" % (status, reason, head, suffix, body))
        self.over = not keep

    # What httptools calls, in order.

    def on_message_begin(self) -> None:
        self._target = b""
        self._fields = {}
        self._in_head = self.busy = True
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._fields[key] = f"{self._fields[key]}, {text}" if key in self._fields else text

    def on_headers_complete(self) -> None:
        self._in_head = False
        fields = self._fields
        method = self._parser.get_method().decode("latin-1")
        self._request = Request(method, self._target.decode("latin-1"), fields.get("host", ""), fields)
        if fields.get("expect", "").lower() == "100-continue" and not self.over:
            self._out.append(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)

    def on_message_complete(self) -> None:
        self.busy = False
        if self.over or self._parser.should_upgrade():
            return
        keep = self._parser.should_keep_alive()
        old = keep and self._parser.get_http_version() == "1.0"
        suffix = b"Connection: keep-alive\r\n" if old else b""
        self._answer(reply(self._speaker, self._client, self._request), keep, suffix)
