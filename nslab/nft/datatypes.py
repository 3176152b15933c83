"""The nftables datatypes used as set keys and map values.

A value is written the way a person writes it: "10.8.0.4" (ipv4_addr), "10.8.0.0/24" (ipv4_addr in an interval
set), 80 or (30000, 32767) (inet_service, the tuple being an inclusive range), "tcp" (inet_proto), 7 (mark),
"eth0" (ifname).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Datatype:
    """One nftables datatype: its nft(8) name, kernel type number (TYPE_* of nft's datatype.h) and size in octets."""

    name: str
    number: int
    size: int


IPV4_ADDR = Datatype("ipv4_addr", 7, 4)
ETHER_ADDR = Datatype("ether_addr", 9, 6)
INET_PROTO = Datatype("inet_proto", 12, 1)
INET_SERVICE = Datatype("inet_service", 13, 2)
MARK = Datatype("mark", 19, 4)
IFNAME = Datatype("ifname", 41, 16)
VERDICT = Datatype("verdict", 0xFFFFFF00, 16)

PROTOCOL_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOL_NUMBERS.items()}

Value = str | int | tuple[int, int] | tuple[str, str]
"""One component of a key or of a map's value."""
