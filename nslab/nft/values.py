"""Keys and map values: from what a person writes to the octets of kernel registers, and back.

Every component of a concatenation takes whole 32-bit registers. Numbers of datatype mark are in host order, all
others in network order.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache

from nslab.nft import datatypes
from nslab.nft.datatypes import PROTOCOL_NAMES, PROTOCOL_NUMBERS, Datatype, Value
from nslab.nft.objects import Key

_HOST32 = struct.Struct("=I")


def pack_address(text: str) -> bytes:
    """The four octets of a dotted IPv4 address."""
    octets = bytes(map(int, text.split(".")))
    if len(octets) != 4:
        raise ValueError(f"{text!r} is not an IPv4 address")
    return octets


def pack_scalar(datatype: Datatype, value: str | int) -> bytes:
    """One value that is neither a range nor a prefix, padded to whole registers.

    Raises ValueError (or struct.error) when the value is none of the datatype.
    """
    if isinstance(value, str):
        if datatype is datatypes.IPV4_ADDR:
            return pack_address(value)
        if datatype is datatypes.IFNAME:
            return struct.pack("16s", value.encode())
        if datatype is datatypes.ETHER_ADDR:
            return bytes.fromhex(value.replace(":", "")) + b"\0\0"
        if datatype is datatypes.INET_PROTO:
            return bytes((PROTOCOL_NUMBERS[value], 0, 0, 0))
    elif datatype is datatypes.MARK:
        return _HOST32.pack(value)
    elif datatype is datatypes.INET_SERVICE:
        return struct.pack(">Hxx", value)
    elif datatype is datatypes.INET_PROTO:
        return bytes((value, 0, 0, 0))
    raise ValueError(f"{value!r} is no {datatype.name}")


def unpack_scalar(datatype: Datatype, octets: bytes) -> str | int:
    """The person-readable value of what `pack_scalar` makes."""
    if datatype is datatypes.IPV4_ADDR:
        return ".".join(map(str, octets[:4]))
    if datatype is datatypes.MARK:
        return int(_HOST32.unpack_from(octets)[0])
    if datatype is datatypes.INET_SERVICE:
        return octets[0] << 8 | octets[1]
    if datatype is datatypes.INET_PROTO:
        return PROTOCOL_NAMES.get(octets[0], octets[0])
    if datatype is datatypes.IFNAME:
        return octets.rstrip(b"\0").decode()
    if datatype is datatypes.ETHER_ADDR:
        return octets[:6].hex(":")
    raise ValueError(f"no set key of this package has datatype {datatype.name}")


class _Packed(dict[Value, bytes]):
    """Remembers the octets of the values of one datatype: keys repeat their components."""

    def __init__(self, datatype: Datatype) -> None:
        super().__init__()
        self.datatype = datatype

    def __missing__(self, value: Value) -> bytes:
        octets = self[value] = pack_scalar(self.datatype, value)  # type: ignore[arg-type]
        return octets


class _Unpacked(dict[bytes, Value]):
    """Remembers the values of the octets of one datatype."""

    def __init__(self, datatype: Datatype) -> None:
        super().__init__()
        self.datatype = datatype

    def __missing__(self, octets: bytes) -> Value:
        value = self[octets] = unpack_scalar(self.datatype, octets)
        return value


def packer(types: tuple[Datatype, ...]) -> Callable[[Key], bytes]:
    """A function from keys (or values of maps) of concatenation `types` to octets."""
    memory = [_Packed(datatype) for datatype in types]
    if len(types) == 1:
        first = memory[0]
        return lambda key: first[key[0]] if len(key) == 1 else _wrong(types, key)
    if len(types) == 2:
        first, second = memory
        return lambda key: first[key[0]] + second[key[1]] if len(key) == 2 else _wrong(types, key)
    if len(types) == 3:
        first, second, third = memory
        return lambda key: (
            first[key[0]] + second[key[1]] + third[key[2]] if len(key) == 3 else _wrong(types, key)
        )
    return lambda key: b"".join(packed[value] for packed, value in zip(memory, key, strict=True))


def _wrong(types: tuple[Datatype, ...], key: Key) -> bytes:
    raise ValueError(f"{key!r} is no {' . '.join(datatype.name for datatype in types)}")


def register_size(datatype: Datatype) -> int:
    """The octets that a value takes in a concatenation."""
    return (datatype.size + 3) & ~3


def unpacker(types: tuple[Datatype, ...]) -> Callable[[bytes], Key]:
    """The inverse of `packer`."""
    memory = [_Unpacked(datatype) for datatype in types]
    if len(types) == 1:
        only = memory[0]
        return lambda octets: (only[octets],)
    split = struct.Struct("".join(f"{register_size(datatype)}s" for datatype in types)).unpack
    if len(types) == 2:
        first, second = memory

        def pair(octets: bytes) -> Key:
            one, two = split(octets)
            return first[one], second[two]

        return pair
    return lambda octets: tuple(known[part] for known, part in zip(memory, split(octets), strict=True))


def bounds(datatype: Datatype, value: Value) -> tuple[bytes, bytes]:
    """The octets of the first and last value of a range, CIDR or single value."""
    if isinstance(value, tuple):
        return pack_scalar(datatype, value[0]), pack_scalar(datatype, value[1])
    if isinstance(value, str) and datatype is datatypes.IPV4_ADDR and "/" in value:
        first, last = prefix_bounds(value)
        return first.to_bytes(4, "big"), last.to_bytes(4, "big")
    octets = pack_scalar(datatype, value)
    return octets, octets


@lru_cache(maxsize=4096)
def prefix_bounds(prefix: str) -> tuple[int, int]:
    """The first and last address of a CIDR, as numbers."""
    address, length = prefix.split("/")
    size = 1 << (32 - int(length))
    first = int.from_bytes(pack_address(address), "big") & -size
    return first, first + size - 1


def from_bounds(datatype: Datatype, first: bytes, last: bytes) -> Value:
    """The canonical way to write a range: a single value, else a CIDR where it is one, else (first, last)."""
    low = unpack_scalar(datatype, first)
    if first == last:
        return low
    high = unpack_scalar(datatype, last)
    if datatype is datatypes.IPV4_ADDR:
        start = int.from_bytes(first, "big")
        size = int.from_bytes(last, "big") - start + 1
        if size & (size - 1) == 0 and start % size == 0:
            return f"{low}/{33 - size.bit_length()}"
    return (low, high)  # type: ignore[return-value]


def canonical_key(types: tuple[Datatype, ...], key: Key) -> Key:
    """The key of an interval set, each component written in the canonical way."""
    return tuple(
        from_bounds(datatype, *bounds(datatype, value)) for datatype, value in zip(types, key, strict=True)
    )
