"""Netlink attributes: a length, a type, a payload, padded to four octets (linux/netlink.h, struct nlattr)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_HEADER = struct.Struct("=HH")
_BE32 = struct.Struct(">I")
_BE64 = struct.Struct(">Q")

NESTED = 0x8000
TYPE_MASK = 0x3FFF
MAXIMUM_LENGTH = 0xFFFF
"""An attribute's length, header included, has 16 bits."""


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute with its padding."""
    length = len(payload)
    return _HEADER.pack(length + 4, kind) + payload + bytes(-length % 4)


def header(kind: int, length: int) -> bytes:
    """The header alone, of an attribute `length` octets long (header included)."""
    return _HEADER.pack(length, kind)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds other attributes."""
    return attribute(kind | NESTED, b"".join(attributes))


def u32(kind: int, number: int) -> bytes:
    """An attribute that holds a number in network order, as nearly all of nf_tables' numbers are."""
    return attribute(kind, _BE32.pack(number & 0xFFFFFFFF))


def u64(kind: int, number: int) -> bytes:
    return attribute(kind, _BE64.pack(number))


def string(kind: int, text: str) -> bytes:
    """An attribute that holds a NUL-terminated string."""
    return attribute(kind, text.encode() + b"\0")


def spans(buffer: bytes, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The (type, start of payload, end of payload) of the attributes in a part of `buffer`, in order, the types
    without their flags."""
    while offset + 4 <= end:
        length, kind = _HEADER.unpack_from(buffer, offset)
        if length < 4:
            return
        yield kind & TYPE_MASK, offset + 4, offset + length
        offset += (length + 3) & ~3


def walk(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """The (type, payload) of the attributes in `payload`, in order, the types without their flags."""
    return ((kind, payload[start:end]) for kind, start, end in spans(payload, 0, len(payload)))


def parse(payload: bytes) -> dict[int, bytes]:
    """The attributes in `payload` by type."""
    return dict(walk(payload))


def number(payload: bytes) -> int:
    """The unsigned number in network order that is the payload."""
    return int.from_bytes(payload, "big")


def text(payload: bytes) -> str:
    """The string that is the payload, without its NUL."""
    return payload.rstrip(b"\0").decode()


def userdata(kind: int, payload: bytes) -> bytes:
    """One entry of a userdata attribute, which the kernel only keeps: nft's own type, length (both one octet), value
    (libnftnl/udata.h)."""
    return bytes((kind, len(payload))) + payload


def parse_userdata(payload: bytes) -> dict[int, bytes]:
    """The entries of a userdata attribute by type."""
    entries, offset = {}, 0
    while offset + 2 <= len(payload):
        kind, length = payload[offset], payload[offset + 1]
        entries[kind] = payload[offset + 2 : offset + 2 + length]
        offset += 2 + length
    return entries


def comment(payload: str) -> bytes:
    """The value of a userdata entry that holds a comment."""
    return payload.encode() + b"\0"
