"""The status of a Pod as its kubelet writes it (pkg/kubelet/kubelet_pods.go, pkg/kubelet/status/generate.go)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from nslab.api.objects import Body
from nslab.cluster import render
from nslab.cluster.model import Cluster, Pod
from nslab.controllers.metadata import timestamp, with_condition
from nslab.kubelet.container_life import Life, phase


class ContainerState(NamedTuple):
    """How a container is: its life, None while it runs for the first time, since its Pod's start; whether its startup
    probe has succeeded, and whether it is ready."""

    life: Life | None = None
    started: bool = True
    ready: bool = True


def pod_status(
    cluster: Cluster, pod: Pod, old: Body, states: Mapping[str, ContainerState], now: float
) -> Body:
    """The status of a Pod whose network stands. `old` is what is stored: times of what has not changed are taken from
    there, and what others wrote stays. `states` by container; those that are not in it run and are ready. `now` is
    in Unix seconds."""
    began: str = old.get("startTime") or timestamp(now)
    new = render.pod_status(cluster, pod)
    for field in ("containerStatuses", "initContainerStatuses"):
        for item in new.get(field) or ():
            item.update(_container_status(pod, item["name"], states.get(item["name"], ContainerState()), began))
    new["phase"] = _phase(pod, new, states)
    conditions = list(old.get("conditions") or ())
    for condition in _conditions(pod, new, conditions):
        conditions = with_condition(conditions, condition, now)
    return {**old, **new, "startTime": began, "conditions": conditions}


def unmet_gates(pod: Body, conditions: list[Body]) -> list[str]:
    """What keeps the readiness gates of a Pod's spec from being met, a sentence each."""
    found = []
    states = {condition["type"]: condition["status"] for condition in conditions}
    for gate in pod.get("readinessGates") or ():
        kind = gate["conditionType"]
        if kind not in states:
            found.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif states[kind] != "True":
            found.append(f'the status of pod readiness gate "{kind}" is not "True", but {states[kind]}')
    return found


def _container_status(pod: Pod, name: str, state: ContainerState, began: str) -> Body:
    life = state.life
    if life is None:
        told: Body = {"state": {"running": {"startedAt": began}}, "lastState": {}, "restartCount": 0}
        runs = True
    else:
        told, runs = life.status(backoff_message(pod, name, life)), life.running
    return {**told, "started": runs and state.started, "ready": runs and state.started and state.ready}


def backoff_message(pod: Pod, container: str, life: Life) -> str:
    """Why a container does not run: how long it has to wait from its end on."""
    name = f"{container} pod={pod.name}_{pod.namespace}({pod.uid})"
    return f"back-off {life.waits:g}s restarting failed container={name}"


def _phase(pod: Pod, status: Body, states: Mapping[str, ContainerState]) -> str:
    if pod.terminating:  # it goes once its processes have ended, however they did
        return "Running"
    lives = [states[item["name"]].life if item["name"] in states else None for item in status["containerStatuses"]]
    known = [life for life in lives if life is not None]
    return phase(known) if len(known) == len(lives) else "Running"


def _conditions(pod: Pod, status: Body, conditions: list[Body]) -> Iterator[Body]:
    yield {"type": "PodScheduled", "status": "True"}
    if status["phase"] != "Running":
        reason = "PodCompleted" if status["phase"] == "Succeeded" else "PodFailed"
        yield {"type": "Initialized", "status": "True", "reason": "PodCompleted"}
        yield {"type": "ContainersReady", "status": "False", "reason": reason}
        yield {"type": "Ready", "status": "False", "reason": reason}
        return
    yield {"type": "Initialized", "status": "True"}
    items = [*status["containerStatuses"], *(status.get("initContainerStatuses") or ())]
    unready = [item["name"] for item in items if not item["ready"]]
    told: Body = {"status": "True"}
    if unready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        told = {"status": "False", "reason": "ContainersNotReady", "message": message}
    yield {"type": "ContainersReady", **told}
    gates = unmet_gates(pod.body.get("spec") or {}, conditions)
    if not unready and gates:
        told = {"status": "False", "reason": "ReadinessGatesNotReady", "message": ", ".join(gates)}
    yield {"type": "Ready", **told}


def conditions_of(pod: Body) -> list[Body]:
    """The conditions of a stored Pod."""
    return (pod.get("status") or {}).get("conditions") or []
