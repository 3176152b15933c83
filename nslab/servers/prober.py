"""The prober: every attempt of every flow at once, from one epoll loop, each from inside its own netns."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

from nslab.linux.drops import Drops, Sent
from nslab.servers.exchange_loop import ExchangeLoop
from nslab.servers.exchanges import Exchange, IcmpExchange, TcpExchange, UdpExchange
from nslab.servers.flows import Flow, FlowResult

WINDOW = 512
"""Sockets open at one time."""

TALKING = 128
"""Exchanges at one time that may have packets under way. All namespaces of a machine share one queue of received
packets for each processor, net.core.netdev_max_backlog, of 1,000. What does not fit is lost, and a lost SYN is sent
again after a second. An exchange has no more than four packets between two stations at once."""

SILENCE = 0.05
"""Seconds in which no exchange hears anything, after which those under way have no packets under way any more: they
wait for an answer that most probably never comes, and others may talk."""

LOOK = 0.02
"""Seconds without any answer after which the kernel is asked what it has dropped, and then again and again."""

Progress = Callable[[int, int], None]
"""Called as (attempts done, attempts in all)."""


def probe(
    flows: Sequence[Flow], progress: Progress | None = None, drops: Drops | None = None
) -> list[FlowResult]:
    """Send all flows and return their results in the same order.

    With `drops` an attempt ends as soon as the kernel says that rules have dropped a packet of it: its verdict is
    "timeout" without waiting for one, and `detail` says where.
    What a kernel or a peer does becomes a verdict, never an exception, and so does a netns that does not exist.
    Raises ValueError for an unknown protocol. Blocks until the last answer or timeout; the calling thread is back in
    its own netns afterwards.
    """
    probing = Round(flows, progress, drops)
    try:
        return probing.run()
    finally:
        probing.loop.close()


class Round:
    """One call of `probe`."""

    def __init__(self, flows: Sequence[Flow], progress: Progress | None, drops: Drops | None = None) -> None:
        self.loop = ExchangeLoop(self._conclude)
        self._flows = flows
        self._results = [FlowResult(flow.id) for flow in flows]
        self._kinds = {
            key: _with_lookup(exchange_for(key[0])) if key[1] and key[0] != "dns" else exchange_for(key[0])
            for key in {_kind(flow) for flow in flows}
        }
        self._progress = progress
        self._total = sum(flow.count for flow in flows)
        self._done = 0
        self._later: list[tuple[float, int]] = []  # (start, index of the flow): attempts that keep an interval
        self._silent: set[Exchange] = set()
        self._last_start = 0.0
        self._drops = drops
        self._next_look = 0.0

    def run(self) -> list[FlowResult]:
        """Run the round to its end."""
        loop, later = self.loop, self._later
        waiting = self._attempts()
        left = self._open(waiting)
        while loop or later:
            now = time.monotonic()
            due = [loop.deadline(), *(start for start, _ in later[:1]), *([now + SILENCE] if left else [])]
            if self._drops:
                self._next_look = max(self._next_look, loop.last_answer + LOOK, self._last_start + LOOK)
                due.append(self._next_look)
            loop.turn(max(0.0, min(due) - now))
            if self._drops and time.monotonic() >= self._next_look:
                self._conclude_dropped(self._drops)
            if later:
                self._open(self._due(time.monotonic()))
            if left and self._talking(time.monotonic()) <= TALKING // 2:
                left = self._open(waiting)
        return self._results

    def _conclude_dropped(self, drops: Drops) -> None:
        """End the exchanges of which rules have dropped a packet."""
        waiting = {
            Sent(connection, exchange.started, exchange.flow.netns): exchange
            for exchange in self.loop.live() if (connection := exchange.connection)
        }
        dropped = drops.met_by(waiting)
        self._next_look = time.monotonic() + LOOK
        for sent, exchange in waiting.items():
            drop = dropped.get(sent.connection)
            if drop is not None:
                self.loop.conclude(exchange, "timeout", f"dropped in netns {drop.netns}")

    def _talking(self, now: float) -> int:
        """How many exchanges may have packets under way."""
        if now - max(self.loop.last_answer, self._last_start) >= SILENCE:
            self._silent = set(self.loop.live())
        return len(self.loop) - len(self._silent)

    def _attempts(self) -> Iterator[int]:
        """The index of the flow of every attempt, flows of one netns together: entering one costs a system call."""
        start = time.monotonic()
        flows = self._flows
        for index in sorted(range(len(flows)), key=lambda index: flows[index].netns):
            flow = flows[index]
            if flow.interval > 0:
                for number in range(flow.count):
                    heapq.heappush(self._later, (start + number * flow.interval, index))
            else:
                yield from itertools.repeat(index, flow.count)

    def _due(self, now: float) -> Iterator[int]:
        while self._later and self._later[0][0] <= now:
            yield heapq.heappop(self._later)[1]

    def _open(self, attempts: Iterator[int]) -> bool:
        """Start attempts until the window is full, or none is left; whether some may be left."""
        flows, results, kinds, loop = self._flows, self._results, self._kinds, self.loop
        while (room := min(WINDOW - len(loop), TALKING + len(self._silent) - len(loop))) > 0:
            indexes = list(itertools.islice(attempts, room))
            if not indexes:
                return False
            for netns, group in itertools.groupby(indexes, lambda index: flows[index].netns):
                loop.start(netns, (kinds[_kind(flows[at])](flows[at], results[at]) for at in group))
            self._last_start = time.monotonic()
        return True

    def _conclude(self, exchange: Exchange, verdict: str, detail: str, seconds: float) -> None:
        self._silent.discard(exchange)
        result = exchange.result
        result.counts[verdict] = result.counts.get(verdict, 0) + 1
        if verdict == "open":
            result.rtts.append(seconds)
        if detail:
            result.detail = detail
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


def _kind(flow: Flow) -> tuple[str, bool]:
    """What decides which exchange a flow needs."""
    return flow.protocol, flow.lookup is not None


def _with_lookup(kind: Callable[[Flow, FlowResult], Exchange]) -> Callable[[Flow, FlowResult], Exchange]:
    from nslab.servers.dns_exchange import NamedExchange

    return lambda flow, result: NamedExchange(flow, result, kind)


def exchange_for(protocol: str) -> Callable[[Flow, FlowResult], Exchange]:
    """The kind of exchange that a flow's protocol asks for. Raises ValueError for an unknown one."""
    match protocol:
        case "tcp":
            return TcpExchange
        case "udp":
            return UdpExchange
        case "icmp":
            return IcmpExchange
        case "http" | "https":
            from nslab.servers.http_exchange import HttpExchange

            return HttpExchange
        case "dns":
            from nslab.servers.dns_exchange import DnsExchange

            return DnsExchange
    raise ValueError(f"unknown protocol {protocol!r}: tcp, udp, icmp, http, https or dns")
