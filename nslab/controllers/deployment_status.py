"""The status of a Deployment: counts, and the conditions that say how a rollout goes (deployment/progress.go)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nslab.api.objects import Body
from nslab.controllers.metadata import condition, seconds, status_of, timestamp, with_condition, without_condition

NO_DEADLINE = 2147483647
"""progressDeadlineSeconds that means none (MaxInt32)."""


class _Counts(NamedTuple):
    replicas: int
    updated: int
    ready: int
    available: int


def deployment_status(
    deployment: Body, new: Body | None, owned: Sequence[Body], now: float, max_unavailable: int
) -> tuple[Body, float | None]:
    """The status that a Deployment has with these ReplicaSets (`new` is the one of its present template), and the
    seconds until the progress deadline, if one runs."""
    desired = deployment["spec"].get("replicas", 1)
    counts = _Counts(
        _sum(owned, "replicas"), _sum([new] if new else [], "replicas"), _sum(owned, "readyReplicas"),
        _sum(owned, "availableReplicas"),
    )
    conditions = list(status_of(deployment).get("conditions") or ())
    enough = counts.available >= desired - max_unavailable
    conditions = with_condition(conditions, {
        "type": "Available", "status": "True" if enough else "False",
        "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        "message": f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        "lastUpdateTime": _update_time(deployment, "Available", "True" if enough else "False", now),
    }, now)
    conditions, delay = _progress(deployment, new, counts, conditions, now)
    numbers = {
        "replicas": counts.replicas, "updatedReplicas": counts.updated, "readyReplicas": counts.ready,
        "availableReplicas": counts.available,
        "unavailableReplicas": max(counts.replicas, desired) - counts.available,
    }
    status: Body = {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        **{name: number for name, number in numbers.items() if number > 0}, "conditions": conditions,
    }
    return status, delay


def _progress(
    deployment: Body, new: Body | None, counts: _Counts, conditions: list[Body], now: float
) -> tuple[list[Body], float | None]:
    """The conditions with Progressing as it is now, and the seconds until the deadline."""
    deadline = deployment["spec"].get("progressDeadlineSeconds", 600)
    if deadline == NO_DEADLINE:
        return without_condition(conditions, "Progressing"), None
    known = condition(deployment, "Progressing")
    if deployment["spec"].get("paused"):
        return _with(conditions, "Unknown", "DeploymentPaused", "Deployment is paused", known, now), None
    name = new["metadata"]["name"] if new else ""
    desired = deployment["spec"].get("replicas", 1)
    if new and counts == (desired, desired, counts.ready, desired):
        text = f'ReplicaSet "{name}" has successfully progressed.'
        return _with(conditions, "True", "NewReplicaSetAvailable", text, known, now), None
    if not known or known["reason"] in ("NewReplicaSetAvailable", "DeploymentPaused") or _moved(deployment, counts):
        text = f'ReplicaSet "{name}" is progressing.'
        return _with(conditions, "True", "ReplicaSetUpdated", text, {}, now), deadline
    left = seconds(known.get("lastUpdateTime")) + deadline - now
    if left > 0:
        return conditions, left
    text = f'ReplicaSet "{name}" has timed out progressing.'
    return _with(conditions, "False", "ProgressDeadlineExceeded", text, known, now), None


def _with(
    conditions: list[Body], status: str, reason: str, message: str, known: object, now: float
) -> list[Body]:
    """With this Progressing condition; its update time stays where `known` says the same already."""
    old = known if isinstance(known, dict) else {}
    same = (old.get("status"), old.get("reason"), old.get("message")) == (status, reason, message)
    updated = old["lastUpdateTime"] if same else timestamp(now)
    new = {"type": "Progressing", "status": status, "reason": reason, "message": message, "lastUpdateTime": updated}
    return with_condition(conditions, new, now)


def _moved(deployment: Body, counts: _Counts) -> bool:
    """Whether the rollout came nearer to its end since the last look (DeploymentProgressing)."""
    status = status_of(deployment)
    before = _Counts(*(
        status.get(field, 0) for field in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    ))
    return (
        counts.updated > before.updated or counts.replicas - counts.updated < before.replicas - before.updated
        or counts.ready > before.ready or counts.available > before.available
    )


def _update_time(deployment: Body, kind: str, status: str, now: float) -> str:
    known = condition(deployment, kind)
    same = known.get("status") == status and known.get("lastUpdateTime")
    return str(known["lastUpdateTime"]) if same else timestamp(now)


def _sum(owned: Sequence[Body], field: str) -> int:
    return sum(status_of(body).get(field, 0) for body in owned)
