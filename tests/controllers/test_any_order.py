"""Whatever a user does in whatever order, in the end the cluster is as if the objects had been there all along."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nslab.controllers.metadata import controller_of, labels_of
from nslab.controllers.pods import is_active
from tests.controllers.cluster import FakeCluster, of_service, service, template, workload

KINDS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job")
WISHES = ("Service", "Node", *KINDS)

kinds = st.sampled_from(KINDS)
scaled = st.sampled_from(KINDS[:3])
number = st.integers(0, 4)

operations = st.one_of(
    st.tuples(st.just("create"), kinds, number),
    st.tuples(st.just("scale"), scaled, number),
    st.tuples(st.just("update"), kinds, number),
    st.tuples(st.just("delete"), kinds, number),
    st.tuples(st.just("kill"), kinds, number),
    st.tuples(st.just("relabel"), kinds, number),
    st.tuples(st.just("fail"), kinds, number),
    st.tuples(st.just("cordon"), kinds, number),
    st.tuples(st.just("node"), kinds, number),
    st.tuples(st.just("orphan"), kinds, number),
    st.tuples(st.just("service"), kinds, number),
    st.tuples(st.just("pass"), kinds, number),
)


def spec_of(kind: str, replicas: int) -> dict[str, Any]:
    label = f"{kind}-a".lower()
    if kind == "Job":
        return {"template": template(label), "parallelism": replicas + 1, "completions": replicas + 3}
    return workload(label) if kind == "DaemonSet" else workload(label, replicas=replicas)


def do(cluster: FakeCluster, operation: str, kind: str, value: int) -> None:
    store, app = cluster.store, "a"
    label = f"{kind}-a".lower()
    there = store.get(kind, "default", app) is not None
    pods = cluster.pods(label)
    if operation == "create" and not there:
        cluster.create(kind, app, spec_of(kind, value))
    elif operation == "scale" and there:
        cluster.change(kind, app, replicas=value)
    elif operation == "update" and there and kind != "Job":
        cluster.change(kind, app, template=template(label, f"nginx:{value}"))
    elif operation == "delete" and there:
        cluster.delete(kind, app)
    elif operation == "orphan" and there:
        store.delete(kind, "default", app, propagation="Orphan")
    elif operation == "service":
        store.delete("Service", "default", label, propagation="Orphan" if value % 2 else "Background")
        cluster.create("Service", label, service(label))
    elif operation == "kill" and pods:
        store.delete("Pod", "default", pods[value % len(pods)]["metadata"]["name"], grace=0 if value % 2 else None)
    elif operation == "relabel" and pods and kind != "StatefulSet":  # its name would stay taken, as on a cluster
        pod = pods[value % len(pods)]
        metadata = {**pod["metadata"], "labels": {**labels_of(pod), "app": "nobody"}}
        store.update("Pod", {**pod, "metadata": metadata})
    elif operation == "fail" and pods and kind != "Job":
        cluster.set_ready(pods[value % len(pods)], False, "Failed" if value % 2 else "Running")
    elif operation == "cordon":
        cluster.change("Node", "node-2", unschedulable=bool(value % 2))
    elif operation == "node":
        if store.get("Node", "", "node-3"):
            cluster.delete("Node", "node-3")
        else:
            cluster.add_node("node-3")
    elif operation == "pass":
        next(cluster.steps())
        cluster.time += value
        cluster._act()


def per_owner(cluster: FakeCluster) -> Counter[tuple[str, str, str]]:
    """How many Pods of which image each workload has, a Deployment through its ReplicaSets."""
    found: Counter[tuple[str, str, str]] = Counter()
    for pod in cluster.pods():
        owner = controller_of(pod)
        if owner is None or not is_active(pod):
            continue
        above = controller_of(cluster.get("ReplicaSet", owner["name"])) if owner["kind"] == "ReplicaSet" else None
        top = above or owner
        # A ReplicaSet of the user keeps the Pods that it has when its template changes.
        image = "" if top["kind"] == "ReplicaSet" else pod["spec"]["containers"][0]["image"]
        found[top["kind"], top["name"], image] += 1
    return found


def revive(cluster: FakeCluster) -> None:
    """Every Pod that runs and is not ready gets ready, as its kubelet would find it."""
    for pod in cluster.pods():
        if is_active(pod) and pod["status"]["phase"] == "Running":
            cluster.set_ready(pod, True)


@settings(max_examples=60, deadline=None)
@given(st.lists(operations, min_size=5, max_size=30))
def test_any_order_of_operations_ends_like_a_fresh_start(steps: list[tuple[str, str, int]]) -> None:
    cluster = FakeCluster(2)
    for kind in KINDS:
        label = f"{kind}-a".lower()
        cluster.create("Service", label, service(label))
        cluster.create(kind, "a", spec_of(kind, 2))
    for step in steps:
        do(cluster, *step)
    cluster.change("Node", "node-2", unschedulable=False)
    revive(cluster)
    cluster.settle()
    revive(cluster)
    cluster.settle()
    assert cluster.control.failures == {}

    fresh = FakeCluster(0)
    for kind in WISHES:
        for body in cluster.store.list(kind):
            if controller_of(body) is None:
                given = {**body, "metadata": {"name": body["metadata"]["name"], "labels": labels_of(body)}}
                fresh.store.create(kind, {name: value for name, value in given.items() if name != "status"})
    fresh.settle()
    assert per_owner(cluster) == per_owner(fresh)

    for pod in cluster.pods():
        assert pod["spec"].get("nodeName"), pod
    for kind in KINDS:
        label = f"{kind}-a".lower()
        assert len(cluster.store.list("EndpointSlice", "default", of_service(label))) == 1
        ready = {pod["metadata"]["name"] for pod in cluster.pods(label) if is_active(pod)}
        assert cluster.ready_endpoints(label) == ready
