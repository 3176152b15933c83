"""What every protocol of the responder is to the socket that carries it."""

from __future__ import annotations

from typing import Protocol


class Conversation(Protocol):
    """The server's side of a connection, without its socket.

    `receive` takes the peer's bytes, returns what to send and never raises for bad input. Once `over`, the
    connection is to be closed behind what was returned. `busy` is true while the peer owes the rest of a request.
    The connection may be closed after `patience` seconds of silence. `successor` is set where the peer turned to
    another protocol: it has been told all bytes so far, and takes over.
    """

    over: bool
    busy: bool
    successor: Conversation | None

    @property
    def patience(self) -> float: ...

    def receive(self, data: bytes) -> bytes: ...
