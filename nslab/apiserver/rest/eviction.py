"""The Pods' subresource `eviction`: a deletion that asks the PodDisruptionBudgets first, as `kubectl drain` uses it
(pkg/registry/core/pod/storage/eviction.go)."""

from __future__ import annotations

from nslab.api.objects import Body
from nslab.apiserver.errors import StatusError, TooManyRequests
from nslab.apiserver.store import Store
from nslab.cluster.selectors import matches

_BUDGET = "PodDisruptionBudget"


def spend_budget(store: Store, pod: Body) -> None:
    """Take one disruption off the budget of a Pod that is to be evicted, where one holds it. Raises TooManyRequests
    where the budget allows none now, StatusError where several hold the Pod."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    if "deletionTimestamp" in metadata or status.get("phase") in ("Succeeded", "Failed", "Pending"):
        return
    budgets = [
        budget for budget in store.list(_BUDGET, metadata["namespace"])
        if matches((budget.get("spec") or {}).get("selector") or {}, metadata.get("labels") or {})
    ]
    if len(budgets) > 1:
        text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise StatusError(text)
    for budget in budgets:
        _spend(store, budget, status)


def _spend(store: Store, budget: Body, pod_status: Body) -> None:
    name, status = budget["metadata"]["name"], budget.get("status") or {}
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _blocked(name, f"The disruption budget {name} is still being processed by the server.")
    healthy, desired = status["currentHealthy"], status["desiredHealthy"]
    ready = any(item["type"] == "Ready" and item["status"] == "True" for item in pod_status.get("conditions") or ())
    anyway = (budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow") or 0 < desired <= healthy
    if not ready and anyway:
        return  # it serves nobody: its end takes nothing from those that do
    if status["disruptionsAllowed"] < 1:
        needs = f"needs {desired} healthy pods and has {healthy} currently"
        raise _blocked(name, f"The disruption budget {name} {needs}")
    left = {**status, "disruptionsAllowed": status["disruptionsAllowed"] - 1}
    store.update(_BUDGET, {**budget, "status": left}, status=True)


def _blocked(name: str, message: str) -> TooManyRequests:
    cause = {"reason": "DisruptionBudget", "message": message}
    text = "Cannot evict pod as it would violate the pod's disruption budget."
    return TooManyRequests(text, details={"causes": [cause]})
