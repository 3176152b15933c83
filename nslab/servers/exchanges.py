"""One attempt of a flow on its own non-blocking socket: what each protocol sends, awaits and concludes."""

from __future__ import annotations

import errno
import itertools
import json
import os
import socket
import struct
from abc import ABC, abstractmethod
from select import EPOLLIN, EPOLLOUT

from nslab.linux.drops import Connection
from nslab.servers.answers import endpoint
from nslab.servers.flows import Flow, FlowResult

ANSWER_LIMIT = 64 * 1024

PENDING = ""
"""The verdict of an exchange that goes on."""

_PROTOCOLS = {int(socket.SOCK_STREAM): "tcp", int(socket.SOCK_DGRAM): "udp"}
_REFUSED = frozenset((errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE))
_UNREACHABLE = frozenset((errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENONET))
_HEALTHY = frozenset((0, errno.EINPROGRESS))


def verdict_of(number: int) -> str:
    """The verdict that an errno of a socket means."""
    if number in _REFUSED:
        return "refused"
    if number in _UNREACHABLE:
        return "unreachable"
    return "timeout" if number == errno.ETIMEDOUT else "error"


class Exchange(ABC):
    """One attempt. `start` is called inside the flow's netns; `ready` whenever the socket is; `expire` at `deadline`.

    Each returns a verdict, or PENDING. `events` is what the socket waits for. Times are of the monotonic clock.
    """

    __slots__ = ("deadline", "events", "flow", "limit", "opened", "over", "result", "sock", "started")

    def __init__(self, flow: Flow, result: FlowResult) -> None:
        self.flow = flow
        self.result = result
        self.events = EPOLLIN
        self.over = False
        self.opened = False
        self.started = 0.0

    def prepare(self) -> None:  # noqa: B027, most kinds have nothing to prepare
        """Make what is slow to make, such as a TLS context, before the clock runs. Raises OSError and ValueError."""

    def start(self, now: float) -> str:
        """Open the socket and send what can be sent. Raises OSError as the kernel does."""
        self.started = now
        self.limit = self.deadline = now + self.flow.timeout
        return self._begin(now)

    @abstractmethod
    def _begin(self, now: float) -> str:
        """What `start` does once the clock runs."""

    @abstractmethod
    def ready(self, now: float) -> str:
        """Go on with a ready socket. Raises OSError as the kernel does."""

    def expire(self, now: float, last_answer: float) -> str:
        """Conclude, or set a later deadline. `last_answer` is when any exchange last heard something."""
        return "timeout"

    @property
    def connection(self) -> Connection | None:
        """The packets' addresses, protocol and ports as they are sent; None of a protocol without ports."""
        protocol = _PROTOCOLS.get(self.sock.type & ~socket.SOCK_NONBLOCK)
        if protocol is None:
            return None
        source = self.sock.getsockname()
        return source[0], self.flow.ip, protocol, source[1], self.flow.port

    def close(self) -> None:
        """Give the socket back."""
        self.over = True
        if self.opened:
            self.sock.close()

    def _open(self, kind: int, protocol: int = 0) -> None:
        is_v6 = ":" in self.flow.ip
        family = socket.AF_INET6 if is_v6 else socket.AF_INET
        self.sock = sock = socket.SocketType(family, kind | socket.SOCK_NONBLOCK, protocol)
        self.opened = True
        # Without the error queue the kernel keeps an ICMP error to itself where it comes back while connect() still
        # runs, as it does on one machine, and a datagram's sender never learns of an unreachable host.
        if is_v6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        if self.flow.source:
            sock.bind((self.flow.source, 0))

    def _send_datagram(self, data: bytes) -> None:
        """Send on a connected datagram socket. A drop or reject by rules of the sender's own netns fails with EPERM:
        the packet is lost like one dropped further on, and an ICMP error of the reject arrives like any other."""
        try:
            self.sock.send(data)
        except OSError as fault:
            if fault.errno != errno.EPERM:
                raise

    def _raise_pending(self) -> None:
        """Raise what an ICMP error said, if one came."""
        number = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not number:
            try:
                ancillary = self.sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)[1]
            except BlockingIOError:
                return
            number = next((struct.unpack_from("=I", data)[0] for _, kind, data in ancillary if kind in _RECVERR), 0)
        if number:
            raise OSError(number, os.strerror(number))

    def _note_responder(self, body: bytes) -> bool:
        """Count who answered, if `body` is a responder's JSON."""
        try:
            said = json.loads(body)
            name = f"{said['namespace']}/{said['pod']}" if said["pod"] else str(said["node"])
            address = str(said["client"]).rpartition(":")[0].strip("[]")
        except (ValueError, KeyError, TypeError):
            return False
        result = self.result
        result.responders[name] = result.responders.get(name, 0) + 1
        result.client_ips[address] = result.client_ips.get(address, 0) + 1
        return True


_ECHO = 8
"""The type of an echo request (RFC 792)."""
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_RECVERR = (_IP_RECVERR, _IPV6_RECVERR)


class StreamExchange(Exchange):
    """An exchange that sends `_opening` on a TCP connection."""

    __slots__ = ("connected", "unsent")

    @abstractmethod
    def _opening(self) -> bytes:
        """What is sent first."""

    @property
    def _peer(self) -> tuple[str, int]:
        """Where it connects to."""
        return self.flow.ip, self.flow.port

    def prepare(self) -> None:
        self.unsent = self._opening()

    def _begin(self, now: float) -> str:
        self.connected = False
        self._open(socket.SOCK_STREAM)
        number = self.sock.connect_ex(self._peer)
        if number not in _HEALTHY:
            raise OSError(number, os.strerror(number))
        # On one machine the handshake is mostly done by now, so the request may go out without a wait.
        self._send(now)
        return PENDING

    def _send(self, now: float) -> None:
        try:
            self.unsent = self.unsent[self.sock.send(self.unsent) :]
        except BlockingIOError:
            self.events = EPOLLOUT
            return
        if not self.connected:
            self.connected = True
            self._on_connected(now)
        self.events = EPOLLOUT if self.unsent else EPOLLIN

    def _on_connected(self, now: float) -> None:
        """The peer has accepted."""

    def _connected(self, now: float) -> bool:
        """Go on connecting and sending; true when all is sent and the answer may be read."""
        if not self.connected:
            self._raise_pending()
        if self.unsent:
            self._send(now)
            return False
        return True


class TcpExchange(StreamExchange):
    """Connect, ask the responder behind it who it is; a peer that says nothing of the kind is open all the same."""

    __slots__ = ("answer",)

    def _opening(self) -> bytes:
        self.answer = b""
        host = endpoint(self.flow.ip, self.flow.port).encode()
        return b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host

    def _on_connected(self, now: float) -> None:
        self.deadline = min(self.limit, now + self.flow.quiet)

    def ready(self, now: float) -> str:
        if not self._connected(now):
            return PENDING
        try:
            data = self.sock.recv(ANSWER_LIMIT)
        except BlockingIOError:
            return PENDING
        except ConnectionResetError:
            return "open"  # it had accepted
        return self._hear(data)

    def _hear(self, data: bytes) -> str:
        self.answer = answer = self.answer + data if self.answer else data
        if not data or len(answer) > ANSWER_LIMIT or not answer.startswith(b"HTTP/1.1 200 "[: len(answer)]):
            return "open"
        if answer.endswith(b"}\n"):
            self._note_responder(answer[answer.find(b"\r\n\r\n") + 4 :])
            return "open"
        return PENDING

    def expire(self, now: float, last_answer: float) -> str:
        if not self.connected:
            return "timeout"
        if now < self.limit and now - last_answer < self.flow.quiet:
            # A prober or responder with much to do is not a silent peer.
            self.deadline = min(self.limit, last_answer + self.flow.quiet)
            return PENDING
        return "open"


class UdpExchange(Exchange):
    """Send a datagram and wait for one back."""

    __slots__ = ()

    def _begin(self, now: float) -> str:
        self._open(socket.SOCK_DGRAM)
        self.sock.connect((self.flow.ip, self.flow.port))
        self._send_datagram(b"who is there?\n")
        return PENDING

    def ready(self, now: float) -> str:
        try:
            answer = self.sock.recv(ANSWER_LIMIT)
        except BlockingIOError:
            self._raise_pending()
            return PENDING
        self._note_responder(answer)
        return "open"


class IcmpExchange(Exchange):
    """An echo request and its reply (RFC 792, RFC 4443), told from others' by identifier and sequence number."""

    __slots__ = ("_echo",)
    _numbers = itertools.count(1)

    @property
    def connection(self) -> Connection | None:
        return self.sock.getsockname()[0], self.flow.ip, "icmp", int.from_bytes(self._echo[:2], "big"), _ECHO << 8

    def _begin(self, now: float) -> str:
        is_v6 = ":" in self.flow.ip
        number = next(self._numbers)
        self._echo = struct.pack("!HH", (number >> 16) + 1 & 0xFFFF, number & 0xFFFF)
        if is_v6:
            self._open(socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        else:
            self._open(socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.sock.connect((self.flow.ip, 0))
        self._send_datagram(_echo_request(128 if is_v6 else _ECHO, self._echo + b"nslab probe....."))
        return PENDING

    def ready(self, now: float) -> str:
        is_v6 = ":" in self.flow.ip
        while True:
            try:
                packet = self.sock.recv(ANSWER_LIMIT)
            except BlockingIOError:
                self._raise_pending()
                return PENDING
            message = packet if is_v6 else packet[(packet[0] & 15) * 4 :]
            if message[0] == (129 if is_v6 else 0) and message[4:8] == self._echo:
                return "open"


def _echo_request(kind: int, rest: bytes) -> bytes:
    """An ICMP echo with its checksum; that of ICMPv6 covers a pseudo header, and the kernel fills it in."""
    words = struct.unpack(f"!{len(rest) // 2}H", rest)
    total = (kind << 8) + sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBH", kind, 0, ~total & 0xFFFF) + rest
