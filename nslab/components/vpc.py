"""The cloud's network: a VPC that routes, the internet beyond it, and the hosts that hang on both.

    client/laptop          client/vm          node-1                node-2
    198.51.100.2/32        10.128.0.9/32      10.128.0.2/32         10.128.0.3/32
       |eth0                  |eth0              |eth0                 |eth0
       |                      |                  |  Pods 10.8.0.0/24   |  Pods 10.8.1.0/24
    LAB.internet ---edge--- LAB.vpc -------------+---------------------+
    198.51.100.1 (lo)       10.128.0.1 (lo): the subnet's gateway

As in the cloud there is no shared segment: every host has a /32 and reaches everything, even its neighbour in the
subnet, through the gateway. The VPC has a route to each host, to each node's Pod range (an alias range in VPC-native
clusters, a custom static route in routes-based ones), and to each load balancer address one route over all nodes.

A passthrough load balancer is that route: packets keep both addresses, the node answers the client itself (direct
server return), and the kernel spreads connections by the hash of their five-tuple. Client affinity in the balancer
itself cannot be had so: the hash policy is the namespace's, not the route's. External addresses named by a Service's
`externalIPs` are routed the same way, when they are of externalRange.

What the internet may do: reach load balancer addresses of externalRange and answer the nodes. Nodes have no external
address yet, so the internet routes nodeRange back to the VPC, and masqueraded traffic shows its node's address. New
connections from the internet to any other address are dropped at the edge; towards Pods and Services the internet
has no route at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nslab.api.objects import COREDNS
from nslab.cluster import naming
from nslab.cluster.ipv4 import parse_range, to_int
from nslab.cluster.memo import Memo
from nslab.cluster.model import Client, Cluster, Node
from nslab.components.part import client_identity, first_host, machine_mac, node_identity, owner, part
from nslab.netstate.model import Address, Link, Neighbour, Netns, NetState, Route, stamp
from nslab.nft.datatypes import IFNAME, IPV4_ADDR
from nslab.nft.objects import Chain, Hook, Key, Rule, Set, Table
from nslab.nft.statements import (
    DROP,
    IP_DADDR,
    IP_SADDR,
    META_IIFNAME,
    Compare,
    Counter,
    CtState,
    InPrefix,
    InSet,
)

EDGE_LINK = "edge"
INTERNET_LINK = "vpc"
UPLINK = "eth0"
DEFAULT = "0.0.0.0/0"

ROUTER_SYSCTLS = {
    # It forwards other hosts' packets.
    "ipv4/ip_forward": "1",
    # A namespace inherits the host's setting. A check of the source against the route back would drop what a
    # routes-based VPC lets pass, and the anti-spoofing of a VPC-native one must be seen in its own counter.
    "ipv4/conf/all/rp_filter": "0",
    # A node that sends to a load balancer address may get its packet back by the same link. That is no bad route.
    "ipv4/conf/all/send_redirects": "0",
}
VPC_SYSCTLS = ROUTER_SYSCTLS | {
    # Balance by five-tuple, as the cloud's passthrough load balancer does without affinity; the kernel's default
    # would pin a client address to one node.
    "ipv4/fib_multipath_hash_policy": "1",
}
NODE_SYSCTLS = ROUTER_SYSCTLS | {
    # A node refuses what a Service without endpoints is asked. Ten in a row must all hear it; the kernel's default is
    # one ICMP error a second to each asker.
    "ipv4/icmp_ratelimit": "0",
}
LINK_SYSCTLS = {
    # The kernel takes the larger of "all" and the link's own for the first, and either of them for the second.
    "rp_filter": "0",
    "send_redirects": "0",
}


def desired(cluster: Cluster, memo: Memo | None = None) -> NetState:
    """VPC, internet, and the uplink of every node and client."""
    hosts = (
        tuple((node.name, node.ip, node.pod_range) for node in cluster.nodes.values()),
        tuple(cluster.clients.values()),
    )
    causes = (cluster.lab.name, cluster.lab.vpc, cluster.lab.cluster, *hosts, external_addresses(cluster))
    return (memo or Memo()).one("vpc", causes, lambda: _desired(cluster))


def _desired(cluster: Cluster) -> NetState:
    netns = [_vpc(cluster), _internet(cluster)]
    netns += [_node(cluster, node) for node in cluster.nodes.values()]
    netns += [_client(cluster, client) for client in cluster.clients.values()]
    return NetState(cluster.lab.name, {each.name: each for each in netns})


def node_link(node: Node) -> str:
    """The name, in the VPC's netns, of the link to a node."""
    return naming.link_name("node", node.name)


def client_link(client: Client) -> str:
    """The name, in the VPC's or the internet's netns, of the link to a client."""
    return naming.link_name("host", client.name)


def external_addresses(cluster: Cluster) -> tuple[str, ...]:
    """Every address that the VPC sends to all nodes: those of load balancers, and `externalIPs` of externalRange."""
    external = parse_range(cluster.lab.vpc.external_range)
    addresses: dict[str, None] = {}
    for service in cluster.services.values():
        addresses.update(dict.fromkeys(service.load_balancer_ips))
        addresses.update(dict.fromkeys(ip for ip in service.external_ips if to_int(ip) in external))
    return tuple(addresses)


def _vpc(cluster: Cluster) -> Netns:
    lab, spec = cluster.lab.name, cluster.lab.vpc
    gateway, beyond = first_host(spec.node_range), first_host(spec.internet_range)
    hosts = _Hosts(cluster, gateway)
    for node in cluster.nodes.values():
        hosts.add(node_link(node), node.ip, f"node {node.name}", node_identity(cluster, node)[0])
    for client in _clients(cluster, "vpc"):
        hosts.add(client_link(client), client.ip, f"client {client.name}", client_identity(cluster, client)[0])
    edge = Link(
        EDGE_LINK, "veth", stamp(lab, "edge to the internet"), spec.mtu,
        peer=(naming.internet_netns(lab), INTERNET_LINK), creates_peer=True, mac=machine_mac(gateway),
    )
    links = [*hosts.links, edge]
    return part(
        naming.vpc_netns(lab), "vpc", links=links, addresses=[Address("lo", f"{gateway}/32")],
        routes=[*_vpc_routes(cluster), *hosts.routes], sysctls=VPC_SYSCTLS | _of_links(links),
        tables=[_firewall(cluster)],
        neighbours=frozenset([*hosts.neighbours, Neighbour(EDGE_LINK, beyond, machine_mac(beyond))]),
    )


def _vpc_routes(cluster: Cluster) -> Iterator[Route]:
    """Everything but the hosts' own routes. What the ranges hold and no host has is lost in the VPC: it must not
    take the default route and come back."""
    spec = cluster.lab.vpc
    for prefix in (spec.node_range, spec.pod_range, spec.service_range, spec.proxy_only_range, spec.external_range):
        yield Route(prefix, kind="blackhole")
    yield Route(DEFAULT, link=EDGE_LINK, via=first_host(spec.internet_range), onlink=True)
    for node in cluster.nodes.values():
        yield Route(node.pod_range, link=node_link(node), via=node.ip, onlink=True)
    nexthops = tuple((node.ip, node_link(node), 1) for node in cluster.nodes.values())
    for address in external_addresses(cluster):
        if len(nexthops) == 1:
            yield Route(f"{address}/32", link=nexthops[0][1], via=nexthops[0][0], onlink=True)
        elif nexthops:
            yield Route(f"{address}/32", nexthops=nexthops, onlink=True)


def _firewall(cluster: Cluster) -> Table:
    """Who may send what into the VPC."""
    at_the_edge = Chain("forward", hook=Hook("filter", "forward", 0), rules=(
        Rule(
            (
                Compare(META_IIFNAME, EDGE_LINK), CtState(("new",)),
                InPrefix(IP_DADDR, cluster.lab.vpc.external_range, negate=True), Counter(), DROP,
            ),
            "from the internet, only external addresses can be connected to",
        ),
    ))
    at_the_gateway = Chain("input", hook=Hook("filter", "input", 0), rules=(
        Rule(
            (Compare(META_IIFNAME, EDGE_LINK), CtState(("new",)), Counter(), DROP),
            "the Kubernetes API listens here, and not for the internet",
        ),
    ))
    edge = (at_the_edge, at_the_gateway) if cluster.lab.dns.engine == COREDNS else (at_the_edge,)
    if cluster.lab.cluster.mode != "VPCNative":
        return Table("ip", "vpc", chains=edge, comment=owner(cluster.lab.name))
    spoofing = Chain("anti-spoofing", hook=Hook("filter", "prerouting", -300), rules=(
        Rule(
            (
                InSet((META_IIFNAME,), "host-links"),
                InSet((META_IIFNAME, IP_SADDR), "own-sources", negate=True),
                InSet((IP_SADDR,), "load-balancer-ips", negate=True),
                Counter(), DROP,
            ),
            "a host sends from its own address, its alias range, or a load balancer's (direct server return)",
        ),
    ))
    return Table("ip", "vpc", (spoofing, *edge), _source_sets(cluster), owner(cluster.lab.name))


def _source_sets(cluster: Cluster) -> tuple[Set, ...]:
    sources: dict[Key, None] = {}
    for node in cluster.nodes.values():
        sources[node_link(node), f"{node.ip}/32"] = None
        sources[node_link(node), node.pod_range] = None
    for client in _clients(cluster, "vpc"):
        sources[client_link(client), f"{client.ip}/32"] = None
    return (
        Set("host-links", (IFNAME,), {(link,): None for link, _ in sources}),
        Set("own-sources", (IFNAME, IPV4_ADDR), sources, interval=True),
        Set("load-balancer-ips", (IPV4_ADDR,), {(address,): None for address in external_addresses(cluster)}),
    )


def _internet(cluster: Cluster) -> Netns:
    lab, spec = cluster.lab.name, cluster.lab.vpc
    gateway, own = first_host(spec.node_range), first_host(spec.internet_range)
    hosts = _Hosts(cluster, own)
    for client in _clients(cluster, "internet"):
        hosts.add(client_link(client), client.ip, f"client {client.name}", client_identity(cluster, client)[0])
    links = [*hosts.links, Link(
        INTERNET_LINK, "veth", stamp(lab, "internet to the VPC"), spec.mtu,
        peer=(naming.vpc_netns(lab), EDGE_LINK), mac=machine_mac(own),
    )]
    reachable = (spec.external_range, spec.node_range)
    routes = [Route(prefix, link=INTERNET_LINK, via=gateway, onlink=True) for prefix in reachable]
    # Silence, not an ICMP error: a packet from the internet to a private address is lost.
    routes += [Route(prefix, kind="blackhole") for prefix in (spec.pod_range, spec.service_range)]
    return part(
        naming.internet_netns(lab), "internet", links=links, addresses=[Address("lo", f"{own}/32")],
        routes=[*routes, *hosts.routes], sysctls=ROUTER_SYSCTLS | _of_links(links),
        neighbours=frozenset([*hosts.neighbours, Neighbour(INTERNET_LINK, gateway, machine_mac(gateway))]),
    )


def _node(cluster: Cluster, node: Node) -> Netns:
    name, uid = node_identity(cluster, node)
    vpc, gateway = naming.vpc_netns(cluster.lab.name), first_host(cluster.lab.vpc.node_range)
    uplink = _uplink(cluster, vpc, node_link(node), f"node {node.name}", node.ip)
    return part(
        name, uid, links=[uplink], addresses=[Address(UPLINK, f"{node.ip}/32")], routes=[_default(gateway)],
        sysctls=NODE_SYSCTLS | _of_links([uplink]), neighbours=_gateway(gateway),
    )


def _client(cluster: Cluster, client: Client) -> Netns:
    name, uid = client_identity(cluster, client)
    lab, spec = cluster.lab.name, cluster.lab.vpc
    in_vpc = client.network == "vpc"
    router = naming.vpc_netns(lab) if in_vpc else naming.internet_netns(lab)
    gateway = first_host(spec.node_range if in_vpc else spec.internet_range)
    return part(
        name, uid, links=[_uplink(cluster, router, client_link(client), f"client {client.name}", client.ip)],
        addresses=[Address(UPLINK, f"{client.ip}/32")], routes=[_default(gateway)], neighbours=_gateway(gateway),
    )


def _clients(cluster: Cluster, network: str) -> Iterator[Client]:
    return (client for client in cluster.clients.values() if client.network == network)


class _Hosts:
    """What a router has for each host that hangs on it: a link, a route and a neighbour."""

    def __init__(self, cluster: Cluster, gateway: str) -> None:
        """`gateway` is the router's own address, by which all its hosts know it."""
        self.lab, self.mtu, self.gateway = cluster.lab.name, cluster.lab.vpc.mtu, gateway
        self.links: list[Link] = []
        self.routes: list[Route] = []
        self.neighbours: list[Neighbour] = []

    def add(self, link: str, ip: str, long_name: str, netns: str) -> None:
        """Hang the host `ip` in `netns` on the link."""
        self.links.append(Link(
            link, "veth", stamp(self.lab, f"to {long_name}"), self.mtu, peer=(netns, UPLINK), creates_peer=True,
            mac=machine_mac(self.gateway),
        ))
        self.routes.append(Route(f"{ip}/32", link=link))
        self.neighbours.append(Neighbour(link, ip, machine_mac(ip)))


def _uplink(cluster: Cluster, router: str, peer: str, long_name: str, ip: str) -> Link:
    """A host's end of the pair to its router."""
    alias = stamp(cluster.lab.name, f"{long_name} {UPLINK}")
    return Link(UPLINK, "veth", alias, cluster.lab.vpc.mtu, peer=(router, peer), mac=machine_mac(ip))


def _gateway(gateway: str) -> frozenset[Neighbour]:
    return frozenset([Neighbour(UPLINK, gateway, machine_mac(gateway))])


def _default(gateway: str) -> Route:
    """The host's way out. Its address is a /32, so the gateway is on the link by decree, not by prefix."""
    return Route(DEFAULT, link=UPLINK, via=gateway, onlink=True)


def _of_links(links: Iterable[Link]) -> dict[str, str]:
    return {f"ipv4/conf/{link.name}/{key}": value for link in links for key, value in LINK_SYSCTLS.items()}
