"""Nodes that fall silent, come back, or are taken away."""

from __future__ import annotations

import pytest

from nslab.controllers.control_plane import ControlPlane
from nslab.controllers.interface import Settings
from nslab.controllers.metadata import condition
from tests.controllers.cluster import FakeCluster, service, template, workload


@pytest.fixture
def lively() -> FakeCluster:
    """Three nodes that have ten seconds between heartbeats, six replicas and their Service."""
    cluster = FakeCluster(grace=10.0)
    cluster.create("Service", "web", service("web"))
    cluster.create("Deployment", "web", workload("web", replicas=6))
    cluster.wait(5)
    assert len(cluster.ready_endpoints("web")) == 6
    return cluster


def test_a_node_that_beats_stays(lively: FakeCluster) -> None:
    lively.wait(120)
    assert condition(lively.get("Node", "node-1"), "Ready")["status"] == "True"
    assert len(lively.ready_endpoints("web")) == 6


def test_a_dead_nodes_pods_leave_the_endpoints_and_later_the_node(lively: FakeCluster) -> None:
    lively.dead.add("node-1")
    lively.wait(9)
    assert len(lively.ready_endpoints("web")) == 6
    lively.wait(6)
    assert len(lively.ready_endpoints("web")) == 4
    ready = condition(lively.get("Node", "node-1"), "Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
    taints = {(taint["key"], taint["effect"]) for taint in lively.get("Node", "node-1")["spec"]["taints"]}
    assert taints == {("node.kubernetes.io/unreachable", effect) for effect in ("NoSchedule", "NoExecute")}
    lively.wait(70)
    assert len(lively.ready_endpoints("web")) == 6
    stuck = [pod for pod in lively.pods() if pod["spec"]["nodeName"] == "node-1"]
    assert len(stuck) == 2
    assert all(pod["metadata"]["deletionTimestamp"] for pod in stuck)
    lively.delete("Node", "node-1")
    lively.wait(1)
    assert len(lively.pods()) == 6


def test_a_node_that_comes_back_is_ready_again(lively: FakeCluster) -> None:
    lively.dead.add("node-1")
    lively.wait(20)
    lively.dead.clear()
    lively.wait(1)
    node = lively.get("Node", "node-1")
    assert condition(node, "Ready")["status"] == "True"
    assert "taints" not in node["spec"]
    for pod in lively.pods():
        if pod["spec"]["nodeName"] == "node-1":
            lively.set_ready(pod, True)
    lively.wait(1)
    assert len(lively.ready_endpoints("web")) == 6


def test_what_is_said_late_of_a_dead_nodes_pod_does_not_count(lively: FakeCluster) -> None:
    lively.dead.add("node-1")
    lively.wait(20)
    pod = next(pod for pod in lively.pods() if pod["spec"]["nodeName"] == "node-1")
    lively.set_ready(pod, True)
    lively.run()
    assert len(lively.ready_endpoints("web")) == 4


def test_tolerations_decide_how_long_a_pod_stays(lively: FakeCluster) -> None:
    def bare(name: str, **toleration: object) -> None:
        tolerations = [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", **toleration}]
        spec = {**template("a")["spec"], "nodeName": "node-1", "tolerations": tolerations}
        lively.create("Pod", name, spec)

    bare("for-ever")
    bare("for-a-while", tolerationSeconds=5)
    lively.dead.add("node-1")
    lively.wait(30)
    assert "deletionTimestamp" in lively.get("Pod", "for-a-while")["metadata"]
    lively.wait(100)
    assert "deletionTimestamp" not in lively.get("Pod", "for-ever")["metadata"]


def test_a_taint_of_the_user_evicts_at_once(lively: FakeCluster) -> None:
    lively.change("Node", "node-1", taints=[{"key": "broken", "effect": "NoExecute"}])
    lively.wait(10)
    assert {pod["spec"]["nodeName"] for pod in lively.pods()} == {"node-2", "node-3"}
    assert len(lively.ready_endpoints("web")) == 6


def test_a_pod_of_no_node_is_removed(lively: FakeCluster) -> None:
    lively.create("Pod", "lost", {**template("a")["spec"], "nodeName": "nowhere"})
    lively.run()
    assert lively.store.get("Pod", "default", "lost") is None


def test_another_grace_period_holds_at_once(lively: FakeCluster) -> None:
    lively.control.set_grace(60.0)
    lively.dead.add("node-1")
    lively.wait(30)
    assert len(lively.ready_endpoints("web")) == 6
    lively.control.set_grace(5.0)
    lively.run()
    assert len(lively.ready_endpoints("web")) == 4


def test_who_had_no_time_to_speak_is_not_declared_dead() -> None:
    """The controllers worked all the time that the kubelets, on the same thread, should have spoken in."""
    cluster = FakeCluster(grace=10.0)
    cluster.wait(5)
    silent = {"node-1"}
    heard: list[float] = []

    def hear() -> None:
        heard.append(cluster.time)
        for name in ("node-1", "node-2", "node-3"):
            if name not in silent:
                cluster.beat(name)

    control = ControlPlane(cluster.store, lambda: cluster.time, Settings(grace=10.0), hear)
    cluster.time += 60
    control.run()
    states = [condition(cluster.get("Node", f"node-{number}"), "Ready")["status"] for number in (1, 2, 3)]
    assert states == ["Unknown", "True", "True"]
    assert heard
