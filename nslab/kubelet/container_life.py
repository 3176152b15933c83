"""The life of a container as the kubelet leads it: it runs, ends, waits longer and longer, and starts again, or not.

restartPolicy and back-off of pkg/kubelet/kuberuntime, state and phase of pkg/kubelet/kubelet_pods.go; the times of
the back-off are a lab's own. Pure: who lives here is told the time, in Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from nslab.api.objects import Body
from nslab.controllers.metadata import timestamp

ALWAYS, ON_FAILURE, NEVER = "Always", "OnFailure", "Never"

BACKOFF_FIRST, BACKOFF_LIMIT = 0.5, 30.0
"""Seconds before a container starts for the third time, and at most: the second start comes at once, each further one
waits twice as long as the one before. The kubelet's own are 10 and 300."""

STEADY = 10.0
"""A container that ran this long (seconds) starts again as if for the first time; the kubelet's own is 600."""

SIGKILLED, SIGTERMED, CANNOT_START, UNKNOWN = 137, 143, 128, 137
"""Exit codes as container runtimes give them."""

_REASONS = {CANNOT_START: "StartError", None: "ContainerStatusUnknown"}


@dataclass(slots=True)
class Life:
    """One container. `due` is when it may start, infinite where it never does again; `backoff` is what its next end
    costs, `waits` what its last one did. `exit_code` is that of its last end, None where nobody saw it; without an
    end `ended` is 0."""

    policy: str = ALWAYS
    running: bool = False
    began: float = 0.0
    due: float = 0.0
    backoff: float = 0.0
    waits: float = 0.0
    restarts: int = 0
    ended: float = 0.0
    ended_began: float = 0.0
    exit_code: int | None = 0

    def start(self, now: float) -> None:
        """It runs from now on."""
        self.restarts += self.ended != 0.0
        self.running, self.began = True, now

    def end(self, now: float, exit_code: int | None) -> None:
        """It has ended, by itself or not. Says when it may start again."""
        self.waits = 0.0 if now - self.began > STEADY else self.backoff
        self.backoff = min(max(self.waits * 2, BACKOFF_FIRST), BACKOFF_LIMIT)
        self.running, self.ended, self.ended_began, self.exit_code = False, now, self.began, exit_code
        again = self.policy == ALWAYS or (self.policy == ON_FAILURE and exit_code != 0)
        self.due = now + self.waits if again else inf

    def retire(self) -> None:
        """Whenever it ends, it does not start again: its Pod is being deleted."""
        self.policy = NEVER
        if not self.running:
            self.due = inf

    @property
    def finished(self) -> bool:
        """Whether it has ended for good."""
        return not self.running and self.due == inf

    def status(self, backoff_message: str) -> Body:
        """What a ContainerStatus says of it: state, lastState and restartCount."""
        last = {"terminated": self._terminated()} if self.ended else {}
        state: Body
        if self.running:
            state = {"running": {"startedAt": timestamp(self.began)}}
        elif self.finished:
            state, last = last, {}
        elif self.ended:
            state = {"waiting": {"reason": "CrashLoopBackOff", "message": backoff_message}}
        else:
            state = {"waiting": {"reason": "ContainerCreating"}}
        return {"state": state, "lastState": last, "restartCount": self.restarts}

    def _terminated(self) -> Body:
        code = UNKNOWN if self.exit_code is None else self.exit_code
        return {
            "exitCode": code, "reason": _REASONS.get(self.exit_code) or ("Error" if code else "Completed"),
            "startedAt": timestamp(self.ended_began), "finishedAt": timestamp(self.ended),
        }


def phase(lives: Iterable[Life]) -> str:
    """The phase of a Pod whose containers (its sidecars apart) have these lives."""
    known = list(lives)
    if not known or not all(life.finished for life in known):
        return "Running"
    return "Failed" if any(life.exit_code != 0 for life in known) else "Succeeded"
