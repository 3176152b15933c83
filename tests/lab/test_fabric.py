"""The VPC by packets: routes of both modes, forged sources, and whose address a Pod's packet carries outside."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from nslab.linux.netns import entered
from tests.lab.manifests import Addresses, pod, service, standing, topology
from tests.lab.running import Json, RunningLab

LAPTOP, VM, VIP = "198.51.100.7", "10.128.0.100", "203.0.113.10"
IP_TRANSPARENT = 19
OBJECTS = (
    pod("a", "node-a", 8080), pod("b", "node-b", 8080), pod("guest", "node-a", 7777, hostNetwork=True),
    service("b", {"app": "b"}, "80>8080", type="LoadBalancer", loadBalancerIP=VIP),
)


def spec(mode: str, network_policy: bool) -> Json:
    return {
        "cluster": {"mode": mode, "networkPolicy": network_policy},
        "nodes": [{"name": "node-a"}, {"name": "node-b"}],
        "clients": [
            {"name": "laptop", "network": "internet", "address": LAPTOP},
            {"name": "vm", "network": "vpc", "address": VM},
        ],
    }


@pytest.fixture(scope="module", params=[
    ("VPCNative", False), ("VPCNative", True), ("RoutesBased", False), ("RoutesBased", True),
], ids=lambda param: f"{param[0]}-{'routed' if param[1] else 'bridged'}")
def mode(request: pytest.FixtureRequest) -> tuple[str, bool]:
    param: tuple[str, bool] = request.param
    return param


@pytest.fixture(scope="module")
def lab(mode: tuple[str, bool], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with standing(tmp_path_factory.mktemp("fabric"), "fabric", topology(spec(*mode), *OBJECTS)) as running:
        yield running


@pytest.fixture(scope="module")
def at(lab: RunningLab) -> Addresses:
    return Addresses(lab)


def clients(lab: RunningLab, *flows: tuple[str, str]) -> list[list[str]]:
    """The sources that the far ends of the flows saw."""
    asked = ({"from": source, "to": to, "count": 4, "timeout": 5} for source, to in flows)
    return [list(answer["client_ips"]) for answer in lab.probes(*asked)]


def passes(lab: RunningLab, origin: str, source: str) -> bool:
    """Whether a datagram with this source, sent in the netns `origin`, reaches the VPC's client.

    An honest one follows on the same way: when it is there, the first is there or lost.
    """
    with entered(f"{lab.name}.client.vm"):
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with entered(f"{lab.name}.{origin}"):
        forged, honest = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with listening, forged, honest:
        listening.bind((VM, 0))
        listening.settimeout(20)
        forged.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        forged.bind((source, 0))
        forged.sendto(b"forged", listening.getsockname())
        honest.sendto(b"honest", listening.getsockname())
        data, (seen, _) = listening.recvfrom(64)
        assert data == b"honest" or seen == source
        return data == b"forged"


def test_forged_sources_pass_only_a_routes_based_vpc(lab: RunningLab, at: Addresses, mode: tuple[str, bool]) -> None:
    """VPC-native: a node sends from its own address and its alias range. A custom static route checks nothing."""
    sources = ("192.0.2.9", at.node["node-b"], at.pod["b"], "10.9.9.9")
    expected = dict.fromkeys(sources, mode[0] == "RoutesBased")
    assert {source: passes(lab, "node.node-a", source) for source in sources} == expected
    assert passes(lab, "pod.default.a", at.pod["b"]) is (mode[0] == "RoutesBased")
    for own in (at.node["node-a"], at.pod["a"]):
        assert passes(lab, "node.node-a", own)


def test_a_node_may_answer_from_a_load_balancers_address(lab: RunningLab) -> None:
    assert passes(lab, "node.node-b", VIP)


def test_a_client_cannot_forge_in_a_vpc_native_network(
    lab: RunningLab, at: Addresses, mode: tuple[str, bool]
) -> None:
    with entered("fabric.node.node-a"):
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with entered("fabric.client.vm"):
        forged, honest = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with listening, forged, honest:
        listening.bind((at.node["node-a"], 0))
        listening.settimeout(20)
        forged.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        forged.bind((at.node["node-b"], 0))
        for sender in (forged, honest):
            sender.sendto(b"", listening.getsockname())
        seen = listening.recvfrom(64)[1][0]
    assert seen == (VM if mode[0] == "VPCNative" else at.node["node-b"])


def test_routes(lab: RunningLab, at: Addresses, mode: tuple[str, bool]) -> None:
    text = lab.nslab("get", "routes").stdout
    kind = "alias range" if mode[0] == "VPCNative" else "static"
    lines = [line for line in text.splitlines() if line.endswith(kind)]
    assert len(lines) == 2, text
    for node in ("node-a", "node-b"):
        prefix = at.gateway[node].removesuffix(".1") + ".0/24"
        assert any(prefix in line and f"node/{node}" in line for line in lines), text
    listed = json.dumps(lab.get("routes"))
    assert all(at.node[node] in listed for node in ("node-a", "node-b"))


def test_pods_keep_their_address_inside_and_lose_it_outside(lab: RunningLab, at: Addresses) -> None:
    b = at.pod["b"]
    assert clients(
        lab, ("pod/a", f"{b}:8080"), ("pod/a", "client/vm:80"), ("pod/a", "node/node-a:7777"),
        ("pod/b", "node/node-a:7777"), ("pod/a", "client/laptop:80"), ("pod/guest", "client/laptop:80"),
        ("node/node-b", "client/laptop:80"), ("node/node-b", "client/vm:80"), ("node/node-a", f"{b}:8080"),
        ("client/vm", f"{b}:8080"),
    ) == [
        [at.pod["a"]], [at.pod["a"]], [at.pod["a"]],
        [b], [at.node["node-a"]], [at.node["node-a"]],
        [at.node["node-b"]], [at.node["node-b"]], [at.node["node-a"]],
        [VM],
    ]


def test_nobody_outside_reaches_pods_nodes_or_cluster_ips(lab: RunningLab, at: Addresses) -> None:
    destinations = (
        f"{at.pod['b']}:8080", "node/node-a:7777", f"{at.cluster_ip['b']}:80", f"node/node-b:{at.node_port['b']}",
    )
    flows = [{"from": "client/laptop", "to": to, "count": 2, "timeout": 0.5} for to in destinations]
    flows += [{"from": "client/vm", "to": f"{at.cluster_ip['b']}:80", "count": 2, "timeout": 0.5}]
    assert {each["to"]: each["verdict"] for each in lab.probes(*flows)} == {each["to"]: "timeout" for each in flows}


def test_icmp_reaches_everybody(lab: RunningLab) -> None:
    places = ("pod/a", "pod/b", "node/node-a", "node/node-b", "client/vm")
    flows = [
        {"from": source, "to": to, "proto": "icmp", "timeout": 5}
        for source in places for to in places if source != to
    ]
    assert {each["verdict"] for each in lab.probes(*flows)} == {"open"}


def test_every_derived_check_holds(lab: RunningLab) -> None:
    lab.nslab("check")


def test_the_masquerade_agents_config_decides(lab: RunningLab, at: Addresses, mode: tuple[str, bool]) -> None:
    """ConfigMap kube-system/ip-masq-agent replaces the ranges that keep Pods' addresses; without it they are back."""
    config = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ip-masq-agent", "namespace": "kube-system"},
        "data": {"config": json.dumps({"nonMasqueradeCIDRs": ["10.8.0.0/14", "198.51.100.0/24"]})},
    }
    flows = (("pod/a", "client/vm:80"), ("pod/a", f"{at.pod['b']}:8080"), ("pod/a", "svc/b:80"))
    lab.up(topology(spec(*mode), *OBJECTS, config))
    assert clients(lab, *flows) == [[at.node["node-a"]], [at.pod["a"]], [at.pod["a"]]]
    lab.nslab("check")
    lab.up(topology(spec(*mode), *OBJECTS))
    assert clients(lab, *flows) == [[at.pod["a"]]] * 3
