"""The sockets of a name server, UDP and TCP (RFC 7766), beside those of the responder's other containers."""

from __future__ import annotations

import contextlib
import socket
import time
from functools import partial

from nslab.servers.dns_server import DnsServer, Door
from nslab.servers.dns_stream import DnsStream, framed
from nslab.servers.listeners import Listener
from nslab.servers.sockets import BATCH, CHUNK, Connection, Street, TcpDoor, UdpDoor


def door_of(wanted: Listener) -> Door:
    """What a listener's socket is to the name servers."""
    who = wanted.identity
    name = f"{who.namespace}/{who.pod}" if who.pod else who.node
    return Door(wanted.speaks, (wanted.netns, wanted.uid), name.encode())


class DnsUdpDoor(UdpDoor):
    """A name server's UDP socket."""

    __slots__ = ("door", "server")

    def __init__(self, street: Street, sock: socket.SocketType, wanted: Listener, server: DnsServer) -> None:
        super().__init__(street, sock, wanted.identity, wanted.port)
        self.door, self.server = door_of(wanted), server

    def ready(self, events: int, now: float) -> None:
        sock = self.sock
        for _ in range(BATCH):
            try:
                octets, peer = sock.recvfrom(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error that an earlier answer met
            if self.delay:
                self.street.promise(now + self.delay, partial(self._reply_to, octets, peer))
            else:
                self._reply_to(octets, peer, now)

    def _reply_to(self, octets: bytes, peer: tuple[str, int], now: float) -> None:
        self._send(peer, self.server.answer(self.door, peer[0], octets, partial(self._send, peer), now))

    def _send(self, peer: tuple[str, int], octets: bytes) -> None:
        if octets:
            with contextlib.suppress(OSError):  # the peer has no route back, or the Pod has gone meanwhile
                self.sock.sendto(octets, peer)
                self.street.answered += 1


class DnsTcpDoor(TcpDoor):
    """A name server's listening TCP socket."""

    __slots__ = ("door", "server")

    def __init__(self, street: Street, sock: socket.SocketType, wanted: Listener, server: DnsServer) -> None:
        super().__init__(street, sock, wanted.identity, wanted.port)
        self.door, self.server = door_of(wanted), server

    def connection(self, sock: socket.SocketType, peer: tuple[str, int]) -> Connection:
        return DnsConnection(self, sock, peer[0])


class DnsConnection(Connection):
    """A connection that carries questions; a reply that took its time goes out when it is there."""

    __slots__ = ()

    def __init__(self, door: DnsTcpDoor, sock: socket.SocketType, peer: str) -> None:
        def ask(octets: bytes) -> bytes:
            return door.server.answer(door.door, peer, octets, self._reply, time.monotonic(), tcp=True)

        super().__init__(door, sock, DnsStream(ask))

    def _reply(self, octets: bytes) -> None:
        with contextlib.suppress(OSError):  # the peer has left
            self._send(framed(octets))
