"""Workloads as Kubernetes objects with their status, and the ReplicaSets that Deployments make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nslab.api.objects import Body, Object
from nslab.cluster.model import Cluster, Pod
from nslab.cluster.naming import object_uid
from nslab.cluster.workloads import HASH_LABEL, Template, replica_set_name

API_VERSIONS = {
    "Deployment": "apps/v1", "ReplicaSet": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1",
    "Job": "batch/v1", "ReplicationController": "v1",
}


def controller(pod: Pod) -> tuple[str, str]:
    """(kind, name) of what a Pod's ownerReferences name: for a Deployment's its ReplicaSet."""
    kind, name = pod.owner
    return ("ReplicaSet", f"{name}-{pod.labels[HASH_LABEL]}") if kind == "Deployment" else (kind, name)


def workloads(cluster: Cluster, kind: str) -> Iterator[Body]:
    """The written objects of `kind`, with the status of a workload's Pods where it is one."""
    owned = _owned(cluster)
    for item in cluster.objects:
        if item.kind != kind:
            continue
        body: Body = {**item.body, "apiVersion": item.api_version, "kind": item.kind}
        if kind in API_VERSIONS:
            pods = owned.get((item.namespace, kind, item.name), [])
            body |= {"metadata": {"generation": 1, **item.body["metadata"]}, "status": _status(kind, pods)}
        yield body


def replica_sets(cluster: Cluster) -> Iterator[Body]:
    """The user's ReplicaSets and the one of each Deployment."""
    yield from workloads(cluster, "ReplicaSet")
    owned = _owned(cluster)
    for item in cluster.objects:
        if item.kind == "Deployment":
            yield _replica_set(item, owned.get((item.namespace, item.kind, item.name), []))


def _replica_set(deployment: Object, pods: Sequence[Pod]) -> Body:
    uid = object_uid(f"Deployment/{deployment.namespace}/{deployment.name}")
    return {**replica_set(deployment, uid, len(pods), 1), "status": _status("ReplicaSet", pods)}


def replica_set(deployment: Object, uid: str, replicas: int, revision: int) -> Body:
    """The ReplicaSet of a Deployment's present template, without status. `uid` is the Deployment's."""
    spec = deployment.body["spec"]
    name, digest = replica_set_name(Template(deployment, spec["template"]))
    selector = spec.get("selector") or {}
    template = spec["template"]
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), HASH_LABEL: digest}
    return {
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": name, "namespace": deployment.namespace, "generation": 1, "labels": labels,
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.name, "controller": True,
                "blockOwnerDeletion": True, "uid": uid,
            }],
        },
        "spec": {
            "replicas": replicas,
            "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}},
            "template": {**template, "metadata": {**metadata, "labels": labels}},
        },
    }


def _owned(cluster: Cluster) -> dict[tuple[str, str, str], list[Pod]]:
    owned: dict[tuple[str, str, str], list[Pod]] = {}
    for pod in cluster.pods.values():
        owned.setdefault((pod.namespace, *pod.owner), []).append(pod)
    return owned


def _status(kind: str, pods: Sequence[Pod]) -> Body:
    """The status a controller would write once everything it asked for runs."""
    total, ready = len(pods), sum(pod.ready for pod in pods)
    if kind == "Job":
        return {"active": total, "ready": ready}
    if kind == "DaemonSet":
        return {
            "observedGeneration": 1, "desiredNumberScheduled": total, "currentNumberScheduled": total,
            "updatedNumberScheduled": total, "numberMisscheduled": 0, "numberReady": ready, "numberAvailable": ready,
            **({"numberUnavailable": total - ready} if ready < total else {}),
        }
    status: Body = {"observedGeneration": 1, "replicas": total, "readyReplicas": ready, "availableReplicas": ready}
    if kind == "Deployment":
        available = "True" if ready == total else "False"
        status |= {
            "updatedReplicas": total,
            "conditions": [{"type": "Available", "status": available}, {"type": "Progressing", "status": "True"}],
            **({"unavailableReplicas": total - ready} if ready < total else {}),
        }
    elif kind == "StatefulSet":
        status |= {"currentReplicas": total, "updatedReplicas": total}
    else:
        status["fullyLabeledReplicas"] = total
    return status
