"""Services, tried with real packets against what kube-proxy's documentation promises of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.components.network import Network, raised
from tests.components.topologies import lab, service

WEB = {"web-1", "web-2"}

SERVICES = (
    service("web", "clusterIP: 10.12.0.50, ports: [{name: http, port: 80, targetPort: 8080},"
                   " {name: dns, port: 53, targetPort: 8053, protocol: UDP}]")
    + service("np", "type: NodePort, clusterIP: 10.12.0.51, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]")
    + service("np-local", "type: NodePort, clusterIP: 10.12.0.52, externalTrafficPolicy: Local,"
                          " ports: [{port: 80, targetPort: 8080, nodePort: 30081}]")
    + service("lb", "type: LoadBalancer, clusterIP: 10.12.0.53, loadBalancerIP: 203.0.113.10")
    + service("lb-local", "type: LoadBalancer, clusterIP: 10.12.0.54, loadBalancerIP: 203.0.113.11,"
                          " externalTrafficPolicy: Local")
    + service("itp", "clusterIP: 10.12.0.55, internalTrafficPolicy: Local")
    + service("sticky", "clusterIP: 10.12.0.56, sessionAffinity: ClientIP,"
                        " sessionAffinityConfig: {clientIP: {timeoutSeconds: 2}}")
    + service("guarded", "type: LoadBalancer, clusterIP: 10.12.0.57, loadBalancerIP: 203.0.113.12,"
                         " loadBalancerSourceRanges: [10.128.0.0/24, 10.128.0.192/26]")
    + service("none", "type: LoadBalancer, clusterIP: 10.12.0.58, loadBalancerIP: 203.0.113.13,"
                      " selector: {app: nothing}, ports: [{port: 80, nodePort: 30082}]")
    + service("ext", "clusterIP: 10.12.0.59, externalIPs: [203.0.113.200]")
    + service("self", "clusterIP: 10.12.0.60, selector: {app: cli}")
    + service("sticky-local", "type: NodePort, clusterIP: 10.12.0.61, externalTrafficPolicy: Local, sessionAffinity:"
                              " ClientIP, ports: [{port: 80, targetPort: 8080, nodePort: 30083}]")
)


@pytest.fixture(scope="module", params=["bridged", "routed"])
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    with raised(lab(f"svc-{request.param}", networkPolicy=request.param == "routed") + SERVICES) as built:
        yield built


@pytest.fixture
def ip(network: Network) -> dict[str, str]:
    """Addresses of Pods and nodes by name."""
    pods = {pod.name: pod.ip for pod in network.cluster.pods.values()}
    return pods | {node.name: node.ip for node in network.cluster.nodes.values()}


def _split(answers: object) -> tuple[set[str], set[str]]:
    """Who answered, and which client addresses they saw."""
    pairs = [str(answer).partition(" ") for answer in answers]  # type: ignore[attr-defined]
    return {pair[0] for pair in pairs}, {pair[2] for pair in pairs}


@pytest.mark.parametrize("source", ["cli-1", "cli-3"])
@pytest.mark.parametrize("target", ["10.12.0.50:80", "10.12.0.53:80"])
def test_a_pod_reaches_every_endpoint_by_cluster_ip(
    network: Network, ip: dict[str, str], source: str, target: str
) -> None:
    assert _split(network.survey(f"pod/shop/{source}", target)) == (WEB, {ip[source]})


def test_udp_is_balanced_too(network: Network, ip: dict[str, str]) -> None:
    assert _split(network.survey("pod/shop/cli-3", "10.12.0.50:53", udp=True)) == (WEB, {ip["cli-3"]})


def test_endpoints_are_drawn_evenly(network: Network) -> None:
    answers = network.survey("pod/shop/cli-1", "10.12.0.50:80", 200)
    assert len(answers) == 2
    assert min(answers.values()) > 60  # 200 draws of p = 1/2: below 60 once in 10^8


def test_a_node_reaches_a_cluster_ip_with_its_own_address(network: Network, ip: dict[str, str]) -> None:
    who, clients = _split(network.survey("node/node-3", "10.12.0.50:80"))
    assert (who, clients) == (WEB, {ip["node-3"]})


def test_hairpin_is_masqueraded(network: Network, ip: dict[str, str]) -> None:
    """A Pod that is its Service's endpoint gets its own answer, and sees its gateway as the client."""
    answers = network.survey("pod/shop/cli-1", "10.12.0.60:80")
    gateway = network.cluster.nodes["node-1"].pod_range.replace(".0/24", ".1")
    assert {*answers} == {f"cli-1 {gateway}", f"cli-3 {ip['cli-1']}"}


@pytest.mark.parametrize("source", ["client/vm", "client/laptop", "pod/shop/cli-3"])
@pytest.mark.parametrize("node", ["node-1", "node-3"])
def test_node_port_policy_cluster_shows_the_node(
    network: Network, ip: dict[str, str], source: str, node: str
) -> None:
    if source == "client/laptop":
        assert network.ask(source, f"{ip[node]}:30080", timeout=0.3) == "blocked"
        return
    who, clients = _split(network.survey(source, f"{ip[node]}:30080"))
    assert who == WEB
    if source == "client/vm":
        local = network.cluster.nodes[node].pod_range.replace(".0/24", ".1")
        assert clients <= {ip[node], local}
    else:
        # The node that is asked first is the Pod's way out only if the Pod runs on it.
        assert ip["cli-3"] not in clients


def test_node_port_policy_local(network: Network, ip: dict[str, str]) -> None:
    assert _split(network.survey("client/vm", f"{ip['node-1']}:30081", 10)) == ({"web-1"}, {"10.128.0.200"})
    assert network.ask("client/vm", f"{ip['node-3']}:30081", timeout=0.3) == "blocked"
    # The node itself is short-circuited to all endpoints, and masqueraded.
    who, clients = _split(network.survey("node/node-3", f"{ip['node-3']}:30081"))
    assert (who, clients) == (WEB, {ip["node-3"]})
    # A Pod's packet is served, with its source kept, by the node that it runs on.
    assert _split(network.survey("pod/shop/cli-3", f"{ip['node-3']}:30081")) == (WEB, {ip["cli-3"]})


@pytest.mark.parametrize("source", ["client/laptop", "client/vm"])
def test_load_balancer_policy_cluster(network: Network, source: str) -> None:
    who, clients = _split(network.survey(source, "203.0.113.10:80", 60))
    assert who == WEB
    assert not clients & {"198.51.100.7", "10.128.0.200"}


def test_load_balancer_policy_local_keeps_the_source(network: Network, ip: dict[str, str]) -> None:
    """The VPC spreads over all nodes (health checks come later): node-3 has no endpoint and drops."""
    answers = [network.ask("client/laptop", "203.0.113.11:80", timeout=0.2) for _ in range(30)]
    assert {*answers} == {"web-1 198.51.100.7", "web-2 198.51.100.7", "blocked"}
    assert _split(network.survey("pod/shop/cli-3", "203.0.113.11:80")) == (WEB, {ip["cli-3"]})
    assert _split(network.survey("node/node-3", "203.0.113.11:80")) == (WEB, {ip["node-3"]})


def test_internal_traffic_policy_local(network: Network, ip: dict[str, str]) -> None:
    assert _split(network.survey("pod/shop/cli-1", "10.12.0.55:80", 20)) == ({"web-1"}, {ip["cli-1"]})
    assert network.ask("pod/shop/cli-3", "10.12.0.55:80", timeout=0.3) == "blocked"


def test_affinity_stays_and_expires(network: Network) -> None:
    assert len(network.survey("pod/shop/cli-1", "10.12.0.56:80", 30)) == 1
    local = network.cluster.nodes["node-1"].ip
    assert len(network.survey("client/vm", f"{local}:30083", 20)) == 1
    assert len(network.survey("pod/shop/cli-1", "10.12.0.61:80", 20)) == 1


def test_source_ranges_guard_the_load_balancer_address_only(network: Network) -> None:
    assert network.ask("client/vm", "203.0.113.12:80").split()[0] in WEB
    assert network.ask("client/laptop", "203.0.113.12:80", timeout=0.3) == "blocked"
    assert network.ask("pod/shop/cli-1", "203.0.113.12:80", timeout=0.3) == "blocked"
    assert network.ask("pod/shop/cli-1", "10.12.0.57:80").split()[0] in WEB


@pytest.mark.parametrize("source", ["pod/shop/cli-1", "node/node-1"])
@pytest.mark.parametrize("target", ["10.12.0.58:80", "203.0.113.13:80", "NODE:30082"])
def test_no_endpoints_is_refused(network: Network, ip: dict[str, str], source: str, target: str) -> None:
    assert network.ask(source, target.replace("NODE", ip["node-2"])) == "refused"
    assert network.ask(source, target.replace("NODE", ip["node-1"])) == "refused"


def test_no_endpoints_is_refused_from_outside(network: Network) -> None:
    assert network.ask("client/laptop", "203.0.113.13:80") == "refused"


@pytest.mark.parametrize("source", ["pod/shop/cli-1", "node/node-1"])
def test_cluster_ips_without_that_port_or_service(network: Network, source: str) -> None:
    assert network.ask(source, "10.12.0.50:81") == "refused"
    assert network.ask(source, "10.12.15.99:80", timeout=0.3) in ("blocked", "unreachable")


def test_external_ips(network: Network) -> None:
    assert _split(network.survey("client/laptop", "203.0.113.200:80"))[0] == WEB
    assert _split(network.survey("pod/shop/cli-1", "203.0.113.200:80"))[0] == WEB
