"""The kubelet's probes: httpGet, tcpSocket and grpc, sent from the node's netns, and exec where there is a program.

A container with an image is played by the responder and has none of its image's files: an exec probe cannot run
there and counts as a success.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nslab.kubelet.probe_exchange import ERROR, FAILURE, SUCCESS, WARNING, ProbeOutcome, exchange_of, judge
from nslab.kubelet.probe_schedule import RESTART, ContainerProbes, ProbeState, Timing
from nslab.servers.exchange_loop import ExchangeLoop
from nslab.servers.exchanges import Exchange

NOT_RUN = ProbeOutcome(SUCCESS, "exec probe not run: the responder has no files of the image")

UNHEALTHY, PROBE_WARNING = "Unhealthy", "ProbeWarning"
"""What an attempt may report besides transitions: the reasons of the kubelet's events."""

_SAID = {
    FAILURE: (UNHEALTHY, "probe failed"),
    ERROR: (UNHEALTHY, "probe errored"),
    WARNING: (PROBE_WARNING, "probe warning"),
}

Execute = Callable[[Sequence[str], float, Callable[[ProbeOutcome], None]], None]
"""Starts a command in the container, ends it after the given seconds, and calls back, later and in this thread."""

Report = Callable[[str, str, str], None]
"""Called as (key, what, detail): a transition of probe_schedule (RESTART with the probe that failed, the others with
nothing), UNHEALTHY or PROBE_WARNING with the words of the event."""


@dataclass(frozen=True, slots=True)
class ProbedContainer:
    """A container and its probes as in the manifest, by startup, readiness, liveness.

    `netns` is the node's, where probes come from. `execute` is there for a container with a program of its own.
    """

    netns: str
    pod_ip: str
    probes: Mapping[str, Mapping[str, Any]]
    port_names: Mapping[str, int] = field(default_factory=dict)
    execute: Execute | None = None


@dataclass(slots=True)
class _Probed:
    container: ProbedContainer
    probes: ContainerProbes


class ProbeEngine:
    """The probes of many containers, in the thread and at the pace of whoever calls `turn`.

    Watch `fileno` for reading, call `turn` when it is readable or `deadline` has come; `report` is called from
    within all methods that change something.
    """

    def __init__(self, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._loop = ExchangeLoop(self._ended)
        self._probed: dict[str, _Probed] = {}
        self._due: list[tuple[float, int, str, str, ProbeState]] = []
        self._order = itertools.count()
        self._asked: dict[Exchange, tuple[str, str, ProbeState]] = {}

    def add(self, key: str, container: ProbedContainer) -> None:
        """Know this container; a former one of the same key is forgotten. Nothing runs until `start`."""
        self.remove(key)
        timings = {kind: Timing.of(probe) for kind, probe in container.probes.items()}
        self._probed[key] = _Probed(container, ContainerProbes(timings))

    def start(self, key: str) -> None:
        """The container runs from now on, for the first time or anew."""
        self._change(key, self._probed[key].probes.start(self._clock()))

    def stop(self, key: str) -> None:
        """The container has ended; it may start again."""
        self._forget_attempts(key)
        self._change(key, self._probed[key].probes.stop())

    def terminate(self, key: str) -> None:
        """The container's Pod is being deleted."""
        self._change(key, self._probed[key].probes.terminate(self._clock()))

    def remove(self, key: str) -> None:
        """Probe it no longer; quiet where it is not known."""
        if self._probed.pop(key, None) is not None:
            self._forget_attempts(key)

    def started(self, key: str) -> bool:
        """Whether the container runs and its startup probe, if there is one, has succeeded."""
        return self._probed[key].probes.started

    def fileno(self) -> int:
        """Readable when an answer is there."""
        return self._loop.fileno()

    def deadline(self) -> float:
        """The clock's time at which `turn` is to be called in any case."""
        while self._due and not self._current(*self._due[0][2:]):
            heapq.heappop(self._due)
        return min(self._loop.deadline(), self._due[0][0] if self._due else float("inf"))

    def turn(self, patience: float = 0.0) -> None:
        """Start the probes that are due and take the answers that are there; wait at most `patience` seconds."""
        now = self._clock()
        starting: dict[str, list[Exchange]] = {}
        while self._due and self._due[0][0] <= now:
            _, _, key, kind, state = heapq.heappop(self._due)
            if self._current(key, kind, state):
                self._attempt(key, kind, state, starting)
        for netns, exchanges in starting.items():
            self._loop.start(netns, exchanges)
        self._loop.turn(patience)

    def close(self) -> None:
        """Stop all probes."""
        self._loop.close()

    def _attempt(self, key: str, kind: str, state: ProbeState, starting: dict[str, list[Exchange]]) -> None:
        container = self._probed[key].container
        probe = container.probes[kind]
        if "exec" in probe:
            if container.execute is None:
                self._take(key, kind, state, NOT_RUN)
            else:
                command = [str(word) for word in probe["exec"].get("command") or ()]
                container.execute(command, state.timing.timeout, lambda said: self._take(key, kind, state, said))
            return
        try:
            exchange = exchange_of(container.netns, container.pod_ip, probe, container.port_names)
        except ValueError as fault:
            self._take(key, kind, state, ProbeOutcome(ERROR, str(fault)))
            return
        self._asked[exchange] = key, kind, state
        starting.setdefault(container.netns, []).append(exchange)

    def _ended(self, exchange: Exchange, verdict: str, detail: str, _: float) -> None:
        asker = self._asked.pop(exchange, None)
        if asker is not None:  # else the container was removed just as its probe went out
            self._take(*asker, judge(exchange, verdict, detail))

    def _take(self, key: str, kind: str, state: ProbeState, outcome: ProbeOutcome) -> None:
        if not self._current(key, kind, state):
            return  # the container was restarted or removed meanwhile
        if outcome.result in _SAID:
            reason, words = _SAID[outcome.result]
            self._report(key, reason, f"{kind.capitalize()} {words}: {outcome.detail}")
        if outcome.result == ERROR:
            state.postpone(self._clock())
            self._plan(key, kind, state)
            return
        transitions = self._probed[key].probes.record(kind, outcome.result != FAILURE, self._clock())
        if self._current(key, kind, state):
            self._plan(key, kind, state)
        self._change(key, transitions, kind)

    def _change(self, key: str, transitions: Iterable[str], kind: str = "") -> None:
        """Report transitions, and put on the calendar what they have running."""
        for name, state in self._probed[key].probes.states.items():
            if state.fresh:
                self._plan(key, name, state)
        for transition in transitions:
            self._report(key, transition, kind if transition == RESTART else "")

    def _plan(self, key: str, kind: str, state: ProbeState) -> None:
        state.fresh = False
        heapq.heappush(self._due, (state.due, next(self._order), key, kind, state))

    def _forget_attempts(self, key: str) -> None:
        for exchange in [one for one, (asker, _, _) in self._asked.items() if asker == key]:
            del self._asked[exchange]
            self._loop.drop(exchange)

    def _current(self, key: str, kind: str, state: ProbeState) -> bool:
        probed = self._probed.get(key)
        return probed is not None and probed.probes.states.get(kind) is state
