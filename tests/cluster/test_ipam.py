from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nslab.api.objects import ClientSpec, NodeSpec
from nslab.cluster import ipam
from nslab.cluster.ipam import Pool, Request
from nslab.cluster.ipv4 import parse_range, to_int
from nslab.cluster.model import Leases
from nslab.errors import CapacityError

from .builders import a_cluster, a_deployment, a_lab, a_node, a_pod, a_service

HOLDERS = st.lists(st.sets(st.integers(0, 11)), min_size=1, max_size=8)


@given(HOLDERS)
def test_a_pool_is_sticky_never_overlaps_and_lets_a_freed_value_rest(rounds: list[set[int]]) -> None:
    leases: dict[str, int] = {}
    cursor = None
    for holders in rounds:
        pool = Pool("pool", 10, 29, remedy="", cursor=cursor, reserved={13})
        granted = pool.grant((Request(str(holder)) for holder in sorted(holders)), leases)
        assert len(set(granted.values())) == len(granted) == len(holders)
        assert all(10 <= value <= 29 and value != 13 for value in granted.values())
        assert all(granted[holder] == lease for holder, lease in leases.items() if holder in granted)
        freed = set(leases.values()) - {lease for holder, lease in leases.items() if holder in granted}
        new = {value for holder, value in granted.items() if holder not in leases}
        # 19 values are in the pool: a freed one is given again only where no other is left.
        assert not freed & new or len(leases) + len(new) > 19
        leases, cursor = granted, pool.cursor


def test_a_value_just_freed_is_the_last_to_be_given_again() -> None:
    pool = Pool("pool", 1, 4, remedy="", cursor=3)
    assert list(pool.grant([Request("a"), Request("b"), Request("c"), Request("d")], {}).values()) == [4, 1, 2, 3]


def test_a_chosen_value_is_given_before_any_other() -> None:
    pool = Pool("pool", 1, 4, remedy="", addresses=False)
    assert pool.grant([Request("a"), Request("b", 1)], {}) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("requests", "leases", "message"),
    [
        ([Request("a", 2), Request("b", 2)], {}, "b asks for 2, which is held by a"),
        ([Request("a"), Request("b", 2)], {"a": 2}, "b asks for 2, which is held by a"),
        ([Request("a", 9)], {}, "a asks for 9, which is outside the pool"),
        ([Request("a", 3)], {}, "a asks for 3, which is reserved in the pool"),
        ([Request(name) for name in "abcd"], {}, "the pool has nothing left for d"),
    ],
)
def test_a_pool_says_why_it_refuses(requests: list[Request], leases: dict[str, int], message: str) -> None:
    pool = Pool("the pool", 1, 4, remedy="widen it", reserved={3}, addresses=False)
    with pytest.raises(CapacityError) as caught:
        pool.grant(requests, leases)
    assert caught.value.message == message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("pods", "prefix"),
    [(1, 28), (8, 28), (9, 27), (16, 27), (17, 26), (32, 26), (33, 25), (64, 25), (65, 24), (110, 24), (128, 24),
     (129, 23), (256, 23)],
)
def test_a_nodes_pod_range_is_sized_as_gke_does(pods: int, prefix: int) -> None:
    assert ipam.pod_prefix(pods) == prefix


def test_nodes_then_clients_take_the_nodes_range_past_what_the_vpc_keeps() -> None:
    cluster = a_cluster()
    assert [node.ip for node in cluster.nodes.values()] == ["10.128.0.2", "10.128.0.3"]
    assert {client.name: client.ip for client in cluster.clients.values()} == {
        "laptop": "198.51.100.10", "vm": "10.128.0.4"
    }


def test_chosen_addresses_of_nodes_and_clients_are_honoured() -> None:
    lab = a_lab(
        (NodeSpec("a"), NodeSpec("b", address="10.128.0.2")),
        clients=(ClientSpec("vm", "vpc", "10.128.0.3"), ClientSpec("laptop", "internet", "198.51.100.7")),
    )
    cluster = a_cluster(lab=lab)
    assert [node.ip for node in cluster.nodes.values()] == ["10.128.0.4", "10.128.0.2"]
    assert [client.ip for client in cluster.clients.values()] == ["10.128.0.3", "198.51.100.7"]


def test_a_subnet_of_a_slash_29_holds_four() -> None:
    lab = a_lab(4, node_range="10.128.0.0/29", clients=())
    assert [node.ip for node in a_cluster(lab=lab).nodes.values()] == [f"10.128.0.{n}" for n in range(2, 6)]
    with pytest.raises(CapacityError, match=r"nodeRange 10.128.0.0/29 has nothing left for Node node-5") as caught:
        a_cluster(lab=a_lab(5, node_range="10.128.0.0/29", clients=()))
    assert caught.value.where == "lab.yaml:1:1"


def test_pod_ranges_are_consecutive_blocks_round_the_chosen_ones() -> None:
    chosen = (NodeSpec("b", pod_cidr="10.8.0.0/25"), NodeSpec("c", pod_cidr="10.8.2.0/24"))
    lab = a_lab((NodeSpec("a"), *chosen, NodeSpec("d")))
    ranges = [node.pod_range for node in a_cluster(lab=lab).nodes.values()]
    assert ranges == ["10.8.1.0/24", "10.8.0.0/25", "10.8.2.0/24", "10.8.3.0/24"]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((NodeSpec("a", pod_cidr="10.99.0.0/24"),), "Node a: podCIDR 10.99.0.0/24 is outside podRange 10.8.0.0/23"),
        (
            (NodeSpec("a", pod_cidr="10.8.0.0/24"), NodeSpec("b", pod_cidr="10.8.0.128/25")),
            "Node b: podCIDR 10.8.0.128/25 overlaps 10.8.0.0/24 of node a",
        ),
        ((NodeSpec("a"), NodeSpec("b"), NodeSpec("c")), "podRange 10.8.0.0/23 has no /24 left for node c"),
    ],
)
def test_pod_ranges_that_do_not_fit_are_refused(nodes: tuple[NodeSpec, ...], message: str) -> None:
    with pytest.raises(CapacityError) as caught:
        a_cluster(a_node("a"), lab=a_lab(nodes, pod_range="10.8.0.0/23"))
    assert caught.value.message == message
    assert caught.value.where


def test_a_pod_range_of_another_size_is_not_kept_and_its_pods_are_replaced() -> None:
    objects = a_pod("own"), a_pod("shared", hostNetwork=True)
    before = a_cluster(*objects, lab=a_lab(1))
    after = a_cluster(*objects, lab=a_lab(1, max_pods=32), leases=before.leases)
    assert after.nodes["node-1"].pod_range == "10.8.0.0/26"
    assert after.pods["default/own"].uid != before.pods["default/own"].uid
    assert after.pods["default/shared"] == before.pods["default/shared"]


def test_pods_begin_after_the_gateway_and_a_replaced_one_gets_a_new_address() -> None:
    lab = a_lab(1)
    before = a_cluster(a_pod("a"), a_pod("b"), lab=lab)
    assert [pod.ip for pod in before.pods.values()] == ["10.8.0.2", "10.8.0.3"]
    after = a_cluster(a_pod("a", hostname="other"), a_pod("b"), lab=lab, leases=before.leases)
    assert [pod.ip for pod in after.pods.values()] == ["10.8.0.4", "10.8.0.3"]
    assert after.pods["default/a"].uid != before.pods["default/a"].uid


def test_leases_that_nothing_holds_are_given_up_but_cursors_stay() -> None:
    before = a_cluster(a_deployment("web", 3), a_service("web", "web", type="LoadBalancer"))
    after = a_cluster(lab=a_lab(1, clients=()), leases=before.leases)
    assert after.leases == Leases(
        node_ips={"node-1": "10.128.0.2"}, pod_ranges={"node-1": "10.8.0.0/24"}, cursors=before.leases.cursors
    )


CHURN = st.lists(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 6), max_size=6), min_size=1, max_size=6)


@given(CHURN, st.integers(1, 3))
def test_allocation_is_sticky_and_never_overlaps(rounds: list[dict[str, int]], nodes: int) -> None:
    lab, leases = a_lab(nodes), Leases()
    before = None
    for wishes in rounds:
        objects = [a_deployment(name, replicas) for name, replicas in sorted(wishes.items())]
        objects += [a_service(name, name, type="LoadBalancer") for name in sorted(wishes)]
        cluster = a_cluster(*objects, lab=lab, leases=leases)
        assert a_cluster(*objects, lab=lab, leases=leases) == cluster
        assert a_cluster(*objects, lab=lab, leases=cluster.leases) == cluster
        assert len({pod.ip for pod in cluster.pods.values()}) == sum(wishes.values()) == len(cluster.pods)
        for pod in cluster.pods.values():
            block = parse_range(cluster.nodes[pod.node].pod_range)
            assert block.first + 2 <= to_int(pod.ip) < block.last
        ports = [port.node_port for service in cluster.services.values() for port in service.ports]
        assert len(set(ports)) == len(ports)
        assert all(30000 <= port <= 32767 for port in ports)
        for held in (cluster.leases.cluster_ips, cluster.leases.service_numbers, cluster.leases.load_balancer_ips):
            assert len(set(held.values())) == len(wishes)
        if before:
            for key in before.pods.keys() & cluster.pods.keys():
                assert cluster.pods[key] == before.pods[key]
            for key in before.services.keys() & cluster.services.keys():
                assert cluster.services[key].cluster_ip == before.services[key].cluster_ip
                assert cluster.services[key].load_balancer_ips == before.services[key].load_balancer_ips
            gone = {pod.ip for key, pod in before.pods.items() if key not in cluster.pods}
            assert not gone & {pod.ip for pod in cluster.pods.values()}
        before, leases = cluster, cluster.leases
