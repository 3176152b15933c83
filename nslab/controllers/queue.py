"""The work queue: each item at most once, some later, failed ones ever later (client-go util/workqueue)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from nslab.controllers.interface import Clock

BASE_DELAY, MAX_DELAY = 0.005, 60.0
"""Seconds before the first and between the last retries of an item; client-go's are 5 ms and 1,000 s, more than a
lab's user would wait."""


class Item(NamedTuple):
    """A controller by name, and the object it shall look at."""

    controller: str
    key: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What an item last failed with, how often in a row, and when it is tried again (Unix seconds)."""

    error: str
    attempts: int
    retry_at: float


class WorkQueue:
    """Items to work on, first in, first out; one that waits already is not added again."""

    def __init__(self, now: Clock) -> None:
        self._now = now
        self._ready: deque[Item] = deque()
        self._waiting: set[Item] = set()
        self._delayed: list[tuple[float, Item]] = []
        self._due: dict[Item, float] = {}
        self.failures: dict[Item, Failure] = {}

    def __len__(self) -> int:
        """How many items could be worked on now, but for delayed ones that came due."""
        return len(self._ready)

    def add(self, item: Item) -> None:
        if item not in self._waiting:
            self._waiting.add(item)
            self._ready.append(item)

    def add_after(self, item: Item, delay: float) -> None:
        """Add the item in `delay` seconds, or when it was to come anyway if that is sooner."""
        due = self._now() + delay
        if due < self._due.get(item, inf):
            self._due[item] = due
            heappush(self._delayed, (due, item))

    def pop(self) -> Item | None:
        """The next item, or None while there is none."""
        self._promote()
        if not self._ready:
            return None
        item = self._ready.popleft()
        self._waiting.remove(item)
        return item

    def wait(self) -> float:
        """Seconds until there is an item; infinity if nothing is delayed."""
        self._promote()
        if self._ready:
            return 0.0
        return max(self._delayed[0][0] - self._now(), 0.0) if self._delayed else inf

    def failed(self, item: Item, error: str) -> None:
        """Retry the item, each time after twice the delay."""
        known = self.failures.get(item)
        attempts = known.attempts + 1 if known else 1
        delay = min(BASE_DELAY * 2 ** min(attempts - 1, 30), MAX_DELAY)
        self.failures[item] = Failure(error, attempts, self._now() + delay)
        self.add_after(item, delay)

    def succeeded(self, item: Item) -> None:
        self.failures.pop(item, None)

    def _promote(self) -> None:
        """Move what came due to the ready ones. A delayed item that was moved forward leaves its old place behind."""
        while self._delayed and (self._delayed[0][0] <= self._now() or self._is_stale(self._delayed[0])):
            due, item = heappop(self._delayed)
            if self._due.get(item) == due:
                del self._due[item]
                self.add(item)

    def _is_stale(self, entry: tuple[float, Item]) -> bool:
        return self._due.get(entry[1]) != entry[0]
