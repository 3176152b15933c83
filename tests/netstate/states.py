"""States of small labs, and a hypothesis strategy of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from nslab.netstate.model import Address, Link, Neighbour, Netns, NetState, Qdisc, Route, stamp
from nslab.nft.objects import Chain, Hook, Rule, Table
from nslab.nft.statements import ACCEPT, DROP, TH_DPORT, Compare

LAB = "t"
VPC = "t.vpc"
TBF = Qdisc("tbf", rate=10_000_000)


@dataclass(frozen=True)
class Wish:
    """What a state is made from. `pods` maps (node, pod) to the Pod's uid; `routed` gives them links without a
    bridge; `ports` are those that the nodes' tables drop; `known` says that the Pods of a node know each other. The
    Pods' links have the queueing discipline `qdisc`, and are down where `down` says so."""

    nodes: tuple[str, ...] = ("a",)
    pods: tuple[tuple[str, str, str], ...] = (("a", "p", "1"),)
    routed: bool = False
    hairpin: bool = True
    mtu: int = 1460
    mac: str = ""
    gateway: int = 1
    spread: bool = False
    ports: tuple[int, ...] = (80,)
    table: bool = True
    motd: str = "hello\n"
    known: bool = True
    qdisc: Qdisc | None = None
    down: bool = False


def node_name(node: str) -> str:
    return f"t.node.{node}"


def pod_name(pod: str) -> str:
    return f"t.pod.{pod}"


def state(wish: Wish) -> NetState:
    """The state of the lab LAB that `wish` asks for: a VPC, nodes linked to it, and their Pods."""
    numbers = {node: 1 + "abc".index(node) for node in wish.nodes}
    netns = [_vpc(wish, numbers)] if wish.nodes else []
    for node in wish.nodes:
        pods = [(pod, uid) for at, pod, uid in wish.pods if at == node]
        netns.append(_node(wish, node, numbers[node], [pod for pod, _ in pods]))
        known = frozenset(neighbour(numbers[node], pod) for pod, _ in pods if wish.known)
        netns += [_pod(wish, node, numbers[node], pod, uid, known) for pod, uid in pods]
    files = {"/etc/netns/t.vpc/motd": wish.motd} if wish.nodes and wish.motd else {}
    return NetState(LAB, {each.name: each for each in netns}, files)


def _vpc(wish: Wish, numbers: dict[str, int]) -> Netns:
    links = [_link(f"to-{node}", wish, peer=(node_name(node), "eth0"), creates_peer=True) for node in numbers]
    routes = [Route(f"10.128.0.{number}/32", f"to-{node}") for node, number in numbers.items()]
    routes += [Route(f"10.8.{number}.0/24", f"to-{node}", f"10.128.0.{number}") for node, number in numbers.items()]
    if wish.spread:
        nexthops = tuple((f"10.128.0.{number}", f"to-{node}", 1 + number) for node, number in numbers.items())
        if len(nexthops) > 1:
            routes.append(Route("203.0.113.9/32", nexthops=nexthops))
        routes.append(Route("203.0.113.0/24", kind="blackhole"))
    return _netns(VPC, "vpc", links, [Address("lo", "10.128.0.254/32")], routes, {
        "ipv4/ip_forward": "1", "ipv4/fib_multipath_hash_policy": "1",
        **{f"ipv4/conf/{link.name}/rp_filter": "0" for link in links},
    })


def _node(wish: Wish, node: str, number: int, pods: list[str]) -> Netns:
    links = [_link("eth0", wish, peer=(VPC, f"to-{node}"))]
    addresses = [Address("eth0", f"10.128.0.{number}/32")]
    routes = [Route("0.0.0.0/0", "eth0", "10.128.0.254", onlink=True)]
    if wish.routed:
        routes += [
            Route(f"10.8.{number}.{_host(pod)}/32", f"veth-{pod}", source=f"10.128.0.{number}") for pod in pods
        ]
    else:
        links.append(_link("cbr0", wish, kind="bridge"))
        addresses.append(Address("cbr0", f"10.8.{number}.{wish.gateway}/24"))
    links += [
        _link(f"veth-{pod}", wish, peer=(pod_name(pod), "eth0"), creates_peer=True,
              master="" if wish.routed else "cbr0", hairpin=wish.hairpin and not wish.routed)
        for pod in pods
    ]
    tables = [_table(wish)] if wish.table else []
    return _netns(node_name(node), f"node-{node}", links, addresses, routes, {"ipv4/ip_forward": "1"}, tables)


def neighbour(number: int, pod: str) -> Neighbour:
    """The Pod as the others on its node, that of the number, know it."""
    return Neighbour("eth0", f"10.8.{number}.{_host(pod)}", f"0a:58:0a:08:{number:02x}:{_host(pod):02x}")


def _pod(wish: Wish, node: str, number: int, pod: str, uid: str, known: frozenset[Neighbour]) -> Netns:
    link = _link("eth0", wish, peer=(node_name(node), f"veth-{pod}"), mac=wish.mac)
    link = replace(link, up=not wish.down, qdisc=wish.qdisc)
    gateway = f"10.8.{number}.{wish.gateway}"
    return _netns(
        pod_name(pod), uid, [link], [Address("eth0", f"10.8.{number}.{_host(pod)}/24")],
        [] if wish.down else [Route("0.0.0.0/0", "eth0", gateway)], {},
        neighbours=frozenset() if wish.down else known,
    )


def _host(pod: str) -> int:
    return 10 + "pqrs".index(pod)


def _table(wish: Wish) -> Table:
    rules = tuple(Rule((Compare(TH_DPORT, port), DROP), f"port {port}") for port in wish.ports)
    return Table("ip", "nslab", (
        Chain("input", (*rules, Rule((ACCEPT,))), Hook("filter", "input", 0)),
    ), comment="nslab:t")


def _link(
    name: str, wish: Wish, *, kind: str = "veth", peer: tuple[str, str] | None = None, creates_peer: bool = False,
    master: str = "", hairpin: bool = False, mac: str = "",
) -> Link:
    alias = stamp(LAB, f"{name} to {peer}")
    return Link(name, kind, alias, wish.mtu, master, hairpin, peer, creates_peer, mac)


def _netns(
    name: str, uid: str, links: list[Link], addresses: list[Address], routes: list[Route], sysctls: dict[str, str],
    tables: list[Table] | None = None, neighbours: frozenset[Neighbour] = frozenset(),
) -> Netns:
    return Netns(
        name, uid, {link.name: link for link in links}, frozenset(addresses),
        {route.destination: route for route in routes}, sysctls,
        {(table.family, table.name): table for table in tables or []}, neighbours,
    )


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    nodes = tuple(draw(st.lists(st.sampled_from("abc"), unique=True, max_size=3)))
    pods: dict[str, tuple[str, str, str]] = {}
    if nodes:
        for pod in draw(st.lists(st.sampled_from("pqrs"), unique=True, max_size=4)):
            pods[pod] = (draw(st.sampled_from(nodes)), pod, draw(st.sampled_from("12")))
    return Wish(
        nodes, tuple(pods.values()),
        routed=draw(st.booleans()),
        hairpin=draw(st.booleans()),
        mtu=draw(st.sampled_from([1460, 1400])),
        mac=draw(st.sampled_from(["", "02:00:00:00:00:07"])),
        gateway=draw(st.sampled_from([1, 2])),
        spread=draw(st.booleans()),
        ports=tuple(draw(st.lists(st.sampled_from([80, 443, 53]), unique=True))),
        table=draw(st.booleans()),
        motd=draw(st.sampled_from(["", "hello\n", "bye\n"])),
        known=draw(st.booleans()),
        qdisc=draw(st.sampled_from([None, Qdisc("blackhole"), TBF, Qdisc("tbf", 80_000_000_000)])),
        down=draw(st.booleans()),
    )
