"""What goes with what, and what stays apart."""

from __future__ import annotations

import pytest

from tests.controllers.cluster import FakeCluster, service, template, workload

KINDS = (
    "Pod", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "Service", "EndpointSlice", "Endpoints",
    "ControllerRevision",
)


def fill(cluster: FakeCluster) -> None:
    cluster.create("Service", "web", service("web"))
    cluster.create("Deployment", "web", workload("web", replicas=3))
    cluster.create("StatefulSet", "db", workload("db", replicas=2))
    cluster.create("DaemonSet", "log", workload("log"))
    cluster.create("Job", "sum", {"template": template("sum")})
    cluster.settle()


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_owners_take_along_what_they_own(cluster: FakeCluster, propagation: str) -> None:
    fill(cluster)
    for kind, name in (("Deployment", "web"), ("StatefulSet", "db"), ("DaemonSet", "log"), ("Job", "sum")):
        cluster.store.delete(kind, "default", name, propagation=propagation)  # type: ignore[arg-type]
    cluster.delete("Service", "web")
    cluster.settle()
    assert [kind for kind in KINDS if cluster.store.list(kind)] == []


def test_a_namespace_takes_along_what_is_in_it(cluster: FakeCluster) -> None:
    cluster.create("Namespace", "default")
    fill(cluster)
    cluster.store.delete("Namespace", "", "default")
    cluster.settle()
    assert [kind for kind in (*KINDS, "Event") if cluster.store.list(kind)] == []
    assert cluster.store.get("Namespace", "", "default") is None


def test_labels_mean_nothing_across_namespaces(cluster: FakeCluster) -> None:
    fill(cluster)
    elsewhere = {"namespace": "elsewhere"}
    cluster.create("Service", "web", service("web"), metadata=elsewhere)
    cluster.create("Pod", "web", template("web")["spec"], metadata={**elsewhere, "labels": {"app": "web"}})
    cluster.settle()
    assert len(cluster.ready_endpoints("web")) == 3
    (body,) = cluster.store.list("EndpointSlice", "elsewhere")
    assert [item["targetRef"]["name"] for item in body["endpoints"]] == ["web"]
