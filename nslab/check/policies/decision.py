"""One connection decided: tier after tier, policy after policy, rule after rule, each noted with what it said."""

from __future__ import annotations

from collections.abc import Iterable

from nslab.check.policies.matching import Labels, fails_closed, is_subject, matches_peer, matches_port
from nslab.check.policies.model import (
    Action,
    Connection,
    Decision,
    Direction,
    End,
    Policy,
    Rule,
    Step,
    Tier,
    Verdict,
)
from nslab.check.policies.reading import read
from nslab.check.semantics import gateway
from nslab.cluster.addons import NODE_LOCAL_IP, node_local
from nslab.cluster.model import Cluster, Pod


def decide(
    cluster: Cluster, source: str, destination: str, port: int, protocol: str = "TCP", *, translated: bool = False
) -> Decision:
    """Whether the policies allow a new connection between two addresses, and why.

    The addresses are those that the Pods' nodes see once Services are translated and before a source is masqueraded;
    `port` is the destination's own. `translated` says that a Service led there, which matters to a Pod that meets
    itself. Whoever decides many connections of one lab keeps an `Evaluator`.
    """
    return Evaluator(cluster).decide(source, destination, port, protocol, translated=translated)


class Evaluator:
    """The policies of a lab, read once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._cached = node_local(cluster)
        self._pods = cluster.pods_by_ip
        self._nodes = {node.ip: node for node in cluster.nodes.values()}
        self._nodes |= {gateway(node): node for node in cluster.nodes.values()}
        self._labels = Labels(cluster)
        self._subjects: dict[str, dict[Tier, list[Policy]]] = {}
        self.policies = read(cluster.objects)

    def end(self, ip: str) -> End:
        """Who has the address. A node is known by its own and by its Pods' gateway's."""
        return End(ip, self._pods.get(ip), self._nodes.get(ip))

    def of_pod(self, pod: Pod) -> dict[Tier, list[Policy]]:
        """The policies that select a Pod, by tier, in the order of evaluation; none select a hostNetwork Pod."""
        found = self._subjects.get(pod.key)
        if found is None:
            found = self._subjects[pod.key] = {"Admin": [], "NetworkPolicy": [], "Baseline": []}
            for policy in self.policies if not pod.host_network else ():
                if is_subject(policy, pod, self._labels):
                    found[policy.tier].append(policy)
        return found

    def decide(
        self, source: str, destination: str, port: int, protocol: str = "TCP", *, translated: bool = False
    ) -> Decision:
        """As the function of this name."""
        origin = self.end(source)
        connection = Connection(origin, self._destination(destination, origin), port, protocol.upper())
        verdicts = [
            self._verdict(connection, direction, translated)
            for direction in ("egress", "ingress") if connection.subject(direction).pod
        ]
        return Decision(connection, tuple(verdicts))

    def _destination(self, ip: str, origin: End) -> End:
        """The other end. The address of NodeLocal DNSCache is one of every node's that has it: whoever goes there
        means its own node."""
        if ip == NODE_LOCAL_IP and origin.pod and origin.pod.node in self._cached:
            return End(ip, node=self._cluster.nodes[origin.pod.node])
        return self.end(ip)

    def _verdict(self, connection: Connection, direction: Direction, translated: bool) -> Verdict:
        pod, peer = connection.subject(direction).pod, connection.peer(direction)
        assert pod is not None
        if peer.node and peer.node.name == pod.node:
            return Verdict(direction, pod.key, True, f"{pod.key} and its own node always reach each other")
        itself = peer.pod is not None and peer.pod.key == pod.key
        if itself and not translated:
            return Verdict(direction, pod.key, True, f"{pod.key} reaches its own address without leaving its netns")
        return _Hearing(connection, direction, pod, self._labels).verdict(self.of_pod(pod), itself)


class _Hearing:
    """What the policies of one Pod say about one connection in one direction, step by step."""

    def __init__(self, connection: Connection, direction: Direction, pod: Pod, labels: Labels) -> None:
        self._connection = connection
        self._direction: Direction = direction
        self._pod = pod
        self._labels = labels
        self._steps: list[Step] = []

    def verdict(self, policies: dict[Tier, list[Policy]], itself: bool) -> Verdict:
        """Through the tiers: the first that decides ends it. `itself`: the peer is the Pod, met through a Service."""
        action = self._ordered(policies["Admin"])
        if action is None and policies["NetworkPolicy"]:
            return self._final(self._allowed(policies["NetworkPolicy"], itself))
        if action is None:
            action = self._ordered(policies["Baseline"])
        if action is None:
            self._note("default", "", "", f"no policy decides about {self._direction} of {self._pod.key}", True)
        return self._final(action != "Deny")

    def _ordered(self, policies: Iterable[Policy]) -> Action | None:
        """Of the cluster-wide policies of a tier: the first rule that matches decides, or leaves it to the next tier
        (None)."""
        for policy in policies:
            for rule in policy.rules[self._direction]:
                fault = self._misfit(policy, rule)
                if fault:
                    self._note(policy.tier, policy.reference, _place(rule), fault)
                    continue
                action: Action = "Deny" if fails_closed(rule) else rule.action
                self._note(policy.tier, policy.reference, _place(rule), f"matches: {action}", action != "Pass")
                return None if action == "Pass" else action
        return None

    def _allowed(self, policies: list[Policy], itself: bool) -> bool:
        """Of the NetworkPolicies that select the Pod, which add up and have the last word. One of another direction
        only leaves this direction open."""
        isolating = [policy for policy in policies if self._direction in policy.rules]
        if not isolating:
            says = f"selects {self._pod.key}, and does not isolate its {self._direction}"
            self._note("NetworkPolicy", policies[0].reference, "", says, True)
            return True
        if itself:
            says = f"isolates {self._direction} of {self._pod.key}, but a Pod cannot be kept from itself"
            self._note("NetworkPolicy", isolating[0].reference, "", says, True)
            return True
        for policy in isolating:
            for rule in policy.rules[self._direction]:
                fault = self._misfit(policy, rule)
                self._note("NetworkPolicy", policy.reference, _place(rule), fault or "allows it", not fault)
                if not fault:
                    return True
        for policy in isolating:
            says = f"isolates {self._direction} of {self._pod.key}, and no rule allows it"
            self._note("NetworkPolicy", policy.reference, "", says, True)
        return False

    def _misfit(self, policy: Policy, rule: Rule) -> str:
        """Why the rule does not match; empty where it does."""
        if fails_closed(rule):
            return ""
        peer = self._connection.peer(self._direction)
        if not matches_peer(policy, rule, peer, self._labels):
            return f"no peer of it is {peer}"
        if not matches_port(policy, rule, self._connection):
            return f"not {self._connection.service}"
        return ""

    def _note(self, tier: str, policy: str, rule: str, says: str, decides: bool = False) -> None:
        self._steps.append(Step(tier, policy, rule, says, decides))

    def _final(self, allowed: bool) -> Verdict:
        last = [step for step in self._steps if step.decides]
        because = "; ".join(" ".join(filter(None, [step.policy, step.rule, step.says])) for step in last)
        return Verdict(self._direction, self._pod.key, allowed, because, tuple(self._steps))


def _place(rule: Rule) -> str:
    return f'{rule.path} "{rule.name}"' if rule.name else rule.path
