"""How long the network takes to follow: from a change to the rules in force on the last node.

What kube-proxy measures as network_programming_duration_seconds, here for the whole lab at once
(https://github.com/kubernetes/community/blob/master/sig-scalability/slos/network_programming_latency.md).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

KEPT = 1000
"""Changes that are remembered."""


@dataclass(frozen=True, slots=True)
class Programmed:
    """One change that the network has followed.

    `at` is when it came (Unix seconds), `kind` and `key` (NAMESPACE/NAME, or NAME) whose it was, `what` what it was:
    "ADDED", "MODIFIED", "DELETED", "ready" or "not ready". After `milliseconds` the rules were in force everywhere;
    on the way there, together with what else had changed by then, `operations` were done in `netns` namespaces.
    """

    at: float
    kind: str
    key: str
    what: str
    milliseconds: float
    operations: int
    netns: int


class Programming:
    """The last changes of a lab, the oldest first in `records`; `count` is the number of all there were."""

    def __init__(self) -> None:
        self.records: deque[Programmed] = deque(maxlen=KEPT)
        self.count = 0
        self._pending: dict[tuple[str, str, str], tuple[float, float]] = {}

    def changed(self, kind: str, key: str, what: str) -> None:
        """The network may have to follow this. One that is told again before that counts from its first time."""
        if len(self._pending) < KEPT:
            self._pending.setdefault((kind, key, what), (time.time(), time.monotonic()))

    def in_force(self, operations: int, netns: Iterable[str]) -> list[Programmed]:
        """The network has followed everything told so far, by so many operations, in these namespaces. Returns what
        it was."""
        now, places = time.monotonic(), len(set(netns))
        followed = [
            Programmed(at, kind, key, what, (now - since) * 1000, operations, places)
            for (kind, key, what), (at, since) in self._pending.items()
        ]
        self.records += followed
        self.count += len(followed)
        self._pending.clear()
        return followed

    def discard(self) -> None:
        """What was told and not followed yet was in force before it was told."""
        self._pending.clear()

    def percentile(self, percent: float) -> float | None:
        """Milliseconds within which so many percent of the remembered changes were in force; None before the first.
        Changes that the rules knew nothing of do not count."""
        took = sorted(record.milliseconds for record in self.records if record.operations)
        if not took:
            return None
        return took[max(0, -int(-len(took) * percent // 100) - 1)]
