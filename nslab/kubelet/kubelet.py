"""What the nodes' kubelets tell the API server of their Pods, and the end of Pods."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from nslab.api.objects import Body
from nslab.apiserver.store import Store
from nslab.cluster import render
from nslab.cluster.faults import dead_nodes
from nslab.cluster.model import Cluster, Pod, Service
from nslab.controllers.metadata import key_of, seconds
from nslab.controllers.pods import is_ready
from nslab.kubelet.containers import HOST_IMAGE, Containers, Key
from nslab.kubelet.nodes import dead_in, register
from nslab.kubelet.pod_events import PodEvents
from nslab.kubelet.pod_status import conditions_of, pod_status, unmet_gates
from nslab.kubelet.readiness import Readiness

BEATS = 4
"""Renewals of a node's Lease in the grace period after which it counts as dead (a kubelet's default is as many)."""

DRAIN = 1.0
"""Seconds that a Pod of the responder goes on answering once its Services have let go: it needs milliseconds."""


class Objects(Protocol):
    """What kubelets need of a lab's objects. `changed` says that the network may have to follow."""

    changed: bool
    store: Store

    def write(self, kind: str, body: Body, *, status: bool = False) -> None:
        """Store what the network was given; nothing has to follow from it."""


class Kubelet:
    """All nodes' kubelets. It writes status and Leases into the store, and ends the Pods that are being deleted."""

    def __init__(self, objects: Objects, containers: Containers, readiness: Readiness) -> None:
        self.objects = objects
        self.containers = containers
        self.readiness = readiness
        self.events = PodEvents(objects.store, time.time)
        readiness.on_event = self._note
        self.started: set[str] = {
            body["metadata"]["uid"] for body in objects.store.list("Pod")
            if (body.get("status") or {}).get("phase") == "Running"
        }
        self._reported: dict[str, tuple[bool, str]] = {}
        self._gated: dict[str, bool] = {}
        self._beginning: list[Pod] = []
        self._services: dict[str, Service] = {}
        self._ending: dict[str, tuple[float, float, Pod]] = {}
        self._next_beat = 0.0
        self._silent: frozenset[str] = frozenset()

    def _note(self, container: Key, reason: str, message: str) -> None:
        record = self.events.normal if reason in ("Started", "Killing") else self.events.warning
        record(*container, reason, message)

    def ready(self, probed: Mapping[str, bool]) -> dict[str, bool]:
        """The Ready condition by Pod key, as far as it is known: a Pod whose network does not stand yet is not."""
        pods = self.objects.store.list("Pod")
        waiting = {key_of(body): False for body in pods if body["metadata"]["uid"] not in self.started}
        self._gated = {
            key_of(body): False for body in pods
            if body["spec"].get("readinessGates") and unmet_gates(body["spec"], conditions_of(body))
        }
        return {**self.gated(probed), **waiting, **self.unheard()}

    def gated(self, ready: Mapping[str, bool]) -> dict[str, bool]:
        """These Ready conditions, False where a Pod's readiness gates were not met when the network last followed the
        objects."""
        return {**ready, **self._gated}

    def unheard(self) -> dict[str, bool]:
        """The Ready condition of the Pods, by key, on dead nodes: what the API says of them. Their kubelet is silent,
        and in the end the node lifecycle controller says that they are not."""
        dead = dead_in(self.objects.store)
        pods = self.objects.store.list("Pod") if dead else ()
        return {key_of(body): is_ready(body) for body in pods if body["spec"].get("nodeName") in dead}

    def start(self, cluster: Cluster, *, quiet: bool = False) -> None:
        """The Pods of this Cluster have their network; those of living nodes run. `quiet`: without Events, of which a
        new lab would have thousands."""
        silent = dead_nodes(cluster.faults)
        fresh = [pod for pod in cluster.pods.values() if pod.uid not in self.started and pod.node not in silent]
        self.started.update(pod.uid for pod in fresh)
        if not quiet:
            self._beginning += fresh

    def _announce(self, pod: Pod) -> None:
        for container in pod.containers:
            about = pod.key, pod.uid, container.name
            image = f'Container image "{container.image}" already present on machine'
            self.events.normal(*about, "Pulled", image)
            self.events.normal(*about, "Created", f"Created container: {container.name}")
            if container.image != HOST_IMAGE:  # of the others `Containers` tells
                self.events.normal(*about, "Started", f"Started container {container.name}")

    def beat(self, cluster: Cluster) -> float:
        """Renew the nodes' Leases where it is time, or where one has come back. Returns the seconds until it is time
        again."""
        now = time.monotonic()
        former, self._silent = self._silent, dead_in(self.objects.store)
        if now < self._next_beat and not former - self._silent:
            return self._next_beat - now
        register(self.objects.store, cluster)
        self._next_beat = now + cluster.lab.cluster.node_monitor_grace_period / BEATS
        return self._next_beat - now

    # --- Pods

    def report(self, cluster: Cluster) -> None:
        """Write the status of every Pod whose network stands, and what its Services were given."""
        silent = dead_nodes(cluster.faults)
        stale, self.readiness.stale = self.readiness.stale, set()
        for pod in cluster.pods.values():
            if pod.node in silent:
                self._reported.pop(pod.uid, None)  # others say meanwhile how it is
                continue
            state = (pod.ready, pod.ip)
            new = pod.uid in stale or self._reported.get(pod.uid) != state
            if new and self._report_pod(cluster, pod):
                self._reported[pod.uid] = state
        for pod in self._beginning:  # not before: what waits for the network waits for no Event
            self._announce(pod)
        self._beginning.clear()
        for key, service in cluster.services.items():
            if self._services.get(key) is not service:
                self._report_service(service)
        self._services = cluster.services
        if len(self._reported) > 2 * len(cluster.pods) + 64:
            present = {pod.uid for pod in cluster.pods.values()}
            self._reported = {uid: state for uid, state in self._reported.items() if uid in present}
            self.events.forget_all_but(present)

    def _report_service(self, service: Service) -> None:
        rendered = render.service_object(service)
        stored = self.objects.store.get("Service", service.namespace, service.name)
        if stored is None:
            return
        # A Service that is another by now was written by us just now, or comes back with the next walk.
        version = service.body["metadata"].get("resourceVersion")
        if rendered["spec"] != service.body["spec"] and stored["metadata"]["resourceVersion"] == version:
            self.objects.write("Service", rendered)
            stored = self.objects.store.get("Service", service.namespace, service.name) or stored
        if stored.get("status") != rendered["status"]:
            self.objects.write("Service", {**stored, "status": rendered["status"]}, status=True)

    def _report_pod(self, cluster: Cluster, pod: Pod) -> bool:
        stored = self.objects.store.get("Pod", pod.namespace, pod.name)
        if stored is None or stored["metadata"]["uid"] != pod.uid:
            return False
        states = {one.name: self.readiness.state((pod.key, pod.uid, one.name)) for one in pod.containers}
        if not pod.ready and cluster.suffers(f"pod/{pod.key}", "unready"):
            states = {name: state._replace(ready=False) for name, state in states.items()}
        old = stored.get("status") or {}
        status = pod_status(cluster, pod, old, states, time.time())
        if status != old:
            self.objects.write("Pod", {**stored, "status": status}, status=True)
        if status["phase"] != "Running":
            self.objects.changed = True  # it has ended, and its network goes
        return True

    # --- The end of Pods

    def end(self, cluster: Cluster) -> float:
        """Take Pods that are being deleted to their end; their Services have let go of them. Returns the seconds
        until there is more to do."""
        now = time.monotonic()
        silent = dead_nodes(cluster.faults)
        present = {pod.uid: pod for pod in cluster.pods.values() if pod.terminating and pod.node not in silent}
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
        for container in pod.containers:
            self.events.normal(pod.key, pod.uid, container.name, "Killing", f"Stopping container {container.name}")
        if any(container.image == HOST_IMAGE for container in pod.containers):
            self.containers.ask_to_end(pod)
            return now + min(left, DRAIN), now + left
        return now + min(left, DRAIN), now + min(left, DRAIN)

    @property
    def ending(self) -> bool:
        """Whether Pods are on their way out."""
        return bool(self._ending)
