"""What the nodes' kubelets tell the API server: that the nodes live, and how their Pods are; and the end of Pods."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping

from nslab.agent.containers import HOST_IMAGE, Containers
from nslab.agent.objects import Objects
from nslab.api.objects import Body, Manifest, Object
from nslab.apiserver.store import Store
from nslab.cluster import render, static_pods
from nslab.cluster.model import Cluster, Node, Pod, Service
from nslab.controllers.metadata import micro_timestamp, seconds, timestamp, with_condition

HEARTBEAT = 10.0
"""Seconds between two renewals of the nodes' Leases (kubelet nodeLeaseDurationSeconds / 4)."""

DRAIN = 1.0
"""Seconds that a Pod of the responder goes on answering once its Services have let go: it needs milliseconds."""

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
    """Renew the nodes' Leases, and write their status where it is another; show their static Pods."""
    mirror(store, cluster)
    for node in cluster.nodes.values():
        _report_node(store, cluster, node)
        spec = {"holderIdentity": node.name, "leaseDurationSeconds": 40, "renewTime": micro_timestamp(time.time())}
        lease = store.get("Lease", LEASES, node.name)
        if lease is None:
            metadata = {"name": node.name, "namespace": LEASES}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
            store.create("Lease", body)
        else:
            store.update("Lease", {**lease, "spec": spec})


def mirror(store: Store, cluster: Cluster) -> None:
    """Make the mirror Pods that are missing: the nodes' static Pods run on, whoever deletes them in the API."""
    for name in cluster.nodes:
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


class Kubelet:
    """All nodes' kubelets. It writes status and Leases into the store, and ends the Pods that are being deleted."""

    def __init__(self, objects: Objects, containers: Containers) -> None:
        self.objects = objects
        self.containers = containers
        self.started: set[str] = {
            body["metadata"]["uid"] for body in objects.store.list("Pod")
            if (body.get("status") or {}).get("phase") == "Running"
        }
        self._reported: dict[str, tuple[bool, str, int]] = {}
        self._services: dict[str, Service] = {}
        self._ending: dict[str, tuple[float, float, Pod]] = {}
        self._next_beat = 0.0

    def ready(self, probed: Mapping[str, bool]) -> dict[str, bool]:
        """The Ready condition by Pod key, as far as it is known: a Pod whose network does not stand yet is not."""
        waiting = {
            f"{body['metadata']['namespace']}/{body['metadata']['name']}": False
            for body in self.objects.store.list("Pod") if body["metadata"]["uid"] not in self.started
        }
        return {**probed, **waiting}

    def beat(self, cluster: Cluster) -> float:
        """Renew the nodes' Leases where it is time. Returns the seconds until it is again."""
        now = time.monotonic()
        if now < self._next_beat:
            return self._next_beat - now
        self._next_beat = now + HEARTBEAT
        register(self.objects.store, cluster)
        return HEARTBEAT

    # --- Pods

    def report(self, cluster: Cluster, restarts: Mapping[str, int]) -> None:
        """Write the status of every Pod whose network stands, and what its Services were given."""
        for key, pod in cluster.pods.items():
            state = (pod.ready, pod.ip, restarts.get(key, 0))
            if self._reported.get(pod.uid) != state and self._report_pod(cluster, pod, state[2]):
                self._reported[pod.uid] = state
        for key, service in cluster.services.items():
            if self._services.get(key) is not service:
                self._report_service(service)
        self._services = cluster.services
        if len(self._reported) > 2 * len(cluster.pods) + 64:
            present = {pod.uid for pod in cluster.pods.values()}
            self._reported = {uid: state for uid, state in self._reported.items() if uid in present}

    def _report_service(self, service: Service) -> None:
        rendered = render.service_object(service)
        if rendered["spec"] != service.body["spec"]:
            self.objects.write("Service", rendered)
        if rendered["status"] == service.body.get("status"):
            return
        stored = self.objects.store.get("Service", service.namespace, service.name)
        if stored is not None and stored.get("status") != rendered["status"]:
            self.objects.write("Service", {**stored, "status": rendered["status"]}, status=True)

    def _report_pod(self, cluster: Cluster, pod: Pod, restarts: int) -> bool:
        stored = self.objects.store.get("Pod", pod.namespace, pod.name)
        if stored is None or stored["metadata"]["uid"] != pod.uid:
            return False
        now = time.time()
        old = stored.get("status") or {}
        started = old.get("startTime") or timestamp(now)
        new = render.pod_status(cluster, pod)
        conditions = list(old.get("conditions") or ())
        for condition in new["conditions"]:
            conditions = with_condition(conditions, condition, now)
        for field in ("containerStatuses", "initContainerStatuses"):
            for number, item in enumerate(new.get(field) or ()):
                item["state"] = {"running": {"startedAt": started}}
                if number == 0:
                    item["restartCount"] = restarts
        status = {**old, **new, "startTime": started, "conditions": conditions}
        if status != old:
            self.objects.write("Pod", {**stored, "status": status}, status=True)
        return True

    # --- The end of Pods

    def end(self, cluster: Cluster) -> float:
        """Take Pods that are being deleted to their end; their Services have let go of them. Returns the seconds
        until there is more to do."""
        now = time.monotonic()
        present = {pod.uid: pod for pod in cluster.pods.values() if pod.terminating}
        for uid in [uid for uid in self._ending if uid not in present]:
            del self._ending[uid]
        for uid, pod in present.items():
            if uid not in self._ending:
                self._ending[uid] = (*self._deadlines(pod, now), pod)
        due = float("inf")
        for uid, (drained, killed, pod) in list(self._ending.items()):
            if now >= killed or (now >= drained and not self.containers.runs(pod)):
                del self._ending[uid]
                self.started.discard(uid)
                self.objects.store.finish("Pod", pod.namespace, pod.name)
            else:
                due = min(due, (drained if now < drained else killed) - now)
        return due

    def _deadlines(self, pod: Pod, now: float) -> tuple[float, float]:
        """When (monotonic seconds) the Pod has answered whom it knew, and when it has to be gone at the latest."""
        if pod.is_static:  # only its picture ends
            return now, now
        stored = self.objects.store.get("Pod", pod.namespace, pod.name) or {"metadata": {}}
        grace = stored["metadata"].get("deletionGracePeriodSeconds", 0)
        marked = seconds(stored["metadata"].get("deletionTimestamp"))
        left = min(max(marked - time.time(), 0.0), grace) if marked else 0.0
        if any(container.image == HOST_IMAGE for container in pod.containers):
            self.containers.ask_to_end(pod)
            return now + min(left, DRAIN), now + left
        return now + min(left, DRAIN), now + min(left, DRAIN)

    @property
    def ending(self) -> bool:
        """Whether Pods are on their way out."""
        return bool(self._ending)
