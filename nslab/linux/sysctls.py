"""The sysctls below /proc/sys/net that nslab sets and reads back, per network namespace.

Opening one takes 0.1 ms, the first time in a netns: too long for each of a thousand Pods. So files are read only
where packets are forwarded, and what a link has of its own comes with the dump of the links.
"""

from __future__ import annotations

import os
from struct import unpack_from

ROOT = "/proc/sys/net"

FORWARDING = "ipv4/ip_forward"
"""On in nodes, the VPC and the internet. Read from the loopback, which follows it."""

ROUTERS = {
    "bridge/bridge-nf-call-iptables": "an answer from a Pod to a Pod beside it passes the node's NAT, not only cbr0",
    "ipv4/conf/all/rp_filter": "the strictest of this and the link's own holds: 0 leaves it to the link",
    "ipv4/conf/default/rp_filter": "inherited by links that are created later",
    "ipv4/conf/all/send_redirects": "a packet may leave by the link it came by, and that is no bad route",
    "ipv4/conf/default/send_redirects": "inherited by links that are created later",
    "ipv4/conf/all/route_localnet": "NodePorts on 127.0.0.1, as kube-proxy's iptables mode allows",
    "ipv4/icmp_ratelimit": "0 sends every ICMP error; by default one a second to each destination",
    "ipv4/fib_multipath_hash_policy": "1 spreads flows by addresses and ports, as a cloud's load balancer does",
    "netfilter/nf_conntrack_tcp_be_liberal": "a connection survives packets that came by another way",
}
"""Read from files, where `ipv4/ip_forward` is on; elsewhere none of them is ever set. Why each is there."""

LINKS = {"forwarding": 1, "proxy_arp": 3, "send_redirects": 6, "rp_filter": 8, "arp_ignore": 19}
"""Those of a link, ipv4/conf/LINK/NAME: their numbers are IPV4_DEVCONF_* of linux/ip.h."""


def known(name: str) -> bool:
    """Whether an observed state has the sysctl."""
    return name == FORWARDING or name in ROUTERS or bool(link_of(name))


def link_of(name: str) -> str:
    """The link that a sysctl of LINKS belongs to; empty for any other sysctl."""
    parts = name.split("/")
    if len(parts) == 4 and parts[:2] == ["ipv4", "conf"] and parts[2] not in ("all", "default") and parts[3] in LINKS:
        return parts[2]
    return ""


def of_link(link: str, configuration: bytes) -> dict[str, str]:
    """A link's own sysctls, from the IPv4 configuration of its dump (IFLA_INET_CONF)."""
    return {f"ipv4/conf/{link}/{name}": str(_value(configuration, number)) for name, number in LINKS.items()}


def forwarding(configuration: bytes) -> str:
    """`ipv4/ip_forward`, from the loopback's configuration."""
    return str(_value(configuration, LINKS["forwarding"]))


def read_router() -> dict[str, str]:
    """The values of ROUTERS in the calling thread's netns, without what this kernel lacks."""
    values = {}
    for name in ROUTERS:
        try:
            with open(f"{ROOT}/{name}", "rb", buffering=0) as file:
                values[name] = " ".join(file.read().decode().split())
        except FileNotFoundError:
            continue
    return values


def present(name: str) -> bool:
    """Whether this kernel has the sysctl."""
    return os.path.exists(f"{ROOT}/{name}")


def write(name: str, value: str) -> None:
    """Set a sysctl of the calling thread's netns. Raises OSError."""
    with open(f"{ROOT}/{name}", "wb", buffering=0) as file:
        file.write(f"{value}\n".encode())


def _value(configuration: bytes, number: int) -> int:
    offset = 4 * (number - 1)
    value: int = unpack_from("=i", configuration, offset)[0] if offset + 4 <= len(configuration) else 0
    return value
