"""Where Pods go, and what is said of those that go nowhere."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from nslab.controllers.metadata import condition
from tests.controllers.cluster import FakeCluster, template, workload

SPREAD = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
    {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "kubernetes.io/hostname"}]}}


def places(cluster: FakeCluster) -> Counter[str]:
    return Counter(pod["spec"].get("nodeName", "") for pod in cluster.pods())


def test_replicas_are_spread(cluster: FakeCluster) -> None:
    cluster.create("ReplicaSet", "a", workload("a", replicas=9))
    cluster.settle()
    assert places(cluster) == {"node-1": 3, "node-2": 3, "node-3": 3}
    scheduled = condition(cluster.pods()[0], "PodScheduled")
    assert scheduled["status"] == "True"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"nodeSelector": {"gpu": "yes"}}, "3 node(s) didn't match Pod's node affinity/selector."),
        ({"affinity": SPREAD}, "3 node(s) didn't match pod anti-affinity rules."),
    ],
)
def test_a_pod_that_fits_nowhere_waits_and_is_told_why(cluster: FakeCluster, spec: Any, reason: str) -> None:
    cluster.create("ReplicaSet", "a", workload("a", replicas=3))
    cluster.settle()
    cluster.create("Pod", "big", {**template("a")["spec"], **spec}, metadata={"labels": {"app": "b"}})
    cluster.settle()
    pod = cluster.get("Pod", "big")
    state = condition(pod, "PodScheduled")
    message = (
        f"0/3 nodes are available: {reason} preemption: 0/3 nodes are available: "
        "3 Preemption is not helpful for scheduling."
    )
    assert (pod["status"]["phase"], state["status"], state["reason"]) == ("Pending", "False", "Unschedulable")
    assert state["message"] == message
    events = [event for event in cluster.store.list("Event") if event["reason"] == "FailedScheduling"]
    assert [(event["type"], event["message"]) for event in events] == [("Warning", message)]
    cluster.add_node("node-4")
    node = cluster.get("Node", "node-4")
    labels = {**node["metadata"]["labels"], "gpu": "yes"}
    cluster.store.update("Node", {**node, "metadata": {**node["metadata"], "labels": labels}})
    cluster.settle()
    assert cluster.get("Pod", "big")["spec"]["nodeName"] == "node-4"
    assert condition(cluster.get("Pod", "big"), "PodScheduled")["status"] == "True"


def test_without_nodes_nothing_runs() -> None:
    cluster = FakeCluster(0)
    cluster.create("Pod", "a", template("a")["spec"])
    cluster.settle()
    assert condition(cluster.get("Pod", "a"), "PodScheduled")["message"] == "no nodes available to schedule pods"


def test_a_cordoned_node_gets_no_more_and_keeps_what_it_has(cluster: FakeCluster) -> None:
    cluster.create("ReplicaSet", "a", workload("a", replicas=3))
    cluster.settle()
    cluster.change("Node", "node-1", unschedulable=True)
    cluster.change("ReplicaSet", "a", replicas=7)
    cluster.settle()
    assert places(cluster) == {"node-1": 1, "node-2": 3, "node-3": 3}
    taints = cluster.get("Node", "node-1")["spec"]["taints"]
    assert [(taint["key"], taint["effect"]) for taint in taints] == [
        ("node.kubernetes.io/unschedulable", "NoSchedule")]
    # kubectl drain: the Pods of the node are deleted, and others come elsewhere
    for pod in cluster.pods():
        if pod["spec"]["nodeName"] == "node-1":
            cluster.delete("Pod", pod["metadata"]["name"])
    cluster.settle()
    assert sorted(places(cluster).values()) == [3, 4]
    for name in ("node-2", "node-3"):
        cluster.change("Node", name, unschedulable=True)
    cluster.change("ReplicaSet", "a", replicas=8)
    cluster.settle()
    waiting = next(pod for pod in cluster.pods() if not pod["spec"].get("nodeName"))
    message = condition(waiting, "PodScheduled")["message"]
    assert message.startswith("0/3 nodes are available: 3 node(s) were unschedulable.")
    cluster.change("Node", "node-1", unschedulable=False)
    cluster.settle()
    assert places(cluster)["node-1"] == 1
    assert "taints" not in cluster.get("Node", "node-1")["spec"]


def test_room_that_becomes_free_is_taken(cluster: FakeCluster) -> None:
    port = {"name": "main", "image": "nginx", "ports": [{"containerPort": 80, "hostPort": 8080}]}
    for number in range(4):
        cluster.create("Pod", f"p{number}", {"containers": [port]})
    cluster.settle()
    assert sorted(places(cluster)) == ["", "node-1", "node-2", "node-3"]
    cluster.delete("Pod", "p0")
    cluster.settle()
    assert "" not in places(cluster)


def test_a_node_takes_as_many_pods_as_it_says(cluster: FakeCluster) -> None:
    node = cluster.get("Node", "node-1")
    cluster.store.update("Node", {**node, "status": {**node["status"], "allocatable": {"pods": "1"}}}, status=True)
    cluster.create("ReplicaSet", "a", workload("a", replicas=9))
    cluster.settle()
    assert places(cluster) == {"node-1": 1, "node-2": 4, "node-3": 4}


def test_what_another_scheduler_or_a_gate_keeps_is_left_alone(cluster: FakeCluster) -> None:
    cluster.create("Pod", "other", {**template("a")["spec"], "schedulerName": "mine"})
    cluster.create("Pod", "gated", {**template("a")["spec"], "schedulingGates": [{"name": "wait"}]})
    cluster.create("Pod", "bound", {**template("a")["spec"], "nodeName": "node-3"})
    cluster.settle()
    assert {pod["metadata"]["name"]: pod["spec"].get("nodeName") for pod in cluster.pods()} == {
        "other": None, "gated": None, "bound": "node-3"}
    assert condition(cluster.get("Pod", "gated"), "PodScheduled")["reason"] == "SchedulingGated"
    cluster.change("Pod", "gated", schedulingGates=[])
    cluster.settle()
    assert cluster.get("Pod", "gated")["spec"]["nodeName"]


def test_anti_affinity_sees_labels_that_change(cluster: FakeCluster) -> None:
    cluster.create("Pod", "a", {**template("a")["spec"], "nodeName": "node-1"}, metadata={"labels": {"app": "a"}})
    for number in (1, 2, 3):
        cluster.create("Pod", f"b{number}", {**template("a")["spec"], "affinity": SPREAD})
    cluster.settle()
    assert places(cluster)["node-1"] == 1
    pod = cluster.get("Pod", "a")
    cluster.store.update("Pod", {**pod, "metadata": {**pod["metadata"], "labels": {"app": "other"}}})
    cluster.create("Pod", "b4", {**template("a")["spec"], "affinity": SPREAD})
    cluster.settle()
    assert cluster.get("Pod", "b4")["spec"]["nodeName"] == "node-1"
