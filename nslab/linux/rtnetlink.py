"""rtnetlink's requests for links, addresses and routes as bytes, and its dumps as the nouns of `netstate.model`.

Numbers are those of linux/if_link.h, if_addr.h, rtnetlink.h, if_bridge.h and veth.h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_aton, inet_ntoa
from struct import Struct
from zlib import crc32

from nslab.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    attribute,
    attribute_string,
    attribute_u32,
    attributes,
    message,
    text,
)
from nslab.netstate.model import Address, Link, Route

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWNEIGH = 28
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_QDISC, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 5, 6, 10, 18
IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_EXT_MASK = 20, 26, 27, 28, 29
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER = 1
IFLA_BR_STP_STATE, IFLA_BR_MCAST_SNOOPING = 5, 23
IFLA_BRPORT_MODE = 4
IFLA_INET_CONF = 1
IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE = 8, 1
RTEXT_FILTER_SKIP_STATS = 8
IFF_UP = 1

IFA_ADDRESS, IFA_LOCAL, IFA_LABEL = 1, 2, 3
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_MULTIPATH, RTA_TABLE = 1, 4, 5, 7, 9, 15
RT_TABLE_MAIN, RTPROT_STATIC = 254, 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
RTN_UNICAST, RTN_BLACKHOLE = 1, 6
RTNH_F_ONLINK = 4

NDA_DST, NDA_LLADDR, NUD_PERMANENT = 1, 2, 0x80

_LINK = Struct("=BxHiII")
_ADDRESS = Struct("=BBBBi")
_NEIGHBOUR = Struct("=BxxxiHBB")
_ROUTE = Struct("=BBBBBBBBI")
_NEXTHOP = Struct("=HBBi")
_INT = Struct("=i")
_UINT = Struct("=I")

IPV6_MINIMUM_MTU = 1280
"""Below it a link has no IPv6 at all (RFC 8200, section 5)."""

# One transmit and one receive queue: by default the kernel makes one of each per possible CPU and end, which takes
# longer than all the rest of a pair's creation.
_ONE_QUEUE = attribute_u32(IFLA_NUM_TX_QUEUES, 1) + attribute_u32(IFLA_NUM_RX_QUEUES, 1)

# No link-local address: a lab is IPv4, and each link that comes up would send neighbour and router solicitations.
_NO_IPV6_ADDRESS = attribute(
    IFLA_AF_SPEC, attribute(AF_INET6, attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE])))
)

_BRIDGE_INFO = attribute(
    IFLA_LINKINFO,
    attribute_string(IFLA_INFO_KIND, "bridge")
    # Spanning tree off: ports forward at once. No multicast snooping: without a querier it only costs.
    + attribute(IFLA_INFO_DATA, attribute_u32(IFLA_BR_STP_STATE, 0) + attribute(IFLA_BR_MCAST_SNOOPING, b"\0")),
)


def _port_info(hairpin: bool) -> bytes:
    return attribute(
        IFLA_LINKINFO,
        attribute_string(IFLA_INFO_SLAVE_KIND, "bridge")
        + attribute(IFLA_INFO_SLAVE_DATA, attribute(IFLA_BRPORT_MODE, bytes([hairpin]))),
    )


_PORT_INFO = {hairpin: _port_info(hairpin) for hairpin in (False, True)}


def pair_number(netns: str, name: str) -> int:
    """The link group that both ends of a veth pair get, from its creating end.

    The group is set in the very message that creates the pair, which the alias cannot be: it marks the pair as ours
    from its first instant, and tells which two ends belong together (interface indexes repeat in every netns).
    """
    return (crc32(f"{netns}/{name}".encode()) & 0x7FFFFFFF) or 1


def _named(link: Link) -> bytes:
    body = attribute_string(IFLA_IFNAME, link.name) + _ONE_QUEUE
    if link.mac:
        body += attribute(IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", "")))
    return body


def _end(link: Link, group: int) -> bytes:
    """One end of a veth pair."""
    return _named(link) + attribute_u32(IFLA_MTU, link.mtu) + attribute_u32(IFLA_GROUP, group)


_NO_LINK = _LINK.pack(0, 0, 0, 0, 0)


def create_veth(link: Link, peer: Link, peer_netns_fd: int, group: int, master: int) -> bytes:
    """Create a pair, both ends down, the peer already in its netns. `master` is an ifindex, 0 for none.

    Never create the peer up: its veth_open fails, and each failure waits 18 ms for RCU.
    """
    other = _NO_LINK + _end(peer, group) + attribute_u32(IFLA_NET_NS_FD, peer_netns_fd)
    body = _NO_LINK + _end(link, group)
    if master:
        body += attribute_u32(IFLA_MASTER, master)
    body += attribute(
        IFLA_LINKINFO,
        attribute_string(IFLA_INFO_KIND, "veth") + attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, other)),
    )
    return message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def create_bridge(link: Link) -> bytes:
    """Create a bridge with the kernel's own mtu: that `finish_link` changes it makes it the administrator's."""
    return message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, _NO_LINK + _named(link) + _BRIDGE_INFO)


def finish_link(link: Link, ipv6: bool) -> list[bytes]:
    """Stamp a link just created, and bring it up if it is to be. `ipv6` says whether this kernel knows IPv6."""
    body = _header(link) + attribute_string(IFLA_IFNAME, link.name) + attribute_string(IFLA_IFALIAS, link.alias)
    if link.kind == "bridge":
        # Said of an existing bridge, the mtu is the administrator's and no longer follows its ports'.
        body += attribute_u32(IFLA_MTU, link.mtu)
    if link.hairpin:
        body += _PORT_INFO[True]
    return [*_silence(link, ipv6), message(RTM_NEWLINK, 0, body)]


def _silence(link: Link, ipv6: bool) -> list[bytes]:
    """Keep a link from getting an IPv6 address when it comes up. In a request of its own: within one, the kernel
    brings the link up, and gives it an address, before it looks at how the address is to be made."""
    if not ipv6 or link.mtu < IPV6_MINIMUM_MTU:
        return []
    return [message(RTM_NEWLINK, 0, _NO_LINK + attribute_string(IFLA_IFNAME, link.name) + _NO_IPV6_ADDRESS)]


def _header(link: Link) -> bytes:
    """What makes the link go up or down."""
    return _LINK.pack(0, 0, 0, IFF_UP if link.up else 0, IFF_UP)


def set_link(link: Link, master: int, ipv6: bool) -> list[bytes]:
    """Give an existing link the wanted alias, mtu, master (an ifindex, 0 for none), hairpin and mac, up or down. It
    may never have been finished: whoever created it was killed then. `ipv6` as in `finish_link`."""
    body = _header(link) + attribute_string(IFLA_IFNAME, link.name)
    body += attribute_string(IFLA_IFALIAS, link.alias) + attribute_u32(IFLA_MTU, link.mtu)
    body += attribute_u32(IFLA_MASTER, master)
    if link.mac:
        body += attribute(IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", "")))
    return [*_silence(link, ipv6), message(RTM_NEWLINK, 0, body)]


def set_port(link: Link) -> bytes:
    """Give a bridge's port the wanted hairpin mode; apart from `set_link`, since the kernel reads the port's
    attributes before it sets the master."""
    return message(RTM_NEWLINK, 0, _NO_LINK + attribute_string(IFLA_IFNAME, link.name) + _PORT_INFO[link.hairpin])


def stamp_loopback(alias: str) -> bytes:
    """Bring the loopback of a new netns up, and write the netns' stamp on it."""
    body = _LINK.pack(0, 0, 1, IFF_UP, IFF_UP) + attribute_string(IFLA_IFALIAS, alias)
    return message(RTM_SETLINK, 0, body)


def delete_link(name: str) -> bytes:
    return message(RTM_DELLINK, 0, _NO_LINK + attribute_string(IFLA_IFNAME, name))


def address(address: Address, ifindex: int, *, add: bool) -> bytes:
    """Add or delete an address. An address that is there already counts as added."""
    ip, _, length = address.address.partition("/")
    packed = inet_aton(ip)
    body = _ADDRESS.pack(AF_INET, int(length), 0, 0, ifindex)
    body += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    return message(RTM_NEWADDR if add else RTM_DELADDR, NLM_F_CREATE | NLM_F_REPLACE if add else 0, body)


@lru_cache(maxsize=1 << 16)
def add_neighbour(ip: str, mac: str, ifindex: int) -> bytes:
    """Add or replace a permanent neighbour. Remembered: all Pods of a node have the same ones."""
    body = _NEIGHBOUR.pack(AF_INET, ifindex, NUD_PERMANENT, 0, 0) + attribute(NDA_DST, inet_aton(ip))
    body += attribute(NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
    return message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)


def replace_route(route: Route, ifindex: Callable[[str], int]) -> bytes:
    """Add a route, or replace the one to the same destination. `ifindex` finds a link's index by its name."""
    body = b""
    if route.link:
        body += attribute_u32(RTA_OIF, ifindex(route.link))
    if route.via:
        body += attribute(RTA_GATEWAY, inet_aton(route.via))
    if route.source:
        body += attribute(RTA_PREFSRC, inet_aton(route.source))
    onlink = RTNH_F_ONLINK if route.onlink else 0
    if route.nexthops:
        body += attribute(RTA_MULTIPATH, b"".join(
            _NEXTHOP.pack(16, onlink, weight - 1, ifindex(link)) + attribute(RTA_GATEWAY, inet_aton(via))
            for via, link, weight in route.nexthops
        ))
    kind = RTN_BLACKHOLE if route.kind == "blackhole" else RTN_UNICAST
    direct = kind == RTN_UNICAST and not route.via and not route.nexthops
    return message(
        RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE,
        _route(
            route.destination, RT_SCOPE_LINK if direct else RT_SCOPE_UNIVERSE, kind,
            0 if route.nexthops else onlink, body,
        ),
    )


def delete_route(route: Route) -> bytes:
    # Scope 255 (nowhere) and type 0 match any route to the destination that is static.
    return message(RTM_DELROUTE, 0, _route(route.destination, 255, 0, 0, b""))


def _route(destination: str, scope: int, kind: int, flags: int, more: bytes) -> bytes:
    ip, _, length = destination.partition("/")
    header = _ROUTE.pack(AF_INET, int(length), 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, kind, flags)
    return header + (attribute(RTA_DST, inet_aton(ip)) if length != "0" else b"") + more


DUMP_LINKS = message(
    RTM_GETLINK, NLM_F_DUMP, _NO_LINK + attribute_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
)
DUMP_ADDRESSES = message(RTM_GETADDR, NLM_F_DUMP, _ADDRESS.pack(AF_INET, 0, 0, 0, 0))
DUMP_STATIC_ROUTES = message(
    RTM_GETROUTE, NLM_F_DUMP, _ROUTE.pack(AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, 0, 0)
)


def get_link(name: str) -> bytes:
    return message(
        RTM_GETLINK, 0,
        _NO_LINK + attribute_string(IFLA_IFNAME, name) + attribute_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS),
    )


@dataclass(frozen=True, slots=True)
class ObservedLink:
    """A link as the kernel shows it. `master` and `other` (a veth's other end) are ifindexes, 0 for none; `other`
    counts in the other end's netns. `inet` is its IPv4 configuration (see `sysctls`), `qdisc` the kind of its root
    queueing discipline."""

    index: int
    name: str
    kind: str
    alias: str
    mtu: int
    up: bool
    mac: str
    master: int
    hairpin: bool
    group: int
    other: int
    inet: bytes
    qdisc: str


def parse_link(body: bytes) -> ObservedLink:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = attributes(body, 16, len(body))
    info = attributes(found.get(IFLA_LINKINFO, b""), 0, len(found.get(IFLA_LINKINFO, b"")))
    families = found.get(IFLA_AF_SPEC, b"")
    inet = attributes(families, 0, len(families)).get(AF_INET, b"")
    port = info.get(IFLA_INFO_SLAVE_DATA, b"")
    hairpin = bool(port) and attributes(port, 0, len(port)).get(IFLA_BRPORT_MODE) == b"\1"
    return ObservedLink(
        index=index,
        name=text(found[IFLA_IFNAME]),
        kind=text(info.get(IFLA_INFO_KIND, b"")),
        alias=text(found.get(IFLA_IFALIAS, b"")),
        mtu=_uint(found, IFLA_MTU),
        up=bool(flags & IFF_UP),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        master=_uint(found, IFLA_MASTER),
        hairpin=hairpin,
        group=_uint(found, IFLA_GROUP),
        other=_uint(found, IFLA_LINK),
        inet=attributes(inet, 0, len(inet)).get(IFLA_INET_CONF, b""),
        qdisc=text(found.get(IFLA_QDISC, b"")),
    )


def parse_address(body: bytes) -> tuple[int, str]:
    """The ifindex and the address with its prefix length."""
    _, length, _, _, index = _ADDRESS.unpack_from(body)
    found = attributes(body, 8, len(body))
    return index, f"{inet_ntoa(found.get(IFA_LOCAL) or found[IFA_ADDRESS])}/{length}"


def parse_route(body: bytes, names: dict[int, str]) -> Route:
    """A route, its links named by `names` (ifindex to name)."""
    _, length, _, _, _, _, _, kind, flags = _ROUTE.unpack_from(body)
    found = attributes(body, 12, len(body))
    nexthops = tuple(_parse_nexthops(found.get(RTA_MULTIPATH, b""), names))
    return Route(
        destination=f"{_ip(found, RTA_DST) or '0.0.0.0'}/{length}",
        link=names.get(_uint(found, RTA_OIF), ""),
        via=_ip(found, RTA_GATEWAY),
        onlink=bool((flags | _nexthop_flags(found.get(RTA_MULTIPATH, b""))) & RTNH_F_ONLINK),
        source=_ip(found, RTA_PREFSRC),
        nexthops=nexthops,
        kind={RTN_UNICAST: "unicast", RTN_BLACKHOLE: "blackhole"}.get(kind, str(kind)),
    )


def _parse_nexthops(payload: bytes, names: dict[int, str]) -> list[tuple[str, str, int]]:
    nexthops = []
    offset = 0
    while offset + 8 <= len(payload):
        length, _, weight, index = _NEXTHOP.unpack_from(payload, offset)
        found = attributes(payload, offset + 8, offset + length)
        nexthops.append((_ip(found, RTA_GATEWAY), names.get(index, ""), weight + 1))
        offset += (length + 3) & ~3
    return nexthops


def _nexthop_flags(payload: bytes) -> int:
    return _NEXTHOP.unpack_from(payload)[1] if payload else 0


def _ip(found: dict[int, bytes], kind: int) -> str:
    return inet_ntoa(found[kind]) if kind in found else ""


def _uint(found: dict[int, bytes], kind: int) -> int:
    value: int = _UINT.unpack_from(found[kind])[0] if kind in found else 0
    return value
