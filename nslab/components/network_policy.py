"""Network policies on every node whose Pods hang on it by routes, in one nftables table, by maps.

Every packet that a node forwards is judged by its connection: who began it and who answers, as conntrack knows them.
So a reply passes exactly while its connection is allowed, a Service's connection counts as one to the Pod that it was
translated to, and a policy that comes to forbid a connection ends it at once. What a node itself sends to its Pods,
and they to it, is not forwarded and so never judged: kubelets' probes always come through.

    forward 10    connection from a Pod of this node    jump egress
                  connection to a Pod of this node      jump ingress      (both, within a node)
    egress        the Pod  --egress-pods-->  its group's chain; or return, where no policy isolates it
                  not in the map: dropped. A Pod whose policies are not in force yet reaches nobody
    egress-GROUP  the peer  --egress-GROUP-pods-->    return, goto denied-egress or goto egress-ports-P
                            --egress-GROUP-blocks-->  the same, by blocks of addresses
                  all others
    egress-ports-P   by protocol and port: return, else goto denied-egress
    denied-egress    the Pod to itself, through a Service  --egress-own-->  return; all others are dropped
    dropped       remembered in the set `drops` for two seconds, counted, dropped

Pods with the same policies share a group, groups with the same ports a chain of ports: a node has at most as many
groups as Pods, and a packet is looked up a constant number of times, however many policies there are. All tiers are
worked out before (`policies.groups`); of a change of labels only elements of maps are left to write.

All of one node's rules change in one transaction. A packet under way may meet elements of after it in rules of before
it, so whatever a packet passes must mean the same in both. Chains and sets are there before anything leads to them,
and go when nothing does any more (`nft.transaction.steps`); under one name a chain of ports, the blocks and "all
others" of a group never change; and in the map of a group's Pods one look-up decides.

Sources: networking.k8s.io/v1 NetworkPolicy, policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nslab.cluster.ipv4 import to_int
from nslab.cluster.memo import Causes, Memo
from nslab.cluster.model import Cluster, Pod
from nslab.components.part import node_identity, owner, part
from nslab.components.policies.chains import (
    Elements,
    Way,
    common_chains,
    drops_set,
    forward,
    group_chain,
    name_of,
    own_map,
    pods_map,
    ports_chain,
    ports_sets,
    verdict,
)
from nslab.components.policies.groups import (
    DeclaredPort,
    Group,
    Opening,
    Peer,
    asked_of_peers,
    group_of,
    opening,
    towards_itself,
)
from nslab.components.policies.rules import (
    ALL_PORTS,
    DIRECTIONS,
    KINDS,
    Chosen,
    Direction,
    Policy,
    namespace_labels,
    read,
)
from nslab.components.policies.selection import Choice, Selection
from nslab.components.policies.spans import NOTHING, Spans
from nslab.netstate.model import NetState
from nslab.nft.datatypes import IPV4_ADDR, VERDICT, Datatype
from nslab.nft.objects import Chain, Set, Table
from nslab.nft.statements import RETURN, goto

TABLE = ("ip", "network-policy")
"""Family and name of the table."""

_Place = tuple[str, Direction]
"""A Pod, by its key, in one direction."""

_TIERS = ("Admin", "NetworkPolicy", "Baseline")
_MAPS: dict[str, tuple[Datatype, ...]] = {
    **dict.fromkeys(map(pods_map, DIRECTIONS), (IPV4_ADDR,)),
    **dict.fromkeys(map(own_map, DIRECTIONS), (IPV4_ADDR, IPV4_ADDR)),
}
"""The maps of every node, with the types of their keys."""


def desired(cluster: Cluster, memo: Memo | None = None) -> NetState:
    """The table `ip network-policy` of every node; none where the Lab's cluster does not enforce policies."""
    if not cluster.lab.cluster.network_policy:
        return NetState(cluster.lab.name, {})
    memo = memo or Memo()
    tables = compile_policies(cluster, memo).tables
    netns = memo.each(
        "network-policy", {name: (table,) for name, table in tables.items()},
        lambda name: part(*node_identity(cluster, cluster.nodes[name]), tables=[tables[name]]),
    )
    return NetState(cluster.lab.name, {each.name: each for each in netns.values()})


@dataclass(frozen=True, slots=True)
class GroupRules:
    """A group, what is open to it, its chain and maps, and the ports (neither all nor none) that these lead to."""

    group: Group
    opening: Opening
    chain: Chain
    sets: tuple[Set, ...]
    ports: tuple[Spans, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """The policies of a Cluster as rules: the table of each node, the groups by the names of their chains, and the
    name of the group of each Pod (key) and direction that something restricts."""

    tables: dict[str, Table]
    groups: dict[str, GroupRules]
    group_names: dict[_Place, str]


def compile_policies(cluster: Cluster, memo: Memo) -> Compiled:
    """All policies of the Cluster, worked out. `memo` holds what was worked out before."""
    pods = _Pods(cluster, memo)
    groups = {place: found for place, found in pods.groups().items() if found}
    known = dict(groups.values())
    rules = memo.each(
        "policies: rules", {name: pods.causes(group) for name, group in known.items()},
        lambda name: _group_rules(known[name], pods),
    )
    names = {place: rules[name].chain.name for place, (name, _) in groups.items()}
    by_chain = {found.chain.name: found for found in rules.values()}
    tables = _Tables(cluster, names, by_chain, pods.towards_themselves(groups), memo).tables
    return Compiled(tables, by_chain, names)


class _Pods:
    """Who is chosen by which policies: the Pods of a Cluster that have addresses of their own."""

    def __init__(self, cluster: Cluster, memo: Memo) -> None:
        self._memo = memo
        pods = {key: pod for key, pod in cluster.pods.items() if not pod.host_network}
        policies = _policies(cluster, memo)
        selection = memo.one("policies: selection", policies, lambda: Selection(policies))
        namespaces = namespace_labels(cluster)
        self.choices: dict[str, Choice] = memo.each(
            "policies: choices",
            {key: (pod.namespace, pod.labels, namespaces[pod.namespace], selection) for key, pod in pods.items()},
            lambda key: selection.of(pods[key].namespace, pods[key].labels, namespaces[pods[key].namespace]),
        )
        self.peers: dict[str, Peer] = memo.each(
            "policies: peers", {key: (pod.ip, pod.containers) for key, pod in pods.items()},
            lambda key: _peer(pods[key]),
        )
        self.members: dict[Chosen, list[Peer]] = {}
        self.named: dict[str, list[Peer]] = {}
        for key, choice in self.choices.items():
            peer = self.peers[key]
            for chosen in choice.peers:
                self.members.setdefault(chosen, []).append(peer)
            for name in {port.name for port in peer.ports}:
                self.named.setdefault(name, []).append(peer)

    def groups(self) -> dict[_Place, tuple[str, Group] | None]:
        """For each Pod and direction its group with the group's name; None where nothing restricts it."""
        causes = {
            (key, direction): (choice.policies, self.peers[key].ports)
            for key, choice in self.choices.items() if choice.policies for direction in DIRECTIONS
        }
        return self._memo.each("policies: groups", causes, self._group)

    def _group(self, place: _Place) -> tuple[str, Group] | None:
        key, direction = place
        group = group_of(self.choices[key].policies, direction, self.peers[key].ports)
        return (name_of(group), group) if group else None

    def of(self, group: Group) -> tuple[dict[Chosen, list[Peer]], list[Peer]]:
        """The Pods that the group's rules choose, and those that have a named port it asks its peers for."""
        members = {chosen: self.members.get(chosen, []) for rule in group.rules for chosen in rule.chosen}
        named = [peer for name in sorted(asked_of_peers(group)) for peer in self.named.get(name, ())]
        return members, named

    def causes(self, group: Group) -> Causes:
        """What the rules of a group depend on."""
        members, named = self.of(group)
        return group, list(members.values()), named

    def towards_themselves(self, groups: Mapping[_Place, tuple[str, Group]]) -> dict[_Place, Spans]:
        """For each Pod and direction that NetworkPolicies isolate, what is open to it of itself."""
        isolated = {place: group for place, (_, group) in groups.items() if group.isolated}
        return self._memo.each(
            "policies: themselves",
            {place: (group, self.choices[place[0]].peers, self.peers[place[0]]) for place, group in isolated.items()},
            lambda place: towards_itself(isolated[place], self.choices[place[0]].peers, self.peers[place[0]]),
        )


def _policies(cluster: Cluster, memo: Memo) -> tuple[Policy, ...]:
    """All policies in the order of evaluation."""
    objects = {item.reference: item for item in cluster.objects if item.kind in KINDS}
    nodes = list(cluster.nodes.values())
    places = [(node.ip, node.labels) for node in nodes]
    read_before = memo.each(
        "policies: read",
        {name: (item.body, () if item.kind == "NetworkPolicy" else places) for name, item in objects.items()},
        lambda name: read(objects[name], nodes),
    )
    return tuple(sorted(read_before.values(), key=lambda policy: (_TIERS.index(policy.tier), policy.order)))


def _peer(pod: Pod) -> Peer:
    ports = (port for container in pod.containers for port in container.ports if port.name)
    return Peer(
        pod.ip, to_int(pod.ip), tuple(DeclaredPort(port.name, port.protocol, port.port) for port in ports)
    )


def _group_rules(group: Group, pods: _Pods) -> GroupRules:
    opened = opening(group, *pods.of(group))
    chain, sets = group_chain(group, opened)
    ports = {*opened.pods.values(), *(found for _, _, found in opened.blocks), opened.others}
    return GroupRules(group, opened, chain, sets, tuple(sorted(ports - {ALL_PORTS, NOTHING})))


class _Tables:
    """The tables of all nodes, made of what was worked out for Pods and groups."""

    def __init__(
        self, cluster: Cluster, names: Mapping[_Place, str], rules: Mapping[str, GroupRules],
        itself: Mapping[_Place, Spans], memo: Memo,
    ) -> None:
        self._names = names
        self._rules = rules
        self._itself = itself
        local = {
            node.name: [pod for pod in cluster.pods_by_node[node.name] if not pod.host_network]
            for node in cluster.nodes.values()
        }
        self._used = {node: dict.fromkeys(self._names_on(pods)) for node, pods in local.items()}
        self._ways = {node: dict.fromkeys(self._ways_on(node, pods)) for node, pods in local.items()}
        elements = {(node, name): found for node, pods in local.items() for name, found in self._elements(pods)}
        self._maps = memo.each(
            "policies: maps", {place: (found,) for place, found in elements.items()},
            lambda place: Set(place[1], _MAPS[place[1]], elements[place], (VERDICT,)),
        )
        ways = {way: () for on_node in self._ways.values() for way in on_node}
        self._chains = memo.each("policies: port chains", ways, lambda way: ports_chain(*way))
        self._sets = memo.each("policies: port sets", {ports: () for _, ports in ways}, ports_sets)
        self._forward = memo.each(
            "policies: forward", {node.name: (node.pod_range,) for node in cluster.nodes.values()},
            lambda name: forward(cluster.nodes[name].pod_range),
        )
        self._common = memo.one("policies: common", (), lambda: (common_chains(), drops_set()))
        parts = {node: (self._chains_of(node), self._sets_of(node)) for node in local}
        lab = owner(cluster.lab.name)
        self.tables = memo.each(
            "policies: tables", {node: (*found, lab) for node, found in parts.items()},
            lambda node: Table(*TABLE, *parts[node], lab),
        )

    def _names_on(self, pods: Iterable[Pod]) -> Iterator[str]:
        for pod in pods:
            for direction in DIRECTIONS:
                name = self._names.get((pod.key, direction))
                if name:
                    yield name

    def _ways_on(self, node: str, pods: Iterable[Pod]) -> Iterator[tuple[Way, Spans]]:
        for name in self._used[node]:
            for ports in self._rules[name].ports:
                yield self._rules[name].group.direction, ports
        for pod in pods:
            for direction in DIRECTIONS:
                ports = self._itself.get((pod.key, direction), NOTHING)
                if ports not in (NOTHING, ALL_PORTS):
                    yield "own", ports

    def _elements(self, pods: Iterable[Pod]) -> Iterator[tuple[str, Elements]]:
        """The maps from a node's Pods to their groups, and to what is open to them of themselves."""
        for direction in DIRECTIONS:
            groups: Elements = {}
            own: Elements = {}
            for pod in pods:
                place = (pod.key, direction)
                groups[pod.ip,] = goto(self._names[place]) if place in self._names else RETURN
                if self._itself.get(place):
                    own[pod.ip, pod.ip] = verdict("own", self._itself[place])
            yield pods_map(direction), groups
            yield own_map(direction), own

    def _chains_of(self, node: str) -> tuple[Chain, ...]:
        groups = [self._rules[name].chain for name in self._used[node]]
        return (self._forward[node], *self._common[0], *groups, *(self._chains[way] for way in self._ways[node]))

    def _sets_of(self, node: str) -> tuple[Set, ...]:
        groups = [item for name in self._used[node] for item in self._rules[name].sets]
        ports = dict.fromkeys(ports for _, ports in self._ways[node])
        maps = [self._maps[node, name] for name in _MAPS]
        return (*maps, self._common[1], *groups, *(item for one in ports for item in self._sets[one]))
