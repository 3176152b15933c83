"""The answer to a query's octets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from nslab.dns import wire
from nslab.dns.wire import Query, Reply


class Server(NamedTuple):
    """Where a name server listens."""

    ip: str
    port: int = 53


class View(Protocol):
    """What one name server knows, and whom it asks for the rest."""

    def lookup(self, name: bytes, kind: int) -> tuple[Reply, bytes] | None:
        """As Authority.lookup."""

    def servers(self, name: bytes) -> Sequence[Server]:
        """Whom to ask for a name that `lookup` does not know, in this order."""


@dataclass(frozen=True, slots=True)
class Referral:
    """A question that others have to be asked before it can be answered: `name` of the query's type, at one of
    `servers` after the other. `begun` is the part of the answer that leads to the name, `limit` the octets that the
    reply may have."""

    query: Query
    name: bytes
    servers: Sequence[Server]
    limit: int
    begun: Reply = field(default_factory=Reply)

    def complete(self, found: Reply | None) -> bytes:
        """The reply, once the others have said `found`; None where none of them answered."""
        if found is None:
            reply = replace(self.begun, code=wire.SERVFAIL)
        else:
            whole = (*self.begun.answer, *found.answer)
            reply = Reply(found.code & 15, whole, found.authority, found.additional, self.begun.authoritative)
        return wire.encode_reply(self.query, reply, self.limit, recursive=True)


def answer(octets: bytes, view: View, *, tcp: bool = False, turn: int = 0) -> bytes | Referral:
    """The reply to a packet; empty where nothing must be answered. Never raises, whatever the packet holds.

    Several addresses of one name come in another order with each `turn`. Over UDP the reply has at most the octets
    that the asker takes; `tcp` says that it came over TCP.
    """
    limit = wire.TCP_LIMIT
    try:
        query = wire.decode_query(octets)
        if query is None:
            return b""
        limit = _limit(query, tcp)
        known = view.lookup(query.name, query.type)
        if known is not None and not known[1]:
            return wire.encode_reply(query, _turned(known[0], turn), limit, recursive=True)
        begun, name = known or (Reply(), query.name)
        servers = view.servers(name)
        if servers and query.flags & wire.RD:
            return Referral(query, name, servers, limit, begun)
        if not query.flags & wire.RD:
            reply = begun if begun.answer else Reply(wire.REFUSED)
        else:
            reply = replace(begun, code=wire.SERVFAIL)
        return wire.encode_reply(query, reply, limit, recursive=True)
    except wire.QueryError as fault:
        limit = _limit(fault.query, tcp)
        return wire.encode_reply(fault.query, Reply(fault.code), limit, recursive=True)


def _limit(query: Query, tcp: bool) -> int:
    return wire.TCP_LIMIT if tcp else min(query.payload or wire.UDP_LIMIT, wire.PAYLOAD)


def _turned(reply: Reply, turn: int) -> Reply:
    """The reply with its addresses turned round; aliases stay before what they lead to."""
    records = reply.answer
    if len(records) < 2 or records[-1].type != wire.A:
        return reply
    first = next(number for number, record in enumerate(records) if record.type == wire.A)
    at = first + turn % (len(records) - first)
    return replace(reply, answer=(*records[:first], *records[at:], *records[first:at]))

