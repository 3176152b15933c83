"""The data of records, and records as text."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from nslab.cluster.ipv4 import to_text
from nslab.dns import wire


def address(ip: str) -> bytes:
    """The data of an A record."""
    return bytes(map(int, ip.split(".")))


def srv(priority: int, weight: int, port: int, target: bytes) -> bytes:
    """The data of an SRV record (RFC 2782)."""
    return struct.pack("!HHH", priority, weight, port) + target


def txt(text: str) -> bytes:
    """The data of a TXT record of one string."""
    return bytes([len(text)]) + text.encode()


def soa(origin: bytes, server: bytes, serial: int, minimum: int) -> bytes:
    """The data of a zone's SOA record: its server, hostmaster.ORIGIN, and CoreDNS's times for secondaries."""
    mailbox = b"\x0ahostmaster" + origin
    return server + mailbox + struct.pack("!IIIII", serial & 0xFFFFFFFF, 7200, 1800, 86400, minimum)


def reverse_name(ip: str) -> bytes:
    """The name of an address's PTR record."""
    return wire.encode_name(".".join([*reversed(ip.split(".")), "in-addr", "arpa"]))


_NAMES = {number: name for name, number in wire.TYPES.items()}


def type_name(kind: int) -> str:
    """The name of a type; that of an unknown one is TYPE and its number (RFC 3597)."""
    return _NAMES.get(kind, f"TYPE{kind}")


def _strings(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        yield data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]


def data_text(record: wire.Record) -> str:
    """A record's data as in a master file."""
    kind, data = record.type, record.data
    if kind == wire.A and len(data) == 4:
        return to_text(int.from_bytes(data, "big"))
    if kind == wire.AAAA and len(data) == 16:
        from ipaddress import IPv6Address

        return str(IPv6Address(data))
    if kind == wire.MX:
        return f"{int.from_bytes(data[:2], 'big')} {wire.text_of(data[2:])}"
    if kind in (wire.NS, wire.CNAME, wire.PTR):
        return wire.text_of(data)
    if kind == wire.SRV:
        priority, weight, port = struct.unpack_from("!HHH", data)
        return f"{priority} {weight} {port} {wire.text_of(data[6:])}"
    if kind == wire.TXT:
        return " ".join(f'"{string.decode("ascii", "backslashreplace")}"' for string in _strings(data))
    if kind == wire.SOA:
        server, at = wire.decode_name(data, 0)
        mailbox, at = wire.decode_name(data, at)
        times = map(str, struct.unpack_from("!IIIII", data, at))
        return " ".join([wire.text_of(server), wire.text_of(mailbox), *times])
    return f"\\# {len(data)} {data.hex()}".rstrip()  # RFC 3597
