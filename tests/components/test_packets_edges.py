"""Less common shapes of a lab, tried with real packets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.components.network import Network, raised
from tests.components.topologies import lab, service

SERVICES = (
    service("inner", "type: LoadBalancer, clusterIP: 10.12.0.50").replace(
        "name: inner,", "name: inner, annotations: {networking.gke.io/load-balancer-type: Internal},")
    + service("udp", "type: LoadBalancer, loadBalancerIP: 203.0.113.20,"
                     " ports: [{port: 53, targetPort: 8053, protocol: UDP}]")
    + service("host", "clusterIP: 10.12.0.51, selector: {app: host}")
    + service("host-local", "type: NodePort, clusterIP: 10.12.0.52, externalTrafficPolicy: Local,"
                            " selector: {app: host}, ports: [{port: 80, targetPort: 8080, nodePort: 30090}]")
    + service("strict", "clusterIP: 10.12.0.53, internalTrafficPolicy: Local, selector: {app: host}")
    + """---
apiVersion: v1
kind: Service
metadata: {name: outer, namespace: shop}
spec: {clusterIP: 10.12.0.54, ports: [{port: 80, targetPort: 9000}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: outer, namespace: shop}
subsets: [{addresses: [{ip: 10.128.0.200}], ports: [{port: 9000}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: host-2, namespace: shop, labels: {app: host}}
spec: {nodeName: node-2, hostNetwork: true, containers: [{name: c, image: i, ports: [{containerPort: 8080}]}]}
"""
)


@pytest.fixture(scope="module", params=["VPCNative", "RoutesBased"])
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    with raised(lab(f"edges-{request.param.lower()}", mode=request.param) + SERVICES) as built:
        built.listen(built.netns("client/vm"), "vm", 9000)
        yield built


@pytest.fixture
def ip(network: Network) -> dict[str, str]:
    return {pod.name: pod.ip for pod in network.cluster.pods.values()}


def test_an_internal_load_balancer_serves_the_vpc_and_not_the_internet(network: Network) -> None:
    (address,) = network.cluster.services["shop/inner"].load_balancer_ips
    assert address.startswith("10.128.")
    answers = network.survey("client/vm", f"{address}:80")
    assert {answer.split()[0] for answer in answers} == {"web-1", "web-2"}
    assert network.ask("pod/shop/cli-3", f"{address}:80").startswith("web-")
    assert network.ask("client/laptop", f"{address}:80", timeout=0.3) == "blocked"


def test_a_udp_load_balancer(network: Network) -> None:
    answers = network.survey("client/laptop", "203.0.113.20:53", udp=True)
    assert {answer.split()[0] for answer in answers} == {"web-1", "web-2"}


def test_a_host_network_pod_behind_services(network: Network, ip: dict[str, str]) -> None:
    node = network.cluster.nodes["node-2"].ip
    assert network.ask("pod/shop/cli-1", "10.12.0.51:80") == f"host-2 {ip['cli-1']}"
    assert network.ask("node/node-2", "10.12.0.51:80") == f"host-2 {node}"
    assert network.ask("client/vm", f"{node}:30090") == "host-2 10.128.0.200"
    assert network.ask("pod/shop/web-2", "10.12.0.53:80") == f"host-2 {ip['web-2']}"
    assert network.ask("pod/shop/cli-1", "10.12.0.53:80", timeout=0.3) == "blocked"


def test_a_service_without_selector_leads_out_of_the_cluster(network: Network, ip: dict[str, str]) -> None:
    assert network.ask("pod/shop/cli-1", "10.12.0.54:80") == f"vm {ip['cli-1']}"
    assert network.ask("node/node-1", "10.12.0.54:80") == f"vm {network.cluster.nodes['node-1'].ip}"


def test_a_host_of_the_vpc_cannot_reach_a_cluster_ip(network: Network) -> None:
    assert network.ask("client/vm", "10.12.0.50:80", timeout=0.3) in ("blocked", "unreachable")


@pytest.mark.parametrize(("hops", "teller"), [(1, "gateway"), (2, "vpc"), (3, "node-2")])
def test_routers_on_the_way_tell_their_name(network: Network, ip: dict[str, str], hops: int, teller: str) -> None:
    """What traceroute shows from a Pod to one on another node."""
    nodes = network.cluster.nodes
    gateway = nodes["node-1"].pod_range.replace(".0/24", ".1")
    names = {"gateway": gateway, "vpc": "10.128.0.1", "node-2": nodes["node-2"].ip}
    assert network.hop("pod/shop/cli-1", ip["web-2"], hops) == names[teller]


def test_datagrams_larger_than_a_link_come_in_fragments(network: Network, ip: dict[str, str]) -> None:
    source = network.netns("pod/shop/cli-1")
    for size in (1432, 4000):
        assert network.exchange(source, (ip["web-2"], 8053), b"x" * size, socket.SOCK_DGRAM).startswith(b"web-2")
