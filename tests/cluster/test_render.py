from __future__ import annotations

from typing import Any

import pytest

from nslab.cluster.model import Cluster
from nslab.cluster.render import kubernetes_objects

from .builders import (
    a_cluster,
    a_container,
    a_deployment,
    a_node,
    a_pod,
    a_service,
    a_template,
    a_workload,
    an_object,
)

PROBED = a_container(80, readinessProbe={"httpGet": {"port": 80}})
TIME = "2026-01-02T03:04:05Z"


def one(cluster: Cluster, kind: str, **options: Any) -> dict[str, Any]:
    return kubernetes_objects(cluster, kind, **options)[0]


def test_a_running_pod() -> None:
    cluster = a_cluster(a_deployment("web", 1, a_template("web", PROBED)), ready={})
    pod = next(iter(cluster.pods.values()))
    body = one(cluster, "Pod", created=TIME)
    revision = pod.labels["pod-template-hash"]
    assert body["metadata"]["name"] == pod.name
    assert body["metadata"]["generateName"] == f"web-{revision}-"
    assert body["metadata"]["uid"] == pod.uid
    assert body["metadata"]["creationTimestamp"] == TIME
    owner = body["metadata"]["ownerReferences"][0]
    replica_set = one(cluster, "ReplicaSet")
    assert (owner["kind"], owner["name"]) == ("ReplicaSet", f"web-{revision}") == (
        "ReplicaSet", replica_set["metadata"]["name"]
    )
    assert owner["uid"] == replica_set["metadata"]["uid"]
    assert body["spec"]["nodeName"] == "node-1"
    status = body["status"]
    assert (status["phase"], status["podIP"], status["hostIP"]) == ("Running", "10.8.0.2", "10.128.0.2")
    assert {item["type"]: item["status"] for item in status["conditions"]} == {
        "PodScheduled": "True", "Initialized": "True", "ContainersReady": "False", "Ready": "False"
    }
    assert status["containerStatuses"][0]["ready"] is False
    assert status["containerStatuses"][0]["state"] == {"running": {"startedAt": TIME}}


def test_a_deployment_scaled_to_nothing_keeps_its_replica_set() -> None:
    running, none = (a_cluster(a_deployment("web", replicas)) for replicas in (1, 0))
    assert one(none, "ReplicaSet")["metadata"] == one(running, "ReplicaSet")["metadata"]
    assert one(none, "ReplicaSet")["spec"]["replicas"] == 0


def test_a_bare_pod_has_no_owner_and_a_sidecar_a_status_of_its_own() -> None:
    sidecar = a_container(81, name="sidecar", restartPolicy="Always")
    cluster = a_cluster(a_pod("web", initContainers=[a_container(name="once"), sidecar]))
    body = one(cluster, "Pod")
    assert "ownerReferences" not in body["metadata"]
    assert [item["name"] for item in body["status"]["initContainerStatuses"]] == ["sidecar"]
    assert "startTime" not in body["status"]


def test_a_cordoned_node() -> None:
    body = one(a_cluster(a_node("node-1", unschedulable=True)), "Node")
    assert body["spec"]["podCIDR"] == "10.8.0.0/24"
    assert body["spec"]["taints"] == [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    assert body["status"]["addresses"][0] == {"type": "InternalIP", "address": "10.128.0.2"}
    capacity = body["status"]["capacity"]
    assert capacity["pods"] == "110"
    assert capacity.keys() == body["status"]["allocatable"].keys() == {"cpu", "memory", "ephemeral-storage", "pods"}


def test_a_service_with_what_it_was_given() -> None:
    body = one(a_cluster(a_service("s", "web", type="LoadBalancer", externalTrafficPolicy="Local")), "Service")
    assert (body["spec"]["clusterIP"], body["spec"]["ports"][0]["nodePort"]) == ("10.12.1.1", 30086)
    assert body["spec"]["healthCheckNodePort"] == 30087
    assert body["status"] == {"loadBalancer": {"ingress": [{"ip": "203.0.113.10", "ipMode": "VIP"}]}}
    headless = one(a_cluster(a_service("s", "web", clusterIP="None")), "Service")
    assert headless["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("Deployment", {"replicas": 2, "readyReplicas": 1, "updatedReplicas": 2, "unavailableReplicas": 1}),
        ("ReplicaSet", {"replicas": 2, "readyReplicas": 1, "fullyLabeledReplicas": 2}),
        ("ReplicationController", {"replicas": 2, "readyReplicas": 1}),
        ("StatefulSet", {"replicas": 2, "readyReplicas": 1, "currentReplicas": 2}),
        ("DaemonSet", {"desiredNumberScheduled": 2, "numberReady": 1, "numberUnavailable": 1}),
        ("Job", {"active": 2, "ready": 1}),
    ],
)
def test_workloads_have_their_pods_status(kind: str, status: dict[str, int]) -> None:
    item = a_workload(kind, "web", 2, a_template("web", PROBED), parallelism=2)
    first = next(iter(a_cluster(item).pods))
    found = one(a_cluster(item, ready={first: True}), kind)["status"]
    assert {key: found.get(key) for key in status} == status


def test_endpoints_and_slices_of_a_selector() -> None:
    objects = a_pod("web"), a_pod("slow", PROBED, labels={"app": "web"}), a_service("s", "web")
    cluster = a_cluster(*objects)
    subset = one(cluster, "Endpoints")["subsets"][0]
    assert [item["targetRef"]["name"] for item in subset["addresses"]] == ["web"]
    assert [item["ip"] for item in subset["notReadyAddresses"]] == ["10.8.1.2"]
    assert subset["ports"] == [{"port": 80, "protocol": "TCP"}]
    body = one(cluster, "EndpointSlice")
    assert body["metadata"]["name"].startswith("s-")
    assert body["metadata"]["labels"] == {
        "kubernetes.io/service-name": "s", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"
    }
    assert body["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]
    assert [item["conditions"]["ready"] for item in body["endpoints"]] == [True, False]
    assert body["endpoints"][0]["nodeName"] == "node-1"


def test_a_service_that_selects_nothing_has_an_empty_slice() -> None:
    cluster = a_cluster(a_service("s", "web"))
    assert "subsets" not in one(cluster, "Endpoints")
    assert one(cluster, "EndpointSlice")["endpoints"] == []


def test_slices_hold_a_hundred() -> None:
    slices = kubernetes_objects(a_cluster(a_deployment("web", 150), a_service("s", "web")), "EndpointSlice")
    assert [len(body["endpoints"]) for body in slices] == [100, 50]
    assert len({body["metadata"]["name"] for body in slices}) == 2


def test_the_users_endpoints_are_mirrored() -> None:
    subsets = [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 9}]}]
    cluster = a_cluster(a_service("s"), an_object("Endpoints", "s", subsets=subsets), a_service("t"))
    assert [body["subsets"] for body in kubernetes_objects(cluster, "Endpoints")] == [subsets]
    [body] = kubernetes_objects(cluster, "EndpointSlice")
    assert body["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"].startswith("endpointslicemirroring")
    assert body["endpoints"][0]["addresses"] == ["192.0.2.1"]


def test_pods_with_other_numbers_behind_one_name_come_in_another_subset() -> None:
    def named(name: str, port: int) -> Any:
        return a_pod(name, a_container(ports=[{"containerPort": port, "name": "http", "protocol": "TCP"}]),
                     labels={"app": "web"})

    cluster = a_cluster(named("a", 80), named("b", 81), a_service("s", "web", target="http"))
    assert [subset["ports"][0]["port"] for subset in one(cluster, "Endpoints")["subsets"]] == [80, 81]


def test_namespaces_that_nobody_wrote() -> None:
    names = [body["metadata"]["name"] for body in kubernetes_objects(a_cluster(), "Namespace")]
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]
    written = an_object("Namespace", "shop", namespace="", metadata={"labels": {"team": "red"}})
    cluster = a_cluster(written, an_object("ConfigMap", "c", namespace="other"))
    bodies = kubernetes_objects(cluster, "Namespace")
    found = {body["metadata"]["name"]: body["metadata"].get("labels") for body in bodies}
    assert found["shop"] == {"team": "red"}
    assert "other" in found


def test_other_kinds_come_as_written() -> None:
    body = one(a_cluster(an_object("ConfigMap", "c", data={"a": "b"})), "ConfigMap", created=TIME)
    assert body["data"] == {"a": "b"}
    assert body["metadata"]["creationTimestamp"] == TIME
    assert len(body["metadata"]["uid"]) == 36
