"""DNS messages on the wire (RFC 1035, EDNS0 of RFC 6891): queries and replies decoded, replies encoded.

A name is held as it is on the wire, labels with their lengths and an empty one at the end. Lower-casing such octets
as text changes letters only: a length is at most 63, and the first letter is 65.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

A, NS, CNAME, SOA, PTR, HINFO, MX, TXT, AAAA, SRV, OPT = 1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 41
IXFR, AXFR, ANY = 251, 252, 255
TYPES = {
    "A": A, "NS": NS, "CNAME": CNAME, "SOA": SOA, "PTR": PTR, "HINFO": HINFO, "MX": MX, "TXT": TXT, "AAAA": AAAA,
    "SRV": SRV, "ANY": ANY,
}
"""Types of records by the names that people write."""
IN = 1

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

CODES = {
    NOERROR: "NOERROR", FORMERR: "FORMERR", SERVFAIL: "SERVFAIL", NXDOMAIN: "NXDOMAIN", NOTIMP: "NOTIMP",
    REFUSED: "REFUSED", BADVERS: "BADVERS",
}
"""Response codes as people write them."""
PORT = 53

QR, AA, TC, RD, RA, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
UDP_LIMIT, PAYLOAD, TCP_LIMIT = 512, 1232, 65535
"""Octets of a message: over UDP without EDNS, over UDP at most (what passes any link unfragmented, as agreed on the
DNS flag day of 2020), over TCP."""

_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_OPTION = struct.Struct("!HH")
_NSID = 3
_POINTER = 0xC0
_DO = 0x8000


class MalformedError(ValueError):
    """A message that is no DNS."""


class QueryError(Exception):
    """A query that gets an error for an answer: `code` is the response code, and `query` what could be read of it."""

    def __init__(self, code: int, query: Query) -> None:
        super().__init__(code)
        self.code = code
        self.query = query


class Query(NamedTuple):
    """A query. `flags` are the header's; `question` its octets, as they are repeated in the reply; `name` the name
    asked for, in lower case. `payload` is what the asker takes over UDP, 0 without EDNS; `dnssec` its DO bit;
    `wants_identity` says that it asks who the server is (NSID, RFC 5001)."""

    number: int
    flags: int
    question: bytes = b""
    name: bytes = b""
    type: int = 0
    payload: int = 0
    dnssec: bool = False
    wants_identity: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A record of class IN. `data` holds names uncompressed; `ttl` is in seconds."""

    name: bytes
    type: int
    ttl: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What is said to a question. `identity` is that of the server, empty where it does not say."""

    code: int = NOERROR
    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    authoritative: bool = False
    identity: bytes = b""


def decode_query(octets: bytes) -> Query | None:
    """The query in a packet. None where nothing must be answered: to a packet without a whole header, and to a reply.
    Raises QueryError for what is malformed (FORMERR), no query (NOTIMP), of another class (REFUSED) or of a later
    version of EDNS (BADVERS)."""
    if len(octets) < _HEADER.size:
        return None
    number, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(octets)
    if flags & QR:
        return None
    query = Query(number, flags)
    if flags & 0x7800:
        raise QueryError(NOTIMP, query)
    if questions != 1:
        raise QueryError(FORMERR, query)
    try:
        return _decode_question(octets, query, answers + authorities, additionals)
    except (MalformedError, IndexError, struct.error) as fault:
        raise QueryError(FORMERR, query) from fault


def _decode_question(octets: bytes, query: Query, skipped: int, additionals: int) -> Query:
    end = _HEADER.size
    while length := octets[end]:
        if length >= 64:
            raise MalformedError("a question's name is not compressed")
        end += length + 1
    end += 1
    if end - _HEADER.size > 255:
        raise MalformedError("a name has at most 255 octets")
    kind, of_class = _QUESTION.unpack_from(octets, end)
    query = query._replace(question=octets[12 : end + 4], name=octets[12:end].lower(), type=kind)
    if additionals or skipped:
        query = _decode_options(octets, query, end + 4, skipped, additionals)
    if of_class != IN or kind in (IXFR, AXFR) or 128 <= kind < IXFR:
        raise QueryError(REFUSED, query)
    if kind in (0, OPT):
        raise QueryError(FORMERR, query)
    return query


def _decode_options(octets: bytes, query: Query, at: int, skipped: int, additionals: int) -> Query:
    found = None
    for number in range(skipped + additionals):
        first = octets[at]
        at = _skip_name(octets, at)
        kind, payload, extended, length = _RECORD.unpack_from(octets, at)
        at += _RECORD.size + length
        if at > len(octets):
            raise MalformedError("a record beyond the end")
        if kind == OPT:
            if found is not None or first or number < skipped:
                raise MalformedError("a message has at most one OPT, of the root, among its additional records")
            found = payload, extended, _options(octets[at - length : at])
    if found is None:
        return query
    payload, extended, options = found
    query = query._replace(
        payload=max(payload, UDP_LIMIT), dnssec=bool(extended & _DO), wants_identity=_NSID in options
    )
    if extended >> 16 & 0xFF:
        raise QueryError(BADVERS, query)
    return query


def _options(octets: bytes) -> dict[int, bytes]:
    """The options of an OPT record by code."""
    found, at = {}, 0
    while at < len(octets):
        code, length = _OPTION.unpack_from(octets, at)
        at += _OPTION.size + length
        if at > len(octets):
            raise MalformedError("an option beyond its record")
        found[code] = octets[at - length : at]
    return found


def _skip_name(octets: bytes, at: int) -> int:
    while length := octets[at]:
        if length >= _POINTER:
            return at + 2
        if length >= 64:
            raise MalformedError("a label of an unknown kind")
        at += length + 1
    return at + 1


def encode_query(number: int, name: bytes, kind: int, *, identify: bool = False) -> bytes:
    """A recursive query with EDNS; `identify` asks who answers it."""
    header = _HEADER.pack(number, RD, 1, 0, 0, 1)
    return b"".join((header, name, _QUESTION.pack(kind, IN), _opt(PAYLOAD, 0, {_NSID: b""} if identify else {})))


def _opt(payload: int, extended: int, options: Mapping[int, bytes]) -> bytes:
    data = b"".join(_OPTION.pack(code, len(value)) + value for code, value in options.items())
    return b"\0" + _RECORD.pack(OPT, payload, extended, len(data)) + data


def encode_reply(query: Query, reply: Reply, limit: int, *, recursive: bool) -> bytes:
    """The reply's octets, at most `limit`. Additional records that have no room are left out; where another has none
    the reply says that it is truncated. `recursive`: whether the server asks others for its clients."""
    flags = QR | query.flags & (RD | CD | 0x7800) | reply.code & 15
    flags |= (AA if reply.authoritative else 0) | (RA if recursive else 0)
    options = b""
    if query.payload:
        extended = reply.code >> 4 << 24 | (_DO if query.dnssec else 0)
        options = _opt(PAYLOAD, extended, {_NSID: reply.identity} if query.wants_identity else {})
    room = limit - len(options)
    parts, counts = [query.question], [0, 0, 0]
    size = _HEADER.size + len(query.question)
    known = dict(_suffixes(query.name, _HEADER.size)) if query.question else {}
    for section, records in enumerate((reply.answer, reply.authority, reply.additional)):
        for record in records:
            octets = _encode_record(record, known, size)
            if size + len(octets) > room:
                if section < 2:
                    flags |= TC
                break
            parts.append(octets)
            counts[section] += 1
            size += len(octets)
        else:
            continue
        break
    header = _HEADER.pack(
        query.number, flags, 1 if query.question else 0, counts[0], counts[1], counts[2] + bool(options)
    )
    return b"".join((header, *parts, options))


def _encode_record(record: Record, known: dict[bytes, int], at: int) -> bytes:
    """A record that begins at offset `at`; names that stand there already are pointed at, its own become known."""
    owner, found = record.name, known.get(record.name.lower())
    if found is not None:
        owner = b"%c%c" % (_POINTER | found >> 8, found & 0xFF)
    else:
        for suffix, offset in _suffixes(record.name.lower(), 0):
            target = known.get(suffix)
            if target is not None:
                owner = owner[:offset] + b"%c%c" % (_POINTER | target >> 8, target & 0xFF)
                break
            if at + offset < 0x4000:
                known[suffix] = at + offset
    head = owner + _RECORD.pack(record.type, IN, record.ttl, len(record.data))
    if record.type == SRV:  # its target is likely to own an additional record
        start = at + len(head) + 6
        for suffix, offset in _suffixes(record.data[6:].lower(), start):
            if offset < 0x4000:
                known.setdefault(suffix, offset)
    return head + record.data


def _suffixes(name: bytes, at: int) -> Iterator[tuple[bytes, int]]:
    """A name and what is left of it label by label, without the root, each with its offset in a name at `at`."""
    start = 0
    while length := name[start]:
        yield name[start:], at + start
        start += length + 1


def decode_reply(octets: bytes) -> tuple[Query, Reply, bool]:
    """A server's reply: the question it repeats, what it says, and whether it is truncated. Raises MalformedError."""
    try:
        return _decode_reply(octets)
    except (IndexError, struct.error) as fault:
        raise MalformedError("the message ends too early") from fault


def _decode_reply(octets: bytes) -> tuple[Query, Reply, bool]:
    number, flags, questions, *counts = _HEADER.unpack_from(octets)
    if not flags & QR or questions != 1:
        raise MalformedError("no reply to a question")
    name, at = decode_name(octets, _HEADER.size)
    kind, _ = _QUESTION.unpack_from(octets, at)
    at += _QUESTION.size
    query = Query(number, flags, octets[12:at], name.lower(), kind)
    sections: list[list[Record]] = [[], [], []]
    code, identity = flags & 15, b""
    for section, count in zip(sections, counts, strict=True):
        for _ in range(count):
            owner, at = decode_name(octets, at)
            kind, of_class, ttl, length = _RECORD.unpack_from(octets, at)
            at += _RECORD.size
            if at + length > len(octets):
                raise MalformedError("a record beyond the end")
            if kind == OPT:
                code |= ttl >> 24 << 4
                identity = _options(octets[at : at + length]).get(_NSID, b"")
            elif of_class == IN:
                section.append(Record(owner, kind, ttl, _expanded(octets, kind, at, length)))
            at += length
    answer, authority, additional = (tuple(section) for section in sections)
    return query, Reply(code, answer, authority, additional, bool(flags & AA), identity), bool(flags & TC)


def decode_name(octets: bytes, at: int) -> tuple[bytes, int]:
    """The name at an offset, and where it ends. Raises MalformedError; IndexError where the message ends first."""
    labels, size, end, before = [], 1, 0, at
    while length := octets[at]:
        if length >= _POINTER:
            end = end or at + 2
            at = (length & 0x3F) << 8 | octets[at + 1]
            if at >= before:
                raise MalformedError("a pointer points back")
            before = at
            continue
        size += length + 1
        if length >= 64 or size > 255 or at + length >= len(octets):
            raise MalformedError("a label or a name is too long")
        labels.append(octets[at : at + length + 1])
        at += length + 1
    return b"".join([*labels, b"\0"]), end or at + 1


_NAMES = {NS: (0, 1), CNAME: (0, 1), PTR: (0, 1), SOA: (0, 2), MX: (2, 1), SRV: (6, 1)}
"""Where names begin in a record's data, and how many follow each other there."""


def _expanded(octets: bytes, kind: int, at: int, length: int) -> bytes:
    """A record's data with its names in full."""
    if kind not in _NAMES:
        return octets[at : at + length]
    skipped, names = _NAMES[kind]
    parts, end, at = [octets[at : at + skipped]], at + length, at + skipped
    for _ in range(names):
        name, at = decode_name(octets, at)
        parts.append(name)
    if at > end:
        raise MalformedError("a name beyond its record")
    return b"".join([*parts, octets[at:end]])


def encode_name(text: str) -> bytes:
    """A name of text, with or without the dot at its end. Raises ValueError where a label is empty, longer than 63
    octets or not ASCII, or the name longer than 255."""
    labels = text.removesuffix(".").split(".") if text not in ("", ".") else []
    if len(text) > 254 or not text.isascii() or not all(0 < len(label) < 64 for label in labels):
        raise ValueError(f'"{text}" is no domain name: labels have 1 to 63 ASCII characters, a name at most 253')
    return joined([label.encode() for label in labels])


def labels_of(name: bytes) -> tuple[bytes, ...]:
    """The labels of a name, the root's left out."""
    found, at = [], 0
    while length := name[at]:
        found.append(name[at + 1 : at + 1 + length])
        at += length + 1
    return tuple(found)


def text_of(name: bytes) -> str:
    """A name as people write it, fully qualified. What is no printable character is escaped as \\DDD."""
    return "".join(f"{_escaped(label)}." for label in labels_of(name)) or "."


def _escaped(label: bytes) -> str:
    return "".join(
        chr(octet) if 33 <= octet < 127 and octet not in b'.\\"'
        else f"\\{chr(octet)}" if octet in b'.\\"' else f"\\{octet:03}"
        for octet in label
    )


def joined(labels: Iterable[bytes]) -> bytes:
    """The name of these labels."""
    return b"".join([b"%c%b" % (len(label), label) for label in labels]) + b"\0"
