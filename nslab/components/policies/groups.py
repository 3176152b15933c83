"""What the policies of a Pod leave open in one direction: to which addresses, on which ports.

All tiers are worked out here, so that the rules of a node only have to look up an answer. Pods with the same policies
form a group and share the answer: what is open to each peer Pod, to each block of other addresses, and to all the
rest of the world. A rule decides about the ports that no rule before it has decided about; what Pass leaves to the
next tier is decided there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nslab.components.policies.rules import ALL_ADDRESSES, ALL_PORTS, LINE, Chosen, Direction, Policy, Rule
from nslab.components.policies.spans import NOTHING, Span, Spans, common, merged, minus


class DeclaredPort(NamedTuple):
    """A port of a Pod's container that has a name."""

    name: str
    protocol: str
    number: int


class Peer(NamedTuple):
    """A Pod at the other end: its address as text and as number, and its named ports."""

    ip: str
    number: int
    ports: tuple[DeclaredPort, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Pods with the same policies in one direction: `rules` are all that count, in the order of evaluation.

    `isolated` says that NetworkPolicies have the last word. `ports` are the named ports of the Pods themselves, as
    far as rules of ingress ask for them.
    """

    direction: Direction
    policies: tuple[str, ...]
    rules: tuple[Rule, ...]
    isolated: bool
    ports: tuple[DeclaredPort, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """What is open to whom: by address of a peer Pod where that differs from what its block says, by block (first
    and last address) where that differs from `others`, and to all others."""

    pods: dict[str, Spans]
    blocks: tuple[tuple[int, int, Spans], ...]
    others: Spans


def group_of(policies: Sequence[Policy], direction: Direction, ports: tuple[DeclaredPort, ...]) -> Group | None:
    """The group of a Pod with these policies, in the order of evaluation, and these named ports; None where nothing
    restricts it."""
    selected = any(policy.tier == "NetworkPolicy" for policy in policies)
    counting = [
        policy for policy in policies
        if direction in policy.rules and not (selected and policy.tier == "Baseline")
    ]
    if not counting:
        return None
    rules = tuple(rule for policy in counting for rule in policy.rules[direction])
    isolated = any(policy.tier == "NetworkPolicy" for policy in counting)
    asked = {name for rule in rules for name, _ in rule.names} if direction == "ingress" else set()
    own = tuple(port for port in ports if port.name in asked)
    return Group(direction, tuple(policy.reference for policy in counting), rules, isolated, own)


def asked_of_peers(group: Group) -> frozenset[str]:
    """The names of ports that depend on the peer, whoever it is: a Pod that has one may differ from its block."""
    if group.direction == "ingress":
        return frozenset()
    return frozenset(name for rule in group.rules if rule.everyone or rule.blocks for name, _ in rule.names)


def opening(group: Group, members: Mapping[Chosen, Iterable[Peer]], named: Iterable[Peer]) -> Opening:
    """Work a group out. `members` are the Pods of each `Chosen` of its rules, `named` those with a port whose name it
    asks peers for (`asked_of_peers`)."""
    deciding = _Deciding(group)
    blocks = _Blocks(group.rules, deciding)
    by_label: dict[str, tuple[Peer, list[int]]] = {peer.ip: (peer, []) for peer in named}
    for position, rule in enumerate(group.rules):
        for chosen in rule.chosen:
            for peer in members[chosen]:
                by_label.setdefault(peer.ip, (peer, []))[1].append(position)
    pods = {}
    for ip, (peer, positions) in by_label.items():
        matching, otherwise = blocks.at(peer.number)
        result = deciding.result(tuple(sorted({*positions, *matching})), peer.ports)
        if result != otherwise:
            pods[ip] = result
    return Opening(pods, blocks.merged(), blocks.others)


def towards_itself(group: Group, chosen: frozenset[Chosen], peer: Peer) -> Spans:
    """What is open to a Pod of the group, chosen by these, that meets itself through a Service. NetworkPolicies
    cannot keep a Pod from itself; what the tier before them decides holds here too."""
    if all(rule.tier == "NetworkPolicy" for rule in group.rules):
        return ALL_PORTS
    deciding = _Deciding(group)
    blocks = _Blocks(group.rules, deciding)
    positions = {position for position, rule in enumerate(group.rules) if not chosen.isdisjoint(rule.chosen)}
    return deciding.result(tuple(sorted(positions.union(blocks.at(peer.number)[0]))), peer.ports, isolated=False)


class _Deciding:
    """The evaluation of a group's rules, remembered by which of them match."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._known: dict[tuple[tuple[int, ...], tuple[DeclaredPort, ...], bool], Spans] = {}

    def result(
        self, matching: tuple[int, ...], ports: tuple[DeclaredPort, ...] = (), *, isolated: bool | None = None
    ) -> Spans:
        """The ports that the rules at these positions leave open; `ports` are the peer's named ones."""
        group = self._group
        alone = group.isolated if isolated is None else isolated
        key = (matching, ports, alone)
        known = self._known.get(key)
        if known is None:
            declared = group.ports if group.direction == "ingress" else ports
            known = self._known[key] = _result([group.rules[position] for position in matching], declared, alone)
        return known


def _result(rules: Sequence[Rule], declared: tuple[DeclaredPort, ...], isolated: bool) -> Spans:
    accepted, left = _ordered([rule for rule in rules if rule.tier == "Admin"], declared, ALL_PORTS)
    if isolated:
        allowed = merged(
            span for rule in rules if rule.tier == "NetworkPolicy" for span in _ports(rule, declared)
        )
        return merged((*accepted, *common(left, allowed)))
    more, left = _ordered([rule for rule in rules if rule.tier == "Baseline"], declared, left)
    return merged((*accepted, *more, *left))


def _ordered(rules: Iterable[Rule], declared: tuple[DeclaredPort, ...], asked: Spans) -> tuple[Spans, Spans]:
    """What the rules of a tier accept of the ports in `asked`, and what they leave to the next."""
    accepted: Spans = NOTHING
    passed: Spans = NOTHING
    for rule in rules:
        mine = common(asked, _ports(rule, declared))
        asked = minus(asked, mine)
        if rule.action == "Accept":
            accepted = merged((*accepted, *mine))
        elif rule.action == "Pass":
            passed = merged((*passed, *mine))
    return accepted, merged((*passed, *asked))


def _ports(rule: Rule, declared: tuple[DeclaredPort, ...]) -> Spans:
    if not rule.names:
        return rule.ports
    named: list[Span] = [
        (LINE[port.protocol] + port.number, LINE[port.protocol] + port.number)
        for name, protocol in rule.names for port in declared
        if port.name == name and protocol in ("", port.protocol)
    ]
    return merged((*rule.ports, *named))


class _Blocks:
    """All addresses, cut where a block of a rule begins or ends, with what is open to each piece."""

    def __init__(self, rules: Sequence[Rule], deciding: _Deciding) -> None:
        everyone = tuple(position for position, rule in enumerate(rules) if rule.everyone)
        cuts = {ALL_ADDRESSES[0]}
        for rule in rules:
            for first, last in rule.blocks:
                cuts |= {first, last + 1}
        self._starts = sorted(cuts - {ALL_ADDRESSES[1] + 1})
        inside: list[list[int]] = [[] for _ in self._starts]
        for position, rule in enumerate(rules):
            for first, last in rule.blocks:
                begin = bisect_right(self._starts, first) - 1
                for piece in range(begin, bisect_right(self._starts, last)):
                    inside[piece].append(position)
        self._matching = [tuple(sorted((*everyone, *positions))) for positions in inside]
        self._results = [deciding.result(matching) for matching in self._matching]
        self.others = deciding.result(everyone)

    def at(self, address: int) -> tuple[tuple[int, ...], Spans]:
        """The positions of the rules that match an address of nobody in particular, and what they leave open."""
        piece = bisect_right(self._starts, address) - 1
        return self._matching[piece], self._results[piece]

    def merged(self) -> tuple[tuple[int, int, Spans], ...]:
        """The pieces to which something else is open than to `others`."""
        found: list[tuple[int, int, Spans]] = []
        ends = [start - 1 for start in self._starts[1:]] + [ALL_ADDRESSES[1]]
        for first, last, result in zip(self._starts, ends, self._results, strict=True):
            if result == self.others:
                continue
            if found and found[-1][1] == first - 1 and found[-1][2] == result:
                found[-1] = (found[-1][0], last, result)
            else:
                found.append((first, last, result))
        return tuple(found)
