"""DNS messages over a stream: each after its length in two octets (RFC 1035, 4.2.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from nslab.servers.conversation import Conversation


class DnsStream:
    """A Conversation. `ask` gives the reply to a message, or nothing yet: then somebody else sends it when it is
    there (RFC 7766 lets replies change their order)."""

    patience: ClassVar[float] = 30.0

    def __init__(self, ask: Callable[[bytes], bytes]) -> None:
        self.over = self.busy = False
        self.successor: Conversation | None = None
        self._ask = ask
        self._heard = b""

    def receive(self, data: bytes) -> bytes:
        """Take octets as they come; returns the replies to what is complete by now."""
        self._heard += data
        replies = []
        while len(self._heard) >= 2 and len(self._heard) >= (end := 2 + int.from_bytes(self._heard[:2], "big")):
            replies.append(framed(self._ask(self._heard[2:end])))
            self._heard = self._heard[end:]
        return b"".join(replies)


def framed(octets: bytes) -> bytes:
    """A message as it goes over a stream; nothing remains nothing."""
    return len(octets).to_bytes(2, "big") + octets if octets else b""
