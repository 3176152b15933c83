"""How a component states its part of a netns that others contribute to as well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nslab.cluster import naming
from nslab.cluster.ipv4 import parse_range, to_text
from nslab.cluster.model import Client, Cluster, Node
from nslab.netstate.model import Address, Link, Neighbour, Netns, Route
from nslab.nft.objects import Table


def owner(lab: str) -> str:
    """The comment of every nft table of the lab: it says whose the table is."""
    return f"nslab:{lab}"


def part(
    name: str,
    uid: str,
    *,
    links: Iterable[Link] = (),
    addresses: Iterable[Address] = (),
    routes: Iterable[Route] = (),
    sysctls: Mapping[str, str] | None = None,
    tables: Iterable[Table] = (),
    neighbours: frozenset[Neighbour] = frozenset(),
) -> Netns:
    """A Netns with just these members, each under the key that NetState wants."""
    return Netns(
        name,
        uid,
        {link.name: link for link in links},
        frozenset(addresses),
        {route.destination: route for route in routes},
        dict(sysctls or {}),
        {(table.family, table.name): table for table in tables},
        neighbours,
    )


def node_identity(cluster: Cluster, node: Node) -> tuple[str, str]:
    """Name and uid of a node's netns; the uid is its name's, so that a node stays itself whatever it is given."""
    return naming.node_netns(cluster.lab.name, node.name), f"node/{node.name}"


def client_identity(cluster: Cluster, client: Client) -> tuple[str, str]:
    """Name and uid of a client's netns. A client that moves to the other network is another machine."""
    return naming.client_netns(cluster.lab.name, client.name), f"client/{client.network}/{client.name}"


def pod_mac(ip: str) -> str:
    """The hardware address of a Pod's link, or of its gateway's: 0a:58 and the IPv4 address, as CNI's bridge and
    kubenet give it (containernetworking/plugins, pkg/utils/hwaddr)."""
    return _mac("0a:58", ip)


def machine_mac(ip: str) -> str:
    """The hardware address of a machine's link in the cloud: 42:01 and the IPv4 address, as Compute Engine has it."""
    return _mac("42:01", ip)


def _mac(prefix: str, ip: str) -> str:
    return ":".join([prefix, *(f"{int(octet):02x}" for octet in ip.split("."))])


def first_host(prefix: str) -> str:
    """The first usable address of a range, by the cloud's convention its gateway: "10.8.0.1" of "10.8.0.0/24"."""
    return to_text(parse_range(prefix).first + 1)
