"""Deployments from their first Pod to their last."""

from __future__ import annotations

from typing import Any

import pytest

from nslab.api.objects import Manifest, Object
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Leases
from nslab.controllers.metadata import annotations_of, condition
from tests.cluster.builders import a_lab
from tests.controllers.cluster import FakeCluster, service, template, workload, written


def test_the_names_are_those_of_nslab_up(cluster: FakeCluster) -> None:
    body = written("Deployment", "web", workload("web", replicas=4))
    cluster.store.create("Deployment", body)
    cluster.settle()
    up = allocate(Manifest(a_lab(3), (Object("apps/v1", "Deployment", "default", "web", body),)), Leases())
    assert sorted(cluster.names()) == sorted(pod.name for pod in up.pods.values())
    placed = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in cluster.pods()}
    assert placed == {pod.name: pod.node for pod in up.pods.values()}


def test_status_of_a_deployment_that_is_up(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=3))
    cluster.settle()
    status = cluster.get("Deployment", "web")["status"]
    counts = {name: value for name, value in status.items() if name != "conditions"}
    assert counts == {
        "observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
    }
    assert {item["type"]: (item["status"], item["reason"]) for item in status["conditions"]} == {
        "Available": ("True", "MinimumReplicasAvailable"), "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    events = {(event["reason"], event["message"].split(" ")[0]) for event in cluster.store.list("Event")}
    assert {("ScalingReplicaSet", "Scaled"), ("SuccessfulCreate", "Created"), ("Scheduled", "Successfully")} <= events


@pytest.mark.parametrize(
    ("rolling", "least", "most"),
    [({}, 38, 63), ({"maxSurge": 1, "maxUnavailable": 0}, 50, 51), ({"maxSurge": 0, "maxUnavailable": 5}, 45, 50),
     ({"maxSurge": "100%", "maxUnavailable": "50%"}, 25, 100), ({"maxSurge": 0, "maxUnavailable": "1%"}, 49, 50)],
)
def test_a_rolling_update_keeps_its_limits(
    cluster: FakeCluster, rolling: dict[str, Any], least: int, most: int
) -> None:
    cluster.create("Service", "web", service("web"))
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    cluster.create("Deployment", "web", workload("web", replicas=50, strategy=strategy))
    cluster.settle()
    before = set(cluster.names())
    assert len(before) == 50 == len(cluster.ready_endpoints("web"))
    cluster.change("Deployment", "web", template=template("web", "nginx:2"))
    for _ in cluster.steps():
        assert len(cluster.ready_endpoints("web")) >= least
        assert sum("deletionTimestamp" not in pod["metadata"] for pod in cluster.pods()) <= most
    assert len(cluster.names()) == 50 == len(cluster.ready_endpoints("web"))
    assert before.isdisjoint(cluster.names())
    assert cluster.get("Deployment", "web")["status"]["updatedReplicas"] == 50
    assert annotations_of(cluster.get("Deployment", "web"))["deployment.kubernetes.io/revision"] == "2"


def test_a_rollback_takes_the_old_replica_set_again(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=2))
    cluster.settle()
    cluster.change("Deployment", "web", template=template("web", "nginx:2"))
    cluster.settle()
    cluster.change("Deployment", "web", template=template("web"))
    cluster.settle()
    sets = cluster.store.list("ReplicaSet")
    assert sorted(annotations_of(body)["deployment.kubernetes.io/revision"] for body in sets) == ["2", "3"]
    assert {pod["spec"]["containers"][0]["image"] for pod in cluster.pods()} == {"nginx"}


def test_an_update_that_never_gets_ready_stops_where_it_may(cluster: FakeCluster) -> None:
    cluster.create("Service", "web", service("web"))
    cluster.create("Deployment", "web", workload("web", replicas=8, progressDeadlineSeconds=30))
    cluster.settle()
    cluster.startup = None
    cluster.change("Deployment", "web", template=template("web", "broken"))
    cluster.settle()
    assert len(cluster.ready_endpoints("web")) == 6
    progress = condition(cluster.get("Deployment", "web"), "Progressing")
    assert (progress["status"], progress["reason"]) == ("False", "ProgressDeadlineExceeded")
    cluster.startup = 1.0
    cluster.change("Deployment", "web", template=template("web", "nginx:3"))
    cluster.settle()
    assert {pod["spec"]["containers"][0]["image"] for pod in cluster.pods()} == {"nginx:3"}


def test_recreate_never_runs_two_templates(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=3, strategy={"type": "Recreate"}))
    cluster.settle()
    cluster.change("Deployment", "web", template=template("web", "nginx:2"))
    for _ in cluster.steps():
        assert len({pod["spec"]["containers"][0]["image"] for pod in cluster.pods()}) <= 1
    assert {pod["spec"]["containers"][0]["image"] for pod in cluster.pods()} == {"nginx:2"}
    assert len(cluster.pods()) == 3


def test_scaling_up_and_down_keeps_who_can_stay(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=3))
    cluster.settle()
    three = set(cluster.names())
    cluster.change("Deployment", "web", replicas=6)
    cluster.settle()
    assert three < set(cluster.names())
    assert len(cluster.names()) == 6
    cluster.change("Deployment", "web", replicas=0)
    cluster.settle()
    assert cluster.names() == []


def test_scaling_in_the_middle_of_a_rollout_is_shared_in_proportion(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=10, strategy={
        "type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}))
    cluster.settle()
    cluster.startup = None
    cluster.change("Deployment", "web", template=template("web", "broken"))
    cluster.settle()
    sizes = sorted(body["spec"]["replicas"] for body in cluster.store.list("ReplicaSet"))
    assert sizes == [5, 8]
    cluster.change("Deployment", "web", replicas=15)
    cluster.run()
    sizes = sorted(body["spec"]["replicas"] for body in cluster.store.list("ReplicaSet"))
    assert sizes == [7, 11]  # kubernetes.io/docs/concepts/workloads/controllers/deployment, "Proportional scaling"


def test_a_deleted_pod_is_followed_by_one_of_another_name(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=2))
    cluster.settle()
    seen = set(cluster.names())
    for _ in range(5):
        gone = cluster.names()[0]
        cluster.store.delete("Pod", "default", gone, grace=0)
        cluster.settle()
        assert len(set(cluster.names()) - seen) == 1
        seen |= set(cluster.names())


def test_a_paused_deployment_scales_but_does_not_roll(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=2))
    cluster.settle()
    cluster.change("Deployment", "web", paused=True, template=template("web", "nginx:2"), replicas=3)
    cluster.settle()
    assert [pod["spec"]["containers"][0]["image"] for pod in cluster.pods()] == ["nginx"] * 3
    assert condition(cluster.get("Deployment", "web"), "Progressing")["reason"] == "DeploymentPaused"
    cluster.change("Deployment", "web", paused=False)
    cluster.settle()
    assert [pod["spec"]["containers"][0]["image"] for pod in cluster.pods()] == ["nginx:2"] * 3


def test_min_ready_seconds_delay_each_step(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=1, minReadySeconds=20))
    start = cluster.time
    cluster.settle()
    assert cluster.time - start >= 21
    assert cluster.get("Deployment", "web")["status"]["availableReplicas"] == 1


def test_old_replica_sets_beyond_the_limit_are_removed(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=1, revisionHistoryLimit=1))
    for number in range(4):
        cluster.change("Deployment", "web", template=template("web", f"nginx:{number}"))
        cluster.settle()
    assert len(cluster.store.list("ReplicaSet")) == 2


def test_with_the_deployment_goes_what_it_owns(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=2))
    cluster.settle()
    cluster.delete("Deployment", "web")
    cluster.settle()
    assert cluster.store.list("ReplicaSet") == [] == cluster.pods()


def test_orphans_are_adopted_by_the_next_deployment(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=2))
    cluster.settle()
    names = cluster.names()
    cluster.store.delete("Deployment", "default", "web", propagation="Orphan")
    cluster.settle()
    assert cluster.names() == names
    cluster.create("Deployment", "web", workload("web", replicas=2))
    cluster.settle()
    assert cluster.names() == names
    assert len(cluster.store.list("ReplicaSet")) == 1
