"""The kubelet's probes: httpGet, tcpSocket and grpc, sent from the node's netns, and exec where there is a program.

A container with an image is played by the responder and has none of its image's files: an exec probe cannot run
there and counts as a success. Redirects are not followed; any status from 200 to 399 is a success.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nslab.servers.exchange_loop import ExchangeLoop
from nslab.servers.exchanges import Exchange
from nslab.servers.flows import Flow, FlowResult, HttpRequest
from nslab.servers.http_exchange import ConnectExchange, GrpcHealthExchange, HttpExchange
from nslab.servers.probe_schedule import ContainerProbes, ProbeState, Timing

USER_AGENT = "kube-probe/1.31"


class ProbeOutcome(NamedTuple):
    """One attempt of a probe: whether it succeeded, and what to write into an event if not."""

    ok: bool
    detail: str


NOT_RUN = ProbeOutcome(True, "exec probe not run: the responder has no files of the image")

Execute = Callable[[Sequence[str], float, Callable[[ProbeOutcome], None]], None]
"""Starts a command in the container, ends it after the given seconds, and calls back, later and in this thread."""

Report = Callable[[str, str, str], None]
"""Called as (key, transition, detail); the transitions are those of probe_schedule."""


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


def run_probe(netns: str, pod_ip: str, probe: Mapping[str, Any], port_names: Mapping[str, int]) -> ProbeOutcome:
    """One attempt of a manifest's probe, waited for: at most its timeoutSeconds."""
    if "exec" in probe:
        return NOT_RUN
    outcomes: list[ProbeOutcome] = []
    loop = ExchangeLoop(lambda exchange, verdict, detail, _: outcomes.append(judge(exchange, verdict, detail)))
    try:
        exchange = exchange_of(netns, pod_ip, probe, port_names)
        loop.start(netns, [exchange])
        while loop:
            loop.turn(max(0.0, loop.deadline() - time.monotonic()))
    except ValueError as fault:
        return ProbeOutcome(False, str(fault))
    finally:
        loop.close()
    return outcomes[0]


def exchange_of(netns: str, pod_ip: str, probe: Mapping[str, Any], port_names: Mapping[str, int]) -> Exchange:
    """The exchange that a probe with a network action is. Raises ValueError for an unknown port name or no action."""
    timeout = Timing.of(probe).timeout
    if "httpGet" in probe:
        return HttpExchange(_http_get(netns, pod_ip, probe["httpGet"], port_names, timeout), FlowResult(""))
    if "tcpSocket" in probe:
        tcp = probe["tcpSocket"]
        flow = Flow("", netns, "tcp", tcp.get("host") or pod_ip, _port(tcp["port"], port_names), timeout=timeout)
        return ConnectExchange(flow, FlowResult(""))
    if "grpc" in probe:
        call = probe["grpc"]
        request = HttpRequest(headers=(("user-agent", USER_AGENT),))
        query = (str(call.get("service") or ""), "")
        port = _port(call["port"], port_names)
        return GrpcHealthExchange(
            Flow("", netns, "http", pod_ip, port, timeout=timeout, http=request, query=query), FlowResult("")
        )
    raise ValueError("the probe has none of httpGet, tcpSocket, grpc, exec")


def _http_get(netns: str, pod_ip: str, get: Mapping[str, Any], port_names: Mapping[str, int], timeout: float) -> Flow:
    secure = str(get.get("scheme", "HTTP")).upper() == "HTTPS"
    named = [(str(one["name"]), str(one["value"])) for one in get.get("httpHeaders") or ()]
    host = next((value for name, value in named if name.lower() == "host"), "")
    given = {name.lower() for name, _ in named}
    headers = [(name, value) for name, value in named if name.lower() != "host"]
    headers += [(name, value) for name, value in (("User-Agent", USER_AGENT), ("Accept", "*/*"))
                if name.lower() not in given]  # fmt: skip
    path = str(get.get("path") or "/")
    path = path if path.startswith("/") else f"/{path}"
    request = HttpRequest(path=path, host=host, headers=tuple(headers), insecure=True)
    ip, port = get.get("host") or pod_ip, _port(get["port"], port_names)
    return Flow("", netns, "https" if secure else "http", ip, port, timeout=timeout, http=request)


def judge(exchange: Exchange, verdict: str, detail: str) -> ProbeOutcome:
    """What an ended exchange means for its probe."""
    flow = exchange.flow
    what = f"{flow.protocol}://{flow.ip}:{flow.port}"
    if verdict == "timeout":
        return ProbeOutcome(False, f"{what}: no answer within {flow.timeout:g} s")
    if verdict != "open":
        return ProbeOutcome(False, f"{what}: {detail or verdict}")
    for status in exchange.result.statuses:
        return ProbeOutcome(200 <= int(status) < 400, f"HTTP status {status}")
    return ProbeOutcome(True, "")


def _port(port: object, names: Mapping[str, int]) -> int:
    if isinstance(port, int):
        return port
    name = str(port)
    if name in names:
        return names[name]
    if name.isdigit():
        return int(name)
    raise ValueError(f"no container port is named {name!r}")


@dataclass(slots=True)
class _Running:
    container: ProbedContainer
    probes: ContainerProbes


class ProbeEngine:
    """The probes of many containers, in the thread and at the pace of whoever calls `turn`.

    Watch `fileno` for reading, call `turn` when it is readable or `deadline` has come; `report` is called from
    within `add` and `turn`. `scale` multiplies the initial delays.
    """

    def __init__(self, report: Report, scale: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._scale = scale
        self._clock = clock
        self._loop = ExchangeLoop(self._ended)
        self._running: dict[str, _Running] = {}
        self._due: list[tuple[float, int, str, str, ProbeState]] = []
        self._order = itertools.count()
        self._asked: dict[Exchange, tuple[str, str, ProbeState]] = {}

    def add(self, key: str, container: ProbedContainer) -> None:
        """Probe this container, which starts now; a former one of the same key is forgotten."""
        self.remove(key)
        timings = {kind: Timing.of(probe) for kind, probe in container.probes.items()}
        running = self._running[key] = _Running(container, ContainerProbes(timings, self._scale))
        transitions = running.probes.start(self._clock())
        self._plan(key, running)
        for transition in transitions:
            self._report(key, transition, "")

    def remove(self, key: str) -> None:
        """Probe it no longer; quiet where it is not known."""
        if self._running.pop(key, None) is not None:
            for exchange in [one for one, (asker, _, _) in self._asked.items() if asker == key]:
                del self._asked[exchange]
                self._loop.drop(exchange)

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
        container = self._running[key].container
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
            self._take(key, kind, state, ProbeOutcome(False, str(fault)))
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
        running = self._running[key]
        before = dict(running.probes.states)
        transitions = running.probes.record(kind, outcome.ok, self._clock())
        self._plan(key, running, {name: one for name, one in before.items() if name != kind})
        for transition in transitions:
            self._report(key, transition, outcome.detail)

    def _plan(self, key: str, running: _Running, planned: Mapping[str, ProbeState] | None = None) -> None:
        """Put on the calendar each state that is not there yet."""
        for kind, state in running.probes.states.items():
            if (planned or {}).get(kind) is not state:
                heapq.heappush(self._due, (state.due, next(self._order), key, kind, state))

    def _current(self, key: str, kind: str, state: ProbeState) -> bool:
        running = self._running.get(key)
        return running is not None and running.probes.states.get(kind) is state
