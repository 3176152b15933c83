"""A watch as a stream of JSON lines: `{"type": "ADDED", "object": {..}}`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nslab.api.objects import Body
from nslab.apiserver.errors import Gone
from nslab.apiserver.events import Event, Watcher, encode
from nslab.apiserver.shelves import Record
from nslab.apiserver.store import Store

EncodeObject = Callable[[Record], bytes]
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class WatchStream:
    """What one watching client is sent.

    `wake` of the watcher says when `take` has something. `bookmarks` says whether the client wants to be told the
    revision now and then, `seconds` when it wants the watch to end (None for the server's own limit).
    """

    def __init__(
        self, store: Store, kind: str, watcher: Watcher, encode_object: EncodeObject, *,
        bookmarks: bool, seconds: int | None,
    ) -> None:  # fmt: skip
        self.watcher = watcher
        self.bookmarks = bookmarks
        self.seconds = seconds
        self._store = store
        self._kind = kind
        self._encode = encode_object
        self._initial: list[bytes] = []

    def begin_with(self, records: Iterable[Record], bookmark: bytes = b"") -> None:
        """Send the objects that are there as ADDED before anything else, and a bookmark behind them."""
        self._initial = [_line(b"ADDED", self._encode(record)) for record in records]
        if bookmark:
            self._initial.append(bookmark)

    def take(self) -> bytes:
        """The lines that are due now; an error is the last one of a watch that must end."""
        lines, self._initial = self._initial, []
        lines += [self._event(event) for event in self.watcher.take()]
        if self.watcher.overflowed:
            error = Gone("the client was too slow: events were lost; list again")
            lines.append(_line(b"ERROR", encode(error.status())))
        return b"".join(lines)

    @property
    def ended(self) -> bool:
        """Whether nothing comes after what `take` returned."""
        return self.watcher.overflowed

    def bookmark(self, *, initial: bool = False) -> bytes:
        """A line that says which revision the client has seen; after the initial objects it says that too."""
        metadata: Body = {"resourceVersion": str(self._store.revision), "creationTimestamp": None}
        if initial:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        body = {"kind": self._kind, "apiVersion": "v1", "metadata": metadata}
        return _line(b"BOOKMARK", self._encode(Record(body, encode(body))))

    def close(self) -> None:
        """Stop following; a second time is fine."""
        self._store.unwatch(self._kind, self.watcher)

    def _event(self, event: Event) -> bytes:
        return _line(event.type.encode(), self._encode(Record(event.body, event.json)))


def _line(event_type: bytes, body: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (event_type, body)
