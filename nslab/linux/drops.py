"""What rules have dropped of late, by the kernel's own word: read from dynamic sets that the rules write to.

Who sent a packet into silence learns nothing of its fate. A set in which rules record what they drop tells it at
once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from errno import ENOENT
from types import TracebackType
from typing import Final, NamedTuple, Self, cast

from nslab.linux.netns import entered
from nslab.linux.nftables import NftError, NftSocket
from nslab.nft.objects import Set

Connection = tuple[str, str, str, int, int]
"""Source and destination address, protocol (tcp, udp, icmp), source and destination port, as the sender has them. Of
an ICMP echo the ports are its identifier, and its type and code as one number, as conntrack has them."""

TICK: Final = 0.02
"""Seconds by which the kernel's count of an element's age may be wrong: it counts in ticks of its clock."""


class Drop(NamedTuple):
    """When (on the monotonic clock) and where a packet was dropped."""

    time: float
    netns: str


class Sent(NamedTuple):
    """A connection that waits for an answer: when it was begun (on the monotonic clock), and in which netns."""

    connection: Connection
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
        self._told: dict[Connection, float] = {}  # drops that somebody was told of, with their times
        for name in names:
            with suppress(FileNotFoundError), entered(name):
                self._sockets[name] = NftSocket()

    def met_by(self, sent: Iterable[Sent]) -> dict[Connection, Drop]:
        """Which of these have had a packet dropped.

        Where one node has translated a Service's address and another one drops, the drop has the address behind it.
        It is of whoever alone has its source address and port, and is no node: nodes lend their address to others.
        """
        recent = self.recent()
        if not recent:
            return {}
        waiting = list(sent)
        met = {
            each.connection: recent[each.connection] for each in waiting
            if each.connection in recent and _is_of(recent[each.connection], each)
        }
        self._told |= {connection: drop.time for connection, drop in met.items()}
        others = {_sender(key): key for key, drop in recent.items() if self._told.get(key, 0.0) < drop.time - TICK}
        senders = Counter(_sender(each.connection) for each in waiting)
        for each in waiting:
            key = others.get(_sender(each.connection))
            alone = senders[_sender(each.connection)] == 1 and each.netns not in self._sockets
            if key and alone and each.connection not in met and _is_of(recent[key], each):
                met[each.connection] = recent[key]
                self._told[key] = recent[key].time
        return met

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


def _sender(connection: Connection) -> tuple[str, str, int]:
    """Source address, protocol and port. All echoes of a host may have one identifier: of these the destination
    counts as well."""
    source, destination, protocol, port, _ = connection
    return (source, f"icmp {destination}" if protocol == "icmp" else protocol, port)


def _is_of(drop: Drop, sent: Sent) -> bool:
    """What was dropped before was of another socket that had the same port."""
    return drop.time > sent.time - TICK
