"""An HTTP or HTTPS request as an exchange."""

from __future__ import annotations

import errno
import os
import socket
from select import EPOLLOUT

from nslab.servers.answers import endpoint
from nslab.servers.exchanges import ANSWER_LIMIT, PENDING, StreamExchange
from nslab.servers.flows import Flow, FlowResult, HttpRequest
from nslab.servers.http_client import HttpAnswer, request_bytes
from nslab.servers.tls import TlsPipe, client_context


class HttpExchange(StreamExchange):
    """One request on a connection of its own, and its answer. Any HTTP answer is "open"."""

    __slots__ = ("_answer", "_tls", "request")

    def __init__(self, flow: Flow, result: FlowResult) -> None:
        super().__init__(flow, result)
        self._expect(flow.http or HttpRequest())

    def _expect(self, request: HttpRequest) -> None:
        """Be about this request from now on."""
        self.request = request
        self._answer = HttpAnswer(request.method)
        self._tls: TlsPipe | None = None

    def _opening(self) -> bytes:
        flow, request = self.flow, self.request
        secure = flow.protocol == "https"
        default = 443 if secure else 80
        host = endpoint(flow.ip, flow.port)
        if flow.port == default:
            host = host.rpartition(":")[0]
        data = request_bytes(request, host)
        if not secure:
            return data
        name = request.sni or request.host.partition(":")[0] or flow.ip
        self._tls = TlsPipe(client_context(request.insecure, "http/1.1"), name)
        self._tls.send(data)
        return self._tls.flush()

    def ready(self, now: float) -> str:
        if not self._connected(now):
            return PENDING
        try:
            data = self.sock.recv(ANSWER_LIMIT)
        except BlockingIOError:
            return PENDING
        try:
            self._hear(data, now)
        except ValueError as fault:
            raise OSError(errno.EPROTO, str(fault)) from fault
        return self._conclude() if self._answer.complete else PENDING

    def _hear(self, data: bytes, now: float) -> None:
        if self._tls is None:
            self._answer.receive(data)
            return
        heard = self._tls.receive(data)
        if heard is None:
            self._answer.receive(b"")
        elif heard:
            self._answer.receive(heard)
        self.unsent += self._tls.flush()
        if self.unsent:
            self._send(now)

    def _conclude(self) -> str:
        result, answer = self.result, self._answer
        status = str(answer.status)
        result.statuses[status] = result.statuses.get(status, 0) + 1
        result.headers = answer.headers
        result.body = answer.body.decode("utf-8", "replace")
        self._note_responder(answer.body)
        return "open"


class ConnectExchange(StreamExchange):
    """A TCP connection and nothing on it: what a tcpSocket probe does."""

    __slots__ = ()

    def _opening(self) -> bytes:
        return b""

    def _begin(self, now: float) -> str:
        self._open(socket.SOCK_STREAM)
        number = self.sock.connect_ex((self.flow.ip, self.flow.port))
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, os.strerror(number))
        self.events = EPOLLOUT
        return PENDING

    def ready(self, now: float) -> str:
        self._raise_pending()
        return "open"


class GrpcHealthExchange(StreamExchange):
    """Health/Check over HTTP/2 with prior knowledge; `flow.query[0]` is the service's name. "open" is SERVING, any
    other answer is an error that says itself as the kubelet does (pkg/probe/grpc/grpc.go)."""

    __slots__ = ("_body", "_fields", "_h2")

    def _opening(self) -> bytes:
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        from nslab.servers import grpc_health

        self._body = b""
        self._fields: dict[str, str] = {}
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.initiate_connection()
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", endpoint(self.flow.ip, self.flow.port)),
            (":path", grpc_health.CHECK_PATH),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *(self.flow.http or HttpRequest()).headers,
        ]
        self._h2.send_headers(1, fields)
        self._h2.send_data(1, grpc_health.health_request(self.flow.query[0]), end_stream=True)
        opening: bytes = self._h2.data_to_send()
        return opening

    def ready(self, now: float) -> str:
        if not self._connected(now):
            return PENDING
        try:
            data = self.sock.recv(ANSWER_LIMIT)
        except BlockingIOError:
            return PENDING
        if self._hear(data):
            return self._conclude()
        self.unsent += self._h2.data_to_send()
        if self.unsent:
            self._send(now)
        return PENDING

    def _hear(self, data: bytes) -> bool:
        """Take bytes of the answer; true once nothing more comes."""
        from h2.events import (
            ConnectionTerminated,
            DataReceived,
            ResponseReceived,
            StreamEnded,
            StreamReset,
            TrailersReceived,
        )
        from h2.exceptions import ProtocolError

        try:
            events = self._h2.receive_data(data) if data else [ConnectionTerminated()]
        except ProtocolError as fault:
            raise OSError(errno.EPROTO, "error: health rpc probe failed: the answer is no HTTP/2") from fault
        for event in events:
            if isinstance(event, DataReceived):
                self._body += event.data
            elif isinstance(event, ResponseReceived | TrailersReceived):
                self._fields.update((str(name), str(value)) for name, value in event.headers)
        return any(isinstance(event, StreamEnded | StreamReset | ConnectionTerminated) for event in events)

    def _conclude(self) -> str:
        from nslab.servers import grpc_health

        status = self._fields.get("grpc-status", "")
        message = self._fields.get("grpc-message", "")
        if status == grpc_health.UNIMPLEMENTED or (not status and self._fields.get(":status") == "404"):
            text = f"this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
            raise OSError(errno.EPROTO, f"error: {text}")
        if status != grpc_health.OK:
            why = f"rpc error: code = {status or 'Unavailable'} desc = {message}"
            raise OSError(errno.EPROTO, f"error: health rpc probe failed: {why}")
        serving = grpc_health.serving_status(self._body)
        if serving != "SERVING":
            raise OSError(errno.EPROTO, f'service unhealthy (responded with "{serving}")')
        return "open"
