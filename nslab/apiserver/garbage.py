"""Who owns whom, and what is in which namespace: the indexes that a deletion follows."""

from __future__ import annotations

from dataclasses import dataclass, field

from nslab.api.objects import Body
from nslab.apiserver.metadata import Reference, owners


@dataclass(slots=True)
class Garbage:
    """Sets are dicts without values: they keep the order in which objects came, so that deletions have one."""

    _by_uid: dict[str, Reference] = field(default_factory=dict)
    _by_owner: dict[str, dict[Reference, None]] = field(default_factory=dict)
    _by_namespace: dict[str, dict[Reference, None]] = field(default_factory=dict)

    def learn(self, kind: str, body: Body) -> None:
        """Add a stored version of an object to the indexes."""
        reference = _reference(kind, body)
        self._by_uid[body["metadata"]["uid"]] = reference
        for owner in owners(body):
            self._by_owner.setdefault(owner["uid"], {})[reference] = None
        if reference[1]:
            self._by_namespace.setdefault(reference[1], {})[reference] = None

    def forget(self, kind: str, body: Body) -> None:
        """The inverse of `learn`."""
        reference = _reference(kind, body)
        self._by_uid.pop(body["metadata"]["uid"], None)
        for owner in owners(body):
            _discard(self._by_owner, owner["uid"], reference)
        _discard(self._by_namespace, reference[1], reference)

    def alive(self, uid: str) -> bool:
        """Whether an object with this uid exists."""
        return uid in self._by_uid

    def reference(self, uid: str) -> Reference | None:
        return self._by_uid.get(uid)

    def owned(self, uid: str) -> list[Reference]:
        """The objects that have the object with this uid among their owners."""
        return list(self._by_owner.get(uid, ()))

    def populated(self, namespace: str) -> bool:
        """Whether the namespace has any object in it."""
        return namespace in self._by_namespace

    def within(self, namespace: str) -> list[Reference]:
        return list(self._by_namespace.get(namespace, ()))


def _reference(kind: str, body: Body) -> Reference:
    metadata = body["metadata"]
    return kind, metadata.get("namespace", ""), metadata["name"]


def _discard(index: dict[str, dict[Reference, None]], key: str, reference: Reference) -> None:
    references = index.get(key, {})
    references.pop(reference, None)
    if not references:
        index.pop(key, None)
