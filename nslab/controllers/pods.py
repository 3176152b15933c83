"""What the controllers of Pods share: making one, counting them, owning them, and choosing which goes first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from math import log2
from typing import Any

from nslab.api.objects import Body
from nslab.cluster.selectors import matches
from nslab.controllers.events import Recorder
from nslab.controllers.index import Index, Selector
from nslab.controllers.interface import Clock, Store
from nslab.controllers.metadata import (
    annotations_of,
    condition,
    created,
    is_terminating,
    labels_of,
    namespace_of,
    owner_reference,
    owners_of,
    seconds,
    status_of,
    uid_of,
    with_annotations,
    with_metadata,
)  # fmt: skip

CREATED = "nslab.dev/pods-created"
"""Annotation of a workload: how many Pods it ever made. The next one's name comes of it, so that it is a new one."""

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def phase(pod: Body) -> str:
    return status_of(pod).get("phase") or "Pending"


def is_finished(pod: Body) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Body) -> bool:
    """Whether the Pod counts as a replica: it neither ended nor is about to."""
    return not is_finished(pod) and not is_terminating(pod)


def is_ready(pod: Body) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def available_in(pod: Body, min_ready: float, now: float) -> float | None:
    """Seconds until a Pod counts as available, 0 if it does; None where it is not ready."""
    if not is_ready(pod):
        return None
    if not min_ready:
        return 0.0
    return max(seconds(condition(pod, "Ready").get("lastTransitionTime")) + min_ready - now, 0.0)


def soonest(*delays: float | None) -> float | None:
    """The smallest delay that is positive, None if there is none."""
    return min((delay for delay in delays if delay), default=None)


def pods_created(workload: Body) -> int:
    return int(annotations_of(workload).get(CREATED, "0"))


class PodControl:
    """Makes, removes, adopts and releases Pods on behalf of workloads."""

    def __init__(self, store: Store, index: Index, recorder: Recorder, now: Clock) -> None:
        self.store = store
        self.index = index
        self.recorder = recorder
        self.now = now

    def claim(self, owner: Body, selector: Selector | None) -> list[Body]:
        """The Pods of a workload. Orphans that its selector selects are adopted, Pods that it no longer selects are
        released (controller_ref_manager.go)."""
        claimed = []
        for pod in self.index.owned(uid_of(owner), "Pod"):
            if selector is None or matches(selector, labels_of(pod)):
                claimed.append(pod)
            elif not is_terminating(owner) and not is_terminating(pod):
                others = [item for item in owners_of(pod) if item["uid"] != uid_of(owner)]
                self.store.update("Pod", with_metadata(pod, ownerReferences=others or None))
        if selector is not None and not is_terminating(owner):
            for pod in self.index.orphans["Pod"].select(namespace_of(owner), selector):
                if is_active(pod):
                    owners = [*owners_of(pod), owner_reference(owner)]
                    claimed.append(self.store.update("Pod", with_metadata(pod, ownerReferences=owners)))
        return claimed

    def create(self, owner: Body, name: str, template: Body, **metadata: Any) -> Body:
        """Make a Pod of a template. `metadata` are fields beside the template's labels and annotations."""
        written = template.get("metadata") or {}
        annotations = {"annotations": written["annotations"]} if written.get("annotations") else {}
        return self.store.create("Pod", {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "generateName": f"{owner['metadata']['name']}-", "namespace": namespace_of(owner),
                "labels": dict(written.get("labels") or {}), **annotations,
                "ownerReferences": [owner_reference(owner)], **metadata,
            },
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        })

    def create_numbered(
        self, owner: Body, count: int, name: Callable[[int], str], template: Body, component: str
    ) -> None:
        """Make `count` Pods; `name` gives each one's from the number of Pods made before it.

        The count is written first: a crash after it costs names, one before it would give a name twice.
        """
        first = pods_created(owner)
        owner = self.store.update(owner["kind"], with_annotations(owner, **{CREATED: str(first + count)}))
        for number in range(first, first + count):
            pod = self.create(owner, name(number), template)
            self.recorder.normal(owner, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}", component)

    def delete(self, owner: Body, pod: Body, component: str) -> None:
        """Ask for a Pod's end, with the grace period that it has."""
        name = pod["metadata"]["name"]
        self.store.delete("Pod", namespace_of(pod), name)
        self.recorder.normal(owner, "SuccessfulDelete", f"Deleted pod: {name}", component)

    def first_to_go(self, pods: Iterable[Body], related: Iterable[Body]) -> list[Body]:
        """The Pods in the order in which a smaller number of replicas takes them (controller_utils.go
        ActivePodsWithRanks): those that serve least and those doubled up on a node (among `related`) first."""
        crowd = Counter(pod["spec"].get("nodeName", "") for pod in related if is_active(pod))
        now = self.now()

        def rank(pod: Body) -> tuple[float, ...]:
            node, ready = pod["spec"].get("nodeName", ""), is_ready(pod)
            since = seconds(condition(pod, "Ready").get("lastTransitionTime")) if ready else 0.0
            statuses = status_of(pod).get("containerStatuses") or ()
            restarts = max((item.get("restartCount", 0) for item in statuses), default=0)
            return (
                bool(node), {"Pending": 0, "Unknown": 1}.get(phase(pod), 2), ready, _cost(pod),
                -crowd[node] if node else 0, _age(now - since) if ready else 0, -restarts, _age(now - created(pod)),
            )

        # Times are whole seconds: among equals the one that was made last goes first.
        latest_first = [*pods]
        latest_first.reverse()
        return sorted(latest_first, key=rank)


def _cost(pod: Body) -> int:
    try:
        return int(annotations_of(pod).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _age(elapsed: float) -> int:
    """Ages are compared by magnitude, so that old Pods are taken evenly (KEP-2185)."""
    return int(log2(elapsed)) if elapsed >= 1 else -1
