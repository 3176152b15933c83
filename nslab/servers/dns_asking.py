"""Asking other name servers: one question, over UDP and again over TCP (or over TCP at once), of one server after the
other."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from select import EPOLLIN, EPOLLOUT, epoll

from nslab.dns import wire
from nslab.dns.answer import Server
from nslab.dns.wire import Reply
from nslab.linux.netns import entered
from nslab.servers.ready import Ready

PATIENCE = 1.5
"""Seconds that a server has for its reply. A resolver asks again after five (resolv.conf(5)): three attempts fit."""
ATTEMPTS = 3
MOST = 4096
"""Questions under way at once; of more, none is asked."""


class Asking:
    """One question under way. `found` gets the reply, or None where no server has one."""

    __slots__ = (
        "_heard", "_number", "_over_tcp", "_question", "_tried", "_unsent", "asker", "deadline", "found", "netns",
        "servers", "sock",
    )

    def __init__(
        self, asker: Asker, netns: str, question: tuple[bytes, int], servers: Sequence[Server],
        found: Callable[[Reply | None], None],
    ) -> None:
        self.asker = asker
        self.netns = netns
        self.servers = servers
        self.found = found
        self.deadline = 0.0
        self.sock: socket.socket | None = None
        self._question = question
        self._tried = 0

    def attempt(self, now: float) -> None:
        """Ask the next server; tell that there is no reply once all have had their turn."""
        while self._tried < max(ATTEMPTS, len(self.servers)):
            server = self.servers[self._tried % len(self.servers)]
            self._tried += 1
            if self._open(server, socket.SOCK_STREAM if server.tcp else socket.SOCK_DGRAM, now):
                return
        self._end(None)

    def _open(self, server: Server, kind: socket.SocketKind, now: float) -> bool:
        """Send the question to a server; false where the kernel says at once that it cannot be."""
        self._close()
        self._number = int.from_bytes(os.urandom(2), "big")
        self._heard = b""
        self._over_tcp = kind == socket.SOCK_STREAM
        self.deadline = now + PATIENCE
        self.asker.promise(self.deadline, self._expire)
        octets = wire.encode_query(self._number, *self._question)
        self._unsent = len(octets).to_bytes(2, "big") + octets if self._over_tcp else b""
        try:
            with entered(self.netns) if self.netns else nullcontext():
                self.sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
            if self._over_tcp:
                self.sock.connect_ex(server[:2])
            else:
                self.sock.connect(server[:2])
                self.sock.send(octets)
        except OSError:
            self._close()
            return False
        self.asker.watch(self)
        return True

    def _expire(self, now: float) -> None:
        """Turn to the next server where this one has taken too long."""
        if self.sock is not None and now >= self.deadline:
            self.attempt(now)

    @property
    def events(self) -> int:
        return EPOLLOUT if self._unsent else EPOLLIN

    def ready(self, events: int, now: float) -> None:
        assert self.sock is not None
        try:
            if self._unsent:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
                self.asker.watch(self)
                return
            octets = self.sock.recv(wire.TCP_LIMIT + 2)
        except BlockingIOError:
            return
        except OSError:  # nobody listens there, or no way leads there
            self.attempt(now)
            return
        if self._over_tcp:
            self._heard += octets
            size = int.from_bytes(self._heard[:2], "big")
            if octets and len(self._heard) < size + 2:
                return
            octets = self._heard[2 : size + 2]
        self._read(octets, now)

    def _read(self, octets: bytes, now: float) -> None:
        try:
            query, reply, truncated = wire.decode_reply(octets)
        except wire.MalformedError:
            self.attempt(now)
            return
        if (query.number, query.name, query.type) != (self._number, self._question[0].lower(), self._question[1]):
            return  # a reply to somebody else's question, or a forged one
        if truncated and not self._over_tcp:
            server = self.servers[(self._tried - 1) % len(self.servers)]
            if not self._open(server, socket.SOCK_STREAM, now):
                self.attempt(now)
        elif reply.code in (wire.NOERROR, wire.NXDOMAIN):
            self._end(reply)
        else:
            self.attempt(now)

    def _end(self, reply: Reply | None) -> None:
        self._close()
        self.asker.forget()
        self.found(reply)

    def _close(self) -> None:
        if self.sock is not None:
            self.asker.unwatch(self.sock.fileno())
            self.sock.close()
            self.sock = None


class Asker:
    """All questions under way, in the epoll loop of `poll` and `targets`, which `promise` has call a function
    at a time (monotonic seconds)."""

    def __init__(
        self, poll: epoll, targets: dict[int, Ready], promise: Callable[[float, Callable[[float], None]], None]
    ) -> None:
        self._poll = poll
        self._targets = targets
        self.promise = promise
        self._under_way = 0

    def ask(
        self, netns: str, question: tuple[bytes, int], servers: Sequence[Server],
        found: Callable[[Reply | None], None], now: float,
    ) -> None:
        """Ask for a name and type from a netns (the host's own where it is empty)."""
        if self._under_way >= MOST:
            found(None)
            return
        self._under_way += 1
        Asking(self, netns, question, servers, found).attempt(now)

    def watch(self, asking: Asking) -> None:
        """Wait for what a question's socket waits for."""
        assert asking.sock is not None
        fd = asking.sock.fileno()
        if fd in self._targets:
            self._poll.modify(fd, asking.events)
        else:
            self._targets[fd] = asking
            self._poll.register(fd, asking.events)

    def unwatch(self, fd: int) -> None:
        self._targets.pop(fd, None)

    def forget(self) -> None:
        """One question is not under way any more."""
        self._under_way -= 1
