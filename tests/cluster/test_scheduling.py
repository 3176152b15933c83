from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from nslab.api.objects import NodeSpec
from nslab.cluster.selectors import matches, satisfies
from nslab.errors import CapacityError

from .builders import a_cluster, a_container, a_deployment, a_lab, a_node, a_pod, a_template, an_object

LABELS = {"disk": "ssd", "cores": "8"}


@pytest.mark.parametrize(
    ("operator", "key", "values", "expected"),
    [
        ("In", "disk", ["ssd", "hdd"], True), ("In", "disk", ["hdd"], False), ("In", "absent", ["a"], False),
        ("NotIn", "disk", ["hdd"], True), ("NotIn", "disk", ["ssd"], False), ("NotIn", "absent", ["a"], True),
        ("Exists", "disk", [], True), ("Exists", "absent", [], False),
        ("DoesNotExist", "disk", [], False), ("DoesNotExist", "absent", [], True),
        ("Gt", "cores", ["4"], True), ("Gt", "cores", ["8"], False), ("Lt", "cores", ["16"], True),
        ("Lt", "disk", ["16"], False), ("Gt", "absent", ["1"], False), ("Gt", "cores", ["many"], False),
    ],
)
def test_expressions(operator: str, key: str, values: list[str], expected: bool) -> None:
    assert satisfies([{"key": key, "operator": operator, "values": values}], LABELS) is expected


def test_selectors() -> None:
    assert matches({}, LABELS)
    assert not matches(None, LABELS)
    assert matches({"matchLabels": {"disk": "ssd"}}, LABELS)
    few = [{"key": "cores", "operator": "DoesNotExist"}]
    assert not matches({"matchLabels": {"disk": "ssd"}, "matchExpressions": few}, LABELS)


def node_affinity(*expressions: dict[str, Any], field: str = "matchExpressions") -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{field: list(expressions)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


NAMED = {"key": "metadata.name", "operator": "In", "values": ["gpu"]}
GPU = NodeSpec("gpu", {"accelerator": "yes"}, zone="b")
PLAIN = NodeSpec("plain", zone="a")


@pytest.mark.parametrize(
    "spec",
    [
        {"nodeName": "gpu"},
        {"nodeSelector": {"accelerator": "yes"}},
        {"nodeSelector": {"topology.kubernetes.io/zone": "b"}},
        {"nodeSelector": {"kubernetes.io/hostname": "gpu", "kubernetes.io/os": "linux"}},
        {"affinity": node_affinity({"key": "accelerator", "operator": "Exists"})},
        {"affinity": node_affinity(NAMED, field="matchFields")},
    ],
)
def test_a_pod_goes_where_it_asks_to(spec: dict[str, Any]) -> None:
    assert a_cluster(a_pod("a", **spec), lab=a_lab((PLAIN, GPU))).pods["default/a"].node == "gpu"


TAINT = {"key": "team", "value": "red", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("toleration", "node"),
    [
        (None, "gpu"),
        ({"key": "team", "operator": "Equal", "value": "red", "effect": "NoSchedule"}, "plain"),
        ({"key": "team", "value": "red"}, "plain"),
        ({"key": "team", "operator": "Exists"}, "plain"),
        ({"operator": "Exists"}, "plain"),
        ({"key": "team", "value": "blue"}, "gpu"),
        ({"key": "team", "operator": "Exists", "effect": "NoExecute"}, "gpu"),
    ],
)
def test_taints_keep_away_what_does_not_tolerate_them(toleration: dict[str, str] | None, node: str) -> None:
    pod = a_pod("a", tolerations=[toleration] if toleration else [])
    assert a_cluster(a_node("plain", taints=[TAINT]), pod, lab=a_lab((PLAIN, GPU))).pods["default/a"].node == node


def test_replicas_spread_over_nodes_then_by_load() -> None:
    cluster = a_cluster(a_pod("first"), a_deployment("web", 5), a_deployment("db", 1), lab=a_lab(3))
    by_owner = Counter((pod.owner[1], pod.node) for pod in cluster.pods.values())
    assert sorted(count for (owner, _), count in by_owner.items() if owner == "web") == [1, 2, 2]
    assert max(Counter(pod.node for pod in cluster.pods.values()).values()) == 3


def test_a_placed_pod_stays_on_a_cordoned_node_but_leaves_a_no_execute_one() -> None:
    before = a_cluster(a_deployment("web", 2))
    cordoned = a_cluster(a_node("node-1", unschedulable=True), a_deployment("web", 3), leases=before.leases)
    assert [pod.node for pod in cordoned.pods.values()] == ["node-1", "node-2", "node-2"]
    evicting = a_node("node-1", taints=[{"key": "broken", "effect": "NoExecute"}])
    evicted = a_cluster(evicting, a_deployment("web", 2), leases=before.leases)
    assert {pod.node for pod in evicted.pods.values()} == {"node-2"}
    moved = next(iter(before.pods))
    assert evicted.pods[moved].uid != before.pods[moved].uid


def test_the_pods_of_a_node_that_is_gone_run_elsewhere() -> None:
    before = a_cluster(a_deployment("web", 4), lab=a_lab(2))
    after = a_cluster(a_deployment("web", 4), lab=a_lab(1), leases=before.leases)
    assert {pod.node for pod in after.pods.values()} == {"node-1"}
    assert all(after.pods[key] == pod for key, pod in before.pods.items() if pod.node == "node-1")


def anti_affinity(app: str, topology: str = "kubernetes.io/hostname") -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": topology}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_anti_affinity_parts_replicas_and_works_both_ways() -> None:
    web = a_deployment("web", 2, a_template("web", affinity=anti_affinity("web")))
    assert {pod.node for pod in a_cluster(web).pods.values()} == {"node-1", "node-2"}
    hermit = a_pod("hermit", nodeName="node-1", affinity=anti_affinity("guest"))
    assert {
        pod.node for pod in a_cluster(hermit, a_deployment("guest", 3)).pods.values() if pod.owner[1] == "guest"
    } == {"node-2"}


def test_anti_affinity_by_zone() -> None:
    nodes = (NodeSpec("a1", zone="a"), NodeSpec("a2", zone="a"), NodeSpec("b1", zone="b"))
    web = a_deployment("web", 2, a_template("web", affinity=anti_affinity("web", "topology.kubernetes.io/zone")))
    assert [pod.node for pod in a_cluster(web, lab=a_lab(nodes)).pods.values()] == ["a1", "b1"]


def test_host_ports_part_pods() -> None:
    hosted = a_template("web", a_container(80), hostNetwork=True)
    cluster = a_cluster(a_deployment("web", 2, hosted))
    assert {pod.node: pod.ip for pod in cluster.pods.values()} == {"node-1": "10.128.0.2", "node-2": "10.128.0.3"}
    assert not cluster.leases.pod_ips


PORTS = [{"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        ([a_pod("a", nodeSelector={"x": "y"})], "2 node(s) didn't match Pod's node affinity/selector."),
        ([a_node("node-1", taints=[TAINT]), a_node("node-2", unschedulable=True), a_pod("a")],
         "1 node(s) had untolerated taint {team: red}, 1 node(s) were unschedulable."),
        ([a_pod("b", nodeName="node-1"), a_pod("c", nodeName="node-2"), a_pod("a", affinity=anti_affinity("b")),
          a_pod("d", labels={"app": "d"}, affinity=anti_affinity("c"), nodeName="node-2")],
         "1 node(s) didn't match pod anti-affinity rules, 1 node(s) didn't match the requested node name."),
        ([a_deployment("web", 3, a_template("web", a_container(ports=PORTS)))],
         "2 node(s) didn't have free ports for the requested pod ports."),
        ([a_deployment("web", 3, a_template("web", affinity=anti_affinity("web")))],
         "2 node(s) didn't match pod anti-affinity rules."),
        ([a_deployment("web", 18)], "2 Too many pods."),
        ([a_pod("a", nodeName="nowhere")], "2 node(s) didn't match the requested node name."),
    ],
)
def test_a_pod_that_fits_nowhere_is_an_error_with_reasons(objects: list[Any], reason: str) -> None:
    with pytest.raises(CapacityError) as caught:
        a_cluster(*objects, lab=a_lab(2, max_pods=8))
    assert caught.value.message.endswith(f"fits on no node: 0/2 nodes are available: {reason}")
    assert caught.value.where.startswith("lab.yaml:1:1#")
    assert caught.value.hint


def test_other_kinds_of_objects_do_not_matter() -> None:
    assert not a_cluster(an_object("ConfigMap", "a", data={"x": "y"})).pods
