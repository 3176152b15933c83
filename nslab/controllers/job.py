"""Jobs: Pods that run to their end, until enough of them have (pkg/controller/job)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nslab.api.objects import Body, Object
from nslab.cluster.workloads import Template, name_suffix
from nslab.controllers.index import controllers_of
from nslab.controllers.interface import Event
from nslab.controllers.metadata import (
    condition,
    is_terminating,
    key_of,
    namespace_of,
    seconds,
    split,
    status_of,
    timestamp,
    uid_of,
    with_condition,
    with_spec,
)  # fmt: skip
from nslab.controllers.pods import PodControl, is_active, is_ready, phase, soonest

BACKOFF, MAX_BACKOFF = 10.0, 600.0
"""Seconds after the first failed Pod until the next one, doubled with each further failure."""

_ENDS = ("Complete", "Failed")
_UID_LABEL = "batch.kubernetes.io/controller-uid"


class _Tally(NamedTuple):
    """How many Pods ended. `present` are the uids of those that are still there, by how they ended: the count of the
    others is kept in the status, so that removing an ended Pod does not make another one run."""

    succeeded: int
    failed: int
    present: dict[str, list[str]]


class JobController:
    name = "job-controller"

    def __init__(self, pods: PodControl) -> None:
        self._pods = pods

    def keys(self, event: Event) -> Iterable[str]:
        if event.kind == "Pod":
            return controllers_of(self._pods.index, "Job", event)
        return (key_of(event.body),) if event.kind == "Job" and event.type != "DELETED" else ()

    def sync(self, key: str) -> float | None:
        job = self._pods.store.get("Job", *split(key))
        if job is None or is_terminating(job):
            return None
        job = self._selecting(job)
        if _ended(job):
            return self._expire(job)
        pods = self._pods.claim(job, None)
        active = [pod for pod in pods if is_active(pod)]
        tally = _tally(job, pods)
        end = self._end(job, active, tally)
        if end:
            for pod in active if end["type"] == "Failed" else ():
                self._pods.delete(job, pod, self.name)
            return self._report(job, [], tally, end)
        delay = self._arrange(job, active, tally, pods)
        fresh = self._pods.store.get("Job", *split(key))
        return soonest(delay, self._report(fresh or job, active, tally, {}))

    def _selecting(self, job: Body) -> Body:
        """The Job with a selector of its own, which the API server writes as it is made (batch/job strategy.go)."""
        if job["spec"].get("selector"):
            return job
        selector = {"matchLabels": {_UID_LABEL: uid_of(job)}}
        return self._pods.store.update("Job", with_spec(job, selector=selector, template=_labelled(job)))

    def _arrange(self, job: Body, active: list[Body], tally: _Tally, pods: Sequence[Body]) -> float | None:
        """Make or remove Pods; seconds until a failed one may be followed by another."""
        spec = job["spec"]
        wanted: int = spec.get("parallelism", 1)
        if spec.get("completions") is not None:
            wanted = min(wanted, spec["completions"] - tally.succeeded)
        elif tally.succeeded:
            wanted = min(wanted, len(active))
        missing = (0 if spec.get("suspend") else wanted) - len(active)
        for pod in self._pods.first_to_go(active, active)[:-missing] if missing < 0 else ():
            self._pods.delete(job, pod, self.name)
        if missing <= 0:
            return None
        wait = self._backoff(tally.failed, pods)
        if wait > 0:
            return wait
        name = job["metadata"]["name"]
        item = Object(job["apiVersion"], "Job", namespace_of(job), name, job)
        template = Template(item, _written(job))
        self._pods.create_numbered(
            job, missing, lambda number: f"{name}-{name_suffix(template, number)}", spec["template"], self.name
        )
        return None

    def _backoff(self, failed: int, pods: Sequence[Body]) -> float:
        ends = [_end_time(pod) for pod in pods if phase(pod) == "Failed"]
        if not failed or not ends:
            return 0.0
        delay: float = min(BACKOFF * 2 ** min(failed - 1, 10), MAX_BACKOFF)
        return max(ends) + delay - self._pods.now()

    def _end(self, job: Body, active: Sequence[Body], tally: _Tally) -> Body:
        """The condition that ends the Job, empty while it goes on."""
        spec = job["spec"]
        if tally.failed > spec.get("backoffLimit", 6):
            return _failed("BackoffLimitExceeded", "Job has reached the specified backoff limit")
        if self._deadline(job) == 0:
            return _failed("DeadlineExceeded", "Job was active longer than specified deadline")
        enough = spec.get("completions")
        if tally.succeeded >= enough if enough is not None else tally.succeeded and not active:
            text = "Reached expected number of succeeded pods"
            return {"type": "Complete", "status": "True", "reason": "CompletionsReached", "message": text}
        return {}

    def _deadline(self, job: Body) -> float | None:
        """Seconds until activeDeadlineSeconds is over, 0 once it is."""
        limit, start = job["spec"].get("activeDeadlineSeconds"), status_of(job).get("startTime")
        if limit is None or not start or job["spec"].get("suspend"):
            return None
        return max(seconds(start) + float(limit) - self._pods.now(), 0.0)

    def _report(self, job: Body, active: Sequence[Body], tally: _Tally, end: Body) -> float | None:
        now, old = self._pods.now(), status_of(job)
        counts = {
            "active": len(active), "ready": sum(is_ready(pod) for pod in active), "succeeded": tally.succeeded,
            "failed": tally.failed,
        }
        status: Body = {name: count for name, count in counts.items() if count or name == "ready"}
        status["startTime"] = old.get("startTime") or timestamp(now)
        conditions = old.get("conditions") or []
        if job["spec"].get("suspend") or condition(job, "Suspended"):
            state = "True" if job["spec"].get("suspend") else "False"
            reason = "JobSuspended" if state == "True" else "JobResumed"
            conditions = with_condition(conditions, {"type": "Suspended", "status": state, "reason": reason}, now)
        if end:
            conditions = with_condition(conditions, end, now)
            self._pods.recorder.normal(job, "Completed" if end["type"] == "Complete" else end["reason"],
                                       end["message"], self.name)
        else:
            status["uncountedTerminatedPods"] = {how: uids for how, uids in tally.present.items() if uids}
        if end and end["type"] == "Complete":
            status["completionTime"] = timestamp(now)
        if conditions:
            status["conditions"] = conditions
        if status != old:
            self._pods.store.update("Job", {**job, "status": status}, status=True)
        return self._deadline({**job, "status": status})

    def _expire(self, job: Body) -> float | None:
        """ttlSecondsAfterFinished (pkg/controller/ttlafterfinished)."""
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return None
        left = seconds(_ended(job)["lastTransitionTime"]) + float(ttl) - self._pods.now()
        if left <= 0:
            self._pods.store.delete("Job", *split(key_of(job)))
        return max(left, 0.0)


def _ended(job: Body) -> Body:
    """The condition that ended the Job, empty while it goes on."""
    ends = (condition(job, kind) for kind in _ENDS)
    return next((dict(end) for end in ends if end.get("status") == "True"), {})


def _failed(reason: str, message: str) -> Body:
    return {"type": "Failed", "status": "True", "reason": reason, "message": message}


def _tally(job: Body, pods: Sequence[Body]) -> _Tally:
    """What the status counted of Pods that are gone, and the Pods that ended and are here."""
    status = status_of(job)
    noted = status.get("uncountedTerminatedPods") or {}
    totals, present = [], {}
    for how, end in (("succeeded", "Succeeded"), ("failed", "Failed")):
        gone = status.get(how, 0) - len(noted.get(how) or ())
        here = [uid_of(pod) for pod in pods if phase(pod) == end]
        gone += len(set(noted.get(how) or ()) - set(here))
        totals.append(gone + len(here))
        present[how] = here
    return _Tally(totals[0], totals[1], present)


def _own_labels(job: Body) -> Body:
    name, uid = job["metadata"]["name"], uid_of(job)
    return {"batch.kubernetes.io/job-name": name, "job-name": name, _UID_LABEL: uid, "controller-uid": uid}


def _labelled(job: Body) -> Body:
    """The template with the labels by which the Job knows its Pods."""
    template: Body = job["spec"]["template"]
    metadata = template.get("metadata") or {}
    return {**template, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **_own_labels(job)}}}


def _written(job: Body) -> Body:
    """The template as its user wrote it, of which the Pods' names come."""
    template: Body = job["spec"]["template"]
    metadata = template.get("metadata") or {}
    own = _own_labels(job)
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key not in own}
    rest = {key: value for key, value in metadata.items() if key != "labels"}
    return {**template, "metadata": {**rest, "labels": labels} if labels else rest}


def _end_time(pod: Body) -> float:
    """When the last container of a Pod ended; when the Pod was made if nobody says."""
    ends = [
        seconds(((item.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        for item in status_of(pod).get("containerStatuses") or ()
    ]
    return max([*ends, seconds(pod["metadata"].get("creationTimestamp"))])
