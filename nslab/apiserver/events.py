"""Changes of objects: one event each, the window of the last ones, and the watchers that follow them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from nslab.api.objects import Body
from nslab.apiserver.errors import Gone

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
Predicate = Callable[[Body], bool]

WINDOW: Final = 4096
"""Events that a watch can resume over."""

WINDOW_OCTETS: Final = 16 << 20
"""Their JSON, if they are large: then a watch can resume over fewer."""

QUEUE_BOUND: Final = 16_384
"""Events that may wait for one watcher; a burst of thousands of Pods fits, a client that has stopped reading not."""

QUEUE_OCTETS: Final = 32 << 20
"""Their JSON, if they are large."""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encode(value: object) -> bytes:
    """JSON without spaces, in ASCII."""
    return _encode(value).encode()


@dataclass(frozen=True, slots=True)
class Event:
    """One change. `body` is the object after it (for DELETED: the last it was, with the resourceVersion of its
    removal), `old` the one before, None for a new one, and `json` is `body` encoded."""

    type: EventType
    kind: str
    body: Body
    old: Body | None
    json: bytes

    @property
    def revision(self) -> int:
        return int(self.body["metadata"]["resourceVersion"])


class Watcher:
    """One client's view of a kind: the events that `matches` lets through, until they are taken.

    An object that begins to match is ADDED to this view, one that ceases to is DELETED from it, as the API server's
    watch cache has it. `overflowed` is set, once and for all, when more than `bound` events (None: QUEUE_BOUND) or
    more than QUEUE_OCTETS wait: this watcher is then cut off and must list again. `wake` is called, if set, when
    there is something to take or it overflowed.
    """

    def __init__(self, matches: Predicate, bound: int | None = None) -> None:
        self.overflowed = False
        self.wake: Callable[[], None] | None = None
        self._matches = matches
        self._bound = QUEUE_BOUND if bound is None else bound
        self._waiting: deque[Event] = deque()
        self._octets = 0

    def offer(self, event: Event) -> None:
        """Queue an event if this view has it."""
        seen = self._seen(event)
        if seen is None or self.overflowed:
            return
        self._waiting.append(seen)
        self._octets += len(seen.json)
        if len(self._waiting) > self._bound or self._octets > QUEUE_OCTETS:
            self.overflowed = True
            self._waiting.clear()
        if self.wake is not None:
            self.wake()

    def take(self) -> list[Event]:
        """All waiting events, oldest first."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._octets = 0
        return taken

    def _seen(self, event: Event) -> Event | None:
        after = event.type != "DELETED" and self._matches(event.body)
        before = event.old is not None and self._matches(event.old)
        if after:
            return event if before == (event.type == "MODIFIED") else replace(event, type="ADDED")
        if not before:
            return None
        if event.type == "DELETED":
            return event
        assert event.old is not None
        version = event.body["metadata"]["resourceVersion"]
        last = {**event.old, "metadata": {**event.old["metadata"], "resourceVersion": version}}
        return replace(event, type="DELETED", body=last, json=encode(last))


class History:
    """The last events of all kinds, and the watchers of each kind."""

    def __init__(self, revision: int, size: int = WINDOW) -> None:
        self._before = revision
        self._last = revision
        self._size = size
        self._events: deque[Event] = deque()
        self._octets = 0
        self._watchers: dict[str, list[Watcher]] = {}

    def append(self, event: Event) -> None:
        """Remember an event and offer it to the watchers of its kind."""
        self._events.append(event)
        self._octets += len(event.json)
        while len(self._events) > self._size or self._octets > WINDOW_OCTETS:
            oldest = self._events.popleft()
            self._before = oldest.revision
            self._octets -= len(oldest.json)
        self._last = event.revision
        for watcher in self._watchers.get(event.kind, ()):
            watcher.offer(event)

    def watch(self, kind: str, watcher: Watcher, since: int) -> None:
        """Add a watcher that first gets the events after revision `since`. Raises Gone where these are not known."""
        if not self._before <= since <= self._last:
            raise Gone(f"too old resource version: {since} ({self._before})")
        for event in self._after(since):
            if event.kind == kind:
                watcher.offer(event)
        self._watchers.setdefault(kind, []).append(watcher)

    def unwatch(self, kind: str, watcher: Watcher) -> None:
        """Remove a watcher; one that is gone already is fine."""
        watchers = self._watchers.get(kind, [])
        if watcher in watchers:
            watchers.remove(watcher)

    def _after(self, revision: int) -> Iterator[Event]:
        later = 0
        for event in reversed(self._events):
            if event.revision <= revision:
                break
            later += 1
        return (self._events[index] for index in range(len(self._events) - later, len(self._events)))
