"""What a person who has just built a lab may like to type next, with the lab's own names."""

from __future__ import annotations

from collections.abc import Iterator

from nslab.cluster.model import Client, Cluster, Service
from nslab.cluster.resolvers import resolvers


def next_steps(cluster: Cluster) -> list[str]:
    """Three to five commands that work in this lab, most telling first."""
    lines = ["nslab status", "nslab get pods -A -o wide", *curl(cluster)]
    return [*lines, "nslab check", f"nslab down {cluster.lab.name}"]


def curl(cluster: Cluster) -> list[str]:
    """One curl of a Service that has an endpoint, from the place that sees most of the way to it: from the internet
    to a VIP, from the VPC to a NodePort, from a Pod to a ClusterIP."""
    lines = sorted(line for service in cluster.asked_services.values() for line in _ways(cluster, service))
    return [line for _, line in lines[:1]]


def _ways(cluster: Cluster, service: Service) -> Iterator[tuple[int, str]]:
    """Ways to ask the Service over TCP, each with its rank."""
    ports = [port for port in service.ports if port.protocol == "TCP" and any(e.ready for e in port.endpoints)]
    if not ports:
        return
    port = ports[0]
    outside, inside = _client(cluster, "internet"), _client(cluster, "vpc")
    if service.load_balancer_ips and outside:
        yield 0, _line(f"client/{outside.name}", service.load_balancer_ips[0], port.port)
    if port.node_port and inside and cluster.nodes:
        node = next(iter(cluster.nodes.values()))
        yield 1, _line(f"client/{inside.name}", node.ip, port.node_port)
    asker = next((pod for pod in cluster.pods.values() if not pod.host_network), None)
    if service.cluster_ip and asker:
        host = service.cluster_ip
        if resolvers(cluster).asks_cluster(asker):
            host = service.name if service.namespace == asker.namespace else f"{service.name}.{service.namespace}"
        yield 2, _line(f"pod/{asker.key.removeprefix('default/')}", host, port.port)


def _client(cluster: Cluster, network: str) -> Client | None:
    return next((client for client in cluster.clients.values() if client.network == network), None)


def _line(reference: str, host: str, port: int) -> str:
    return f"nslab exec {reference} -- curl -s http://{host}{'' if port == 80 else f':{port}'}/"
