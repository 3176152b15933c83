"""What rules have dropped of late, by the kernel's own word: read from dynamic sets that the rules write to.

Who sent a packet into silence learns nothing of its fate. A set in which rules record what they drop tells it at
once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from errno import ENOENT
from types import TracebackType
from typing import Final, NamedTuple, Self, cast

from nslab.linux.netns import entered
from nslab.linux.nftables import NftError, NftSocket
from nslab.nft.objects import Set

Connection = tuple[str, str, str, int, int]
"""Source and destination address, protocol (tcp, udp), source and destination port, as the sender has them."""

TICK: Final = 0.02
"""Seconds by which the kernel's count of an element's age may be wrong: it counts in ticks of its clock."""


class Drop(NamedTuple):
    """When (on the monotonic clock) and where a packet was dropped."""

    time: float
    netns: str


class Drops:
    """The connections in one set of each of some namespaces. A context manager."""

    def __init__(self, names: Iterable[str], table: tuple[str, str], item: Set, kept: float) -> None:
        """`item` is a set of Connections, whose elements live for `kept` seconds. A netns that does not exist is
        left out."""
        self._table = table
        self._item = item
        self._kept = kept
        self._sockets: dict[str, NftSocket] = {}
        for name in names:
            with suppress(FileNotFoundError), entered(name):
                self._sockets[name] = NftSocket()

    def recent(self) -> dict[Connection, Drop]:
        """What was dropped and is still remembered."""
        found: dict[Connection, Drop] = {}
        for name, opened in self._sockets.items():
            now = time.monotonic()
            try:
                left = opened.expirations(*self._table, self._item)
            except NftError as error:
                if error.errno != ENOENT:  # no rules there, or none any more
                    raise
                continue
            for key, seconds in left.items():
                found[cast("Connection", key)] = Drop(now - (self._kept - seconds), name)
        return found

    def close(self) -> None:
        for opened in self._sockets.values():
            opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
