"""TLS as the responder speaks it, without a socket: round whatever it speaks on the same port without TLS."""

from __future__ import annotations

from nslab.servers.answers import Speaker
from nslab.servers.conversation import Conversation
from nslab.servers.http1 import Http1
from nslab.servers.tls import TlsPipe, server_context


class Https:
    """One TLS connection. By ALPN the peer may choose h2 or http/1.1; a wrong handshake gets TLS's alert."""

    def __init__(self, speaker: Speaker, client: str) -> None:
        self._pipe = TlsPipe(server_context(), server_side=True)
        self._inside: Conversation = Http1(speaker, client)
        self.over = False
        self.busy = True
        self.successor: Conversation | None = None

    @property
    def patience(self) -> float:
        """Seconds, as of what is spoken inside."""
        return self._inside.patience

    def receive(self, data: bytes) -> bytes:
        """See Conversation."""
        try:
            heard = self._pipe.receive(data)
            if heard:
                self._pipe.send(self._inside.receive(heard))
                self._inside = self._inside.successor or self._inside
            self.over = heard is None or self._inside.over
            if self.over:
                self._pipe.finish()
        except OSError:  # what came is no TLS, or none that this side speaks
            self.over = True
        self.busy = self._inside.busy or not self._pipe.secured
        return self._pipe.flush()
