"""What Services must answer at the addresses that outsiders use: NodePorts, load balancer VIPs, externalIPs.

externalTrafficPolicy decides: Cluster takes any endpoint and hides the client behind the node, Local takes the
node's own endpoints and keeps the client's address. To Pods and nodes of the cluster Local does not apply.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nslab.check.model import BLOCKED, BLOCKED_TIMEOUT, OPEN, Expectation
from nslab.check.references import client_source, node_source, pod_source
from nslab.check.semantics import Masquerade, external_fate, within
from nslab.check.services import Callers, Way, expect, full_spread, ports
from nslab.cluster.model import Client, Cluster, Pod, Service, ServicePort

_LOST = frozenset(["timeout", "unreachable"])


def node_ports_from_vpc(cluster: Cluster) -> Iterator[Expectation]:
    """Every NodePort on every node, from each client in the VPC."""
    masquerade = Masquerade(cluster)
    wanted = [each for each in ports(cluster) if each[1].node_port]
    nodes = list(cluster.nodes.values())
    for client in _clients(cluster, "vpc"):
        for index, (service, port) in enumerate(wanted):
            for place, node in enumerate(nodes):
                clients = _seen(service, client.ip, masquerade.of_nodes(node))
                fate = external_fate(service, port, node, from_cluster=False)
                yield expect(
                    cluster, _node_port("NodePorts from the VPC", service, port, node.name, node.ip),
                    client_source(cluster, client), [fate], clients,
                    spread=full_spread(len(nodes), len(wanted)) or place == index % len(nodes),
                )


def node_ports_from_pods(cluster: Cluster) -> Iterator[Expectation]:
    """Every NodePort on every node, from a Pod.

    With policy Local the Pod is one of that node: its address is kept, so that the answer of an endpoint elsewhere
    returns by the Pod's node. By another node's NodePort it would not, and fails in Kubernetes as well.
    """
    masquerade = Masquerade(cluster)
    callers = Callers(cluster)
    wanted = [each for each in ports(cluster) if each[1].node_port]
    for service, port in wanted:
        is_local = service.external_traffic_policy == "Local"
        for node in cluster.nodes.values():
            pod = callers.next(port, node.name if is_local else "")
            if pod is None:
                continue
            fate = external_fate(service, port, node, from_cluster=True)
            kept = masquerade.through_service(pod, fate.endpoints)
            yield expect(
                cluster, _node_port("NodePorts from Pods", service, port, node.name, node.ip),
                pod_source(cluster, pod), [fate], kept if is_local else masquerade.of_nodes(node),
                spread=full_spread(len(cluster.nodes), len(wanted)),
            )


def _node_port(group: str, service: Service, port: ServicePort, node: str, ip: str) -> Way:
    return Way(group, service, port, ip, port.node_port, f"svc/{service.key}:{port.port} at node/{node}")


def _seen(service: Service, client: str, nodes: frozenset[str]) -> frozenset[str]:
    return frozenset([client]) if service.external_traffic_policy == "Local" else nodes


def vips_from_outside(cluster: Cluster) -> Iterator[Expectation]:
    """Every VIP from each client of its side: the internet's for an external one, the VPC's for an internal one.

    The VPC spreads flows over all nodes. With policy Local those that reach a node without an endpoint are lost
    there, so that "blocked" is allowed besides "open": the lab's load balancers have no health checks, by which the
    cloud's would leave such nodes out. Every endpoint must answer all the same, unless affinity hides some.
    """
    for service, port in ports(cluster):
        for vip in service.load_balancer_ips:
            is_internal = within(vip, [cluster.lab.vpc.node_range])
            group = "Internal VIPs from the VPC" if is_internal else "VIPs from the internet"
            for client in _clients(cluster, "vpc" if is_internal else "internet"):
                way = Way(group, service, port, vip, port.port, _vip(service, port))
                yield _filtered(service, client.ip, _from_outside(cluster, way, client))


def internal_vips_from_internet(cluster: Cluster) -> Iterator[Expectation]:
    """An internal VIP is no address of the internet."""
    for service, port in ports(cluster):
        for vip in service.load_balancer_ips:
            if not within(vip, [cluster.lab.vpc.node_range]):
                continue
            for client in _clients(cluster, "internet"):
                way = Way("", service, port, vip, port.port, _vip(service, port))
                expectation = _blocked(_from_outside(cluster, way, client), "Internal VIPs not from the internet")
                yield replace(expectation, verdicts=_LOST)


def vips_from_pods(cluster: Cluster) -> Iterator[Expectation]:
    """Every VIP from a Pod: its own node's rules take it, source ranges included."""
    callers = Callers(cluster)
    for service, port in ports(cluster):
        pod = callers.next(port)
        if pod is None:
            return
        for vip in service.load_balancer_ips:
            way = Way("VIPs from Pods", service, port, vip, port.port, _vip(service, port))
            yield _filtered(service, pod.ip, _from_pod(cluster, way, pod))


def external_ips(cluster: Cluster) -> Iterator[Expectation]:
    """Every externalIP from a Pod and a node, and from the internet where the address is one of externalRange."""
    callers = Callers(cluster)
    masquerade = Masquerade(cluster)
    nodes = list(cluster.nodes.values())
    for index, (service, port) in enumerate(ports(cluster)):
        for ip in service.external_ips:
            label = f"svc/{service.key}:{port.port} by its external IP"
            way = Way("External IPs", service, port, ip, port.port, label)
            pod, node = callers.next(port), nodes[index % len(nodes)]
            if pod is not None:
                yield _from_pod(cluster, way, pod)
            fate = external_fate(service, port, node, from_cluster=True)
            yield expect(cluster, way, node_source(cluster, node), [fate], masquerade.of_nodes(node))
            if within(ip, [cluster.lab.vpc.external_range]):
                yield from (_from_outside(cluster, way, client) for client in _clients(cluster, "internet"))


def _from_outside(cluster: Cluster, way: Way, client: Client) -> Expectation:
    nodes = cluster.nodes.values()
    fates = [external_fate(way.service, way.port, node, from_cluster=False) for node in nodes]
    clients = _seen(way.service, client.ip, Masquerade(cluster).of_nodes(*nodes))
    return expect(cluster, way, client_source(cluster, client), fates, clients)


def _from_pod(cluster: Cluster, way: Way, pod: Pod) -> Expectation:
    masquerade = Masquerade(cluster)
    node = cluster.nodes[pod.node]
    fate = external_fate(way.service, way.port, node, from_cluster=True)
    kept = masquerade.through_service(pod, fate.endpoints)
    is_local = way.service.external_traffic_policy == "Local"
    return expect(
        cluster, way, pod_source(cluster, pod), [fate], kept if is_local else masquerade.of_nodes(node),
    )


def _vip(service: Service, port: ServicePort) -> str:
    return f"svc/{service.key}:{port.port} by its VIP"


def _filtered(service: Service, ip: str, expectation: Expectation) -> Expectation:
    """loadBalancerSourceRanges drop who is in none of them; a Service without endpoints refuses before that."""
    if not service.source_ranges or not expectation.verdicts >= OPEN:
        return expectation
    if within(ip, service.source_ranges):
        return replace(expectation, group="Load balancer source ranges")
    return _blocked(expectation, "Load balancer source ranges")


def _blocked(expectation: Expectation, group: str) -> Expectation:
    """The same flow, of which nothing may come back."""
    return replace(
        expectation, group=group, name=f"{expectation.name.partition('): ')[0]}): blocked",
        flow=replace(expectation.flow, count=2, timeout=BLOCKED_TIMEOUT), verdicts=BLOCKED, responders=None,
        spread=frozenset(), sticky=False, clients=None,
    )


def _clients(cluster: Cluster, network: str) -> Iterator[Client]:
    return (client for client in cluster.clients.values() if client.network == network)
