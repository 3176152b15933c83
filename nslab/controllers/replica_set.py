"""ReplicaSets and ReplicationControllers: so many Pods of one template (pkg/controller/replicaset)."""

from __future__ import annotations

from collections.abc import Iterable

from nslab.api.objects import Body, Object
from nslab.cluster.workloads import HASH_LABEL, Template, name_suffix
from nslab.controllers.index import controllers_of, selector_of
from nslab.controllers.interface import Event
from nslab.controllers.metadata import (
    controller_of,
    is_terminating,
    key_of,
    labels_of,
    namespace_of,
    split,
    status_of,
)  # fmt: skip
from nslab.controllers.pods import PodControl, available_in, is_active, soonest


class ReplicaSetController:
    """Of ReplicaSets or, the same by another name, of ReplicationControllers."""

    def __init__(self, pods: PodControl, kind: str = "ReplicaSet") -> None:
        self.kind = kind
        self.name = f"{kind.lower()}-controller"
        self._pods = pods

    def keys(self, event: Event) -> Iterable[str]:
        if event.kind == "Pod":
            return controllers_of(self._pods.index, self.kind, event)
        return (key_of(event.body),) if event.kind == self.kind and event.type != "DELETED" else ()

    def sync(self, key: str) -> float | None:
        owner = self._pods.store.get(self.kind, *split(key))
        if owner is None:
            return None
        active = [pod for pod in self._pods.claim(owner, selector_of(self.kind, owner)) if is_active(pod)]
        # Whatever is made or removed comes back as an event, and this is looked at again.
        if not is_terminating(owner) and self._scale(owner, active):
            return None
        return self._report(owner, active)

    def _scale(self, owner: Body, active: list[Body]) -> bool:
        """Make or remove what is too few or too many; whether anything was."""
        missing: int = owner["spec"].get("replicas", 1) - len(active)
        if missing > 0:
            identity, template = _identity(owner)
            prefix = owner["metadata"]["name"]
            self._pods.create_numbered(
                owner, missing, lambda number: f"{prefix}-{name_suffix(identity, number)}", template, self.name
            )
        for pod in self._pods.first_to_go(active, self._related(owner, active))[:-missing] if missing < 0 else ():
            self._pods.delete(owner, pod, self.name)
        return missing != 0

    def _related(self, owner: Body, active: list[Body]) -> list[Body]:
        """The Pods of all ReplicaSets of the same Deployment: they do the same work."""
        deployment = controller_of(owner)
        if deployment is None:
            return active
        index = self._pods.index
        siblings = index.owned(deployment["uid"], self.kind)
        return [pod for sibling in siblings for pod in index.owned(sibling["metadata"]["uid"], "Pod")]

    def _report(self, owner: Body, active: list[Body]) -> float | None:
        min_ready = owner["spec"].get("minReadySeconds", 0)
        waits = [available_in(pod, min_ready, self._pods.now()) for pod in active]
        wanted = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
        counts = {
            "fullyLabeledReplicas": sum(wanted.items() <= labels_of(pod).items() for pod in active),
            "readyReplicas": sum(wait is not None for wait in waits),
            "availableReplicas": sum(wait == 0 for wait in waits),
        }
        status: Body = {
            "replicas": len(active), **{name: count for name, count in counts.items() if count},
            "observedGeneration": owner["metadata"].get("generation", 1),
        }
        if status != status_of(owner):
            self._pods.store.update(self.kind, {**owner, "status": status}, status=True)
        return soonest(*waits)


def _identity(owner: Body) -> tuple[Template, Body]:
    """What the Pods' names come from, and their template. Those of a Deployment's ReplicaSet come from the Deployment
    and its own template, which has no hash among its labels yet."""
    template: Body = owner["spec"]["template"]
    deployment = controller_of(owner)
    kind, name, body = owner["kind"], owner["metadata"]["name"], template
    if deployment is not None and deployment["kind"] == "Deployment":
        metadata = template["metadata"]
        labels = {label: value for label, value in metadata["labels"].items() if label != HASH_LABEL}
        kind, name, body = "Deployment", deployment["name"], {**template, "metadata": {**metadata, "labels": labels}}
    return Template(Object("", kind, namespace_of(owner), name, owner), body), template
