"""The scheduler: each Pod without a node gets one, or is told why not (kube-scheduler)."""

from __future__ import annotations

from collections.abc import Iterable
from json import dumps

from nslab.api.objects import Body, Object
from nslab.cluster.model import Node
from nslab.cluster.scheduling import Board
from nslab.cluster.workloads import PendingPod, Template
from nslab.controllers.events import Recorder
from nslab.controllers.interface import Clock, Event, Store
from nslab.controllers.metadata import (
    controller_of,
    is_terminating,
    key_of,
    labels_of,
    namespace_of,
    split,
    status_of,
    with_condition,
    with_spec,
)  # fmt: skip
from nslab.controllers.nodes import max_pods_of, node_of, scheduling_facts
from nslab.controllers.pods import is_finished

COMPONENT = "default-scheduler"
_TEMPLATES = 4096
"""How many different Pod specs are remembered; past that, all are forgotten."""


class Scheduler:
    """Keeps a board of who runs where, by the events, and places one Pod at a time."""

    name = "scheduler"

    def __init__(self, store: Store, recorder: Recorder, now: Clock, max_pods: int) -> None:
        self._store = store
        self._recorder = recorder
        self._now = now
        self._max_pods = max_pods
        self._bodies: dict[str, Body] = {}
        self._nodes: dict[str, Node] = {}
        self._placed: dict[str, tuple[PendingPod, str]] = {}
        self._templates: dict[str, Template] = {}
        self._unschedulable: dict[str, None] = {}
        self._board = Board((), {}, {})

    def keys(self, event: Event) -> Iterable[str]:
        if event.kind == "Node":
            return self._note_node(event)
        return self._note_pod(event) if event.kind == "Pod" else ()

    def sync(self, key: str) -> float | None:
        pod = self._store.get("Pod", *split(key))
        if pod is None or not _is_waiting(pod):
            self._unschedulable.pop(key, None)
            return None
        if pod["spec"].get("schedulingGates"):
            message = "Scheduling is blocked due to non-empty scheduling gates"
            self._refuse(pod, "SchedulingGated", message)
            return None
        pending = self._pending(pod)
        self._learn_terms(pending.template)
        node = self._board.find(pending)
        if node:
            self._bind(pod, node)
        else:
            self._unschedulable[key] = None
            total = len(self._nodes)
            message = self._board.reasons(pending)
            if total:
                message += (
                    f" preemption: 0/{total} nodes are available: {total} Preemption is not helpful for scheduling."
                )
            self._refuse(pod, "Unschedulable", message)
        return None

    def _bind(self, pod: Body, node: str) -> None:
        """The Binding: nodeName and the condition PodScheduled. The event of it puts the Pod on the board."""
        bound = self._store.update("Pod", with_spec(pod, nodeName=node))
        conditions = with_condition(
            status_of(bound).get("conditions") or (), {"type": "PodScheduled", "status": "True"}, self._now()
        )
        status = {"phase": "Pending", **status_of(bound), "conditions": conditions}
        self._store.update("Pod", {**bound, "status": status}, status=True)
        self._unschedulable.pop(key_of(pod), None)
        self._recorder.normal(pod, "Scheduled", f"Successfully assigned {key_of(pod)} to {node}", COMPONENT)

    def _refuse(self, pod: Body, reason: str, message: str) -> None:
        new = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
        conditions = with_condition(status_of(pod).get("conditions") or (), new, self._now())
        status = {"phase": "Pending", **status_of(pod), "conditions": conditions}
        if status != status_of(pod):
            self._store.update("Pod", {**pod, "status": status}, status=True)
            if reason == "Unschedulable":
                self._recorder.warning(pod, "FailedScheduling", message, COMPONENT)

    # --- What the events say

    def _note_node(self, event: Event) -> Iterable[str]:
        """A Node came, went or changed: the board is laid out anew, and who fitted nowhere is tried again."""
        name = event.body["metadata"]["name"]
        if scheduling_facts(self._bodies.get(name)) == scheduling_facts(event.body, event.type):
            return ()
        if event.type == "DELETED":
            self._bodies.pop(name, None)
            self._nodes.pop(name, None)
        else:
            self._bodies[name] = event.body
            self._nodes[name] = node_of(event.body)
        ordered = {name: self._nodes[name] for name in sorted(self._nodes)}
        limits = {name: max_pods_of(body, self._max_pods) for name, body in self._bodies.items()}
        self._board = Board((pending for pending, _ in self._placed.values()), ordered, limits)
        for pending, node in self._placed.values():
            if node in ordered:
                self._board.put(pending, node)
        return tuple(self._unschedulable)

    def _note_pod(self, event: Event) -> Iterable[str]:
        key, pod = key_of(event.body), event.body
        gone = event.type == "DELETED" or is_finished(pod)
        node = "" if gone else pod["spec"].get("nodeName", "")
        known = self._placed.get(key)
        freed = False
        if known is not None and (known[1] != node or known[0].labels != labels_of(pod)):
            del self._placed[key]
            freed = True
            if known[1] in self._nodes:
                self._board.take(*known)
            known = None
        if node and known is None:
            pending = self._pending(pod)
            self._learn_terms(pending.template)
            self._placed[key] = (pending, node)
            if node in self._nodes:
                self._board.put(pending, node)
        woken = list(self._unschedulable) if freed else []
        return [*woken, key] if _is_waiting(pod) and not gone else woken

    def _learn_terms(self, template: Template) -> None:
        """A template's anti-affinity has to see who is placed already."""
        placed = ((pending, node) for pending, node in self._placed.values() if node in self._nodes)
        self._board.learn(template, placed)

    def _pending(self, pod: Body) -> PendingPod:
        """The Pod as the board knows it; Pods of one spec and namespace share a template."""
        spec = {name: value for name, value in pod["spec"].items() if name not in ("nodeName", "hostname")}
        identity = f"{namespace_of(pod)} {dumps(spec, sort_keys=True)}"
        template = self._templates.get(identity)
        name, namespace = pod["metadata"]["name"], namespace_of(pod)
        if template is None:
            if len(self._templates) >= _TEMPLATES:
                self._templates.clear()
            item = Object("v1", "Pod", namespace, name, pod)
            template = self._templates[identity] = Template(item, {"metadata": {}, "spec": spec})
        owner = controller_of(pod)
        reference = (owner["kind"], owner["name"]) if owner else ("", "")
        return PendingPod(namespace, name, template.digest, labels_of(pod), template, reference)


def _is_waiting(pod: Body) -> bool:
    mine = pod["spec"].get("schedulerName", COMPONENT) == COMPONENT
    return mine and not pod["spec"].get("nodeName") and not is_terminating(pod) and not is_finished(pod)
