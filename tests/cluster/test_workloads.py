from __future__ import annotations

import re

import pytest

from nslab.api.objects import Object

from .builders import a_cluster, a_container, a_deployment, a_lab, a_node, a_pod, a_template, a_workload, an_object

SAFE = "[bcdfghjklmnpqrstvwxz2456789]"


@pytest.mark.parametrize(
    ("item", "pattern", "count"),
    [
        (a_pod("web"), "web", 1),
        (a_deployment("web", 3), f"web-{SAFE}{{10}}-{SAFE}{{5}}", 3),
        (a_workload("ReplicaSet", "web", 2), f"web-{SAFE}{{5}}", 2),
        (a_workload("ReplicationController", "web", 2), f"web-{SAFE}{{5}}", 2),
        (a_workload("StatefulSet", "web", 3), "web-[012]", 3),
        (a_workload("StatefulSet", "web", 2, ordinals={"start": 5}), "web-[56]", 2),
        (a_workload("DaemonSet", "web"), f"web-{SAFE}{{5}}", 2),
        (a_workload("Job", "web", parallelism=3, completions=2), f"web-{SAFE}{{5}}", 2),
        (a_workload("Job", "web", parallelism=3), f"web-{SAFE}{{5}}", 3),
        (a_deployment("web", 0), "", 0),
        (an_object("CronJob", "web", {"schedule": "* * * * *"}), "", 0),
    ],
    ids=lambda value: value.kind if isinstance(value, Object) else None,
)
def test_workloads_become_pods_with_kubernetes_names(item: Object, pattern: str, count: int) -> None:
    pods = a_cluster(item).pods.values()
    assert len({pod.name for pod in pods}) == count == len(pods)
    for pod in pods:
        assert re.fullmatch(pattern, pod.name)
        assert pod.owner == (("", "") if item.kind == "Pod" else (item.kind, "web"))
        assert pod.labels["app"] == "web"


def test_each_kind_has_its_own_labels() -> None:
    cluster = a_cluster(a_deployment("d"), a_workload("StatefulSet", "s", 1), a_workload("Job", "j"))
    deployed, stateful, job = cluster.pods.values()
    assert deployed.name.startswith(f"d-{deployed.labels['pod-template-hash']}-")
    assert stateful.labels["statefulset.kubernetes.io/pod-name"] == "s-0"
    assert stateful.labels["apps.kubernetes.io/pod-index"] == "0"
    assert job.labels["batch.kubernetes.io/job-name"] == "j"


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "ReplicaSet"])
def test_scaling_keeps_the_pods_there_were(kind: str) -> None:
    before = a_cluster(a_workload(kind, "web", 3))
    after = a_cluster(a_workload(kind, "web", 5), leases=before.leases)
    assert list(after.pods.values())[:3] == list(before.pods.values())


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "ReplicaSet", "DaemonSet"])
def test_a_changed_template_replaces_every_pod(kind: str) -> None:
    before = a_cluster(a_workload(kind, "web", 2))
    template = a_template("web", a_container(80, image="nginx:2"))
    after = a_cluster(a_workload(kind, "web", 2, template), leases=before.leases)
    assert not {pod.uid for pod in before.pods.values()} & {pod.uid for pod in after.pods.values()}
    assert not {pod.ip for pod in before.pods.values()} & {pod.ip for pod in after.pods.values()}


def test_a_bare_pods_labels_change_in_place() -> None:
    before = a_cluster(a_pod("web"))
    after = a_cluster(a_pod("web", labels={"app": "other"}), leases=before.leases)
    assert after.pods["default/web"].uid == before.pods["default/web"].uid
    assert after.pods["default/web"].labels == {"app": "other"}


def test_a_daemonset_runs_on_matching_nodes_and_on_cordoned_ones() -> None:
    taint = {"key": "gpu", "effect": "NoSchedule"}
    nodes = [a_node("node-1", unschedulable=True), a_node("node-2", taints=[taint])]
    cluster = a_cluster(*nodes, a_workload("DaemonSet", "agent"), lab=a_lab(3))
    assert [pod.node for pod in cluster.pods.values()] == ["node-1", "node-3"]


def test_a_new_node_adds_its_daemon_and_touches_no_other() -> None:
    before = a_cluster(a_workload("DaemonSet", "agent"), lab=a_lab(2))
    after = a_cluster(a_workload("DaemonSet", "agent"), lab=a_lab(3), leases=before.leases)
    assert [after.pods[key] for key in before.pods] == list(before.pods.values())
    assert len(after.pods) == 3
