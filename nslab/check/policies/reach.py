"""Who may reach a Pod, and whom it may reach, by which policy: the evaluator's word, without packets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from nslab.check.pods import CLIENT_PORT
from nslab.check.policies.decision import Evaluator
from nslab.check.policies.model import Direction, Verdict
from nslab.cluster.model import Cluster, Pod

Port = tuple[int, str]


class Reach(NamedTuple):
    """What is open between the Pod and one other end in one direction: ports by name (`TCP 80`), and who decided."""

    direction: Direction
    peer: str
    open: tuple[str, ...]
    blocked: tuple[str, ...]
    policies: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


def reach(cluster: Cluster, pod: Pod) -> Iterator[Reach]:
    """Every other Pod, node and client, as the source of connections to the Pod's ports and as their destination."""
    evaluator = Evaluator(cluster)
    others = [(f"pod/{each.key}", each.ip, ports(each)) for each in cluster.pods.values()
              if each.key != pod.key and not each.host_network]
    others += [(f"node/{node.name}", node.ip, [(0, "ICMP")]) for node in cluster.nodes.values()]
    others += [(f"client/{client.name}", client.ip, [(CLIENT_PORT, "TCP"), (CLIENT_PORT, "UDP")])
               for client in cluster.clients.values()]
    for name, ip, _ in others:
        verdicts = {port: _of(evaluator, ip, pod.ip, port, "ingress") for port in ports(pod)}
        yield _reach("ingress", name, verdicts)
    for name, ip, theirs in others:
        yield _reach("egress", name, {port: _of(evaluator, pod.ip, ip, port, "egress") for port in theirs})


def ports(pod: Pod) -> list[Port]:
    """The ports that a Pod declares; ICMP where it declares none."""
    declared = dict.fromkeys((port.port, port.protocol) for each in pod.containers for port in each.ports)
    return list(declared) or [(0, "ICMP")]


def _of(evaluator: Evaluator, source: str, destination: str, port: Port, direction: Direction) -> Verdict:
    decision = evaluator.decide(source, destination, *port)
    return next(verdict for verdict in decision.verdicts if verdict.direction == direction)


def _reach(direction: Direction, peer: str, verdicts: dict[Port, Verdict]) -> Reach:
    # That a policy of the other direction leaves this one open is no decision of its.
    deciding = dict.fromkeys(
        step.policy for verdict in verdicts.values() for step in verdict.steps
        if step.decides and step.policy and (step.rule or not verdict.allowed)
    )
    return Reach(
        direction, peer, tuple(_names(port for port, verdict in verdicts.items() if verdict.allowed)),
        tuple(_names(port for port, verdict in verdicts.items() if not verdict.allowed)), tuple(deciding),
    )


def _names(ports: Iterable[Port]) -> Iterator[str]:
    for number, protocol in ports:
        yield f"{protocol} {number}" if number else protocol


def selecting(cluster: Cluster, pod: Pod) -> list[tuple[str, str]]:
    """The policies that select the Pod, each with what it does to it in a few words."""
    found = []
    for tier, policies in Evaluator(cluster).of_pod(pod).items():
        for policy in policies:
            spoken = [direction for direction, rules in policy.rules.items() if rules or tier == "NetworkPolicy"]
            verb = "isolates" if tier == "NetworkPolicy" else f"tier {tier}, priority {policy.priority}:"
            found.append((policy.reference, f"{verb} {' and '.join(spoken) or 'nothing'}"))
    return found
