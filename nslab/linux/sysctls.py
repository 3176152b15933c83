"""The sysctls below /proc/sys/net that nslab sets and reads back, per network namespace."""

from __future__ import annotations

from collections.abc import Iterable

ROOT = "/proc/sys/net"

FORWARDING = "ipv4/ip_forward"

EVERYWHERE = {
    FORWARDING: "nodes, the VPC and the internet route; a Pod does not",
    "ipv4/ip_unprivileged_port_start": "0 lets a container that is not root listen on port 80, as runtimes do",
    "ipv4/ping_group_range": "lets any user of a Pod ping without a raw socket, as container runtimes do",
}
"""Read in every netns."""

ROUTERS = {
    "bridge/bridge-nf-call-iptables": "an answer from a Pod to a Pod beside it passes the node's NAT, not only cbr0",
    "ipv4/conf/all/rp_filter": "the strictest of this and the link's own holds: 0 leaves it to the link",
    "ipv4/conf/default/rp_filter": "inherited by links that are created later",
    "ipv4/conf/all/send_redirects": "a packet may leave by the link it came by, and that is no bad route",
    "ipv4/conf/default/send_redirects": "inherited by links that are created later",
    "ipv4/conf/all/accept_redirects": "routes are the lab's to set",
    "ipv4/conf/all/arp_ignore": "an address is answered for only on its own link",
    "ipv4/conf/all/proxy_arp": "a gateway that answers for the whole range",
    "ipv4/conf/all/route_localnet": "NodePorts on 127.0.0.1, as kube-proxy's iptables mode allows",
    "ipv4/fib_multipath_hash_policy": "1 spreads flows by addresses and ports, as a cloud's load balancer does",
    "ipv4/conf/all/src_valid_mark": "reverse path filtering minds marks",
    "ipv6/conf/all/disable_ipv6": "a lab is IPv4",
    "ipv6/conf/default/disable_ipv6": "inherited by links that are created later",
    "netfilter/nf_conntrack_tcp_be_liberal": "a connection survives packets that came by another way",
}
"""Read where `ipv4/ip_forward` is on: elsewhere none of them is ever set, and there are many Pods."""

ROUTER_LINKS = {
    "ipv4/conf/{link}/rp_filter": "the VPC drops a source address that is not the sender's",
    "ipv4/conf/{link}/proxy_arp": "a Pod's gateway need not exist as an address",
    "ipv4/conf/{link}/send_redirects": "as for all links",
}
"""Read for each of a router's links but for ports of bridges, which have no say in routing."""


def known(name: str) -> bool:
    """Whether `read` would report the sysctl."""
    return name in EVERYWHERE or name in ROUTERS or (name.startswith("ipv4/conf/") and any(
        name.endswith(pattern.rpartition("}")[2]) for pattern in ROUTER_LINKS
    ))


def read(links: Iterable[str]) -> dict[str, str]:
    """The values in the calling thread's netns, a router's `links` among them; without what this kernel lacks."""
    values = _read_all(EVERYWHERE)
    if values.get(FORWARDING) == "1":
        values |= _read_all(ROUTERS)
        for link in links:
            values |= _read_all(pattern.format(link=link) for pattern in ROUTER_LINKS)
    return values


def write(name: str, value: str) -> None:
    """Set a sysctl of the calling thread's netns. Raises OSError."""
    with open(f"{ROOT}/{name}", "wb", buffering=0) as file:
        file.write(f"{value}\n".encode())


def _read_all(names: Iterable[str]) -> dict[str, str]:
    values = {}
    for name in names:
        try:
            with open(f"{ROOT}/{name}", "rb", buffering=0) as file:
                values[name] = " ".join(file.read().decode().split())
        except FileNotFoundError:
            continue
    return values
