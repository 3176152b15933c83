"""Many exchanges under way at once, in one thread."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterable
from select import epoll

from nslab.linux.netns import entered
from nslab.servers.exchanges import PENDING, Exchange, verdict_of

Conclude = Callable[[Exchange, str, str, float], None]
"""Called as (exchange, verdict, detail, seconds it took)."""


class ExchangeLoop:
    """Exchanges in flight. Each ends in one call of `conclude`; what a kernel or a peer does is a verdict, never an
    exception. The loop's `fileno` is itself an epoll that another epoll can watch."""

    def __init__(self, conclude: Conclude) -> None:
        self._conclude = conclude
        self._poll = epoll()
        self._live: dict[int, Exchange] = {}
        self._order = itertools.count()
        self._deadlines: list[tuple[float, int, Exchange]] = []
        self.last_answer = 0.0
        """The monotonic time at which an exchange last heard something."""

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._live)

    def live(self) -> Iterable[Exchange]:
        """Those that are under way."""
        return self._live.values()

    def fileno(self) -> int:
        """Readable when `turn` has something to do, deadlines apart."""
        return self._poll.fileno()

    def deadline(self) -> float:
        """The monotonic time at which `turn` has something to do in any case; infinite when nothing is under way."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][2].over:
            heapq.heappop(deadlines)
        return deadlines[0][0] if deadlines else float("inf")

    def start(self, netns: str, exchanges: Iterable[Exchange]) -> None:
        """Start these inside `netns`."""
        waiting = iter(exchanges)
        try:
            with entered(netns):
                for exchange in waiting:
                    self._start(exchange)
        except OSError as fault:
            for exchange in waiting:
                self._conclude(exchange, "error", f"netns {netns}: {fault.strerror}", 0.0)

    def turn(self, patience: float) -> None:
        """Wait for at most `patience` seconds, then go on with all that can go on."""
        before = time.monotonic()
        events = self._poll.poll(patience, 512)
        now = time.monotonic()
        for fd, _ in events:
            exchange = self._live.get(fd)
            if exchange is not None:
                self._go_on(fd, exchange, now)
        self._expire(before)  # what came before this turn's look at the sockets came in time

    def conclude(self, exchange: Exchange, verdict: str, detail: str) -> None:
        """End one that is under way, because somebody else knows what becomes of it."""
        del self._live[exchange.sock.fileno()]
        self._finish(exchange, verdict, detail)

    def drop(self, exchange: Exchange) -> None:
        """Forget an exchange, concluded or not."""
        if exchange.opened and not exchange.over:
            del self._live[exchange.sock.fileno()]
        exchange.close()

    def close(self) -> None:
        """Drop all."""
        for exchange in self._live.values():
            exchange.close()
        self._live.clear()
        self._poll.close()

    def _start(self, exchange: Exchange) -> None:
        try:
            exchange.prepare()
            verdict = exchange.start(time.monotonic())
        except OSError as fault:
            self._fail(exchange, fault)
            return
        except ValueError as fault:  # an address, a server name or a header that cannot be
            self._finish(exchange, "error", str(fault))
            return
        if verdict is not PENDING:
            self._finish(exchange, verdict)
            return
        self._watch(exchange)
        heapq.heappush(self._deadlines, (exchange.deadline, next(self._order), exchange))

    def _watch(self, exchange: Exchange) -> None:
        fd = exchange.sock.fileno()
        self._live[fd] = exchange
        self._poll.register(fd, exchange.events)

    def _go_on(self, fd: int, exchange: Exchange, now: float) -> None:
        self.last_answer = now
        events, deadline, sock = exchange.events, exchange.deadline, exchange.sock
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
        if exchange.sock is not sock:  # it took another one; the kernel forgot the old one when it was closed
            del self._live[fd]
            self._watch(exchange)
        elif exchange.events != events:
            self._poll.modify(fd, exchange.events)
        if exchange.deadline < deadline:
            heapq.heappush(self._deadlines, (exchange.deadline, next(self._order), exchange))

    def _expire(self, now: float) -> None:
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now:
            exchange = heapq.heappop(deadlines)[2]
            if exchange.over:
                continue
            if exchange.deadline > now or self._goes_on(exchange, now):
                heapq.heappush(deadlines, (exchange.deadline, next(self._order), exchange))

    def _goes_on(self, exchange: Exchange, now: float) -> bool:
        """Let an exchange expire; whether it has something left to try."""
        sock, fd = exchange.sock, exchange.sock.fileno()
        try:
            verdict = exchange.expire(now, self.last_answer)
        except OSError as fault:
            del self._live[fd]
            self._fail(exchange, fault)
            return False
        if verdict is not PENDING:
            del self._live[fd]
            self._finish(exchange, verdict)
            return False
        if exchange.sock is not sock:
            del self._live[fd]
            self._watch(exchange)
        return True

    def _finish(self, exchange: Exchange, verdict: str, detail: str = "") -> None:
        exchange.close()
        self._conclude(exchange, verdict, detail, time.monotonic() - exchange.started)

    def _fail(self, exchange: Exchange, fault: OSError) -> None:
        self._finish(exchange, verdict_of(fault.errno or 0), fault.strerror or str(fault))
