"""DNS questions as exchanges: over UDP, and again over TCP where the answer is truncated (RFC 1035, RFC 7766); and
what goes to a name, which is looked up first."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import replace

from nslab.dns import records, wire
from nslab.linux.netns import entered
from nslab.servers.exchanges import ANSWER_LIMIT, PENDING, Exchange, StreamExchange
from nslab.servers.flows import Flow, FlowResult, Lookup

PATIENCE = 1.0
"""Seconds that a server has while there is another one to ask."""


class DnsExchange(StreamExchange):
    """Ask for `flow.query`, (name, type). Any answer to the question is "open"; its code is counted in `statuses`,
    who gave it in `responders`, where it says so.

    With a lookup it does as a stub resolver: one name after the other until one is there, and another server where
    one has no answer. With `flow.stream` it asks over TCP at once.
    """

    __slots__ = ("_heard", "_names", "_number", "_octets", "_over_tcp", "_question", "_servers", "asked")

    def prepare(self) -> None:
        name, kind = self.flow.query
        lookup = self.flow.lookup or Lookup((name,), (self.flow.ip,))
        if kind not in wire.TYPES:
            raise OSError(errno.EINVAL, f"{name} {kind}: is no type of records that can be asked for")
        self._names = list(lookup.names)
        self._servers = list(lookup.servers)
        self._compose()

    def _compose(self) -> None:
        """The question for the next name."""
        self.asked = self._names.pop(0)
        try:
            name = wire.encode_name(self.asked)
        except ValueError as fault:
            raise OSError(errno.EINVAL, str(fault)) from fault
        self._question = name.lower(), wire.TYPES[self.flow.query[1]]
        self._number = int.from_bytes(os.urandom(2), "big")
        self._octets = wire.encode_query(self._number, name, self._question[1], identify=True)

    def _begin(self, now: float) -> str:
        self._over_tcp = self.flow.stream
        return self._ask(now)

    def _ask(self, now: float) -> str:
        """Ask the present server for the present name."""
        self._heard = b""
        if len(self._servers) > 1:
            self.deadline = min(self.limit, now + PATIENCE)
        if self._over_tcp:
            self.unsent = self._opening()
            return super()._begin(now)
        self._open(socket.SOCK_DGRAM)
        self.sock.connect(self._peer)
        self._send_datagram(self._octets)
        return PENDING

    @property
    def _peer(self) -> tuple[str, int]:
        own = self.flow.port if self.flow.lookup is None else 0
        return self._servers[0], own or wire.PORT

    def _opening(self) -> bytes:
        return len(self._octets).to_bytes(2, "big") + self._octets

    def ready(self, now: float) -> str:
        try:
            return self._hear(now)
        except OSError:
            if len(self._servers) < 2:
                raise
            return self._ask_another(now)

    def _hear(self, now: float) -> str:
        if self._over_tcp and not self._connected(now):
            return PENDING
        try:
            data = self.sock.recv(ANSWER_LIMIT)
        except BlockingIOError:
            self._raise_pending()
            return PENDING
        if not self._over_tcp:
            return self._read(data, now)
        self._heard += data
        if not data:
            raise OSError(errno.EPROTO, "the connection was closed before the answer's end")
        size = int.from_bytes(self._heard[:2], "big")
        return self._read(self._heard[2 : 2 + size], now) if len(self._heard) >= 2 + size > 2 else PENDING

    def _read(self, octets: bytes, now: float) -> str:
        try:
            query, reply, truncated = wire.decode_reply(octets)
        except wire.MalformedError as fault:
            raise OSError(errno.EPROTO, f"the answer is no DNS: {fault}") from fault
        if (query.number, query.name, query.type) != (self._number, *self._question):
            return PENDING  # an answer to somebody else's question
        if truncated and not self._over_tcp:
            self._over_tcp = True
            return self._again(now)
        if reply.code not in (wire.NOERROR, wire.NXDOMAIN) and len(self._servers) > 1:
            return self._ask_another(now)
        if self._names and not reply.answer and reply.code in (wire.NOERROR, wire.NXDOMAIN):
            self._compose()
            self._over_tcp = self.flow.stream
            return self._again(now)
        self._note(reply)
        return "open"

    def _note(self, reply: wire.Reply) -> None:
        code = wire.CODES.get(reply.code, str(reply.code))
        result = self.result
        result.statuses[code] = result.statuses.get(code, 0) + 1
        kind = self._question[1]
        result.answers = [records.data_text(each) for each in reply.answer if kind in (each.type, wire.ANY)]
        result.aliases = [
            records.data_text(each) for each in reply.answer if each.type == wire.CNAME and kind != wire.CNAME
        ]
        if reply.identity:
            who = reply.identity.decode("ascii", "replace")
            result.responders[who] = result.responders.get(who, 0) + 1

    def expire(self, now: float, last_answer: float) -> str:
        if now >= self.limit or len(self._servers) < 2:
            return "timeout"
        return self._ask_another(now)

    def _ask_another(self, now: float) -> str:
        del self._servers[0]
        self.deadline = self.limit
        return self._again(now)

    def _again(self, now: float) -> str:
        """Ask on another socket, as sockets of the first attempt may still hear something."""
        first = self.sock
        try:
            with entered(self.flow.netns):
                return self._ask(now)
        finally:
            first.close()


class NamedExchange(Exchange):
    """An exchange with a name: its address is looked up, then what `kind` makes goes there. The loop sees one
    exchange, whose socket, events and deadline are those of the part that is at work."""

    __slots__ = ("_kind", "_looking", "_part")

    def __init__(self, flow: Flow, result: FlowResult, kind: Callable[[Flow, FlowResult], Exchange]) -> None:
        super().__init__(flow, result)
        assert flow.lookup is not None
        self._kind = kind
        self._looking = DnsExchange(replace(flow, query=(flow.lookup.names[0], "A"), stream=False), FlowResult(""))
        self._part: Exchange = self._looking

    def prepare(self) -> None:
        self._looking.prepare()

    def _begin(self, now: float) -> str:
        return self._shown(self._looking.start(now), now)

    def ready(self, now: float) -> str:
        return self._shown(self._part.ready(now), now)

    def expire(self, now: float, last_answer: float) -> str:
        verdict = self._part.expire(now, last_answer)
        if verdict == "timeout" and self._part is self._looking:
            self.result.detail = f"{self._looking.asked}: no name server answered"
        return self._shown(verdict, now)

    def close(self) -> None:
        self.over = True
        self._looking.close()
        self._part.close()

    def _shown(self, verdict: str, now: float) -> str:
        """The verdict of the whole: once the address is known, go on with it."""
        if verdict == "open" and self._part is self._looking:
            verdict = self._go_on(now)
        part = self._part
        if part.opened:
            self.sock, self.opened = part.sock, True
        self.events, self.deadline = part.events, part.deadline
        return verdict

    def _go_on(self, now: float) -> str:
        looking = self._looking
        if not looking.result.answers:
            code = next(iter(looking.result.statuses))
            reason = "the name has no address" if code == "NOERROR" else f"the name is not there ({code})"
            raise OSError(errno.ENOENT, f"{looking.asked}: {reason}")
        self._part = self._kind(replace(self.flow, ip=looking.result.answers[0], lookup=None), self.result)
        try:
            with entered(self.flow.netns):
                self._part.prepare()
                verdict = self._part.start(now)
        finally:
            looking.close()
        self._part.limit = self.limit
        self._part.deadline = min(self._part.deadline, self.limit)
        return verdict
