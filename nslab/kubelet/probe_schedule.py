"""When a container's probes run and what their outcomes mean: the kubelet's prober worker as pure state.

Follows Kubernetes's "Configure Liveness, Readiness and Startup Probes" and pkg/kubelet/prober/worker.go, with one
difference: the first attempt comes at once after the initial delay instead of at the next tick of the period.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STARTUP, READINESS, LIVENESS = "startup", "readiness", "liveness"

READY, UNREADY, RESTART, STARTED = "ready", "unready", "restart", "started"
"""The transitions that a container's probes report."""


@dataclass(frozen=True, slots=True)
class Timing:
    """A probe's numbers, in seconds and attempts, with Kubernetes's defaults."""

    initial_delay: float = 0.0
    period: float = 10.0
    timeout: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3

    @classmethod
    def of(cls, probe: Mapping[str, Any]) -> Timing:
        """The timing of a manifest's probe."""
        return cls(
            float(probe.get("initialDelaySeconds") or 0),
            float(probe.get("periodSeconds") or 10),
            float(probe.get("timeoutSeconds") or 1),
            int(probe.get("successThreshold") or 1),
            int(probe.get("failureThreshold") or 3),
        )


class ProbeState:
    """One probe of one running container. `result` is what holds now, None while nothing is known; `fresh` until
    somebody has put its first attempt on a calendar."""

    __slots__ = ("_run", "_said", "due", "fresh", "result", "timing")

    def __init__(self, timing: Timing, now: float, result: bool | None) -> None:
        self.timing = timing
        self.result = result
        self.due = now + timing.initial_delay
        self.fresh = True
        self._said: bool | None = None
        self._run = 0

    def postpone(self, now: float) -> None:
        """Set when the next attempt is due."""
        self.due = max(now, self.due + self.timing.period)

    def record(self, ok: bool, now: float) -> bool:
        """Take an attempt's outcome, set when the next is due, and return whether `result` is another one now."""
        self.postpone(now)
        self._run = self._run + 1 if ok is self._said else 1
        self._said = ok
        threshold = self.timing.success_threshold if ok else self.timing.failure_threshold
        if self._run < threshold or self.result is ok:
            return False
        self.result = ok
        return True


class ContainerProbes:
    """The probes of one container, from its start to its end.

    Until the startup probe has succeeded the others do not run. A container without a readiness probe is ready once
    it has started. When a startup or liveness probe has failed for good, none runs until the container starts anew.
    """

    def __init__(self, probes: Mapping[str, Timing]) -> None:
        """`probes` by STARTUP, READINESS and LIVENESS."""
        self._timings = dict(probes)
        self.states: dict[str, ProbeState] = {}
        self.started = False
        self.ready = False
        self._begun = 0.0

    def start(self, now: float) -> list[str]:
        """The container runs from `now` on. Returns the transitions this brings."""
        self._begun = now
        self.states.clear()
        self.started = False
        if STARTUP in self._timings:
            self.states[STARTUP] = self._state(STARTUP, None, now)
            return self._become(False)
        return self._started(now)

    def stop(self) -> list[str]:
        """The container has ended. Returns the transitions this brings."""
        self.states.clear()
        self.started = False
        return self._become(False)

    def terminate(self, now: float) -> list[str]:
        """The Pod is being deleted: nothing restarts the container any more, but it goes on to be ready or not.
        Returns the transitions this brings."""
        self._timings.pop(LIVENESS, None)
        self.states.pop(LIVENESS, None)
        if self._timings.pop(STARTUP, None) is None or STARTUP not in self.states:
            return []
        return self._started(now)

    def record(self, kind: str, ok: bool, now: float) -> list[str]:
        """Take the outcome of an attempt of one of `states`. Returns the transitions it brings, in order."""
        if not self.states[kind].record(ok, now):
            return []
        if kind == READINESS:
            return self._become(ok)
        if not ok:
            return [*self.stop(), RESTART]
        return [STARTED, *self._started(now)] if kind == STARTUP else []

    def _started(self, now: float) -> list[str]:
        self.started = True
        self.states.pop(STARTUP, None)
        if LIVENESS in self._timings:
            self.states[LIVENESS] = self._state(LIVENESS, True, now)
        if READINESS not in self._timings:
            return self._become(True)
        self.states[READINESS] = self._state(READINESS, False, now)
        return self._become(False)

    def _state(self, kind: str, result: bool | None, now: float) -> ProbeState:
        """A probe's delay counts from the container's start, also behind a startup probe."""
        state = ProbeState(self._timings[kind], self._begun, result)
        state.due = max(now, state.due)
        return state

    def _become(self, ready: bool) -> list[str]:
        if ready is self.ready:
            return []
        self.ready = ready
        return [READY if ready else UNREADY]
