"""Connection tracking: forgetting UDP flows whose endpoint is gone.

A flow's first packet passes the NAT rules, and conntrack repeats its translation for every other. A TCP connection to
an endpoint that is gone ends by itself; a UDP sender that goes on sending keeps the entry alive, and its datagrams go
on to nowhere. kube-proxy deletes such entries after it has changed rules (kubernetes/pkg/proxy/conntrack/cleanup.go),
so that the next datagram meets the new ones.

The messages are those of linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from errno import ENOENT
from struct import Struct

from nslab.linux.netlink import NLM_F_DUMP, NetlinkSocket, attribute, attribute_u32, attributes, message
from nslab.linux.netns import entered

Address = tuple[str, int]
"""An IPv4 address and a port; the address of a node port is empty, for any."""

Backends = Mapping[Address, frozenset[Address]]
"""Where a Service's UDP datagrams may go, by the address and port to which they are sent."""

_NETLINK_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_TUPLE_ORIG, _TUPLE_REPLY, _FILTER = 1, 2, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SRC, _IP_DST = 1, 2
_PROTO_NUM, _PORT_SRC, _PORT_DST = 1, 2, 3
_FILTER_ORIG_FLAGS, _BY_PROTO_NUM = 1, 1 << 3
_NESTED = 0x8000

_FAMILY = bytes([socket.AF_INET, 0, 0, 0])
_PORT = Struct("!H")


def flush_stale_udp(netns: Iterable[str], former: Backends, now: Backends) -> int:
    """Delete, in these namespaces, the UDP entries of flows to an address of `former` or `now` that were translated
    to anything that is no endpoint of it by `now`. Returns how many. Raises OSError as the kernel does."""
    if former == now:
        return 0
    frontends = {**dict.fromkeys(former, frozenset[Address]()), **now}
    return sum(_flush(name, frontends) for name in netns) if frontends else 0


def _flush(netns: str, frontends: Backends) -> int:
    with entered(netns):
        connection = NetlinkSocket(_NETLINK_NETFILTER)
    try:
        entries = (attributes(body, 4, len(body)) for _, body in connection.dump(_ALL_UDP))
        tuples = [(entry[_TUPLE_ORIG], entry[_TUPLE_REPLY]) for entry in entries]
        stale = [
            message(_DELETE, 0, _FAMILY + attribute(_TUPLE_ORIG | _NESTED, original))
            for original, reply in tuples
            if is_stale(_end(original, _IP_DST, _PORT_DST), _end(reply, _IP_SRC, _PORT_SRC), frontends)
        ]
        refused = connection.request(stale)
    finally:
        connection.close()
    for refusal in refused:
        if refusal.errno != ENOENT:  # it has timed out meanwhile
            raise OSError(refusal.errno, refusal.detail or "deleting a conntrack entry")
    return len(stale)


def is_stale(destination: Address, answering: Address, frontends: Backends) -> bool:
    """Whether a flow that was sent to `destination`, and whose answers come from `answering`, leads to an endpoint
    that its Service does not have. Traffic policies are not looked at: who has been let in stays."""
    endpoints = frontends.get(destination)
    if endpoints is None:
        endpoints = frontends.get(("", destination[1]))
    return endpoints is not None and answering not in endpoints


def _end(octets: bytes, ip: int, port: int) -> Address:
    """The source or the destination of a tuple."""
    parts = attributes(octets, 0, len(octets))
    addresses, ports = (attributes(parts[kind], 0, len(parts[kind])) for kind in (_TUPLE_IP, _TUPLE_PROTO))
    return socket.inet_ntoa(addresses[ip]), _PORT.unpack(ports[port])[0]


_ALL_UDP = message(
    _GET, NLM_F_DUMP,
    _FAMILY
    # The kernel picks, so that thousands of TCP entries are not read here.
    + attribute(_TUPLE_ORIG | _NESTED, attribute(
        _TUPLE_PROTO | _NESTED, attribute(_PROTO_NUM, bytes([socket.IPPROTO_UDP]))
    ))
    + attribute(_FILTER | _NESTED, attribute_u32(_FILTER_ORIG_FLAGS, _BY_PROTO_NUM)),
)
