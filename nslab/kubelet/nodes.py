"""What the nodes' kubelets say of themselves: that they are there, that they live, and which static Pods they run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from math import ceil

from nslab.api.objects import Body, Manifest, Object
from nslab.apiserver.store import Store
from nslab.cluster import render, static_pods
from nslab.cluster.faults import dead_nodes, fault_of
from nslab.cluster.model import Cluster, Node
from nslab.controllers.metadata import micro_timestamp, timestamp, with_condition

LEASES = "kube-node-lease"


def _nodes(cluster: Cluster) -> Iterator[Object]:
    """The Node objects of the Cluster's nodes, as their kubelets register them."""
    for node in cluster.nodes.values():
        body: Body = {
            "apiVersion": "v1", "kind": "Node",
            "metadata": {**(node.body.get("metadata") or {}), "name": node.name, "labels": dict(node.labels)},
            "spec": {**(node.body.get("spec") or {}), "podCIDR": node.pod_range, "podCIDRs": [node.pod_range]},
        }
        yield Object("v1", "Node", "", node.name, body, cluster.lab.where)


def wishes(manifest: Manifest, allotted: Cluster) -> tuple[Object, ...]:
    """What `up` applies: the nodes as they register, and the manifest's other objects."""
    return (*_nodes(allotted), *(item for item in manifest.objects if item.kind != "Node"))


def register(store: Store, cluster: Cluster) -> None:
    """Renew the nodes' Leases, and write their status where it is another; show their static Pods. Nobody speaks for
    a node that is dead."""
    mirror(store, cluster)
    dead, grace = dead_in(store), cluster.lab.cluster.node_monitor_grace_period
    for node in cluster.nodes.values():
        if node.name in dead:
            continue
        _report_node(store, cluster, node)
        renewed = micro_timestamp(time.time())
        spec = {"holderIdentity": node.name, "leaseDurationSeconds": ceil(grace), "renewTime": renewed}
        lease = store.get("Lease", LEASES, node.name)
        if lease is None:
            metadata = {"name": node.name, "namespace": LEASES}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
            store.create("Lease", body)
        else:
            store.update("Lease", {**lease, "spec": spec})


def dead_in(store: Store) -> frozenset[str]:
    """The nodes, by name, that are dead by a Fault of the store."""
    return dead_nodes(map(fault_of, store.list("Fault")))


def mirror(store: Store, cluster: Cluster) -> None:
    """Make the mirror Pods that are missing: the nodes' static Pods run on, whoever deletes them in the API. A dead
    machine says nothing."""
    for name in cluster.nodes.keys() - dead_in(store):
        node = store.get("Node", "", name)
        missing = store.get("Pod", static_pods.NAMESPACE, static_pods.name_of(name)) is None
        if missing and node is not None and "deletionTimestamp" not in node["metadata"]:
            store.create("Pod", static_pods.mirror_pod(name, node["metadata"]["uid"]))


def _report_node(store: Store, cluster: Cluster, node: Node) -> None:
    stored = store.get("Node", "", node.name)
    if stored is None:  # somebody deleted it: a kubelet registers once
        return
    now = time.time()
    status = render.node_object(cluster, node)["status"]
    status["nodeInfo"]["kernelVersion"] = os.uname().release
    old = stored.get("status") or {}
    conditions = list(old.get("conditions") or ())
    for condition in status["conditions"]:
        heartbeat = {"message": "kubelet is posting ready status", "lastHeartbeatTime": timestamp(now)}
        conditions = with_condition(conditions, {**condition, **heartbeat}, now)
    ready = any(item["type"] == "Ready" and item["status"] == "True" for item in old.get("conditions") or ())
    same = all(old.get(key) == value for key, value in status.items() if key != "conditions")
    if not (ready and same):
        store.update("Node", {**stored, "status": {**old, **status, "conditions": conditions}}, status=True)
