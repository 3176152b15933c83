"""What Pods must reach without any Service: their gateway, their node, each other, and hosts outside.

The Kubernetes network model: every Pod reaches every other Pod without NAT, within a node and across nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from nslab.check.model import BLOCKED, BLOCKED_TIMEOUT, OPEN_TIMEOUT, Expectation
from nslab.check.policies.paths import allowed, paths_of
from nslab.check.references import Source, node_source, pod_source
from nslab.check.semantics import Masquerade, gateway, responder_ports, version_name
from nslab.cluster.addons import is_dns_port
from nslab.cluster.model import Client, Cluster, ContainerPort, Pod
from nslab.servers.flows import Flow

ALL_PAIRS: Final = 60
"""Up to so many Pods every pair is tried; of more, a subset that has each Pod on either end."""

CLIENT_PORT: Final = 80
"""The port on which every client runs the responder, over TCP and UDP."""


def to_gateway(cluster: Cluster) -> Iterator[Expectation]:
    for pod in _own_netns(cluster):
        ip = gateway(cluster.nodes[pod.node])
        yield _ping("Pods to their gateway", pod_source(cluster, pod), ip, f"its gateway {ip}")


def to_node(cluster: Cluster) -> Iterator[Expectation]:
    for pod in _own_netns(cluster):
        yield _ping("Pods to their node", pod_source(cluster, pod), cluster.nodes[pod.node].ip, f"node/{pod.node}")


def from_node(cluster: Cluster) -> Iterator[Expectation]:
    """The kubelet's way to its Pods: readiness probes go it."""
    masquerade = Masquerade(cluster)
    for pod in _own_netns(cluster):
        node = cluster.nodes[pod.node]
        yield _to_pod(cluster, "Nodes to their Pods", node_source(cluster, node), pod, masquerade.of_nodes(node))


def between(cluster: Cluster) -> Iterator[Expectation]:
    """Pods to Pods, within a node and across nodes: the source address is the Pod's own. The nodes' static Pods have
    nothing of their own to reach."""
    masquerade = Masquerade(cluster)
    pods = cluster.asked_pods
    is_large = len(pods) > ALL_PAIRS
    suffix = " (each at either end, not all pairs)" if is_large else ""
    pairs = covering_pairs(cluster) if is_large else ((one, other) for one in pods for other in pods)
    for one, other in pairs:
        pod, target = cluster.pods[one], cluster.pods[other]
        if one == other or (pod.node == target.node and pod.host_network and target.host_network):
            continue
        group = "Pods within a node" if pod.node == target.node else "Pods across nodes"
        source = pod_source(cluster, pod)
        expectation = _to_pod(cluster, group + suffix, source, target, masquerade.of_pod(pod, target.ip))
        yield under_policies(cluster, source, expectation)


def covering_pairs(cluster: Cluster) -> list[tuple[str, str]]:
    """Pairs of keys of asked Pods such that each is source and destination within its node, and across nodes, where
    there is a Pod to pair it with; at most some three for each Pod."""
    node_of = {key: pod.node for key, pod in cluster.asked_pods.items()}
    by_node = [[pod.key for pod in pods if pod.key in node_of] for pods in cluster.pods_by_node.values()]
    ordered = [key for keys in by_node for key in keys]
    # A ring in each node. Across: a shift by the largest node's number leaves no Pod of a node on itself, unless
    # that node has more than half of all; the Pods it leaves out are paired both ways with Pods elsewhere.
    pairs = {(key, keys[(index + 1) % len(keys)]): None for keys in by_node for index, key in enumerate(keys)}
    shift = max(map(len, by_node))
    for index, one in enumerate(ordered):
        other = ordered[(index + shift) % len(ordered)]
        if node_of[one] != node_of[other]:
            pairs[one, other] = None
            continue
        elsewhere = [key for key in ordered if node_of[key] != node_of[one]]
        if elsewhere:
            pairs[one, elsewhere[index % len(elsewhere)]] = None
            pairs[elsewhere[index % len(elsewhere)], other] = None
    return list(pairs)


def to_clients(cluster: Cluster) -> Iterator[Expectation]:
    """Egress, from one Pod of each node: ip-masq-agent hides the Pod behind its node, save towards kept ranges.

    Towards the internet a Pod whose own address is kept gets no answer in any cloud, and nothing is expected.
    """
    masquerade = Masquerade(cluster)
    for client in cluster.clients.values():
        kept = masquerade.keeps(client.ip)
        if kept and client.network == "internet":
            continue
        for pods in cluster.pods_by_node.values():
            for pod in [pod for pod in pods if not pod.host_network][:1]:
                seen = pod.ip if kept else cluster.nodes[pod.node].ip
                source = pod_source(cluster, pod)
                for protocol in ("tcp", "udp"):
                    yield under_policies(cluster, source, _egress(source, client, protocol, seen))


def under_policies(cluster: Cluster, source: Source, expectation: Expectation) -> Expectation:
    """The same, or that nothing comes back where policies forbid the flow, which no rule translates."""
    flow = expectation.flow
    if allowed(paths_of(cluster).direct(source, flow.ip, flow.port, flow.transport)):
        return expectation
    return replace(
        expectation, name=f"{expectation.name}: blocked by policies", flow=replace(flow, timeout=BLOCKED_TIMEOUT),
        verdicts=BLOCKED, responders=None, clients=None,
    )


def _egress(source: Source, client: Client, protocol: str, seen: str) -> Expectation:
    group = "Egress to the VPC" if client.network == "vpc" else "Egress to the internet"
    destination = f"client/{client.name}:{CLIENT_PORT}"
    return Expectation(
        group, f"{source.reference} -> {destination}/{protocol}, seen as {seen}", source.reference, destination,
        Flow("", source.netns, protocol, client.ip, CLIENT_PORT, timeout=OPEN_TIMEOUT, quiet=OPEN_TIMEOUT),
        responders=frozenset([f"client/{client.name}"]), clients=frozenset([seen]),
    )


def _own_netns(cluster: Cluster) -> Iterable[Pod]:
    return (pod for pod in cluster.pods.values() if not pod.host_network)


def _ping(group: str, source: Source, ip: str, label: str) -> Expectation:
    name = f"{source.reference} -> {label} (ping)"
    return Expectation(group, name, source.reference, ip, Flow("", source.netns, "icmp", ip, timeout=OPEN_TIMEOUT))


def _to_pod(cluster: Cluster, group: str, source: Source, target: Pod, clients: frozenset[str]) -> Expectation:
    """Over a port that the Pod's responder serves, TCP if there is one; a ping where it serves none."""
    served = [port for port in responder_ports(target) if port.protocol in ("TCP", "UDP")]
    if not served:
        return _ping(group, source, target.ip, f"pod/{target.key}")
    port = min(served, key=lambda port: port.protocol)
    destination, protocol = f"pod/{target.key}:{port.port}", port.protocol.lower()
    return Expectation(
        group, f"{source.reference} -> {destination}/{protocol}", source.reference, destination,
        flow_to(cluster, source, target, port), responders=frozenset([target.key]),
        clients=None if is_dns_port(target, port) else clients,
    )


def flow_to(cluster: Cluster, source: Source, target: Pod, port: ContainerPort) -> Flow:
    """An exchange with the responder on a Pod's port. A name server is asked who it is; whom it sees it does not
    say."""
    protocol = port.protocol.lower()
    return Flow(
        "", source.netns, "dns" if is_dns_port(target, port) else protocol, target.ip, port.port,
        timeout=OPEN_TIMEOUT, quiet=OPEN_TIMEOUT, query=(version_name(cluster), "TXT"), stream=protocol == "tcp",
    )
