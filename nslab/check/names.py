"""Which names there must be, and what they mean: every Service's and every named port's, by Pods' own resolvers.

Written from the Kubernetes DNS specification (github.com/kubernetes/dns, docs/specification.md), apart from the zone
that the name servers have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from typing import Final

from nslab.check.model import BLOCKED, BLOCKED_TIMEOUT, OPEN_TIMEOUT, Expectation
from nslab.check.policies.paths import paths_of
from nslab.check.policies.why import Way, ways
from nslab.check.references import Destination, Source, lookup, node_source, pod_source
from nslab.check.semantics import version_name
from nslab.cluster.addons import NODE_LOCAL_IP
from nslab.cluster.model import Cluster, Endpoint, Service, ServicePort
from nslab.cluster.resolvers import resolvers
from nslab.servers.flows import Flow

RESOLVERS: Final = "Pods' resolvers"
SERVICES: Final = "Names of Services"
PORTS: Final = "Names of ports"

DNS_PORT: Final = 53


def resolvers_of_pods(cluster: Cluster) -> Iterator[Expectation]:
    """Every Pod that asks the cluster's DNS is answered by it."""
    for source in _askers(cluster):
        name = version_name(cluster)
        label = f"{source.reference} asks for {name}"
        yield _expectation(cluster, RESOLVERS, label, source, f"{name}.", "TXT", ['"1.1.0"'])


def of_services(cluster: Cluster) -> Iterator[Expectation]:
    """Every Service's name means its ClusterIP, its ready endpoints, or another name; another Pod asks each time."""
    askers, turn = list(_askers(cluster)), count()
    for service in cluster.services.values() if askers else ():
        source = askers[next(turn) % len(askers)]
        name = _name(cluster, service)
        if service.type == "ExternalName":
            answers, kind = [service.external_name], "CNAME"
        else:
            answers, kind = list(_addresses(service)), "A"
        label = f"{source.reference} asks for {name} {kind}: {_some(answers)}"
        yield _expectation(cluster, SERVICES, label, source, f"{name}.", kind, answers)


def of_ports(cluster: Cluster) -> Iterator[Expectation]:
    """Every named port's SRV records: the port, and who serves it."""
    askers, turn = list(_askers(cluster)), count()
    for service in cluster.services.values() if askers else ():
        for port in service.ports if service.type != "ExternalName" else ():
            if port.name:
                source = askers[next(turn) % len(askers)]
                name = f"_{port.name}._{port.protocol.lower()}.{_name(cluster, service)}"
                label = f"{source.reference} asks for {name} SRV"
                records = _records(_targets(cluster, service, port))
                yield _expectation(cluster, PORTS, label, source, f"{name}.", "SRV", records)


def _askers(cluster: Cluster) -> Iterable[Source]:
    """The Pods with a netns of their own whose resolver asks the cluster's DNS."""
    known = resolvers(cluster)
    return (
        pod_source(cluster, pod) for pod in cluster.pods.values()
        if not pod.host_network and known.asks_cluster(pod)
    )


def _expectation(
    cluster: Cluster, group: str, label: str, source: Source, name: str, kind: str, answers: list[str]
) -> Expectation:
    flow = Flow(
        "", source.netns, "dns", "", timeout=OPEN_TIMEOUT, query=(name, kind), lookup=lookup(cluster, name, source)
    )
    code = "NOERROR" if answers else "NXDOMAIN"
    expectation = Expectation(group, label, source.reference, name, flow, code=code, answers=normal(answers))
    return _under_policies(cluster, source, expectation)


def _under_policies(cluster: Cluster, source: Source, expectation: Expectation) -> Expectation:
    """The same, or that nothing comes back where policies keep the source from every name server. Where they keep it
    from some, or a cache from those that it asks, nobody can tell."""
    if not paths_of(cluster).enforced:
        return expectation
    fates = {way.allowed for place, server in _asked(cluster, source) for way in _ways(cluster, place, server)}
    if False not in fates:
        return expectation
    if True in fates:
        return replace(expectation, skipped="policies let only some of the name servers be asked")
    return replace(
        expectation, name=f"{expectation.name}: blocked by policies", verdicts=BLOCKED, code="", answers=None,
        flow=replace(expectation.flow, timeout=BLOCKED_TIMEOUT),
    )


def _asked(cluster: Cluster, source: Source) -> Iterator[tuple[Source, str]]:
    """The name servers that a question of the source's may come to, each with who asks it: NodeLocal DNSCache asks
    on."""
    for server in resolvers(cluster).of(cluster.pods[source.pod]).servers:
        yield source, server
        if server == NODE_LOCAL_IP:
            yield node_source(cluster, cluster.nodes[source.node]), resolvers(cluster).server


def _ways(cluster: Cluster, source: Source, server: str) -> tuple[Way, ...]:
    return ways(cluster, source, Destination(server, DNS_PORT, server), "udp")


def normal(answers: Iterable[str]) -> frozenset[str]:
    """Records' data as they are compared: names without case and without the dot at their end."""
    return frozenset(answer.lower().removesuffix(".") for answer in answers)


def _name(cluster: Cluster, service: Service) -> str:
    return f"{service.name}.{service.namespace}.svc.{cluster.lab.cluster.domain}"


def _addresses(service: Service) -> Iterable[str]:
    """A ClusterIP, or the addresses of the endpoints that are ready."""
    if service.cluster_ip:
        return (service.cluster_ip,)
    return dict.fromkeys(each.ip for each in service.addresses if _counts(service, each))


def _counts(service: Service, endpoint: Endpoint) -> bool:
    return (endpoint.ready or service.publish_not_ready) and ":" not in endpoint.ip


def _targets(cluster: Cluster, service: Service, port: ServicePort) -> Iterable[tuple[int, str]]:
    """Port and name of everyone who serves a port: the Service itself, or each endpoint of a headless one, by its
    hostname or else its address."""
    name = _name(cluster, service)
    if service.cluster_ip:
        return ((port.port, name),)
    labels = {each.ip: each.hostname or each.ip.replace(".", "-") for each in service.addresses}
    return dict.fromkeys(
        (each.port, f"{labels.get(each.ip, each.ip)}.{name}") for each in port.endpoints if _counts(service, each)
    )


def _records(targets: Iterable[tuple[int, str]]) -> list[str]:
    found = list(targets)
    return [f"0 {max(1, 100 // len(found))} {port} {target}" for port, target in found]


def _some(answers: list[str]) -> str:
    more = f" and {len(answers) - 3} more" if len(answers) > 4 else ""
    return f"{', '.join(answers[:3] if more else answers)}{more}" if answers else "no such name"
