"""Pods, nodes, clients and the VPC between them, tried with real packets."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.components.network import Network, raised
from tests.components.topologies import lab


@pytest.fixture(scope="module", params=["bridged", "routed", "routes-based"])
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    settings: dict[str, object] = {
        "bridged": {}, "routed": {"networkPolicy": True}, "routes-based": {"mode": "RoutesBased"},
    }[request.param]
    with raised(lab(f"fab-{request.param}", **settings)) as built:
        yield built


def _ip(network: Network, pod: str) -> str:
    return network.cluster.pods[f"shop/{pod}"].ip


@pytest.mark.parametrize("source", ["cli-1", "web-2", "cli-3", "web-1"])
def test_pods_reach_pods_with_their_own_address(network: Network, source: str) -> None:
    own = _ip(network, source)
    assert network.ask(f"pod/shop/{source}", f"{_ip(network, 'web-1')}:8080") == f"web-1 {own}"
    assert network.ask(f"pod/shop/{source}", f"{_ip(network, 'web-2')}:8080") == f"web-2 {own}"


def test_nodes_reach_pods_of_every_node(network: Network) -> None:
    nodes = network.cluster.nodes
    assert network.ask("node/node-1", f"{_ip(network, 'web-2')}:8080") == f"web-2 {nodes['node-1'].ip}"
    gateway = nodes["node-1"].pod_range.replace(".0/24", ".1")
    assert network.ask("node/node-1", f"{_ip(network, 'web-1')}:8080") == f"web-1 {gateway}"


def test_a_host_of_the_vpc_reaches_pods_and_is_reached(network: Network) -> None:
    assert network.ask("client/vm", f"{_ip(network, 'web-1')}:8080") == "web-1 10.128.0.200"
    network.listen(network.netns("client/vm"), "vm", 9000)
    assert network.ask("pod/shop/cli-1", "10.128.0.200:9000") == f"vm {_ip(network, 'cli-1')}"


def test_towards_the_internet_a_pod_has_its_nodes_address(network: Network) -> None:
    network.listen(network.netns("client/laptop"), "laptop", 9000)
    assert network.ask("pod/shop/cli-3", "198.51.100.7:9000") == f"laptop {network.cluster.nodes['node-3'].ip}"
    assert network.ask("node/node-1", "198.51.100.7:9000") == f"laptop {network.cluster.nodes['node-1'].ip}"


def test_the_internet_reaches_no_private_address(network: Network) -> None:
    network.listen(network.netns("node/node-1"), "node-1", 9100)
    node = network.cluster.nodes["node-1"].ip
    for target in (f"{node}:9100", f"{_ip(network, 'web-1')}:8080", "10.128.0.200:9000", "10.12.0.1:443"):
        assert network.ask("client/laptop", target, timeout=0.3) == "blocked"


def test_addresses_that_nobody_has_are_lost_and_make_no_loop(network: Network) -> None:
    """A packet that went round between two routers would be seen many times on a link."""
    pod_range = network.cluster.nodes["node-1"].pod_range
    for target in ("203.0.113.77", "10.128.9.9", pod_range.replace(".0/24", ".200"), "10.11.0.1", "10.12.0.77"):
        seen = [_counted(network.netns(host), f"ip daddr {target}") for host in ("node/node-1", "client/vm")]
        seen += [_counted(f"{network.lab}.{router}", f"ip daddr {target}") for router in ("vpc", "internet")]
        for source in ("client/vm", "client/laptop"):
            assert network.ask(source, f"{target}:80", timeout=0.1) in ("blocked", "unreachable")
        assert max(count() for count in seen) <= 4


def test_the_vpc_checks_sources_only_where_it_owns_the_ranges(network: Network) -> None:
    """A node that sends with a foreign Pod's address is stopped in a VPC-native cluster, and not in the other."""
    foreign = "10.8.77.7"
    node = network.netns("node/node-1")
    subprocess.run(["ip", "-n", node, "address", "add", f"{foreign}/32", "dev", "lo"], check=True)
    came = _counted(network.netns("pod/shop/web-2"), f"ip saddr {foreign}")
    network.ask("node/node-1", f"{_ip(network, 'web-2')}:8080", bind=foreign, timeout=0.2)
    assert bool(came()) == (network.cluster.lab.cluster.mode == "RoutesBased")


def _counted(netns: str, match: str) -> Callable[[], int]:
    """Count, from now on, the packets that come into a netns and match; returns how to read the counter."""
    nft = ["ip", "netns", "exec", netns, "nft"]
    rules = f"""
        add table ip counted
        add chain ip counted seen {{ type filter hook prerouting priority -310; }}
        flush chain ip counted seen
        add rule ip counted seen {match} counter
    """
    subprocess.run([*nft, "-f", "-"], input=rules, text=True, check=True)

    def count() -> int:
        listing = subprocess.run([*nft, "list", "chain", "ip", "counted", "seen"], capture_output=True, text=True)
        return int(listing.stdout.partition("counter packets ")[2].split()[0])

    return count
