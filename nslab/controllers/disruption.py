"""PodDisruptionBudgets: how many of their Pods an eviction may take now (pkg/controller/disruption)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nslab.api.objects import Body
from nslab.cluster.selectors import matches
from nslab.controllers.index import Index
from nslab.controllers.interface import Clock, Event, Store
from nslab.controllers.metadata import (
    controller_of,
    is_terminating,
    key_of,
    labels_of,
    namespace_of,
    rounded,
    split,
    status_of,
    uid_of,
    with_condition,
)  # fmt: skip
from nslab.controllers.pods import is_finished, is_ready

BUDGET = "PodDisruptionBudget"


class DisruptionController:
    """Writes the status of budgets; the API's subresource `eviction` goes by it, and so `kubectl drain` does."""

    name = "disruption-controller"

    def __init__(self, store: Store, index: Index, now: Clock) -> None:
        self._store = store
        self._index = index
        self._now = now

    def keys(self, event: Event) -> Iterable[str]:
        if event.kind == BUDGET:
            return (key_of(event.body),) if event.type != "DELETED" else ()
        if event.kind != "Pod":
            return ()
        bodies = [body for body in (event.body, event.old) if body is not None]
        return [
            key_of(budget) for budget in self._store.list(BUDGET, namespace_of(event.body))
            if any(matches(_selector(budget), labels_of(body)) for body in bodies)
        ]

    def sync(self, key: str) -> float | None:
        budget = self._store.get(BUDGET, *split(key))
        if budget is None:
            return None
        pods = [
            pod for pod in self._index.pods.select(namespace_of(budget), _selector(budget)) if not is_finished(pod)
        ]
        expected, desired = self._bounds(budget.get("spec") or {}, pods)
        healthy = sum(is_ready(pod) and not is_terminating(pod) for pod in pods)
        allowed = max(healthy - desired, 0) if expected else 0
        enough = {"status": "True", "reason": "SufficientPods"} if allowed else {
            "status": "False", "reason": "InsufficientPods"
        }
        new = {"type": "DisruptionAllowed", **enough, "message": ""}
        status = {
            "currentHealthy": healthy, "desiredHealthy": desired, "disruptionsAllowed": allowed,
            "expectedPods": expected, "observedGeneration": budget["metadata"].get("generation", 0),
            "conditions": with_condition(status_of(budget).get("conditions") or (), new, self._now()),
        }
        if status != status_of(budget):
            self._store.update(BUDGET, {**budget, "status": status}, status=True)
        return None

    def _bounds(self, spec: Body, pods: Sequence[Body]) -> tuple[int, int]:
        """How many Pods there should be, and how many of them healthy."""
        least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
        if most is not None:
            expected = self._scale(pods)
            return expected, max(expected - rounded(most, expected, up=True), 0)
        expected = len(pods) if isinstance(least, int) else self._scale(pods)
        return expected, rounded(least if least is not None else 1, expected, up=True)

    def _scale(self, pods: Sequence[Body]) -> int:
        """The replicas that the workloads of the Pods have together."""
        workloads: dict[str, int] = {}
        for pod in pods:
            owner = self._owner(pod)
            while owner is not None:
                above = self._owner(owner)
                if above is None:
                    workloads[uid_of(owner)] = (owner.get("spec") or {}).get("replicas", 0)
                owner = above
        return sum(workloads.values())

    def _owner(self, body: Body) -> Body | None:
        reference = controller_of(body)
        return self._store.get(reference["kind"], namespace_of(body), reference["name"]) if reference else None


def _selector(budget: Body) -> Body:
    """In policy/v1 an empty selector selects all Pods of the namespace."""
    return (budget.get("spec") or {}).get("selector") or {}
