"""Elements of sets and maps as netlink attributes, by the ten thousand."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import cast

from nslab.nft import expressions
from nslab.nft.attributes import MAXIMUM_LENGTH, NESTED, attribute, header, nested, number, parse, u32, userdata, walk
from nslab.nft.datatypes import Datatype
from nslab.nft.objects import Key, MapValue, Set
from nslab.nft.statements import Verdict
from nslab.nft.values import bounds, from_bounds, packer, register_size, unpacker

LISTED_TABLE, LISTED_SET, ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_LISTED = 1  # NFTA_LIST_ELEM
_KEY, _VALUE, _FLAGS, _EXPIRATION, _USERDATA, _KEY_END = 1, 2, 3, 5, 6, 10  # NFTA_SET_ELEM_*
_INTERVAL_END = u32(_FLAGS, 1)
# nft's own mark (libnftnl/udata.h) of an interval that has no end because it reaches the last value.
_OPEN = attribute(_USERDATA, userdata(1, (1).to_bytes(4, "little")))


def encode(item: Set, some: Mapping[Key, MapValue | None]) -> list[bytes]:
    """The contents of as few NFTA_SET_ELEM_LIST_ELEMENTS as hold the elements.

    Raises ValueError for a key or value that is none of the set's type.
    """
    if item.interval:
        value = _value_encoder(item)
        encoded = [element for key, target in some.items() for element in _interval(item, key, value(target))]
    elif item.value_type and item.value_type[0].name != "verdict":
        encoded = _fixed(item, cast("Mapping[Key, Key]", some))
    else:
        value, key_of = _value_encoder(item), _key_encoder(item)
        encoded = [nested(_LISTED, key_of(key), value(target)) for key, target in some.items()]
    return _chunks(encoded)


def encode_keys(item: Set, keys: Iterable[Key]) -> list[bytes]:
    """The same for elements to delete, which are named by their keys alone."""
    if item.interval:
        return _chunks([element for key in keys for element in _interval(item, key, b"")])
    key_of = _key_encoder(item)
    return _chunks([nested(_LISTED, key_of(key)) for key in keys])


def _fixed(item: Set, some: Mapping[Key, Key]) -> list[bytes]:
    """Elements of a map of plain values all have one size and the same headers: the fast way for large maps."""
    key_of, value_of = packer(item.key_type), packer(item.value_type)
    key_size = sum(map(register_size, item.key_type))
    value_size = sum(map(register_size, item.value_type))
    key_header = header(_KEY | NESTED, 8 + key_size) + _value_header(item.key_type)
    value_header = header(_VALUE | NESTED, 8 + value_size) + _value_header(item.value_type)
    head = header(_LISTED | NESTED, 4 + len(key_header) + key_size + len(value_header) + value_size) + key_header
    return [head + key_of(key) + value_header + value_of(value) for key, value in some.items()]


def _value_header(types: tuple[Datatype, ...]) -> bytes:
    """Of NFTA_DATA_VALUE: a lone value has its own size, and only its padding makes it whole registers."""
    return header(1, 4 + _size(types))


def _value_encoder(item: Set) -> Callable[[MapValue | None], bytes]:
    if not item.value_type:
        return lambda _: b""
    if item.value_type[0].name == "verdict":
        memory: dict[MapValue | None, bytes] = {}

        def encode_verdict(target: MapValue | None) -> bytes:
            encoded = memory.get(target)
            if encoded is None:
                encoded = memory[target] = nested(_VALUE, expressions.verdict(cast("Verdict", target)))
            return encoded

        return encode_verdict
    value_of, size = packer(item.value_type), _size(item.value_type)
    return lambda target: nested(_VALUE, expressions.data(value_of(cast("Key", target))[:size]))


def _key_encoder(item: Set) -> Callable[[Key], bytes]:
    key_of, size = packer(item.key_type), _size(item.key_type)
    return lambda key: nested(_KEY, expressions.data(key_of(key)[:size]))


def _size(types: tuple[Datatype, ...]) -> int:
    return types[0].size if len(types) == 1 else sum(map(register_size, types))


def _interval(item: Set, key: Key, value: bytes) -> Iterator[bytes]:
    """A lone component becomes an element where the interval starts and one, marked, after its end; a concatenation
    one element with two keys."""
    limits = [bounds(datatype, component) for datatype, component in zip(item.key_type, key, strict=True)]
    size = _size(item.key_type)
    if len(limits) > 1:
        low, high = (b"".join(side) for side in zip(*limits, strict=True))
        yield nested(
            _LISTED, nested(_KEY, expressions.data(low)), nested(_KEY_END, expressions.data(high)), value
        )
        return
    first, last = limits[0][0][:size], limits[0][1][:size]
    after = number(last) + 1
    is_open = after >> 8 * size
    yield nested(_LISTED, nested(_KEY, expressions.data(first)), value, _OPEN if is_open else b"")
    if not is_open:
        yield nested(_LISTED, _INTERVAL_END, nested(_KEY, expressions.data(after.to_bytes(size, "big"))))


def _chunks(encoded: list[bytes]) -> list[bytes]:
    """Join elements to lists that one attribute can hold."""
    chunks, first, size = [], 0, 4
    for position, element in enumerate(encoded):
        size += len(element)
        if size > MAXIMUM_LENGTH:
            chunks.append(b"".join(encoded[first:position]))
            first, size = position, 4 + len(element)
    if first < len(encoded):
        chunks.append(b"".join(encoded[first:]))
    return chunks


class RepeatedElementError(Exception):
    """A dump names an element twice. It must have missed others: the kernel grew the hash table in the meantime."""


def decode(item: Set, payloads: Iterable[bytes]) -> dict[Key, MapValue | None]:
    """The elements in the NFTA_SET_ELEM_LIST_ELEMENTS contents of a dump of `item`, keys written canonically.

    Raises RepeatedElementError when the dump must be taken anew.
    """
    if item.interval:
        listed = [element for payload in payloads for _, element in walk(payload)]
        return _decode_intervals(item, listed) if len(item.key_type) == 1 else _decode_ranges(item, listed)
    key_of, value_of = unpacker(item.key_type), _rest_decoder(item)
    elements: dict[Key, MapValue | None] = {}
    count = 0
    for payload in payloads:
        rows = _rows(item, payload)
        count += len(rows)
        for key, rest in rows:
            elements[key_of(key)] = value_of(rest)
    if len(elements) != count:
        raise RepeatedElementError
    return elements


def decode_expirations(item: Set, payloads: Iterable[bytes]) -> dict[Key, float]:
    """The seconds that the elements of a set with timeouts still have to live, in the same contents."""
    key_of = unpacker(item.key_type)
    left: dict[Key, float] = {}
    for payload in payloads:
        for _, element in walk(payload):
            fields = parse(element)
            left[key_of(_octets(fields[_KEY]))] = number(fields.get(_EXPIRATION, b"")) / 1000
    return left


def _rows(item: Set, payload: bytes) -> list[tuple[bytes, bytes]]:
    """Of each element the octets of its key, and the attributes that follow.

    Nearly always the elements of one dumped message have one size, and are cut apart at once.
    """
    key_size = sum(map(register_size, item.key_type))
    key_end = 12 + key_size  # Three headers (the element, its key, the key's value) come first.
    size = (int.from_bytes(payload[:2], sys.byteorder) + 3) & ~3
    if size >= key_end and len(payload) % size == 0:
        rows = list(struct.iter_unpack(f"12s{key_size}s{size - key_end}s", payload))
        if all(row[0] == payload[:12] for row in rows):
            return [(key, rest) for _, key, rest in rows]
    return [(element[8 : 8 + key_size], element[8 + key_size :]) for _, element in walk(payload)]


def _rest_decoder(item: Set) -> Callable[[bytes], MapValue | None]:
    """A function from what follows an element's key to the value of a map."""
    value_of = _value_decoder(item)
    if not item.value_type:
        return lambda _: None
    if item.value_type[0].name == "verdict":
        return cache(lambda rest: value_of(parse(rest)[_VALUE]))
    size, unpack = sum(map(register_size, item.value_type)), unpacker(item.value_type)
    start = header(_VALUE, 8 + size) + _value_header(item.value_type)

    def decode_rest(rest: bytes) -> MapValue | None:
        return unpack(rest[8 : 8 + size]) if rest.startswith(start) else value_of(parse(rest)[_VALUE])

    return decode_rest


def _decode_ranges(item: Set, listed: list[bytes]) -> dict[Key, MapValue | None]:
    value_of = _value_decoder(item)
    elements: dict[Key, MapValue | None] = {}
    for element in listed:
        fields = parse(element)
        low = _octets(fields[_KEY])
        high = _octets(fields[_KEY_END]) if _KEY_END in fields else low
        elements[_ranges(item, low, high)] = value_of(fields.get(_VALUE))
    return elements


def decode_key(item: Set, element: bytes) -> Key:
    """The key at the start of one element, for messages about it."""
    return unpacker(item.key_type)(_octets(parse(element)[_KEY]))


def _octets(data: bytes) -> bytes:
    """The octets of an attribute that holds NFTA_DATA_VALUE, padded to whole registers."""
    value = parse(data)[1]
    return value + bytes(-len(value) % 4)


def _ranges(item: Set, low: bytes, high: bytes) -> Key:
    components, offset = [], 0
    for datatype in item.key_type:
        end = offset + register_size(datatype)
        components.append(from_bounds(datatype, low[offset:end], high[offset:end]))
        offset = end
    return tuple(components)


def _decode_intervals(item: Set, listed: list[bytes]) -> dict[Key, MapValue | None]:
    datatype, size, value_of = item.key_type[0], _size(item.key_type), _value_decoder(item)
    marks = []
    for element in listed:
        fields = parse(element)
        is_start = not number(fields.get(_FLAGS, b"")) & 1
        marks.append((parse(fields[_KEY])[1], is_start, fields.get(_VALUE)))
    marks.sort(key=lambda mark: mark[:2])  # An end comes before the start that follows without a gap.
    elements: dict[Key, MapValue | None] = {}
    for position, (first, is_start, value) in enumerate(marks):
        if is_start:
            after = marks[position + 1][0] if position + 1 < len(marks) else b""
            last = (number(after) - 1).to_bytes(size, "big") if after else b"\xff" * size
            padding = bytes(-size % 4)
            elements[(from_bounds(datatype, first + padding, last + padding),)] = value_of(value)
    return elements


def _value_decoder(item: Set) -> Callable[[bytes | None], MapValue | None]:
    if not item.value_type:
        return lambda _: None
    if item.value_type[0].name == "verdict":
        return lambda data: expressions.decode_verdict(parse(data or b"")[2])
    value_of = unpacker(item.value_type)
    return lambda data: value_of(_octets(data or b""))
