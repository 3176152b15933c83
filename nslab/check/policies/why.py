"""One connection explained: the ways that it may take, what the policies say of each, and what a packet found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nslab.check.policies.model import Verdict
from nslab.check.policies.paths import allowed, paths_of
from nslab.check.references import Destination, Source
from nslab.check.semantics import Fate, external_fate, internal_fate, is_proxied
from nslab.cluster.model import Cluster, Node, Service, ServicePort
from nslab.servers.flows import FlowResult


@dataclass(frozen=True, slots=True)
class Way:
    """One way of the connection. `to` is where it ends: a Pod's key, or an address; `verdicts` are the policies'."""

    to: str
    verdicts: tuple[Verdict, ...]

    @property
    def allowed(self) -> bool:
        return allowed(self.verdicts)


@dataclass(frozen=True, slots=True)
class Answer:
    """All ways, and what was found of them; `result` is None where no packet was sent."""

    source: str
    destination: str
    protocol: str
    ways: tuple[Way, ...]
    result: FlowResult | None = None

    @property
    def predicted(self) -> str:
        """open, blocked, mixed (of several endpoints some), or "no endpoint"."""
        fates = {way.allowed for way in self.ways}
        if not fates:
            return "no endpoint"
        return "mixed" if len(fates) > 1 else "open" if fates.pop() else "blocked"

    @property
    def mismatch(self) -> str:
        """How the packets contradict the prediction; empty where they do not.

        Policies have let through whatever was answered, be it by a refusal. That nothing came back contradicts a
        permission only where the kernel says that its rules dropped a packet.
        """
        if self.result is None or not self.ways:
            return ""
        denied = {way.to for way in self.ways if not way.allowed}
        counts = self.result.counts
        if self.predicted == "blocked" and counts.keys() & {"open", "refused"}:
            return "the policies forbid it, and it was let through"
        if denied & self.result.responders.keys():
            return f"the policies forbid {', '.join(sorted(denied & self.result.responders.keys()))}, which answered"
        if self.predicted == "open" and is_dropped(self.result):
            return f"the policies allow it, and it was {self.result.detail}"
        return ""


def is_dropped(result: FlowResult) -> bool:
    """Whether the kernel says that rules of policies have dropped a packet of the flow (`prober.probe`)."""
    return result.detail.startswith("dropped in ")


def ways(cluster: Cluster, source: Source, to: Destination, protocol: str) -> tuple[Way, ...]:
    """The ways of a connection to an address, which may be a Service's."""
    paths, found = paths_of(cluster), _service(cluster, to, protocol)
    if found is None:
        pod = cluster.pods_by_ip.get(to.ip)
        return (Way(pod.key if pod else to.ip, paths.direct(source, to.ip, to.port, protocol)),)
    service, port = found
    masqueraded = to.ip != service.cluster_ip and service.external_traffic_policy == "Cluster"
    chosen = {
        (fate.node, endpoint.ip, endpoint.port): endpoint
        for fate in _fates(cluster, source, to, service, port) for endpoint in fate.endpoints
    }
    found_ways = [
        Way(
            endpoint.pod or endpoint.ip,
            paths.translated(source, node, (to.ip, to.port), endpoint, protocol, masqueraded=masqueraded),
        )
        for (node, _, _), endpoint in chosen.items()
    ]
    return tuple(dict.fromkeys(found_ways))  # by several nodes the same, where policies see no difference


def attempts(answer: Answer) -> int:
    """So many that each of several endpoints is most probably met."""
    return 1 if len(answer.ways) < 2 else 6 * len(answer.ways)


def _service(cluster: Cluster, to: Destination, protocol: str) -> tuple[Service, ServicePort] | None:
    """The Service that has the address and port, node ports included."""
    is_node = any(node.ip == to.ip for node in cluster.nodes.values())
    for service in filter(is_proxied, cluster.services.values()):
        addresses = (service.cluster_ip, *service.load_balancer_ips, *service.external_ips)
        for port in service.ports:
            mine = to.ip in addresses and port.port == to.port
            if (mine or (is_node and port.node_port == to.port)) and port.protocol == protocol.upper():
                return service, port
    return None


def _fates(
    cluster: Cluster, source: Source, to: Destination, service: Service, port: ServicePort
) -> Iterator[Fate]:
    """What becomes of it on each node whose rules may translate it."""
    for node in _translating(cluster, source, to):
        if to.ip == service.cluster_ip:
            yield internal_fate(service, port, node)
        else:
            yield external_fate(service, port, node, from_cluster=bool(source.node))


def _translating(cluster: Cluster, source: Source, to: Destination) -> list[Node]:
    """A node port is its node's business; the rest is the source's node's, or of a client any node's. To a client a
    ClusterIP is no address at all."""
    nodes = cluster.nodes
    addressed = [node for node in nodes.values() if node.ip == to.ip]
    if addressed or source.node:
        return addressed or [nodes[source.node]]
    return [] if any(to.ip == service.cluster_ip for service in cluster.services.values()) else list(nodes.values())


def text(answer: Answer) -> str:
    """The answer for a person; ends with a newline."""
    lines = [f"{answer.source} -> {answer.destination} ({answer.protocol})"]
    for way in answer.ways:
        several = f"to {way.to}: {'allowed' if way.allowed else 'DENIED'}"
        lines += ["", several] if len(answer.ways) > 1 else []
        lines += [line for verdict in way.verdicts for line in _told(verdict)]
        lines += [] if way.verdicts else ["  no policy is enforced at either end"]
    lines += ["", f"predicted: {answer.predicted}", *_observed(answer)]
    return "\n".join(lines) + "\n"


def _told(verdict: Verdict) -> Iterator[str]:
    yield f"  {verdict.direction} of {verdict.subject}: {'allowed' if verdict.allowed else 'DENIED'}"
    if not verdict.steps:
        yield f"    * {verdict.because}"
    for step in verdict.steps:
        tier = f"({step.tier} tier)" if step.tier in ("Admin", "Baseline") else ""
        words = " ".join(filter(None, [step.policy, tier, step.rule]))
        yield f"    {'*' if step.decides else ' '} {words + ': ' if words else ''}{step.says}"


def _observed(answer: Answer) -> Iterator[str]:
    result = answer.result
    if result is None:
        return
    counts = ", ".join(f"{_WORDS.get(verdict, verdict)} x{number}" for verdict, number in result.counts.items())
    by = f" by {', '.join(result.responders)}" if result.responders else ""
    detail = f" ({result.detail})" if result.detail else ""
    yield f"observed:  {counts}{by}{detail}"
    if answer.mismatch:
        yield f"MISMATCH: {answer.mismatch}. This is a bug of nslab's: please report it with this output."


_WORDS = {"timeout": "blocked"}


def to_json(answer: Answer) -> dict[str, Any]:
    """The same for a program."""
    found = answer.result
    return {
        "from": answer.source, "to": answer.destination, "proto": answer.protocol, "predicted": answer.predicted,
        "ways": [
            {"to": way.to, "allowed": way.allowed, "verdicts": [verdict.to_json() for verdict in way.verdicts]}
            for way in answer.ways
        ],
        "observed": None if found is None else {
            "counts": found.counts, "responders": found.responders, "detail": found.detail,
        },
        "mismatch": answer.mismatch,
    }
