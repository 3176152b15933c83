"""The way of a connection through the lab, as the policies at both of its ends see it.

Egress is judged on the source Pod's node, ingress on the destination Pod's, each by the addresses that are seen
there: the destination after a Service was translated, the source before that node masquerades it and after any other
has.
"""

from __future__ import annotations

from functools import cached_property

from nslab.check.policies.decision import Evaluator
from nslab.check.policies.model import Verdict
from nslab.check.references import Source
from nslab.check.semantics import Masquerade
from nslab.cluster.model import Cluster, Endpoint


class Paths:
    """What the policies of a lab say of connections from Sources. Without enforcement they say nothing."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.enforced = cluster.lab.cluster.network_policy and any(
            each.kind.endswith("NetworkPolicy") for each in cluster.objects
        )

    @cached_property
    def evaluator(self) -> Evaluator:
        return Evaluator(self.cluster)

    def direct(self, source: Source, ip: str, port: int, protocol: str) -> tuple[Verdict, ...]:
        """Of a connection to an address that nobody translates; icmp has no port."""
        if not self.enforced:
            return ()
        return self.evaluator.decide(source.ip, ip, port, protocol).verdicts

    def translated(
        self, source: Source, node: str, address: tuple[str, int], endpoint: Endpoint, protocol: str, *,
        masqueraded: bool,
    ) -> tuple[Verdict, ...]:
        """Of a connection to a Service's `address` and port that the rules of `node` translate to an endpoint.
        `masqueraded` says that the node then shows its own address to other nodes."""
        if not self.enforced:
            return ()
        decide = self.evaluator.decide
        here = self.cluster.nodes[node]
        if source.pod and source.node != node:
            out = decide(source.ip, *address, protocol).verdicts
        else:
            out = decide(source.ip, endpoint.ip, endpoint.port, protocol, translated=True).verdicts
        hides = masqueraded or (bool(source.pod) and not Masquerade(self.cluster).keeps(endpoint.ip))
        seen = here.ip if hides and endpoint.node != node else source.ip
        into = decide(seen, endpoint.ip, endpoint.port, protocol, translated=True).verdicts
        return (
            *(verdict for verdict in out if verdict.direction == "egress"),
            *(verdict for verdict in into if verdict.direction == "ingress"),
        )


_known: list[Paths] = []


def paths_of(cluster: Cluster) -> Paths:
    """The Paths of a Cluster; those asked for last are remembered, since many expectations ask for the same."""
    if not (_known and _known[0].cluster is cluster):
        _known[:] = [Paths(cluster)]
    return _known[0]


def allowed(verdicts: tuple[Verdict, ...]) -> bool:
    """Whether nobody objects."""
    return all(verdict.allowed for verdict in verdicts)
