"""A WebSocket that says back what it hears (RFC 6455), without a socket."""

from __future__ import annotations

from typing import ClassVar

from wsproto.connection import Connection, ConnectionType
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Request, TextMessage
from wsproto.handshake import H11Handshake
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from nslab.servers import answers
from nslab.servers.conversation import Conversation


class WebSocketEcho:
    """An upgraded connection: text and binary messages come back as they are, frame by frame; pings get pongs."""

    patience: ClassVar[float] = float("inf")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.over = False
        self.busy = False
        self.successor: Conversation | None = None

    @classmethod
    def accept(cls, request: answers.Request, rest: bytes) -> tuple[WebSocketEcho, bytes]:
        """The connection that `request` asks for and what to send; `rest` is what came behind the request.

        A wrong handshake gets a 400, and a connection that is over."""
        shake = H11Handshake(ConnectionType.SERVER)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()]
        try:
            shake.initiate_upgrade_connection(headers, request.target)
            opening = shake.send(AcceptConnection())
        except (RemoteProtocolError, LocalProtocolError):
            refused = cls(Connection(ConnectionType.SERVER))
            refused.over = True
            return refused, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        assert shake.connection is not None
        echo = cls(shake.connection)
        return echo, opening + (echo.receive(rest) if rest else b"")

    def receive(self, data: bytes) -> bytes:
        """See Conversation."""
        out = []
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():
                if isinstance(event, TextMessage | BytesMessage):
                    out.append(self._connection.send(event))
                elif isinstance(event, Ping):
                    out.append(self._connection.send(event.response()))
                elif isinstance(event, CloseConnection):
                    out.append(self._connection.send(event.response()))
                    self.over = True
        except (RemoteProtocolError, LocalProtocolError) as fault:
            answer = getattr(fault, "event_hint", None)
            if answer is not None and not isinstance(answer, Request):
                out.append(self._connection.send(answer))
            self.over = True
        return b"".join(out)
