"""The answer to a query's octets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from nslab.dns import wire
from nslab.dns.wire import Query, Reply


class Server(NamedTuple):
    """Where a name server listens, and whether it is asked over TCP only."""

    ip: str
    port: int = 53
    tcp: bool = False


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
    reply may have, `identity` who gives it."""

    query: Query
    name: bytes
    servers: Sequence[Server]
    limit: int
    begun: Reply = field(default_factory=Reply)
    identity: bytes = b""

    def complete(self, found: Reply | None) -> bytes:
        """The reply, once the others have said `found`; None where none of them answered."""
        if found is None:
            reply = replace(self.begun, code=wire.SERVFAIL)
        else:
            whole = (*self.begun.answer, *found.answer)
            reply = Reply(found.code & 15, whole, found.authority, found.additional, self.begun.authoritative)
        return wire.encode_reply(self.query, replace(reply, identity=self.identity), self.limit, recursive=True)


def answer(
    octets: bytes, view: View, *, tcp: bool = False, turn: int = 0, identity: bytes = b""
) -> bytes | Referral:
    """The reply to a packet; empty where nothing must be answered. Never raises, whatever the packet holds.

    Several addresses of one name come in another order with each `turn`. Over UDP the reply has at most the octets
    that the asker takes; `tcp` says that it came over TCP. `identity` is the server's, for those who ask.
    """
    try:
        query = wire.decode_query(octets)
        if query is None:
            return b""
        reply = _reply(query, view, turn)
    except wire.QueryError as fault:
        query, reply = fault.query, Reply(fault.code)
    limit = wire.TCP_LIMIT if tcp else min(query.payload or wire.UDP_LIMIT, wire.PAYLOAD)
    if isinstance(reply, Referral):
        return replace(reply, limit=limit, identity=identity)
    if query.wants_identity:
        reply = replace(reply, identity=identity)
    return wire.encode_reply(query, reply, limit, recursive=True)


def _reply(query: Query, view: View, turn: int) -> Reply | Referral:
    known = view.lookup(query.name, query.type)
    if known is not None and not known[1]:
        return _turned(known[0], turn)
    begun, name = known or (Reply(), query.name)
    servers = view.servers(name)
    if not query.flags & wire.RD:
        return begun if begun.answer else Reply(wire.REFUSED)
    return Referral(query, name, servers, 0, begun) if servers else replace(begun, code=wire.SERVFAIL)


def _turned(reply: Reply, turn: int) -> Reply:
    """The reply with its addresses turned round; aliases stay before what they lead to."""
    records = reply.answer
    if len(records) < 2 or records[-1].type != wire.A:
        return reply
    first = next(number for number, record in enumerate(records) if record.type == wire.A)
    at = first + turn % (len(records) - first)
    return replace(reply, answer=(*records[:first], *records[at:], *records[first:at]))

