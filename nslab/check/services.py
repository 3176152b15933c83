"""What every Service port must answer from inside the cluster: from nodes, from Pods, and from a Pod to itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from math import ceil
from typing import Final, NamedTuple

from nslab.check.model import BLOCKED, BLOCKED_TIMEOUT, OPEN, OPEN_TIMEOUT, QUIET, REFUSED, Expectation
from nslab.check.policies.paths import Paths, allowed, paths_of
from nslab.check.references import Source, node_source, pod_source
from nslab.check.semantics import (
    Fate,
    Masquerade,
    internal_fate,
    is_identified,
    is_name_server,
    is_proxied,
    reachable,
    responder_of,
    version_name,
)
from nslab.cluster.model import Cluster, Endpoint, Pod, Service, ServicePort
from nslab.servers.flows import Flow

FULL_SPREAD: Final = 400
"""Up to so many pairs of place and port every place must reach every endpoint; of more, one place for each port."""

_VERDICTS: Final = {"open": OPEN, "refused": REFUSED, "blocked": BLOCKED}
_GROUPS: Final = {"refused": "Services without endpoints", "blocked": "Local policies without a local endpoint"}
_STICKY_ATTEMPTS: Final = 8


class Way(NamedTuple):
    """One address and port by which a Service port is reached, and the subject that it is reported under."""

    group: str
    service: Service
    port: ServicePort
    ip: str
    number: int
    label: str
    external: bool = True

    @property
    def name(self) -> str:
        """Where it leads, in words."""
        return f"{self.label} ({self.ip}:{self.number}/{self.port.protocol.lower()})"


def ports(cluster: Cluster) -> Iterator[tuple[Service, ServicePort]]:
    """Every port of every Service that kube-proxy serves, in order."""
    return ((service, port) for service in cluster.services.values() if is_proxied(service) for port in service.ports)


def expect(
    cluster: Cluster, way: Way, source: Source, fates: Sequence[Fate], clients: frozenset[str] | None, *,
    spread: bool = True,
) -> Expectation:
    """What a flow from `source` on this way must find, when each of `fates` befalls an equal part of the flows.

    There is one fate where one node's rules decide, and one for each node where the VPC spreads flows over nodes.
    Of endpoints that policies forbid nothing comes back.
    """
    paths = paths_of(cluster)
    met = [_under_policies(paths, way, source, fate) for fate in fates]
    shares = _shares(cluster, fates, met)
    endpoints = {(each.ip, each.port): each for some in met for each in some}.values()
    verdicts = frozenset[str]().union(*map(_possible, fates, met))
    identified = [is_identified(cluster, each, way.port.protocol) for each in endpoints]
    asks = bool(endpoints) and all(is_name_server(cluster, each, way.port.protocol) for each in endpoints)
    sticky = bool(way.service.affinity_timeout) and len(fates) == 1 and len(endpoints) > 1
    each_answers = spread and all(identified) and not way.service.affinity_timeout
    share = min(shares.values(), default=1.0)
    destination = f"{way.ip}:{way.number}"
    label = f"{source.reference} -> {way.name}"
    told = _told(endpoints, verdicts, "one" if sticky else "each" if each_answers else "any")
    if sum(map(len, met)) < sum(len(fate.endpoints) for fate in fates):
        told = "blocked by policies" if verdicts == BLOCKED else f"{told}; others blocked by policies"
    return Expectation(
        "Session affinity" if sticky else _group(way, fates), f"{label}: {told}",
        source.reference, destination,
        Flow(
            "", source.netns, "dns" if asks else way.port.protocol.lower(), way.ip, way.number,
            timeout=_timeout(verdicts),
            count=_STICKY_ATTEMPTS if sticky else ceil(4 / share) if each_answers and endpoints else 2,
            quiet=_timeout(verdicts) if all(identified) else QUIET,
            query=(version_name(cluster), "TXT"), stream=way.port.protocol == "TCP",
        ),
        verdicts, frozenset(shares), not all(identified), frozenset(shares) if each_answers else frozenset(),
        share, sticky, clients if endpoints and not asks else None,
        skipped=_cannot_tell(cluster, way.port, endpoints, identified),
    )


def _under_policies(paths: Paths, way: Way, source: Source, fate: Fate) -> list[Endpoint]:
    """The endpoints that the policies let the source reach."""
    masqueraded = way.external and way.service.external_traffic_policy == "Cluster"
    return [
        endpoint for endpoint in fate.endpoints
        if allowed(paths.translated(
            source, fate.node or source.node, (way.ip, way.number), endpoint, way.port.protocol,
            masqueraded=masqueraded,
        ))
    ]


def _possible(fate: Fate, met: list[Endpoint]) -> frozenset[str]:
    """The verdicts of a fate, of whose endpoints only those in `met` may be reached."""
    if fate.verdict != "open" or len(met) == len(fate.endpoints):
        return _VERDICTS[fate.verdict]
    return OPEN | BLOCKED if met else BLOCKED


def _shares(cluster: Cluster, fates: Sequence[Fate], met: Sequence[list[Endpoint]]) -> dict[str, float]:
    """The part of all flows that each responder gets, when endpoints are chosen at random with equal probability."""
    shares: dict[str, float] = {}
    for fate, some in zip(fates, met, strict=True):
        for endpoint in some:
            part = 1 / (len(fates) * len(fate.endpoints))
            name = responder_of(cluster, endpoint)
            shares[name] = shares.get(name, 0.0) + part
    return shares


def _group(way: Way, fates: Sequence[Fate]) -> str:
    verdicts = {fate.verdict for fate in fates}
    return _GROUPS.get(verdicts.pop(), way.group) if len(verdicts) == 1 else way.group


def _timeout(verdicts: frozenset[str]) -> float:
    return BLOCKED_TIMEOUT if verdicts >= BLOCKED else OPEN_TIMEOUT


def _told(endpoints: Iterable[Endpoint], verdicts: frozenset[str], how_many: str) -> str:
    """The expectation in words, for the check's name."""
    pods = {each.pod or f"{each.ip}:{each.port}" for each in endpoints}
    if not pods:
        return "refused" if verdicts == REFUSED else "blocked"
    who = next(iter(pods)) if len(pods) == 1 else f"{how_many} of {len(pods)}"
    return f"from {who}" + (", blocked by nodes that have none" if verdicts >= BLOCKED else "")


def _cannot_tell(cluster: Cluster, port: ServicePort, endpoints: Iterable[Endpoint], identified: list[bool]) -> str:
    """Why no packet can show whether the port works; empty where one can."""
    if port.protocol == "SCTP":
        return "SCTP is not probed: many kernels lack it"
    foreign = [each.ip for each in endpoints if not responder_of(cluster, each)]
    if foreign:
        return f"the endpoint {foreign[0]} is no Pod of the lab"
    if port.protocol == "UDP" and not all(identified):
        return "a command of the host serves it over UDP and need not answer a datagram of any kind"
    return ""


def full_spread(places: int, ports: int) -> bool:
    """Whether so few flows are to be tried that each may look for every endpoint."""
    return places * ports <= FULL_SPREAD


def from_nodes(cluster: Cluster) -> Iterator[Expectation]:
    """Every ClusterIP port from every node. kube-proxy masquerades what does not come from a Pod."""
    masquerade = Masquerade(cluster)
    nodes = list(cluster.nodes.values())
    wanted = list(ports(cluster))
    everywhere = full_spread(len(nodes), len(wanted))
    for index, (service, port) in enumerate(wanted):
        way = _cluster_ip("Service ports from nodes", service, port)
        for place, node in enumerate(nodes):
            yield expect(
                cluster, way, node_source(cluster, node), [internal_fate(service, port, node)],
                masquerade.of_nodes(node), spread=everywhere or place == index % len(nodes),
            )


def from_pods(cluster: Cluster) -> Iterator[Expectation]:
    """Every ClusterIP port from a Pod, whose address is kept; from another Pod each time, no endpoint if possible."""
    masquerade = Masquerade(cluster)
    wanted = list(ports(cluster))
    callers = Callers(cluster)
    for service, port in wanted:
        pod = callers.next(port)
        if pod is None:
            return
        fate = internal_fate(service, port, cluster.nodes[pod.node])
        yield expect(
            cluster, _cluster_ip("Service ports from Pods", service, port), pod_source(cluster, pod), [fate],
            masquerade.through_service(pod, fate.endpoints), spread=full_spread(1, len(wanted)),
        )


def hairpin(cluster: Cluster) -> Iterator[Expectation]:
    """A Pod that is the only endpoint of a Service reaches itself through it, and sees its node as the client."""
    masquerade = Masquerade(cluster)
    for service, port in ports(cluster):
        for key in dict.fromkeys(each.pod for each in port.endpoints):
            pod = cluster.pods.get(key)
            if pod is None or pod.host_network:
                continue
            fate = internal_fate(service, port, cluster.nodes[pod.node])
            if [each.pod for each in fate.endpoints] == [key]:
                way = _cluster_ip("Hairpin: a Pod to itself through its Service", service, port)
                clients = masquerade.through_service(pod, fate.endpoints)
                yield expect(cluster, way, pod_source(cluster, pod), [fate], clients)


def headless(cluster: Cluster) -> Iterator[Expectation]:
    """The endpoints of a Service without ClusterIP are reached by their own addresses."""
    masquerade = Masquerade(cluster)
    callers = Callers(cluster)
    for service in cluster.services.values():
        if service.cluster_ip or service.external_name:
            continue
        for port, endpoint in [(one, each) for one in service.ports for each in reachable(service, one, None)]:
            pod = callers.next(port)
            if pod is None:
                return
            way = Way("Headless Services", service, port, endpoint.ip, endpoint.port, f"svc/{service.key}", False)
            clients = masquerade.of_pod(pod, endpoint.ip)
            yield expect(cluster, way, pod_source(cluster, pod), [Fate("open", (endpoint,), pod.node)], clients)


def _cluster_ip(group: str, service: Service, port: ServicePort) -> Way:
    return Way(group, service, port, service.cluster_ip, port.port, f"svc/{service.key}:{port.port}", False)


class Callers:
    """Pods with a netns of their own, taken in turn as sources, so that no one Pod stands for all."""

    def __init__(self, cluster: Cluster) -> None:
        self._pods = [pod for pod in cluster.pods.values() if not pod.host_network]
        self._turn = count()

    def next(self, port: ServicePort, node: str = "") -> Pod | None:
        """The next Pod, of `node` if given; one that is no endpoint of the port where there is such a one."""
        pods = [pod for pod in self._pods if pod.node == node] if node else self._pods
        if not pods:
            return None
        behind = {each.pod for each in port.endpoints}
        start = next(self._turn) % len(pods)
        in_turn = pods[start:] + pods[:start]
        return next((pod for pod in in_turn if pod.key not in behind), in_turn[0])


