"""What goes with what, and what stays apart."""

from __future__ import annotations

import pytest

from nslab.cluster.endpoint_objects import slice_name
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


@pytest.mark.parametrize(("kind", "left"), [
    ("Deployment", ("ReplicaSet", "Pod")), ("ReplicaSet", ("Pod",)), ("StatefulSet", ("ControllerRevision", "Pod")),
    ("DaemonSet", ("ControllerRevision", "Pod")), ("Service", ("EndpointSlice",)),
])
def test_what_is_left_behind_is_taken_over_by_the_next_of_that_name(
    cluster: FakeCluster, kind: str, left: tuple[str, ...]
) -> None:
    """`kubectl delete --cascade=orphan`, and then the same again: nothing is made twice, nothing is in the way."""
    spec = service("web") if kind == "Service" else workload("web")
    cluster.create(kind, "web", spec)
    cluster.settle()
    before = {of: uids(cluster, of) for of in left}
    assert all(before.values())
    cluster.store.delete(kind, "default", "web", propagation="Orphan")
    cluster.settle()
    assert {of: uids(cluster, of) for of in left} == before
    new = cluster.create(kind, "web", spec)
    cluster.settle()
    assert cluster.control.failures == {}
    assert {of: uids(cluster, of) for of in left} == before
    (owner,) = {item["uid"] for body in cluster.store.list(left[0]) for item in body["metadata"]["ownerReferences"]}
    assert owner == new["metadata"]["uid"]


def test_the_revisions_that_are_left_are_the_history_of_the_next(cluster: FakeCluster) -> None:
    cluster.create("StatefulSet", "db", workload("db"))
    cluster.settle()
    cluster.change("StatefulSet", "db", template=template("db", "nginx:2"))
    cluster.settle()
    cluster.store.delete("StatefulSet", "default", "db", propagation="Orphan")
    cluster.create("StatefulSet", "db", workload("db"))  # the first template again
    cluster.settle()
    assert cluster.control.failures == {}
    history = {
        body["data"]["spec"]["template"]["spec"]["containers"][0]["image"]: body["revision"]
        for body in cluster.store.list("ControllerRevision")
    }
    assert history == {"nginx:2": 2, "nginx": 3}


def test_two_workloads_of_one_name_and_template_share_their_revision(cluster: FakeCluster) -> None:
    for kind in ("StatefulSet", "DaemonSet"):
        cluster.create(kind, "web", workload("web"))
    cluster.settle()
    assert cluster.control.failures == {}
    assert len(cluster.store.list("ControllerRevision")) == 1
    cluster.delete("StatefulSet", "web")
    cluster.change("DaemonSet", "web", minReadySeconds=1)
    cluster.settle()
    assert cluster.control.failures == {}
    (revision,) = cluster.store.list("ControllerRevision")
    assert [owner["kind"] for owner in revision["metadata"]["ownerReferences"]] == ["DaemonSet"]


def test_a_slice_of_somebody_else_is_left_alone(cluster: FakeCluster) -> None:
    name = slice_name("default/web", 0)
    cluster.create("EndpointSlice", name, addressType="IPv4", endpoints=[], ports=[])
    cluster.create("Service", "web", service("web"))
    cluster.settle()
    assert cluster.control.failures == {}
    assert {body["metadata"]["name"] for body in cluster.store.list("EndpointSlice")} == {
        name, slice_name("default/web", 1)
    }


def uids(cluster: FakeCluster, kind: str) -> set[str]:
    return {body["metadata"]["uid"] for body in cluster.store.list(kind)}
