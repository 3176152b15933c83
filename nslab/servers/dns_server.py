"""The name servers of a lab: their views and memories, and what they answer through a responder's sockets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from nslab.dns import records, wire
from nslab.dns.answer import Referral, View, answer
from nslab.dns.cache import Cache
from nslab.dns.cluster_zone import ClusterZone, Names, decode_rows
from nslab.dns.views import (
    CLUSTER,
    INTERNET,
    NODE_LOCAL,
    ClusterView,
    InternetView,
    NodeLocalView,
    Outside,
    decode_outside,
)
from nslab.dns.wire import Reply
from nslab.servers.dns_asking import Asker

Place = tuple[str, str]
"""A netns and the uid of who lives there."""


KEPT, TOLD = 5000, 1000
"""Queries that are remembered, and how many of them are told at once to who asks for them."""

Noted = tuple[int, float, str, bytes, bytes, float]
"""A query: its number, when it was answered (seconds of the epoch), the asker's address, who answered, the reply, and
the seconds that it took."""


class Door(NamedTuple):
    """Through which socket a question came: the kind of its server (dns.views), where that is, and who it is."""

    kind: str
    place: Place
    name: bytes


class DnsServer:
    """All name servers of a lab: they share the zone; each place has a memory of its own, as if it were a process."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self._zone = ClusterZone()
        self._views: dict[str, View] = {}
        self._caches: dict[Place, Cache] = {}
        self._turn = 0
        self._noted = 0
        self._journal: deque[Noted] = deque(maxlen=KEPT)
        self._resolve(Outside())

    def obey(self, order: Mapping[str, Any]) -> None:
        """Take over names. Raises KeyError, TypeError or ValueError where the order is wrong.

        {"domain", "dns_ip", "namespaces", "services": ROWS, "outside"}   these and no others
        {"services": ROWS, "gone": [[NAMESPACE, NAME]]}                   these are new or changed, those are gone;
                                                                          with "namespaces" these and no others
        """
        serial = max(self._zone.serial + 1, int(time.time()))
        rows = decode_rows(order["services"])
        if "domain" in order:
            services = {f"{row.namespace}/{row.name}": row for row in rows}
            self._zone.set(Names(order["domain"], order["dns_ip"], frozenset(order["namespaces"]), services), serial)
        else:
            self._zone.change(rows, [(namespace, name) for namespace, name in order.get("gone", ())], serial)
            if "namespaces" in order:
                self._zone.set_namespaces(order["namespaces"], serial)
        if "outside" in order:
            self._resolve(decode_outside(order["outside"]))

    def _resolve(self, outside: Outside) -> None:
        """Resolve other names so from now on."""
        self._caches.clear()
        self._views = {
            CLUSTER: ClusterView(self._zone, outside), NODE_LOCAL: NodeLocalView(self._zone, outside),
            INTERNET: InternetView(outside),
        }

    def close(self, place: Place) -> None:
        """Forget what a server remembers."""
        self._caches.pop(place, None)

    def answer(
        self, door: Door, peer: str, octets: bytes, later: Callable[[bytes], None], now: float, *, tcp: bool = False
    ) -> bytes:
        """What the server behind a door answers to a packet; empty where that is nothing, or nothing yet: others have
        to be asked first, and then `later` is called with it."""
        self._turn += 1
        result = answer(octets, self._views[door.kind], tcp=tcp, turn=self._turn, identity=door.name)
        if isinstance(result, Referral):

            def send(reply: bytes) -> None:
                self._note(door, peer, reply, time.monotonic() - now)
                later(reply)

            result = self._refer(door, result, send, now)
        if result:
            self._note(door, peer, result, time.monotonic() - now)
        return result

    def _note(self, door: Door, peer: str, reply: bytes, seconds: float) -> None:
        self._noted += 1
        self._journal.append((self._noted, time.time(), peer, door.name, reply, seconds))

    def queries(self, since: int) -> list[dict[str, Any]]:
        """The last queries and their answers: those after number `since`, and at most as many as are told at once."""
        skipped = max(0, len(self._journal) - min(self._noted - since, TOLD))
        return [_told(*entry) for entry in islice(self._journal, skipped, None)]

    def _refer(self, door: Door, referral: Referral, later: Callable[[bytes], None], now: float) -> bytes:
        cache = self._caches.setdefault(door.place, Cache())
        question = referral.name, referral.query.type
        known = cache.get(*question, now)
        if known is not None:
            return referral.complete(known)

        def found(reply: Reply | None) -> None:
            if reply is not None:
                cache.put(*question, reply, time.monotonic())
            later(referral.complete(reply))

        # The internet's server asks the host's from where they are known: the host's own netns.
        self.asker.ask("" if door.kind == INTERNET else door.place[0], question, referral.servers, found, now)
        return b""


def _told(
    number: int, at: float, peer: str, server: bytes, reply: bytes, seconds: float
) -> dict[str, Any]:
    """A query as JSON values. What is malformed has no name."""
    query, said = wire.Query(0, 0), wire.Reply(reply[3] & 15)
    with suppress(wire.MalformedError):
        query, said, _ = wire.decode_reply(reply)
    answers = [f"{records.type_name(each.type)} {records.data_text(each)}" for each in said.answer]
    return {
        "number": number, "at": at, "client": peer, "server": server.decode(),
        "name": wire.text_of(query.name) if query.name else "", "type": records.type_name(query.type),
        "code": wire.CODES.get(said.code, str(said.code)), "answers": answers, "ms": round(seconds * 1000, 3),
    }
