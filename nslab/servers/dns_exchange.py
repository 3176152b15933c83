"""A DNS question as an exchange: over UDP, and again over TCP where the answer is truncated (RFC 1035, RFC 7766)."""

from __future__ import annotations

import errno
import socket

import dns.exception
import dns.flags
import dns.message
import dns.rcode

from nslab.linux.netns import entered
from nslab.servers.exchanges import ANSWER_LIMIT, PENDING, StreamExchange


class DnsExchange(StreamExchange):
    """Ask for `flow.query`, (name, type). Any answer to the question is "open"; its code is counted in `statuses`."""

    __slots__ = ("_heard", "_over_tcp", "_query")

    def prepare(self) -> None:
        name, kind = self.flow.query
        try:
            self._query = dns.message.make_query(name, kind)
        except (dns.exception.DNSException, ValueError) as fault:
            raise OSError(errno.EINVAL, f"{name} {kind}: {fault}") from fault

    def _begin(self, now: float) -> str:
        self._over_tcp = False
        self._heard = b""
        self._open(socket.SOCK_DGRAM)
        self.sock.connect((self.flow.ip, self.flow.port or 53))
        self._send_datagram(self._query.to_wire())
        return PENDING

    def _opening(self) -> bytes:
        wire = self._query.to_wire()
        return len(wire).to_bytes(2, "big") + wire

    def ready(self, now: float) -> str:
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

    def _read(self, wire: bytes, now: float) -> str:
        try:
            message = dns.message.from_wire(wire, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError) as fault:
            raise OSError(errno.EPROTO, f"the answer is no DNS: {fault}") from fault
        if not self._query.is_response(message):
            return PENDING  # an answer to somebody else's question
        if message.flags & dns.flags.TC and not self._over_tcp:
            return self._ask_again(now)
        code = dns.rcode.to_text(message.rcode())
        result = self.result
        result.statuses[code] = result.statuses.get(code, 0) + 1
        result.answers = [record.to_text() for records in message.answer for record in records]
        return "open"

    def _ask_again(self, now: float) -> str:
        first = self.sock
        self._over_tcp = True
        self.unsent = self._opening()
        try:
            with entered(self.flow.netns):
                super()._begin(now)
        finally:
            first.close()
        return PENDING
