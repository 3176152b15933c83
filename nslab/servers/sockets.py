"""Listening sockets in other network namespaces, and what a peer does to them: the epoll side of the responder."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterable
from functools import partial
from heapq import heappop, heappush
from itertools import count
from select import EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from typing import Protocol

from nslab.linux.netns import entered
from nslab.servers.answers import Speaker, endpoint
from nslab.servers.conversation import Conversation
from nslab.servers.http1 import Http1
from nslab.servers.listeners import Identity, Listener

BACKLOG = 1024
CHUNK = 65536
BATCH = 64
"""Connections or datagrams taken from one socket before the others get their turn."""

Key = tuple[str, str, str, int, str]
"""netns, uid, ip, port, protocol: what makes a socket another one. Who speaks behind it may change."""

_RESET_ON_CLOSE = b"\x01\0\0\0\0\0\0\0"  # struct linger {1, 0}


class Ready(Protocol):
    """What the loop calls when its file descriptor is ready."""

    def ready(self, events: int, now: float) -> None: ...


class Street:
    """All that a responder has open: the loop's epoll, listening sockets by key, connections by file descriptor."""

    def __init__(self) -> None:
        self.poll = epoll()
        self.doors: dict[Key, TcpDoor | UdpDoor] = {}
        self.targets: dict[int, Ready] = {}
        self.connections: dict[int, Connection] = {}
        self.answered = 0
        self.exhausted = 0
        self._late: list[tuple[float, int, Callable[[float], None]]] = []
        self._promises = count()
        self._reserve = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def open(self, listeners: Iterable[Listener]) -> list[tuple[Listener, str]]:
        """Open a socket for each of `listeners` that has none. Returns those that could not be, each with why."""
        failed: list[tuple[Listener, str]] = []
        wanted: dict[str, list[Listener]] = {}
        for one in listeners:
            wanted.setdefault(one.netns, []).append(one)
        for netns, group in wanted.items():
            try:
                with entered(netns):
                    for one in group:
                        self._open(one, failed)
            except OSError as fault:
                failed += [(one, f"netns {netns}: {fault.strerror}") for one in group]
        return failed

    def _open(self, wanted: Listener, failed: list[tuple[Listener, str]]) -> None:
        family = socket.AF_INET6 if ":" in wanted.ip else socket.AF_INET
        is_tcp = wanted.protocol == "TCP"
        kind = socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM
        try:
            sock = socket.SocketType(family, kind | socket.SOCK_NONBLOCK)
            if is_tcp:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.bind((wanted.ip, wanted.port))
            if is_tcp:
                sock.listen(BACKLOG)
        except OSError as fault:
            failed.append((wanted, fault.strerror or str(fault)))
            return
        door = (TcpDoor if is_tcp else UdpDoor)(self, sock, wanted.identity, wanted.port)
        door.delay = wanted.delay / 1e6
        self.doors[wanted.netns, wanted.uid, wanted.ip, wanted.port, wanted.protocol] = door
        self.targets[sock.fileno()] = door
        self.poll.register(sock.fileno(), EPOLLIN)

    def close(self, keys: Iterable[Key]) -> None:
        """Close these sockets and reset the connections that came through them: a container that is gone keeps no
        connection, and a connection left to linger would keep the netns alive."""
        gone = {id(door): door for key in keys if (door := self.doors.pop(key, None)) is not None}
        if not gone:
            return
        for connection in [one for one in self.connections.values() if id(one.door) in gone]:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            connection.close()
        for door in gone.values():
            del self.targets[door.sock.fileno()]
            door.sock.close()

    def promise(self, due: float, answer: Callable[[float], None]) -> None:
        """Call `answer` with the time once it is `due` (monotonic seconds)."""
        heappush(self._late, (due, next(self._promises), answer))

    def catch_up(self, now: float) -> None:
        """Keep the promises that are due."""
        while self._late and self._late[0][0] <= now:
            heappop(self._late)[2](now)

    def patience(self, now: float, sweep: float) -> float:
        """How many seconds the loop may sleep, no longer than `sweep` while there are connections; -1 for ever."""
        if self._late:
            return max(0.0, min(self._late[0][0] - now, sweep))
        return sweep if self.connections else -1

    def shed(self, listening: socket.SocketType) -> None:
        """No file descriptor is left: take the connection that waits and close it, so that its peer learns of it and
        the loop does not spin."""
        self.exhausted += 1
        os.close(self._reserve)
        with contextlib.suppress(OSError):
            fd, _ = listening._accept()  # type: ignore[attr-defined]
            os.close(fd)
        self._reserve = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def sweep(self, now: float) -> None:
        """Close the connections whose patience is at its end."""
        for connection in [one for one in self.connections.values() if one.deadline < now]:
            connection.close()


class TcpDoor:
    """A listening TCP socket. Its answers wait for `delay` seconds."""

    __slots__ = ("_speaker", "delay", "identity", "port", "sock", "street")

    def __init__(self, street: Street, sock: socket.SocketType, identity: Identity, port: int) -> None:
        self.street = street
        self.sock = sock
        self.port = port
        self.delay = 0.0
        self.name(identity)

    def name(self, identity: Identity) -> None:
        """Who answers from now on."""
        self.identity = identity
        self._speaker: Speaker | None = None

    @property
    def speaker(self) -> Speaker:
        """The voice, made at its first use: most sockets of a large lab are never asked."""
        if self._speaker is None:
            self._speaker = Speaker.of(self.identity, self.port)
        return self._speaker

    def ready(self, events: int, now: float) -> None:
        accept = self.sock._accept  # type: ignore[attr-defined]  # accept() proper wraps it at twice the cost
        for _ in range(BATCH):
            try:
                fd, peer = accept()
            except BlockingIOError:
                return
            except OSError as fault:
                if fault.errno in (errno.EMFILE, errno.ENFILE):
                    self.street.shed(self.sock)
                return
            sock = socket.SocketType(self.sock.family, socket.SOCK_STREAM, 0, fileno=fd)
            Connection(self, sock, endpoint(peer[0], peer[1])).ready(EPOLLIN, now)


class UdpDoor(TcpDoor):
    """A bound UDP socket. Bound to 0.0.0.0 it answers from the address the kernel picks: a Pod has only one."""

    __slots__ = ()

    def ready(self, events: int, now: float) -> None:
        for _ in range(BATCH):
            try:
                _, peer = self.sock.recvfrom(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error that an earlier answer met
            if self.delay:
                self.street.promise(now + self.delay, partial(self._answer, peer))
            else:
                self._answer(peer, now)

    def _answer(self, peer: tuple[str, int], now: float) -> None:
        with contextlib.suppress(OSError):  # a peer without a route back, or a socket that was closed meanwhile
            self.sock.sendto(self.speaker.introduce(endpoint(peer[0], peer[1])), peer)
            self.street.answered += 1


class Connection:
    """An accepted TCP connection and the conversation on it.

    It enters the epoll set only when its first read finds nothing: most requests are there by the time their
    connection is accepted, and most connections end with their first answer.
    """

    __slots__ = ("conversation", "deadline", "door", "sock", "unsent", "watched")

    def __init__(self, door: TcpDoor, sock: socket.SocketType, client: str) -> None:
        self.door = door
        self.sock = sock
        self.conversation: Conversation = Http1(door.speaker, client)
        self.deadline = float("inf")  # a peer that never says a word just stays connected
        self.unsent = b""
        self.watched = 0

    def ready(self, events: int, now: float) -> None:
        try:
            if self.unsent and not self._send(b""):
                return
            data = self.sock.recv(CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._watch(EPOLLIN)
            return
        except OSError:
            self.close()
            return
        if data:
            self._hear(data, now)
        else:
            self.close()

    def _hear(self, data: bytes, now: float) -> None:
        owed = self.conversation.busy
        try:
            out = self.conversation.receive(data)
            if self.conversation.successor is not None:
                self.conversation = self.conversation.successor
            if not (owed and self.conversation.busy):
                self.deadline = now + self.conversation.patience
            if out and self.door.delay:
                self._watch(EPOLLHUP)  # the peer is heard again once it has its answer
                self.deadline = float("inf")
                self.door.street.promise(now + self.door.delay, partial(self._answer_late, out))
            else:
                self._answer(out)
        except (OSError, ImportError):  # the peer has left, or no file descriptor is left to load a protocol with
            self.close()

    def _answer_late(self, out: bytes, now: float) -> None:
        self.deadline = now + self.conversation.patience
        try:
            if self.sock.fileno() >= 0:  # else the peer has left meanwhile, or the container has gone
                self._answer(out)
        except OSError:
            self.close()

    def _answer(self, out: bytes) -> None:
        if out:
            self.door.street.answered += 1
            if not self._send(out):
                return
        if self.conversation.over:
            self.close()
        else:
            self._watch(EPOLLIN)

    def _send(self, out: bytes) -> bool:
        """Send what is left and `out`; true when all of it is on its way. Until then nothing more is read."""
        self.unsent += out
        try:
            sent = self.sock.send(self.unsent, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        self.unsent = self.unsent[sent:]
        if self.unsent:
            self._watch(EPOLLOUT)
            return False
        if self.conversation.over and not out:
            self.close()
            return False
        return True

    def _watch(self, events: int) -> None:
        if self.watched == events:
            return
        street = self.door.street
        fd = self.sock.fileno()
        if self.watched:
            street.poll.modify(fd, events)
        else:
            street.poll.register(fd, events)
            street.targets[fd] = street.connections[fd] = self
        self.watched = events

    def close(self) -> None:
        """End it. Bytes of the peer that nobody read turn the FIN into a RST, as in any server that closes early."""
        if self.watched:
            fd = self.sock.fileno()
            del self.door.street.targets[fd], self.door.street.connections[fd]
        self.sock.close()
