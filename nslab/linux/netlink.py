"""Netlink by hand: messages and attributes as bytes, and a socket that sends many requests at once.

Hand-packed because of time: a general library spends 0.2 to 0.5 ms of encoding on each message, several times what
the kernel needs to carry it out. The format is that of netlink(7); attribute numbers live with their users.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from errno import EBUSY, EINTR
from struct import Struct
from typing import NamedTuple

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x100, 0x200, 0x400, 0x300

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1

_HEADER = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_U32 = Struct("=HHI")
_I32 = Struct("=i")
_SEQUENCE = Struct("=I")
_FLAGS = Struct("=H")

_ATTRIBUTE_TYPE = 0x3FFF
"""An attribute's type without the flag bits NLA_F_NESTED and NLA_F_NET_BYTEORDER."""

_MAX_MESSAGES = 128
"""Requests in one send: should every one of them be refused, the answers still fit into the receive buffer."""

_MAX_OCTETS = 64 * 1024
_RECEIVE = 64 * 1024
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Refusal(NamedTuple):
    """The kernel's no to request `number` (from 0): errno and, where the kernel says more, its extended message."""

    number: int
    errno: int
    detail: str


def message(kind: int, flags: int, body: bytes) -> bytes:
    """One request; the socket numbers it when it sends it."""
    return _HEADER.pack(16 + len(body), kind, flags | NLM_F_REQUEST, 0, 0) + body


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four octets; `payload` of a nested one is its attributes joined."""
    length = len(payload)
    return _ATTRIBUTE.pack(length + 4, kind) + payload + _PADDING[length & 3]


def attribute_u32(kind: int, value: int) -> bytes:
    return _U32.pack(8, kind, value)


def attribute_string(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def attributes(buffer: bytes, start: int, end: int) -> dict[int, bytes]:
    """The attributes between two offsets, by type; of several of one type the last."""
    found: dict[int, bytes] = {}
    unpack = _ATTRIBUTE.unpack_from  # thousands of links have forty attributes each
    while start + 4 <= end:
        length, kind = unpack(buffer, start)
        if length < 4:
            break
        found[kind & _ATTRIBUTE_TYPE] = buffer[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


def text(payload: bytes) -> str:
    """A string attribute's value."""
    return payload.rstrip(b"\0").decode(errors="replace")


class NetlinkSocket:
    """A netlink socket of the calling thread's netns; usable from any thread, one at a time, wherever that is."""

    def __init__(self, protocol: int = 0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def request(self, messages: Sequence[bytes]) -> list[Refusal]:
        """Send the requests, in order and as few sends as can be. Returns the refused ones; the others are done.

        Only the last message of a send asks for an acknowledgement: the kernel works through them in order and
        reports every error, so that the last answer settles all. One send is carried out whole even if this
        process is killed in the middle of it.
        """
        refusals: list[Refusal] = []
        first = 0
        while first < len(messages):
            octets, last = 0, first
            while last < len(messages) and last - first < _MAX_MESSAGES and octets < _MAX_OCTETS:
                octets += len(messages[last])
                last += 1
            refusals += self._exchange(messages[first:last], first)
            first = last
        return refusals

    def dump(self, request: bytes) -> list[tuple[int, bytes]]:
        """All answers to a dump request, or to a request for one object: (message type, body) of each.

        A dump during which the kernel's tables changed is taken again. Raises OSError when it is refused.
        """
        while True:
            answers = self._dump_once(request)
            if answers is not None:
                return answers

    def _exchange(self, messages: Sequence[bytes], first: int) -> list[Refusal]:
        buffer = bytearray(b"".join(messages))
        base = self._sequence + 1
        offset = 0
        for number, one in enumerate(messages, base):
            _SEQUENCE.pack_into(buffer, offset + 8, number)
            offset += len(one)
        self._sequence = final = base + len(messages) - 1
        end = offset - len(messages[-1])
        _FLAGS.pack_into(buffer, end + 6, _FLAGS.unpack_from(buffer, end + 6)[0] | NLM_F_ACK)
        self._socket.send(buffer)
        refusals = []
        while True:
            for kind, flags, sequence, start, stop, data in self._receive():
                if kind != _NLMSG_ERROR or not base <= sequence <= final:
                    continue
                code = -_I32.unpack_from(data, start)[0]
                if code:
                    refusals.append(Refusal(first + sequence - base, code, _detail(data, start, stop, flags)))
                if sequence == final:
                    return refusals

    def _dump_once(self, request: bytes) -> list[tuple[int, bytes]] | None:
        self._sequence += 1
        buffer = bytearray(request)
        _SEQUENCE.pack_into(buffer, 8, self._sequence)
        _FLAGS.pack_into(buffer, 6, _FLAGS.unpack_from(buffer, 6)[0] | NLM_F_ACK)
        self._socket.send(buffer)
        answers: list[tuple[int, bytes]] = []
        interrupted = False
        while True:
            for kind, flags, sequence, start, stop, data in self._receive():
                if sequence != self._sequence:
                    continue
                interrupted |= bool(flags & NLM_F_DUMP_INTR)
                if kind not in (_NLMSG_ERROR, _NLMSG_DONE):
                    answers.append((kind, data[start:stop]))
                    continue
                code = -_I32.unpack_from(data, start)[0]
                if code in (EINTR, EBUSY):
                    return None
                if code:
                    raise OSError(code, _detail(data, start, stop, flags) or "netlink dump")
                return None if interrupted else answers

    def _receive(self) -> Iterator[tuple[int, int, int, int, int, bytes]]:
        """The messages of one datagram: (type, flags, sequence, start and end of the body, datagram)."""
        data = self._socket.recv(_RECEIVE)
        offset = 0
        while offset + 16 <= len(data):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
            yield kind, flags, sequence, offset + 16, offset + length, data
            offset += (length + 3) & ~3


def _detail(data: bytes, start: int, stop: int, flags: int) -> str:
    """The extended acknowledgement's message. With NETLINK_CAP_ACK it follows the error and the bare header."""
    if not flags & _NLM_F_ACK_TLVS:
        return ""
    return text(attributes(data, start + 20, stop).get(_NLMSGERR_ATTR_MSG, b""))
