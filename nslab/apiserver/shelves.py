"""The objects of one kind, by namespace and name, in order."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import NamedTuple

from nslab.api.objects import Body

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""


class Record(NamedTuple):
    """A stored object and its JSON, encoded once for the journal, the lists and all watchers."""

    body: Body
    json: bytes


@dataclass(slots=True)
class Shelf:
    """The objects of one kind; `keys` are sorted."""

    records: dict[Key, Record] = field(default_factory=dict)
    keys: list[Key] = field(default_factory=list)

    def put(self, key: Key, record: Record) -> None:
        if key not in self.records:
            insort(self.keys, key)
        self.records[key] = record

    def remove(self, key: Key) -> None:
        del self.records[key]
        del self.keys[bisect_left(self.keys, key)]

    def within(self, namespace: str | None) -> list[Record]:
        """All records, or those of a namespace, sorted by key."""
        keys = self.keys
        if namespace is not None:
            keys = keys[bisect_left(keys, (namespace, "")) : bisect_left(keys, (namespace + "\0", ""))]
        return [self.records[key] for key in keys]
