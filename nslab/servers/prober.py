"""The prober: every attempt of every flow at once, from one epoll loop, each from inside its own netns."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from select import epoll

from nslab.linux.netns import entered
from nslab.servers.exchanges import PENDING, Exchange, exchange_for, verdict_of
from nslab.servers.flows import Flow, FlowResult

WINDOW = 512
"""Sockets open at one time."""


def probe(flows: Sequence[Flow], progress: Callable[[int, int], None] | None = None) -> list[FlowResult]:
    """Send all flows and return their results in the same order.

    `progress` is called as (attempts done, attempts in all). What a kernel or a peer does becomes a verdict, never
    an exception, and so does a netns that does not exist. Raises ValueError for an unknown protocol. Blocks until
    the last answer or timeout; the calling thread is back in its own netns afterwards.
    """
    return Round(flows, progress).run()


class Round:
    """One call of `probe`."""

    def __init__(self, flows: Sequence[Flow], progress: Callable[[int, int], None] | None) -> None:
        self._flows = flows
        self._results = [FlowResult(flow.id) for flow in flows]
        self._kinds = {protocol: exchange_for(protocol) for protocol in {flow.protocol for flow in flows}}
        self._progress = progress
        self._total = sum(flow.count for flow in flows)
        self._done = 0
        self._poll = epoll()
        self._live: dict[int, Exchange] = {}
        self._order = itertools.count()
        self._deadlines: list[tuple[float, int, Exchange]] = []
        self._later: list[tuple[float, int, int]] = []  # (start, tie-breaker, flow): attempts that keep an interval
        self._last_answer = 0.0

    def run(self) -> list[FlowResult]:
        """Run the round to its end."""
        try:
            waiting = self._attempts()
            self._open(waiting)
            while self._live or self._later:
                before = time.monotonic()
                events = self._poll.poll(self._patience(before), WINDOW)
                now = time.monotonic()
                for fd, _ in events:
                    exchange = self._live.get(fd)
                    if exchange is not None:
                        self._go_on(fd, exchange, now)
                self._expire(before)  # what came before this round's look at the sockets came in time
                if self._later and self._later[0][0] <= now:
                    self._open(self._due(now))
                if len(self._live) <= WINDOW // 2:
                    self._open(waiting)
        finally:
            for exchange in self._live.values():
                exchange.sock.close()
            self._poll.close()
        return self._results

    def _attempts(self) -> Iterator[int]:
        """The index of the flow of every attempt, flows of one netns together: entering one costs a system call."""
        start = time.monotonic()
        flows = self._flows
        for index in sorted(range(len(flows)), key=lambda index: flows[index].netns):
            flow = flows[index]
            if flow.interval > 0:
                for number in range(flow.count):
                    heapq.heappush(self._later, (start + number * flow.interval, next(self._order), index))
            else:
                yield from itertools.repeat(index, flow.count)

    def _due(self, now: float) -> Iterator[int]:
        while self._later and self._later[0][0] <= now:
            yield heapq.heappop(self._later)[2]

    def _patience(self, now: float) -> float:
        """Seconds until something is to be done unasked."""
        while self._deadlines and self._deadlines[0][2].over:
            heapq.heappop(self._deadlines)
        times = [heap[0][0] for heap in (self._deadlines, self._later) if heap]
        return max(0.0, min(times) - now)

    def _open(self, attempts: Iterator[int]) -> None:
        """Start attempts until the window is full."""
        flows = self._flows
        room = WINDOW - len(self._live)
        for netns, group in itertools.groupby(itertools.islice(attempts, room), lambda index: flows[index].netns):
            members = list(group)
            started = 0
            try:
                with entered(netns):
                    for index in members:
                        started += 1
                        self._start(index)
            except OSError as fault:
                for index in members[started:]:
                    self._conclude(self._results[index], "error", f"netns {netns}: {fault.strerror}")

    def _start(self, index: int) -> None:
        flow, result = self._flows[index], self._results[index]
        exchange = self._kinds[flow.protocol](flow, result)
        try:
            verdict = exchange.start(time.monotonic())
        except OSError as fault:
            self._fail(exchange, fault)
            return
        if verdict is not PENDING:
            self._finish(exchange, verdict)
            return
        fd = exchange.sock.fileno()
        self._live[fd] = exchange
        self._poll.register(fd, exchange.events)
        heapq.heappush(self._deadlines, (exchange.deadline, next(self._order), exchange))

    def _go_on(self, fd: int, exchange: Exchange, now: float) -> None:
        self._last_answer = now
        events, deadline = exchange.events, exchange.deadline
        try:
            verdict = exchange.ready(now)
        except OSError as fault:
            del self._live[fd]
            self._fail(exchange, fault)
            return
        if verdict is not PENDING:
            del self._live[fd]
            self._finish(exchange, verdict)
            return
        if exchange.events != events:
            self._poll.modify(fd, exchange.events)
        if exchange.deadline < deadline:
            heapq.heappush(self._deadlines, (exchange.deadline, next(self._order), exchange))

    def _expire(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            exchange = heapq.heappop(self._deadlines)[2]
            if exchange.over:
                continue
            verdict = PENDING if exchange.deadline > now else exchange.expire(now, self._last_answer)
            if verdict is PENDING:
                heapq.heappush(self._deadlines, (exchange.deadline, next(self._order), exchange))
            else:
                del self._live[exchange.sock.fileno()]
                self._finish(exchange, verdict)

    def _finish(self, exchange: Exchange, verdict: str, detail: str = "") -> None:
        if verdict == "open":
            exchange.result.rtts.append(time.monotonic() - exchange.started)
        exchange.over = True
        exchange.sock.close()
        self._conclude(exchange.result, verdict, detail)

    def _fail(self, exchange: Exchange, fault: OSError) -> None:
        number = fault.errno or 0
        exchange.over = True
        if hasattr(exchange, "sock"):
            exchange.sock.close()
        self._conclude(exchange.result, verdict_of(number), fault.strerror or str(fault))

    def _conclude(self, result: FlowResult, verdict: str, detail: str) -> None:
        result.counts[verdict] = result.counts.get(verdict, 0) + 1
        if detail:
            result.detail = detail
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)
