"""How a tick and the API share the event loop.

A tick holds up every request, and a client that sends one after the other would get one answer a tick. So, while
requests keep coming, the loop listens to the API for some times as long as the last tick took before it ticks again:
Pods are accepted by the hundred, and the network then follows once for all of them. A single change waits for
nothing.
"""

from __future__ import annotations

from typing import Final

STEADY: Final = 3
"""Ticks in a row, each with a request since the one before it, after which requests count as a stream."""

SHARE: Final = 3
"""How many times as long as a tick the loop then listens."""

LONGEST: Final = 0.5
"""Seconds that the network waits at most for more to come."""


class Pace:
    """`rested` is when (the loop's seconds) the next tick may begin."""

    def __init__(self) -> None:
        self.rested = 0.0
        self._answered = 0
        self._row = 0

    def ticked(self, started: float, ended: float, answered: int) -> None:
        """A tick is over; `answered` counts the requests of all time."""
        self._row = self._row + 1 if answered > self._answered else 0
        self._answered = answered
        if self._row >= STEADY:
            self.rested = ended + min(SHARE * (ended - started), LONGEST)
