"""What every authoritative zone does alike: find a name's records, follow aliases, say what is not there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nslab.dns import records, wire
from nslab.dns.wire import Record, Reply

Labels = Sequence[bytes]

Rrsets = Mapping[int, Sequence[bytes]]
"""The records of one name: data by type. Of an empty non-terminal, which is only there because names below it are
(RFC 8020), there are none."""

MAX_ALIASES = 8
"""Aliases followed for one question; a chain of more is taken for a loop."""


class Origin(NamedTuple):
    """A zone: the name of its apex, its server's name, and the seconds that its records and denials are valid."""

    name: bytes
    server: bytes
    ttl: int


class Authority(ABC):
    """Some zones. `serial` is that of all of them; it grows with each change."""

    serial = 0

    @abstractmethod
    def origin(self, labels: Labels) -> Origin | None:
        """The zone that a name (lower case) is in; None where it is in none of these."""

    @abstractmethod
    def find(self, labels: Labels) -> Rrsets | None:
        """The records of a name in one of the zones; None where there is no such name."""

    def ttl(self, origin: Origin, kind: int) -> int:
        return origin.ttl

    def lookup(self, name: bytes, kind: int) -> tuple[Reply, bytes] | None:
        """The reply to a question for `name` (lower case), and the name at which others have to go on, empty where
        nobody has. None where the name is in none of the zones."""
        answer: list[Record] = []
        for _ in range(MAX_ALIASES):
            labels = wire.labels_of(name)
            origin = self.origin(labels)
            if origin is None:
                return (Reply(answer=tuple(answer), authoritative=True), name) if answer else None
            found = self.find(labels)
            if found is None:
                return self._denial(wire.NXDOMAIN, answer, origin), b""
            if wire.CNAME in found and kind not in (wire.CNAME, wire.ANY):
                target = found[wire.CNAME][0]
                answer.append(Record(name, wire.CNAME, self.ttl(origin, wire.CNAME), target))
                name = target.lower()
                continue
            data = _any(found) if kind == wire.ANY else found.get(kind, ())
            if not data:
                return self._denial(wire.NOERROR, answer, origin), b""
            kind = wire.HINFO if kind == wire.ANY else kind
            ttl = self.ttl(origin, kind)
            answer += [Record(name, kind, ttl, each) for each in data]
            return Reply(0, tuple(answer), (), self._additional(kind, data), authoritative=True), b""
        return Reply(wire.SERVFAIL), b""

    def _denial(self, code: int, answer: list[Record], origin: Origin) -> Reply:
        return Reply(code, tuple(answer), (self.soa(origin),), authoritative=True)

    def soa(self, origin: Origin) -> Record:
        """A zone's SOA; its TTL and its minimum are how long a denial is valid (RFC 2308)."""
        data = records.soa(origin.name, origin.server, self.serial, origin.ttl)
        return Record(origin.name, wire.SOA, origin.ttl, data)

    def _additional(self, kind: int, data: Sequence[bytes]) -> tuple[Record, ...]:
        """The addresses of the targets of SRV and NS records."""
        if kind not in (wire.SRV, wire.NS):
            return ()
        found = []
        for target in dict.fromkeys(each[6:] if kind == wire.SRV else each for each in data):
            labels = wire.labels_of(target)
            origin = self.origin(labels)
            addresses = (self.find(labels) or {}).get(wire.A, ()) if origin else ()
            found += [Record(target, wire.A, origin.ttl, each) for each in addresses if origin]
        return tuple(found)


def _any(found: Rrsets) -> Sequence[bytes]:
    """The answer to a question for records of all types: a HINFO record instead (RFC 8482)."""
    return (b"\x07RFC8482\0",) if found else ()
