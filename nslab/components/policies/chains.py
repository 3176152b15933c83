"""The chains and sets of the table `ip network-policy`; `network_policy` draws the packet's path."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Literal

from nslab.cluster.ipv4 import to_text
from nslab.cluster.naming import short_digest
from nslab.components.policies.groups import Group, Opening
from nslab.components.policies.rules import ALL_PORTS, LINE, OTHERS
from nslab.components.policies.spans import NOTHING, Span, Spans, common
from nslab.nft.datatypes import INET_PROTO, INET_SERVICE, IPV4_ADDR, VERDICT
from nslab.nft.objects import Chain, Hook, Key, MapValue, Rule, Set
from nslab.nft.statements import (
    ACCEPT,
    CT_ORIGINAL_DADDR,
    CT_ORIGINAL_PROTO_DST,
    CT_ORIGINAL_PROTO_SRC,
    CT_ORIGINAL_SADDR,
    CT_REPLY_PROTO_SRC,
    CT_REPLY_SADDR,
    DROP,
    META_L4PROTO,
    RETURN,
    Compare,
    Counter,
    CtState,
    InPrefix,
    InSet,
    Record,
    Verdict,
    VerdictMap,
    goto,
    jump,
)

Elements = dict[Key, MapValue | None]
Way = Literal["egress", "ingress", "own"]
"""Whose ports a chain looks at: a group's of one direction, or those that a Pod may reach of itself."""

DROPS: Final = "drops"
"""The dynamic set of dropped connections: original source, destination, protocol, source port, destination port; of
an ICMP echo its identifier, and its type and code, stand for the ports."""

DROPS_KEPT: Final = 2
"""Seconds for which a dropped connection is remembered."""

_DROPS_KEY = (
    CT_ORIGINAL_SADDR, CT_ORIGINAL_DADDR, META_L4PROTO, CT_ORIGINAL_PROTO_SRC, CT_ORIGINAL_PROTO_DST,
)
_COMMENT: Final = 120
# Conntrack knows both ends as the policies mean them, whichever way a packet goes: the source before it is
# masqueraded, and as the one who answers the Pod that a Service was translated to.
_SUBJECT = {"egress": CT_ORIGINAL_SADDR, "ingress": CT_REPLY_SADDR}
_PEER = {"egress": CT_REPLY_SADDR, "ingress": CT_ORIGINAL_SADDR}


def forward(pod_range: str) -> Chain:
    """The base chain of a node with this range of Pods."""
    # After kube-proxy, which refuses what has no endpoint.
    return Chain("forward", hook=Hook("filter", "forward", 10), rules=(
        Rule((CtState(("invalid",)), DROP), "of no connection that anybody could have allowed"),
        Rule((CtState(("related",)), ACCEPT), "an ICMP error about a connection, which was judged itself"),
        Rule((InPrefix(CT_ORIGINAL_SADDR, pod_range), jump("egress")), "a Pod of this node connects"),
        Rule((InPrefix(CT_REPLY_SADDR, pod_range), jump("ingress")), "a Pod of this node is connected to"),
    ))


def common_chains() -> tuple[Chain, ...]:
    """The chains that every node has."""
    chains = []
    for direction in ("egress", "ingress"):
        chains.append(Chain(direction, (
            Rule((VerdictMap((_SUBJECT[direction],), pods_map(direction)),), "by the Pod: its group, or return"),
            Rule((goto("dropped"),), "no Pod yet: nothing is open before its policies hold"),
        )))
        itself = VerdictMap((CT_ORIGINAL_SADDR, CT_REPLY_SADDR), own_map(direction))
        chains.append(Chain(f"denied-{direction}", (
            Rule((itself,), "through a Service to itself: no NetworkPolicy keeps a Pod from that"),
            Rule((goto("dropped"),)),
        )))
    recorded = [
        Rule((Compare(META_L4PROTO, protocol.lower()), Record(DROPS, _DROPS_KEY, DROPS_KEPT)))
        for protocol in (*LINE, "ICMP")
    ]
    return (*chains, Chain("dropped", (*recorded, Rule((Counter(), DROP)))))


def drops_set() -> Set:
    key = (IPV4_ADDR, IPV4_ADDR, INET_PROTO, INET_SERVICE, INET_SERVICE)
    return Set(DROPS, key, dynamic=True, size=16384)


def pods_map(direction: str) -> str:
    """The name of the map from this node's Pods to their groups."""
    return f"{direction}-pods"


def own_map(direction: str) -> str:
    """The name of the map of Pods that may meet themselves although their group is denied it."""
    return f"{direction}-own"


def name_of(group: Group) -> str:
    """A group's name: its policies and its own named ports."""
    text = "\n".join((*group.policies, *(f"{port.name} {port.protocol} {port.number}" for port in group.ports)))
    return f"{group.direction} {text}"


def _chain_of(group: Group, opening: Opening) -> str:
    """The name of a group's chain. Where something else is open to blocks or to all others, it is another chain."""
    return f"{group.direction}-{short_digest(f'{name_of(group)} {opening.blocks} {opening.others}')}"


def group_chain(group: Group, opening: Opening) -> tuple[Chain, tuple[Set, ...]]:
    """A group's chain with its maps: peer Pods by address, then blocks of addresses, then all others."""
    name, way, peer = _chain_of(group, opening), group.direction, _PEER[group.direction]
    pods: Elements = {(ip,): verdict(way, ports) for ip, ports in opening.pods.items()}
    blocks: Elements = {
        ((to_text(first), to_text(last)),): verdict(way, ports) for first, last, ports in opening.blocks
    }
    sets, rules = [], []
    if pods:
        sets.append(Set(f"{name}-pods", (IPV4_ADDR,), pods, (VERDICT,)))
        rules.append(Rule((VerdictMap((peer,), f"{name}-pods"),), "peers that are Pods"))
    if blocks:
        sets.append(Set(f"{name}-blocks", (IPV4_ADDR,), blocks, (VERDICT,), interval=True))
        rules.append(Rule((VerdictMap((peer,), f"{name}-blocks"),), "blocks of addresses"))
    rules.append(Rule((verdict(way, opening.others),), "all others"))
    return Chain(name, tuple(rules), comment=_told(group.policies)), tuple(sets)


def _told(policies: tuple[str, ...]) -> str:
    text = ", ".join(policies)
    return text if len(text) <= _COMMENT else f"{text[: _COMMENT - 3]}..."


@lru_cache(maxsize=4096)
def verdict(way: Way, ports: Spans) -> Verdict:
    """Where to go on with a connection to which `ports` are open. Whoever returns has passed."""
    if ports == ALL_PORTS:
        return RETURN
    if ports == NOTHING:
        return goto(_refusal(way))
    return goto(f"{way}-{ports_name(ports)}")


def _refusal(way: Way) -> str:
    return "dropped" if way == "own" else f"denied-{way}"


@lru_cache(maxsize=4096)
def ports_name(ports: Spans) -> str:
    """The common part of the names of what knows these ports."""
    return f"ports-{short_digest(repr(ports))}"


def ports_chain(way: Way, ports: Spans) -> Chain:
    """Passes what goes to one of the ports, which are neither all nor none."""
    name = ports_name(ports)
    rules = []
    for protocol, numbers in by_protocol(ports):
        mine = Compare(META_L4PROTO, protocol.lower())
        inside = () if is_whole(numbers) else (InSet((CT_REPLY_PROTO_SRC,), f"{name}-{protocol.lower()}"),)
        rules.append(Rule((mine, *inside, RETURN)))
    if ports[-1][1] == OTHERS:
        known = tuple(Compare(META_L4PROTO, protocol.lower(), negate=True) for protocol in LINE)
        rules.append(Rule((*known, RETURN), "all other protocols"))
    return Chain(f"{way}-{name}", (*rules, Rule((goto(_refusal(way)),))))


def ports_sets(ports: Spans) -> tuple[Set, ...]:
    """The sets of the ports' numbers, one for each protocol that has some and not all."""
    return tuple(
        Set(f"{ports_name(ports)}-{protocol.lower()}", (INET_SERVICE,), dict.fromkeys(map(_number, numbers)),
            interval=True)
        for protocol, numbers in by_protocol(ports) if not is_whole(numbers)
    )


def _number(span: Span) -> Key:
    return (span[0] if span[0] == span[1] else span,)


def by_protocol(ports: Spans) -> Iterator[tuple[str, Spans]]:
    """The ports as numbers, protocol by protocol."""
    for protocol, start in LINE.items():
        mine = common(ports, ((start, start + 65535),))
        if mine:
            yield protocol, tuple((first - start, last - start) for first, last in mine)


def is_whole(numbers: Spans) -> bool:
    """Whether these are all numbers that a protocol has."""
    return numbers == ((0, 65535),)

