"""What a lab's responder plays: every socket that it opens for a Cluster."""

from __future__ import annotations

from collections.abc import Iterator, Set

from nslab.api.faults import microseconds
from nslab.cluster import naming
from nslab.cluster.addons import NODE_LOCAL_IP, is_dns_port, is_node_local
from nslab.cluster.model import Cluster
from nslab.cluster.resolvers import internet_server
from nslab.dns.views import CLUSTER, INTERNET, NODE_LOCAL
from nslab.kubelet.containers import HOST_IMAGE, Key
from nslab.servers.listeners import Identity, Listener

CLIENT_PORT = 80
DNS_PORT = 53


def listeners(cluster: Cluster, ended: Set[Key] = frozenset()) -> Iterator[Listener]:
    """Every socket that the responder opens for this Cluster: the ports of containers, but for those that have
    `ended`, port 80 of each client, and the internet side's name server."""
    lab = cluster.lab.name
    for pod in cluster.pods.values():
        effects = cluster.faults_of.get(f"pod/{pod.key}", {})
        delay = microseconds(effects["slow"]) if "slow" in effects else 0
        netns = naming.pod_netns(lab, pod)
        address = pod.ip if pod.host_network else "0.0.0.0"
        kind, own = (NODE_LOCAL, NODE_LOCAL_IP) if is_node_local(pod) else (CLUSTER, address)
        for container in pod.containers:
            if container.image == HOST_IMAGE or (pod.key, pod.uid, container.name) in ended:
                continue
            identity = Identity(pod.name, pod.namespace, pod.node, pod.ip, container.name)
            for port in container.ports:
                if is_dns_port(pod, port):
                    yield Listener(netns, own, port.port, port.protocol, identity, pod.uid, delay, kind)
                elif port.protocol in ("TCP", "UDP"):
                    yield Listener(netns, address, port.port, port.protocol, identity, pod.uid, delay)
    for client in cluster.clients.values():
        netns = naming.client_netns(lab, client.name)
        for protocol in ("TCP", "UDP"):
            identity = Identity("", "", f"client/{client.name}", client.ip, "")
            yield Listener(netns, "0.0.0.0", CLIENT_PORT, protocol, identity)
    server = internet_server(cluster)
    for protocol in ("TCP", "UDP"):
        identity = Identity("", "", "internet", server, "")
        yield Listener(naming.internet_netns(lab), server, DNS_PORT, protocol, identity, speaks=INTERNET)
