"""What Kubernetes says must become of a packet: who answers it and which source address it carries.

Written from the documentation of Services (kubernetes.io, "Virtual IPs and Service Proxies", "Using Source IP"), of
kube-proxy's endpoint selection (pkg/proxy/topology.go, KEP-3015) and of GKE's ip-masq-agent, and apart from the
components that make rules: the two must agree because packets say so, not because they share code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from nslab.cluster.addons import is_dns_port
from nslab.cluster.ipv4 import parse_range, to_int, to_text
from nslab.cluster.model import Cluster, ContainerPort, Endpoint, Node, Pod, Service, ServicePort

# cloud.google.com/kubernetes-engine/docs/concepts/ip-masquerade-agent: the default non-masquerade destinations.
_KEPT_RANGES: Final = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24",
    "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "169.254.0.0/16",
)
# Labels that make kube-proxy leave a Service alone (pkg/proxy/apis/well_known_labels.go).
_OPT_OUT: Final = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")


@dataclass(frozen=True)
class Masquerade:
    """Which source addresses the far end of a flow may see."""

    cluster: Cluster

    @cached_property
    def kept_ranges(self) -> tuple[str, ...] | None:
        """The ranges that ConfigMap kube-system/ip-masq-agent lists; None where it lists none."""
        for each in self.cluster.objects:
            if (each.kind, each.namespace, each.name) == ("ConfigMap", "kube-system", "ip-masq-agent"):
                import yaml

                config: Any = yaml.safe_load(each.body.get("data", {}).get("config", "")) or {}
                if "nonMasqueradeCIDRs" in config:
                    return tuple(config["nonMasqueradeCIDRs"] or ())
        return None

    def keeps(self, ip: str) -> bool:
        """Whether a Pod's address stays on a packet to `ip`. By default GKE's ranges decide, less those that play the
        public internet in this lab."""
        if self.kept_ranges is not None:
            return within(ip, self.kept_ranges)
        vpc = self.cluster.lab.vpc
        return within(ip, _KEPT_RANGES) and not within(ip, (vpc.external_range, vpc.internet_range))

    def of_nodes(self, *nodes: Node) -> frozenset[str]:
        """A node's own address, or on the way to its Pods their gateway: whichever its kernel picks."""
        return frozenset(address for node in nodes for address in (node.ip, gateway(node)))

    def of_pod(self, pod: Pod, ip: str) -> frozenset[str]:
        """A Pod's on the way to another Pod's address. A lab may have told its ip-masq-agent to hide it; a packet
        that does not leave the node may then show either."""
        node = self.cluster.nodes[pod.node]
        if pod.host_network:
            return self.of_nodes(node)
        return frozenset([pod.ip]) if self.keeps(ip) else frozenset([pod.ip]) | self.of_nodes(node)

    def through_service(self, pod: Pod, endpoints: Iterable[Endpoint]) -> frozenset[str]:
        """A Pod's through a Service that keeps sources. A Pod that reaches itself so is seen as its node: an answer
        to its own address would not leave it."""
        seen: frozenset[str] = frozenset()
        for endpoint in endpoints:
            if endpoint.pod == pod.key:
                seen |= self.of_nodes(self.cluster.nodes[pod.node])
            else:
                seen |= self.of_pod(pod, endpoint.ip)
        return seen


class Fate(NamedTuple):
    """What `node` does with a new flow to a Service: "open" to one of `endpoints`, "refused" or "blocked"."""

    verdict: str
    endpoints: tuple[Endpoint, ...] = ()
    node: str = ""


def is_proxied(service: Service) -> bool:
    """Whether kube-proxy serves the Service at all: it has a ClusterIP and no label that leaves it to others."""
    labels = service.body.get("metadata", {}).get("labels") or {}
    return bool(service.cluster_ip) and not any(label in labels for label in _OPT_OUT)


def reachable(service: Service, port: ServicePort, node: Node | None) -> tuple[Endpoint, ...]:
    """The endpoints that policy Cluster uses on a node (None: on any node, as far as they do not differ).

    Ready ones, narrowed to the node's zone where every one has zone hints; where none is ready, those that
    terminate but still serve.
    """
    ready = tuple(each for each in port.endpoints if _is_ready(service, each))
    if not ready:
        return tuple(each for each in port.endpoints if each.serving and each.terminating)
    if node and all(each.zone_hints for each in ready):
        return tuple(each for each in ready if node.zone in each.zone_hints) or ready
    return ready


def local(service: Service, port: ServicePort, node: Node) -> tuple[Endpoint, ...]:
    """The endpoints that policy Local uses on a node, by the same preference for ready ones."""
    own = [each for each in port.endpoints if each.node == node.name]
    ready = tuple(each for each in own if _is_ready(service, each))
    return ready or tuple(each for each in own if each.serving and each.terminating)


def _is_ready(service: Service, endpoint: Endpoint) -> bool:
    return endpoint.ready or service.publish_not_ready


def internal_fate(service: Service, port: ServicePort, node: Node) -> Fate:
    """Of a flow to the ClusterIP that enters the rules of `node`."""
    return _fate(service, port, node, service.internal_traffic_policy == "Local")


def external_fate(service: Service, port: ServicePort, node: Node, *, from_cluster: bool) -> Fate:
    """Of a flow to a NodePort, external IP or VIP that enters the rules of `node`. `from_cluster`: it comes from a
    Pod or from the node itself, to which policy Local does not apply."""
    return _fate(service, port, node, service.external_traffic_policy == "Local" and not from_cluster)


def _fate(service: Service, port: ServicePort, node: Node, is_local: bool) -> Fate:
    anywhere = reachable(service, port, node)
    used = local(service, port, node) if is_local else anywhere
    if used:
        return Fate("open", used, node.name)
    return Fate("blocked" if anywhere else "refused", (), node.name)


def gateway(node: Node) -> str:
    """The default gateway of the node's Pods: the first address of its Pod range."""
    return to_text(parse_range(node.pod_range).first + 1)


def within(address: str, ranges: Iterable[str]) -> bool:
    """Whether an IPv4 address is in one of the CIDRs; IPv6 ones are passed over."""
    number = to_int(address)
    return any(number in parse_range(cidr.strip()) for cidr in ranges if ":" not in cidr)


def responder_ports(pod: Pod) -> list[ContainerPort]:
    """The ports of a Pod on which the responder answers; a host's command answers what it likes."""
    return [port for container in pod.containers if container.image != "host" for port in container.ports]


def version_name(cluster: Cluster) -> str:
    """The name that every server of the cluster's zone has a TXT record of."""
    return f"dns-version.{cluster.lab.cluster.domain}"


def responder_of(cluster: Cluster, endpoint: Endpoint) -> str:
    """The name under which an endpoint answers: a Pod's key, `client/NAME` of a client, empty for a stranger."""
    client = (f"client/{client.name}" for client in cluster.clients.values() if client.ip == endpoint.ip)
    return endpoint.pod or next(client, "")


def is_name_server(cluster: Cluster, endpoint: Endpoint, protocol: str) -> bool:
    """Whether a name server listens at an endpoint: a question finds out who answers, not a connection."""
    pod = cluster.pods.get(endpoint.pod)
    return pod is not None and any(
        is_dns_port(pod, port) for port in responder_ports(pod)
        if (port.port, port.protocol) == (endpoint.port, protocol)
    )


def is_identified(cluster: Cluster, endpoint: Endpoint, protocol: str) -> bool:
    """Whether the answer of an endpoint says who gave it: that of a host's command or of kube-proxy does not. An
    endpoint on a port that the Pod declares nowhere counts: a Service that leads there is broken, and its check must
    say so."""
    pod = cluster.pods.get(endpoint.pod)
    if pod is None:
        return bool(responder_of(cluster, endpoint))
    return not pod.is_static and not any(
        (port.port, port.protocol) == (endpoint.port, protocol)
        for container in pod.containers if container.image == "host" for port in container.ports
    )
