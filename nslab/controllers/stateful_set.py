"""StatefulSets: Pods with ordinals, one after the other (pkg/controller/statefulset)."""

from __future__ import annotations

from collections.abc import Iterable

from nslab.api.objects import Body
from nslab.cluster.workloads import stateful_labels
from nslab.controllers.index import controllers_of, selector_of
from nslab.controllers.interface import Event
from nslab.controllers.metadata import is_terminating, key_of, labels_of, split, status_of
from nslab.controllers.pods import PodControl, available_in, is_active, is_finished, phase, soonest
from nslab.controllers.revisions import REVISION_LABEL, Revisions


class StatefulSetController:
    name = "statefulset-controller"

    def __init__(self, pods: PodControl) -> None:
        self._pods = pods
        self._revisions = Revisions(pods.store, pods.index)

    def keys(self, event: Event) -> Iterable[str]:
        if event.kind == "Pod":
            return controllers_of(self._pods.index, "StatefulSet", event)
        return (key_of(event.body),) if event.kind == "StatefulSet" and event.type != "DELETED" else ()

    def sync(self, key: str) -> float | None:
        owner = self._pods.store.get("StatefulSet", *split(key))
        if owner is None or is_terminating(owner):
            return None
        pods = {_ordinal(owner, pod): pod for pod in self._claim(owner)}
        update = self._revisions.current(owner)
        current = status_of(owner).get("currentRevision") or update
        if not self._arrange(owner, pods, current, update):
            self._replace(owner, pods, update)
        self._revisions.trim(owner, {current, update, *(_revision(pod) for pod in pods.values())})
        return self._report(owner, pods, current, update)

    def _claim(self, owner: Body) -> list[Body]:
        """Its Pods; one with a name that is none of its own cannot be a member."""
        claimed = self._pods.claim(owner, selector_of("StatefulSet", owner))
        return [pod for pod in claimed if _ordinal(owner, pod) >= 0]

    def _arrange(self, owner: Body, pods: dict[int, Body], current: str, update: str) -> bool:
        """Make what is missing, lowest ordinal first, then remove what is too much, highest first. Ordered, each
        waits for the one before it. Whether this is not finished yet."""
        ordered = owner["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady"
        wanted = _ordinals(owner)
        busy = False
        for ordinal in wanted:
            pod = pods.get(ordinal)
            if pod is None:
                revision = current if self._is_held(owner, ordinal) else update
                self._create(owner, ordinal, revision)
                busy = True
            elif is_finished(pod) and not is_terminating(pod):
                self._pods.delete(owner, pod, self.name)
                busy = True
            elif ordered and not self._is_healthy(owner, pod):
                return True
            if busy and ordered:
                return True
        for ordinal in sorted((number for number in pods if number not in wanted), reverse=True):
            if not is_terminating(pods[ordinal]):
                self._pods.delete(owner, pods[ordinal], self.name)
            if ordered:
                return True
        return busy

    def _replace(self, owner: Body, pods: dict[int, Body], update: str) -> None:
        """Rolling update: from the highest ordinal down to the partition, one at a time, each then available."""
        strategy = owner["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return
        for ordinal in reversed(_ordinals(owner)):
            pod = pods[ordinal]
            if self._is_held(owner, ordinal):
                return
            if _revision(pod) != update and not is_terminating(pod):
                self._pods.delete(owner, pod, self.name)
                return
            if not self._is_healthy(owner, pod):
                return

    def _create(self, owner: Body, ordinal: int, revision: str) -> None:
        name = f"{owner['metadata']['name']}-{ordinal}"
        template = self._revisions.template(owner, revision)
        labels = (template.get("metadata") or {}).get("labels") or {}
        service = owner["spec"].get("serviceName")
        identity = {"hostname": name, **({"subdomain": service} if service else {})}
        self._pods.create(
            owner, name, {**template, "spec": {**template["spec"], **identity}},
            labels={**labels, **stateful_labels(name, ordinal), REVISION_LABEL: revision},
        )
        message = f"create Pod {name} in StatefulSet {owner['metadata']['name']} successful"
        self._pods.recorder.normal(owner, "SuccessfulCreate", message, self.name)

    def _is_held(self, owner: Body, ordinal: int) -> bool:
        """Whether the partition keeps this ordinal at the current revision."""
        strategy = owner["spec"].get("updateStrategy") or {}
        partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
        is_rolling = strategy.get("type", "RollingUpdate") == "RollingUpdate"
        return bool(is_rolling and ordinal < _ordinals(owner).start + partition)

    def _is_healthy(self, owner: Body, pod: Body) -> bool:
        wait = available_in(pod, owner["spec"].get("minReadySeconds", 0), self._pods.now())
        return phase(pod) == "Running" and wait == 0 and not is_terminating(pod)

    def _report(self, owner: Body, pods: dict[int, Body], current: str, update: str) -> float | None:
        min_ready = owner["spec"].get("minReadySeconds", 0)
        waits = {ordinal: available_in(pod, min_ready, self._pods.now()) for ordinal, pod in pods.items()}
        active = [pod for pod in pods.values() if is_active(pod)]
        updated = sum(_revision(pod) == update for pod in active)
        ready = sum(wait is not None for wait in waits.values())
        replicas = len(_ordinals(owner))
        if updated == ready == len(pods) == replicas:
            current = update
        counts = {
            "readyReplicas": ready, "currentReplicas": sum(_revision(pod) == current for pod in active),
            "updatedReplicas": updated,
        }
        status: Body = {
            "observedGeneration": owner["metadata"].get("generation", 1), "replicas": len(pods),
            "availableReplicas": sum(wait == 0 for wait in waits.values()),
            **{name: count for name, count in counts.items() if count},
            "currentRevision": current, "updateRevision": update, "collisionCount": 0,
        }
        if status != status_of(owner):
            self._pods.store.update("StatefulSet", {**owner, "status": status}, status=True)
        return soonest(*waits.values())


def _ordinals(owner: Body) -> range:
    start = (owner["spec"].get("ordinals") or {}).get("start", 0)
    return range(start, start + owner["spec"].get("replicas", 1))


def _ordinal(owner: Body, pod: Body) -> int:
    """The ordinal of a member, -1 for a Pod whose name has none."""
    parent, _, number = pod["metadata"]["name"].rpartition("-")
    return int(number) if parent == owner["metadata"]["name"] and number.isdecimal() else -1


def _revision(pod: Body) -> str:
    return labels_of(pod).get(REVISION_LABEL, "")
