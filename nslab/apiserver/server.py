"""HTTP/1.1 for the API: on a unix socket, and on a TCP port behind TLS and a token.

One protocol object a connection, on the event loop of the process; a request is answered within the call that
completed it, so that the store changes on that loop only. Only watches and followed logs last: they are written in
chunks, when there is something to write and the client reads. A client that stops reading has its events queued up to
a bound, and is then cut off.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

import httptools

from nslab.apiserver.api import Api
from nslab.apiserver.errors import BadRequest, StatusError, TooLarge, Unauthorized
from nslab.apiserver.rest.messages import JSON, Headers, Request, Response, refused
from nslab.apiserver.rest.watching import WatchStream

log = logging.getLogger(__name__)

MAX_BODY: Final = 3 << 20
MAX_HEAD: Final = 64 << 10
WATCH_SECONDS: Final = 3600.0
BOOKMARK_SECONDS: Final = 30.0
WATCH_INTERVAL: Final = 0.02
"""The least time between two writes to a watcher, in seconds: the first event of a burst goes out at once, the rest
in few writes. Hundreds of watchers would cost a system call each for every change otherwise."""

LINGER_SECONDS: Final = 2.0
"""How long what a refused client still sends is thrown away: hanging up at once would take the refusal from it."""
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Server:
    """The listening sockets of one Api. `token` is what clients on TCP must bear; `answered` counts requests."""

    def __init__(self, api: Api, token: str) -> None:
        self.api = api
        self.token = token
        self.connections: set[_Connection] = set()
        self.answered = 0
        self._listening: list[asyncio.Server] = []

    async def listen_unix(self, path: str | os.PathLike[str]) -> None:
        """Listen on a unix socket that only its owner may open; that is its clients' authority."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(os.fspath(path))
        os.chmod(path, 0o600)  # nobody can connect before it listens
        loop = asyncio.get_running_loop()
        self._listening.append(await loop.create_unix_server(lambda: _Connection(self, trusted=True), sock=listening))

    async def listen_tls(self, listening: socket.socket, context: ssl.SSLContext) -> asyncio.Server:
        """Accept TLS connections, whose every request must bear the token, until what this returns is closed."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self, trusted=False), sock=listening, ssl=context)
        self._listening.append(server)
        return server

    def close(self) -> None:
        """Stop listening, and cut off who is connected."""
        for listening in self._listening:
            listening.close()
        for connection in list(self.connections):
            connection.transport.abort()

    def answer(self, request: Request, *, trusted: bool) -> Response | WatchStream:
        """The answer to a request; without the token only that it needs one."""
        self.answered += 1
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        known = scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self.token.encode())
        return self.api.answer(request) if trusted or known else refused(Unauthorized("Unauthorized"))


@dataclass(slots=True)
class _Incoming:
    """The request that is being received."""

    url: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    head: int = 0


class _Refusal(Exception):  # noqa: N818  # it carries one
    """A request that is not received to its end."""

    def __init__(self, error: StatusError) -> None:
        super().__init__(error)
        self.error = error


class _Connection(asyncio.Protocol):
    """One client. The methods that begin with `on_` are called by the parser."""

    transport: asyncio.Transport

    def __init__(self, server: Server, *, trusted: bool) -> None:
        self._server = server
        self._trusted = trusted
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._incoming = _Incoming()
        self._stream: WatchStream | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._pump_due = False
        self._pumped = 0.0
        self._log: asyncio.Task[None] | None = None
        self._refused = False
        self._readable = asyncio.Event()
        self._readable.set()

    # The transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._stream or self._log:  # nothing may follow a request whose answer has no end
            self.transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # it has had its answer, which is no upgrade
            self.transport.close()
        except httptools.HttpParserCallbackError as error:
            refusal = error.__context__
            self._refuse(refusal.error if isinstance(refusal, _Refusal) else BadRequest("the request is no HTTP"))
        except httptools.HttpParserError as error:
            self._refuse(BadRequest(f"the request is no HTTP: {error}"))

    def pause_writing(self) -> None:
        self._readable.clear()

    def resume_writing(self) -> None:
        self._readable.set()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        self._readable.set()
        self._end_stream()
        if self._log:
            self._log.cancel()

    # The parser's calls

    def on_message_begin(self) -> None:
        self._incoming = _Incoming()

    def on_url(self, url: bytes) -> None:
        self._incoming.url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        self._incoming.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        length = self._incoming.headers.get("content-length", "0")
        if length.isdigit() and int(length) > MAX_BODY:
            raise _Refusal(_too_large())
        if self._incoming.headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._incoming.body += body
        if len(self._incoming.body) > MAX_BODY:
            raise _Refusal(_too_large())

    def on_message_complete(self) -> None:
        if self._stream or self._log:
            raise _Refusal(BadRequest("a request follows one whose answer has no end"))
        incoming = self._incoming
        path, _, query = incoming.url.decode("latin-1").partition("?")
        parameters = dict(reversed(parse_qsl(query, keep_blank_values=True)))
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, path, parameters, incoming.headers, bytes(incoming.body))
        answer = self._server.answer(request, trusted=self._trusted)
        if isinstance(answer, WatchStream):
            self._follow(answer)
        elif isinstance(answer.body, bytes):
            self._send(answer, answer.body)
        else:
            self._write_head(answer.code, answer.content_type, answer.headers, "Transfer-Encoding: chunked")
            self._log = self._loop.create_task(self._copy(answer.body))

    def _count(self, octets: int) -> None:
        self._incoming.head += octets
        if self._incoming.head > MAX_HEAD:
            raise _Refusal(BadRequest("the request's head is too large"))

    # Answers

    def _refuse(self, error: StatusError) -> None:
        """Answer what cannot be received, and hang up."""
        self._refused = True
        if self._stream or self._log:
            self.transport.abort()
            return
        answer = refused(error)
        assert isinstance(answer.body, bytes)
        length = f"Content-Length: {len(answer.body)}\r\nConnection: close"
        self._write_head(answer.code, answer.content_type, answer.headers, length, answer.body)
        self._timers.append(self._loop.call_later(LINGER_SECONDS, self.transport.close))

    def _send(self, answer: Response, body: bytes) -> None:
        keep = self._parser.should_keep_alive()
        length = f"Content-Length: {len(body)}" + ("" if keep else "\r\nConnection: close")
        self._write_head(answer.code, answer.content_type, answer.headers, length, body)
        if not keep:
            self.transport.close()

    def _write_head(self, code: int, content_type: str, headers: Headers, last: str, body: bytes = b"") -> None:
        lines = [f"HTTP/1.1 {code} {HTTPStatus(code).phrase}", f"Content-Type: {content_type}"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.transport.write("\r\n".join([*lines, last, "\r\n"]).encode("latin-1", "replace") + body)

    async def _copy(self, pieces: AsyncIterator[bytes]) -> None:
        """Send a followed log as it grows."""
        try:
            async for piece in pieces:
                if piece:
                    self._write_chunk(piece)
                    await self._readable.wait()
            self.transport.write(_LAST_CHUNK)
        except Exception:  # the status line is out: all that is left is to break off
            log.exception("a followed log broke off")
            self.transport.abort()
        finally:
            self._log = None

    # Watches

    def _follow(self, stream: WatchStream) -> None:
        self._stream = stream
        self._write_head(200, JSON, (), "Transfer-Encoding: chunked")
        stream.watcher.wake = self._wake
        seconds = WATCH_SECONDS if stream.seconds is None else float(stream.seconds)
        self._timers = [self._loop.call_later(seconds, self._finish)]
        if stream.bookmarks:
            self._timers.append(self._loop.call_later(BOOKMARK_SECONDS, self._bookmark))
        self._pump()

    def _wake(self) -> None:
        """Events wait: send them when the store has made all changes of this turn of the loop, or a little later."""
        if self._stream and self._stream.watcher.overflowed and not self._readable.is_set():
            self.transport.abort()
        elif self._stream and not self._pump_due:
            self._pump_due = True
            self._loop.call_at(max(self._pumped + WATCH_INTERVAL, self._loop.time()), self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        if not self._stream or not self._readable.is_set():
            return
        lines = self._stream.take()
        if lines:
            self._write_chunk(lines)
            self._pumped = self._loop.time()
        if self._stream.ended:
            self._finish()

    def _bookmark(self) -> None:
        if self._stream:
            self._pump()
            if self._readable.is_set():
                self._write_chunk(self._stream.bookmark())
            self._timers[1:] = [self._loop.call_later(BOOKMARK_SECONDS, self._bookmark)]

    def _finish(self) -> None:
        """End a watch in good order: the connection can be used again."""
        self._end_stream()
        self.transport.write(_LAST_CHUNK)

    def _end_stream(self) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._stream:
            self._stream.watcher.wake = None
            self._stream.close()
            self._stream = None

    def _write_chunk(self, data: bytes) -> None:
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))


def _too_large() -> StatusError:
    return TooLarge(f"Request entity too large: limit is {MAX_BODY}")
