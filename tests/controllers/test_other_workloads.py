"""ReplicaSets, ReplicationControllers, StatefulSets, DaemonSets and Jobs."""

from __future__ import annotations

from typing import Any

import pytest

from nslab.controllers.metadata import condition, controller_of, labels_of
from tests.controllers.cluster import FakeCluster, service, template, workload


def images(cluster: FakeCluster) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in cluster.pods()}


# --- ReplicaSets


@pytest.mark.parametrize(("kind", "selector"), [("ReplicaSet", {"matchLabels": {"app": "a"}}),
                                                ("ReplicationController", {"app": "a"})])
def test_pods_are_adopted_and_released_by_their_labels(cluster: FakeCluster, kind: str, selector: Any) -> None:
    cluster.create("Pod", "bare", template("a")["spec"], metadata={"labels": {"app": "a"}})
    cluster.create(kind, "a", {"selector": selector, "template": template("a"), "replicas": 2})
    cluster.settle()
    owner = controller_of(cluster.get("Pod", "bare"))
    assert owner is not None
    assert owner["kind"] == kind
    assert len(cluster.pods("a")) == 2
    status = cluster.get(kind, "a")["status"]
    assert status == {"replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
                      "observedGeneration": 1}
    bare = cluster.get("Pod", "bare")
    cluster.store.update("Pod", {**bare, "metadata": {**bare["metadata"], "labels": {"app": "other"}}})
    cluster.settle()
    assert controller_of(cluster.get("Pod", "bare")) is None
    assert len(cluster.pods("a")) == 2


def test_those_that_serve_least_go_first(cluster: FakeCluster) -> None:
    cluster.create("ReplicaSet", "a", workload("a", replicas=4))
    cluster.settle()
    unready, cheap, *others = cluster.names()
    cluster.set_ready(cluster.get("Pod", unready), False)
    body = cluster.get("Pod", cheap)
    cost = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
    cluster.store.update("Pod", {**body, "metadata": {**body["metadata"], "annotations": cost}})
    cluster.startup = None
    cluster.change("ReplicaSet", "a", replicas=5)
    cluster.settle()
    pending = (set(cluster.names()) - {unready, cheap, *others}).pop()
    for replicas, gone in ((4, pending), (3, unready), (2, cheap)):
        before = set(cluster.names())
        cluster.change("ReplicaSet", "a", replicas=replicas)
        cluster.settle()
        assert before - set(cluster.names()) == {gone}


def test_a_cost_that_is_no_number_counts_as_none(cluster: FakeCluster) -> None:
    spec = workload("a", replicas=2)
    spec["template"]["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": "much"}
    cluster.create("ReplicaSet", "a", spec)
    cluster.settle()
    cluster.change("ReplicaSet", "a", replicas=1)
    cluster.settle()
    assert len(cluster.pods()) == 1


def test_a_failed_pod_is_replaced(cluster: FakeCluster) -> None:
    cluster.create("ReplicaSet", "a", workload("a", replicas=2))
    cluster.settle()
    cluster.end(cluster.names()[0], "Failed")
    cluster.settle()
    assert cluster.get("ReplicaSet", "a")["status"]["readyReplicas"] == 2
    assert len(cluster.pods()) == 3


# --- StatefulSets


def test_ordinals_come_one_after_the_other_and_go_in_reverse(cluster: FakeCluster) -> None:
    cluster.create("StatefulSet", "db", workload("db", replicas=3, serviceName="db"))
    grown = []
    for _ in cluster.steps():
        grown.append(cluster.names())
        assert sum(condition(pod, "Ready").get("status") != "True" for pod in cluster.pods()) <= 1
    assert grown[-1] == ["db-0", "db-1", "db-2"]
    pod = cluster.get("Pod", "db-1")
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
    assert labels_of(pod)["apps.kubernetes.io/pod-index"] == "1"
    cluster.change("StatefulSet", "db", replicas=1)
    sizes = []
    for _ in cluster.steps():
        sizes.append(cluster.names())
    assert [names for number, names in enumerate(sizes) if names not in sizes[:number]] == [
        ["db-0", "db-1", "db-2"], ["db-0", "db-1"], ["db-0"],
    ]


def test_one_that_is_not_ready_holds_up_the_next(cluster: FakeCluster) -> None:
    cluster.startup = None
    cluster.create("StatefulSet", "db", workload("db", replicas=3))
    cluster.settle()
    assert cluster.names() == ["db-0"]


def test_parallel_waits_for_nobody(cluster: FakeCluster) -> None:
    cluster.startup = None
    spec = workload("db", replicas=3, podManagementPolicy="Parallel", ordinals={"start": 5})
    cluster.create("StatefulSet", "db", spec)
    cluster.run()
    assert cluster.names() == ["db-5", "db-6", "db-7"]
    cluster.change("StatefulSet", "db", replicas=0)
    cluster.settle()
    assert cluster.names() == []


def test_an_update_goes_from_the_last_to_the_partition_one_at_a_time(cluster: FakeCluster) -> None:
    cluster.create("Service", "db", service("db"))
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    cluster.create("StatefulSet", "db", workload("db", replicas=3, updateStrategy=strategy))
    cluster.settle()
    cluster.change("StatefulSet", "db", template=template("db", "nginx:2"))
    order = []
    for _ in cluster.steps():
        assert len(cluster.ready_endpoints("db")) >= 2
        updated = sorted(name for name, image in images(cluster).items() if image == "nginx:2")
        order.append(updated)
    assert [names for number, names in enumerate(order) if names not in order[:number]] == [
        [], ["db-2"], ["db-1", "db-2"],
    ]
    cluster.store.delete("Pod", "default", "db-0", grace=0)
    cluster.settle()
    assert images(cluster)["db-0"] == "nginx"
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    cluster.change("StatefulSet", "db", updateStrategy=strategy)
    cluster.settle()
    assert set(images(cluster).values()) == {"nginx:2"}
    status = cluster.get("StatefulSet", "db")["status"]
    assert status["currentRevision"] == status["updateRevision"]
    assert (status["currentReplicas"], status["updatedReplicas"], status["availableReplicas"]) == (3, 3, 3)


def test_on_delete_leaves_the_update_to_the_user(cluster: FakeCluster) -> None:
    cluster.create("StatefulSet", "db", workload("db", replicas=2, updateStrategy={"type": "OnDelete"}))
    cluster.settle()
    cluster.change("StatefulSet", "db", template=template("db", "nginx:2"))
    cluster.settle()
    assert set(images(cluster).values()) == {"nginx"}
    cluster.delete("Pod", "db-0")
    cluster.settle()
    assert images(cluster) == {"db-0": "nginx:2", "db-1": "nginx"}


def test_a_member_that_ended_is_made_again(cluster: FakeCluster) -> None:
    cluster.create("StatefulSet", "db", workload("db", replicas=2))
    cluster.settle()
    uid = cluster.get("Pod", "db-0")["metadata"]["uid"]
    cluster.end("db-0", "Failed")
    cluster.settle()
    assert cluster.get("Pod", "db-0")["metadata"]["uid"] != uid


def test_a_name_that_is_taken_is_shown_and_waited_for(cluster: FakeCluster) -> None:
    cluster.create("Pod", "db-0", template("other")["spec"])
    cluster.create("StatefulSet", "db", workload("db", replicas=1))
    cluster.run()
    (failure,) = cluster.control.failures.values()
    assert failure.error == 'AlreadyExists: pods "db-0" already exists'
    cluster.delete("Pod", "db-0")
    cluster.settle()
    assert labels_of(cluster.get("Pod", "db-0"))["app"] == "db"


def test_revisions_beyond_the_limit_are_removed(cluster: FakeCluster) -> None:
    cluster.create("StatefulSet", "db", workload("db", replicas=1, revisionHistoryLimit=1))
    for number in range(4):
        cluster.change("StatefulSet", "db", template=template("db", f"nginx:{number}"))
        cluster.settle()
    assert len(cluster.store.list("ControllerRevision")) == 2


# --- DaemonSets


def nodes_of(cluster: FakeCluster) -> list[str]:
    return sorted(pod["spec"].get("nodeName", "") for pod in cluster.pods())


def test_a_daemon_runs_on_every_node_that_fits_also_on_a_new_one(cluster: FakeCluster) -> None:
    cluster.create("DaemonSet", "log", workload("log"))
    cluster.settle()
    assert nodes_of(cluster) == ["node-1", "node-2", "node-3"]
    names = set(cluster.names())
    cluster.add_node("node-4")
    cluster.add_node("node-5", taints=[{"key": "gpu", "effect": "NoSchedule"}])
    cluster.settle()
    assert nodes_of(cluster) == ["node-1", "node-2", "node-3", "node-4"]
    assert names < set(cluster.names())
    status = cluster.get("DaemonSet", "log")["status"]
    fields = ("desiredNumberScheduled", "numberAvailable", "updatedNumberScheduled")
    assert [status[field] for field in fields] == [4, 4, 4]
    cluster.delete("Node", "node-2")
    cluster.settle()
    assert nodes_of(cluster) == ["node-1", "node-3", "node-4"]


def test_a_daemon_pod_is_followed_by_one_of_another_name(cluster: FakeCluster) -> None:
    cluster.create("DaemonSet", "log", workload("log"))
    cluster.settle()
    seen = set(cluster.names())
    for _ in range(3):
        cluster.delete("Pod", cluster.names()[0])
        cluster.settle()
        assert len(set(cluster.names()) - seen) == 1
        seen |= set(cluster.names())
    assert nodes_of(cluster) == ["node-1", "node-2", "node-3"]


def test_a_node_that_no_longer_fits_loses_its_daemon(cluster: FakeCluster) -> None:
    cluster.create("DaemonSet", "log", workload("log"))
    cluster.settle()
    cluster.change("Node", "node-1", unschedulable=True)
    cluster.change("Node", "node-2", taints=[{"key": "gpu", "effect": "NoSchedule"}])
    cluster.settle()
    assert nodes_of(cluster) == ["node-1", "node-2", "node-3"]
    assert cluster.get("DaemonSet", "log")["status"]["numberMisscheduled"] == 1
    selector = template("log", nodeSelector={"kubernetes.io/hostname": "node-3"})
    cluster.change("DaemonSet", "log", template=selector)
    cluster.settle()
    assert nodes_of(cluster) == ["node-3"]


@pytest.mark.parametrize(("limit", "least"), [(1, 4), (2, 3), ("40%", 3)])
def test_daemons_are_updated_as_max_unavailable_lets_them(limit: Any, least: int) -> None:
    cluster = FakeCluster(5)
    cluster.create("Service", "log", service("log"))
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": limit}}
    cluster.create("DaemonSet", "log", workload("log", updateStrategy=strategy))
    cluster.settle()
    cluster.change("DaemonSet", "log", template=template("log", "nginx:2"))
    fewest = 5
    for _ in cluster.steps():
        fewest = min(fewest, len(cluster.ready_endpoints("log")))
    assert fewest == least
    assert set(images(cluster).values()) == {"nginx:2"}


def test_daemons_on_delete(cluster: FakeCluster) -> None:
    cluster.create("DaemonSet", "log", workload("log", updateStrategy={"type": "OnDelete"}))
    cluster.settle()
    cluster.change("DaemonSet", "log", template=template("log", "nginx:2"))
    cluster.settle()
    assert set(images(cluster).values()) == {"nginx"}
    cluster.end(cluster.names()[0], "Failed")
    cluster.settle()
    assert sorted(images(cluster).values()) == ["nginx", "nginx", "nginx:2"]


# --- Jobs


def job(**spec: Any) -> Any:
    return {"template": template("sum", restartPolicy="Never"), **spec}


def running(cluster: FakeCluster) -> list[str]:
    return [pod["metadata"]["name"] for pod in cluster.pods() if pod["status"]["phase"] == "Running"]


def test_a_job_runs_so_many_at_once_until_so_many_succeeded(cluster: FakeCluster) -> None:
    cluster.create("Job", "sum", job(parallelism=2, completions=3))
    cluster.settle()
    assert len(running(cluster)) == 2
    cluster.end(running(cluster)[0])
    cluster.settle()
    assert len(running(cluster)) == 2
    assert cluster.get("Job", "sum")["status"]["succeeded"] == 1
    ended = next(pod for pod in cluster.pods() if pod["status"]["phase"] == "Succeeded")
    cluster.delete("Pod", ended["metadata"]["name"])
    cluster.settle()
    assert cluster.get("Job", "sum")["status"]["succeeded"] == 1
    for _ in range(2):
        cluster.end(running(cluster)[0])
        cluster.settle()
    status = cluster.get("Job", "sum")["status"]
    assert status["succeeded"] == 3
    assert "active" not in status
    assert condition(cluster.get("Job", "sum"), "Complete")["status"] == "True"
    assert status["completionTime"]


def test_a_job_fails_after_its_back_off_limit(cluster: FakeCluster) -> None:
    cluster.create("Job", "sum", job(backoffLimit=1))
    cluster.settle()
    start = cluster.time
    cluster.end(running(cluster)[0], "Failed")
    cluster.settle()
    assert cluster.time - start >= 9
    cluster.end(running(cluster)[0], "Failed")
    cluster.settle()
    failed = condition(cluster.get("Job", "sum"), "Failed")
    assert (failed["status"], failed["reason"]) == ("True", "BackoffLimitExceeded")
    assert running(cluster) == []


def test_a_job_is_suspended_and_resumed(cluster: FakeCluster) -> None:
    cluster.create("Job", "sum", job(suspend=True))
    cluster.settle()
    assert cluster.pods() == []
    assert condition(cluster.get("Job", "sum"), "Suspended")["status"] == "True"
    cluster.change("Job", "sum", suspend=False)
    cluster.settle()
    assert len(running(cluster)) == 1
    assert condition(cluster.get("Job", "sum"), "Suspended")["status"] == "False"


def test_a_job_without_completions_ends_with_its_first_success(cluster: FakeCluster) -> None:
    cluster.create("Job", "sum", job(parallelism=3))
    cluster.settle()
    for name in running(cluster):
        cluster.end(name)
        cluster.settle()
    assert len(cluster.pods()) == 3
    assert condition(cluster.get("Job", "sum"), "Complete")["status"] == "True"


def test_a_job_has_a_deadline_and_is_removed_after_its_time(cluster: FakeCluster) -> None:
    cluster.create("Job", "sum", job(activeDeadlineSeconds=20, ttlSecondsAfterFinished=30))
    start = cluster.time
    for _ in cluster.steps():
        if cluster.store.get("Job", "default", "sum") and condition(cluster.get("Job", "sum"), "Failed"):
            assert condition(cluster.get("Job", "sum"), "Failed")["reason"] == "DeadlineExceeded"
    assert cluster.time - start >= 50
    assert cluster.store.list("Job") == [] == cluster.pods()


def test_less_parallelism_takes_pods_away(cluster: FakeCluster) -> None:
    cluster.create("Job", "sum", job(parallelism=3, completions=5))
    cluster.settle()
    cluster.change("Job", "sum", parallelism=1)
    cluster.settle()
    assert len(running(cluster)) == 1
