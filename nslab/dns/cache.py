"""What others said, remembered for a while."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nslab.dns import wire
from nslab.dns.wire import Record, Reply

SIZE = 10_000
"""Replies that are remembered at most (CoreDNS's default)."""
LONGEST, LONGEST_DENIAL = 30, 5
"""Seconds that an answer and a denial are kept at most, as NodeLocal DNSCache is configured on a cluster."""


@dataclass(frozen=True, slots=True)
class _Entry:
    reply: Reply
    stored: float
    expires: float


class Cache:
    """Replies by name (lower case) and type, none longer than its records are valid. Times are in seconds of any
    clock that does not go back."""

    def __init__(self) -> None:
        self._entries: dict[tuple[bytes, int], _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: bytes, kind: int, now: float) -> Reply | None:
        """The reply as it is by now: its records are valid for what is left of their time."""
        entry = self._entries.get((name, kind))
        if entry is None:
            return None
        if now >= entry.expires:
            del self._entries[name, kind]
            return None
        age, reply = int(now - entry.stored), entry.reply
        return Reply(
            reply.code, _aged(reply.answer, age), _aged(reply.authority, age), _aged(reply.additional, age)
        )

    def put(self, name: bytes, kind: int, reply: Reply, now: float) -> None:
        """Remember an answer, or a denial that says for how long (RFC 2308); nothing else."""
        longest, valid = LONGEST, reply.answer
        if reply.code not in (wire.NOERROR, wire.NXDOMAIN):
            return
        if reply.code == wire.NXDOMAIN or not reply.answer:
            longest, valid = LONGEST_DENIAL, (*reply.answer, *_denying(reply))
            if len(valid) == len(reply.answer):
                return
        seconds = min(longest, *(record.ttl for record in valid))
        if seconds > 0:
            if len(self._entries) >= SIZE:
                del self._entries[next(iter(self._entries))]
            self._entries[name, kind] = _Entry(replace(reply, authoritative=False), now, now + seconds)


def _denying(reply: Reply) -> tuple[Record, ...]:
    """The SOA of a denial, its TTL no longer than its minimum says."""
    return tuple(
        replace(record, ttl=min(record.ttl, int.from_bytes(record.data[-4:], "big")))
        for record in reply.authority if record.type == wire.SOA
    )


def _aged(records: tuple[Record, ...], age: int) -> tuple[Record, ...]:
    return tuple(replace(record, ttl=max(record.ttl - age, 0)) for record in records) if age else records
