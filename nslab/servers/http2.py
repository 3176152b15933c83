"""HTTP/2 with prior knowledge as the responder speaks it (RFC 9113), without a socket, and gRPC health on top."""

from __future__ import annotations

from typing import ClassVar

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from nslab.servers import grpc_health
from nslab.servers.answers import Request, Speaker, reply
from nslab.servers.conversation import Conversation

Fields = list[tuple[str, str]]


class Http2:
    """One HTTP/2 connection. Health/Check and Health/Watch answer SERVING, all else as over HTTP/1."""

    patience: ClassVar[float] = 300.0

    def __init__(self, speaker: Speaker, client: str) -> None:
        self._speaker = speaker
        self._client = client
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._requests: dict[int, Request] = {}
        self._unsent: dict[int, tuple[bytes, Fields]] = {}  # bodies and trailers that wait for the peer's window
        self.over = False
        self.busy = False
        self.successor: Conversation | None = None

    def receive(self, data: bytes) -> bytes:
        """See Conversation."""
        try:
            for event in self._h2.receive_data(data):
                self._note(event)
            for stream in list(self._unsent):
                self._send(stream)
        except (ProtocolError, UnicodeDecodeError):
            self.over = True
        self.busy = bool(self._requests)
        return self._h2.data_to_send()

    def _note(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            fields = {str(name): str(value) for name, value in event.headers}
            method, target, host = (fields.pop(name, "") for name in (":method", ":path", ":authority"))
            fields.pop(":scheme", None)
            self._requests[event.stream_id] = Request(method, target, host or fields.get("host", ""), fields)
        elif isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self._answer(event.stream_id, self._requests.pop(event.stream_id))
        elif isinstance(event, StreamReset):
            self._requests.pop(event.stream_id, None)
            self._unsent.pop(event.stream_id, None)

    def _answer(self, stream: int, request: Request) -> None:
        if request.target in (grpc_health.CHECK_PATH, grpc_health.WATCH_PATH):
            self._h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
            body = grpc_health.health_response(grpc_health.SERVING)
            if request.target == grpc_health.WATCH_PATH:
                self._h2.send_data(stream, body)  # a watch goes on until the client leaves; the status never changes
            else:
                self._unsent[stream] = body, [("grpc-status", "0")]
            return
        status, media_type, body = reply(self._speaker, self._client, request)
        head = [(":status", str(status)), ("content-type", media_type), ("content-length", str(len(body)))]
        bodiless = request.method == "HEAD" or status in (204, 304)
        self._h2.send_headers(stream, head if status not in (204, 304) else head[:1], end_stream=bodiless)
        if not bodiless:
            self._unsent[stream] = body, []

    def _send(self, stream: int) -> None:
        """Send as much of an answer as the peer's window takes."""
        body, trailers = self._unsent.pop(stream)
        while body:
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if room <= 0:
                self._unsent[stream] = body, trailers
                return
            self._h2.send_data(stream, body[:room])
            body = body[room:]
        if trailers:
            self._h2.send_headers(stream, trailers, end_stream=True)
        else:
            self._h2.end_stream(stream)
