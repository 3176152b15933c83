"""Which of a Service port's endpoints take traffic: the choice that kube-proxy makes before it writes any rule.

Source: CategorizeEndpoints of kubernetes/pkg/proxy/topology.go; KEP-1669 (terminating endpoints), KEP-2433 (topology
hints).
"""

from __future__ import annotations

from nslab.cluster.model import Cluster, Endpoint, ServicePort


def cluster_endpoints(port: ServicePort, zone: str) -> list[Endpoint]:
    """The endpoints that a node of `zone` uses where the policy is Cluster.

    The ready ones; of these only the zone's, where all carry hints and one names the zone. With none ready, those
    that terminate and still serve.
    """
    ready = [endpoint for endpoint in port.endpoints if endpoint.ready]
    if not ready:
        return _last_resort(port.endpoints)
    if zone and ready[0].zone_hints and all(endpoint.zone_hints for endpoint in ready):
        return [endpoint for endpoint in ready if zone in endpoint.zone_hints] or ready
    return ready


def local_endpoints(port: ServicePort) -> dict[str, list[Endpoint]]:
    """Of each node that has any, the endpoints that it uses where the policy is Local. Hints do not count here."""
    by_node: dict[str, list[Endpoint]] = {}
    for endpoint in port.endpoints:
        if endpoint.node:
            by_node.setdefault(endpoint.node, []).append(endpoint)
    for node, here in by_node.items():
        by_node[node] = [endpoint for endpoint in here if endpoint.ready] or _last_resort(here)
    return {node: here for node, here in by_node.items() if here}


def without_local_endpoints(cluster: Cluster, node: str) -> dict[str, int]:
    """How many ports of Services have endpoints, and by a Local policy none that this node may use; by "internal" and
    "external" traffic. kube-proxy counts them as no_local_endpoints."""
    counts = {"internal": 0, "external": 0}
    for service in cluster.services.values():
        policies = {"internal": service.internal_traffic_policy, "external": service.external_traffic_policy}
        if not service.cluster_ip or "Local" not in policies.values():
            continue
        lacking = sum(
            bool(cluster_endpoints(port, "")) and node not in local_endpoints(port) for port in service.ports
        )
        for traffic, policy in policies.items():
            counts[traffic] += lacking if policy == "Local" else 0
    return counts


def _last_resort(endpoints: list[Endpoint] | tuple[Endpoint, ...]) -> list[Endpoint]:
    return [endpoint for endpoint in endpoints if endpoint.serving and endpoint.terminating]
