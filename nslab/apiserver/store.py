"""The lab's objects: create, read, update, delete and watch, with the rules that hold for objects of every kind.

One counter numbers all changes. A body that was given in or out is never changed: whoever holds one holds that
version of the object for good. A change and all that follows from it (the garbage of a deleted owner) is one
transaction: one line of the journal, then the events to watchers and subscribers in order.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

from nslab.api import kinds
from nslab.api.objects import Body
from nslab.apiserver import metadata as meta
from nslab.apiserver.errors import StatusError, already_exists, not_found
from nslab.apiserver.events import WINDOW, Event, EventType, History, Predicate, Watcher, encode
from nslab.apiserver.garbage import Garbage
from nslab.apiserver.journal import Journal
from nslab.apiserver.shelves import Key, Record, Shelf
from nslab.cluster.selectors import matches

log = logging.getLogger(__name__)

Bodies = list[Body]
Records = list[Record]
Former = list[tuple[str, Key, Record | None]]
"""Kind, key, and what was there before a change."""
_NAME_ATTEMPTS: Final = 8


class Store:
    """All objects of a lab. `clock` gives Unix seconds, `new_uid` a fresh UUID; with a `journal` the store begins as
    that has it, and writes every change to it before telling anybody."""

    def __init__(
        self,
        journal: Journal | None = None,
        *,
        clock: Callable[[], float] = time.time,
        new_uid: Callable[[], str] = lambda: str(uuid4()),
        window: int = WINDOW,
    ) -> None:
        self.revision = 0
        self._clock = clock
        self._new_uid = new_uid
        self._shelves: dict[str, Shelf] = {}
        self._garbage = Garbage()
        self._pending: list[Event] = []
        self._former: Former = []
        self._published: deque[Event] = deque()
        self._publishing = False
        self._rehearsing = False
        self._subscribers: list[Callable[[Event], None]] = []
        self._journal = journal
        if journal is not None:
            self._load(journal)
        self._history = History(self.revision, window)

    # Reading

    def get(self, kind: str, namespace: str, name: str) -> Body | None:
        """The object, None where there is none. `namespace` is empty for cluster-scoped kinds."""
        record = self.record(kind, namespace, name)
        return record.body if record else None

    def record(self, kind: str, namespace: str, name: str) -> Record | None:
        """The object with its JSON."""
        shelf = self._shelves.get(kind)
        return shelf.records.get((namespace, name)) if shelf else None

    def list(self, kind: str, namespace: str | None = None, selector: Body | None = None) -> Bodies:
        """All objects of a kind, or those of a namespace, that a LabelSelector (`matchLabels`, `matchExpressions`)
        selects, or all without one; sorted by namespace and name."""
        found = [record.body for record in self.records(kind, namespace)]
        if selector is None:
            return found
        return [body for body in found if matches(selector, body["metadata"].get("labels") or {})]

    def records(self, kind: str, namespace: str | None = None) -> Records:
        """Like `list`, with the JSON."""
        shelf = self._shelves.get(kind)
        return shelf.within(namespace) if shelf else []

    def by_age(self, kind: str) -> Bodies:
        """All objects of a kind, in the order in which they were made."""
        shelf = self._shelves.get(kind)
        return [record.body for record in shelf.records.values()] if shelf else []

    def watch(self, kind: str, matches: Predicate, *, since: int, bound: int | None = None) -> Watcher:
        """A watcher of a kind's events after revision `since`; end it with `unwatch`. Raises Gone."""
        watcher = Watcher(matches, bound)
        self._history.watch(kind, watcher, since)
        return watcher

    def unwatch(self, kind: str, watcher: Watcher) -> None:
        self._history.unwatch(kind, watcher)

    def subscribe(self, callback: Callable[[Event], None]) -> None:
        """Call `callback` after each change, of any kind, in the order of the changes. A change that a callback makes
        is told after the present one has been told to everybody."""
        self._subscribers.append(callback)

    # Writing

    def create(self, kind: str, body: Body) -> Body:
        """Store a new object, with uid, creationTimestamp and, for generateName, a name. Raises AlreadyExists."""
        row = kinds.by_name(kind)[0]
        given = {key: value for key, value in (body.get("metadata") or {}).items() if key not in meta.SERVER_OWNED}
        namespace = (given.get("namespace") or "default") if row.namespaced else ""
        uid = self._new_uid()
        name = given.get("name") or self._fresh_name(kind, namespace, given["generateName"], uid)
        if self.record(kind, namespace, name):
            raise already_exists(kind, name)
        named = {**given, "name": name, **({"namespace": namespace} if namespace else {})}
        stamps: Body = {"uid": uid, "creationTimestamp": meta.timestamp(self._clock())}
        if kind not in meta.WITHOUT_GENERATION:
            stamps["generation"] = 1
        head = {"apiVersion": body.get("apiVersion") or row.api_version, "kind": kind, "metadata": named | stamps}
        new = head | body | head  # the head comes first, and is ours
        if kind in meta.INITIAL_STATUS:
            new.setdefault("status", meta.INITIAL_STATUS[kind])
        created = self._put("ADDED", kind, new)
        self._commit()
        return created

    def update(self, kind: str, body: Body, *, status: bool = False) -> Body:
        """Replace an object, all but its status, or with `status` that alone. What is equal already is no change.

        Raises NotFound, and Conflict where the body bears the resourceVersion or uid of another version or object.
        An object that is being deleted and that nothing holds any longer is removed.
        """
        given = body["metadata"]
        old = self._existing(kind, given.get("namespace", ""), given["name"])
        meta.check_version(kind, old, given)
        new = meta.with_status(old, body) if status else meta.replaced(old, body)
        if new == old:
            return old
        if not status and meta.is_new_generation(kind, old, new):
            generation = old["metadata"].get("generation", 0) + 1
            new["metadata"] = {**new["metadata"], "generation": generation}
        stored = self._put("MODIFIED", kind, new)
        self._settle(kind, stored)
        self._commit()
        return stored

    def delete(
        self,
        kind: str,
        namespace: str,
        name: str,
        *,
        grace: int | None = None,
        propagation: meta.Propagation = "Background",
        preconditions: Body | None = None,
    ) -> Body | None:
        """Delete an object and, in the background, what only it owned.

        Returns None once it is removed, or the object with its deletionTimestamp where finalizers, a Pod's grace
        period (`grace` seconds, its own for None, 0 for at once) or a namespace's objects still hold it. Raises
        NotFound, and Conflict where `preconditions` (uid, resourceVersion) are not met.
        """
        body = self._existing(kind, namespace, name)
        meta.check_version(kind, body, preconditions or {})
        self._delete(kind, body, grace, propagation)
        self._commit()
        return self.get(kind, namespace, name)

    def finish(self, kind: str, namespace: str, name: str) -> None:
        """Remove an object whose grace period is over (finalizers still hold it). None there is fine."""
        if self.get(kind, namespace, name) is not None:
            self.delete(kind, namespace, name, grace=0)

    @contextmanager
    def rehearsal(self, wanted: bool = True) -> Iterator[None]:
        """Within it, if it is wanted, changes are made, answered and undone: nobody is told and nothing stored."""
        self._rehearsing = wanted
        try:
            yield
        finally:
            self._rehearsing = False

    def _existing(self, kind: str, namespace: str, name: str) -> Body:
        body = self.get(kind, namespace, name)
        if body is None:
            raise not_found(kind, name)
        return body

    def _fresh_name(self, kind: str, namespace: str, prefix: str, uid: str) -> str:
        for _ in range(_NAME_ATTEMPTS):
            name = meta.generated_name(prefix, uid)
            if self.record(kind, namespace, name) is None:
                return name
            uid = self._new_uid()
        raise already_exists(kind, name)

    # Deletion and what follows from it

    def _delete(self, kind: str, body: Body, grace: int | None, propagation: meta.Propagation) -> None:
        uid, name = body["metadata"]["uid"], body["metadata"]["name"]
        if propagation == "Orphan":
            for owned in self._garbage.owned(uid):
                self._disown(owned, uid)
        marked = meta.marked(kind, body, grace, self._clock())
        if propagation == "Foreground" and self._blocking(uid):
            marked = meta.with_finalizer(marked, meta.FOREGROUND)
        populated = kind == "Namespace" and self._garbage.populated(name)
        if populated:
            marked = {**marked, "status": {**marked.get("status", {}), "phase": "Terminating"}}
        if not meta.is_held(marked) and not populated:
            self._remove(kind, body)
            return
        if marked != body:
            self._put("MODIFIED", kind, marked)
        if populated:
            self._delete_all(self._garbage.within(name), "Background")
        elif propagation == "Foreground":
            self._delete_all(self._garbage.owned(uid), "Foreground")

    def _delete_all(self, references: Iterable[meta.Reference], propagation: meta.Propagation) -> None:
        for kind, namespace, name in references:
            body = self.get(kind, namespace, name)
            if body is not None:  # the deletion of one before it may have taken it along
                self._delete(kind, body, None, propagation)

    def _remove(self, kind: str, body: Body) -> None:
        metadata = body["metadata"]
        owned = self._garbage.owned(metadata["uid"])
        self._drop(kind, body)
        for reference in owned:
            self._owner_gone(reference, metadata["uid"])
        for owner in meta.owners(body):
            self._unblock(owner)
        self._settle_namespace(metadata.get("namespace", ""))

    def _owner_gone(self, reference: meta.Reference, uid: str) -> None:
        """An object has lost an owner: it goes too, unless another one is still there."""
        body = self.get(*reference)
        if body is None:
            return
        others = [owner for owner in meta.owners(body) if owner["uid"] != uid]
        if any(self._garbage.alive(owner["uid"]) for owner in others):
            self._disown(reference, uid)
        else:
            self._delete(reference[0], body, None, "Background")

    def _disown(self, reference: meta.Reference, uid: str) -> None:
        body = self.get(*reference)
        if body is not None:
            self._put("MODIFIED", reference[0], meta.without_owner(body, uid))

    def _blocking(self, uid: str) -> bool:
        """Whether anything of the owner holds up its deletion in the foreground."""
        bodies = filter(None, (self.get(*reference) for reference in self._garbage.owned(uid)))
        owners = (owner for body in bodies for owner in meta.owners(body))
        return any(owner["uid"] == uid and owner.get("blockOwnerDeletion") for owner in owners)

    def _unblock(self, owner: Body) -> None:
        """An owned object is gone: its owner, deleted in the foreground, may follow if it was the last."""
        reference = self._garbage.reference(owner["uid"])
        body = self.get(*reference) if reference else None
        if reference is None or body is None or meta.FOREGROUND not in (body["metadata"].get("finalizers") or ()):
            return
        if not self._blocking(owner["uid"]):
            self._settle(reference[0], self._put("MODIFIED", reference[0], meta.without_finalizer(body)))

    def _settle_namespace(self, name: str) -> None:
        body = self.get("Namespace", "", name)
        if body is not None:
            self._settle("Namespace", body)

    def _settle(self, kind: str, body: Body) -> None:
        """Remove an object that is being deleted and that nothing holds any longer."""
        metadata = body["metadata"]
        populated = kind == "Namespace" and self._garbage.populated(metadata["name"])
        if "deletionTimestamp" in metadata and not meta.is_held(body) and not populated:
            self._remove(kind, body)

    # Transactions

    def _put(self, event_type: EventType, kind: str, body: Body) -> Body:
        """Store a version of an object under the next revision."""
        metadata = body["metadata"] = {**body["metadata"], "resourceVersion": str(self.revision + 1)}
        key = (metadata.get("namespace", ""), metadata["name"])
        record = Record(body, encode(body))
        self.revision += 1
        old = self._swap(kind, key, record)
        self._pending.append(Event(event_type, kind, body, old.body if old else None, record.json))
        self._former.append((kind, key, old))
        return body

    def _drop(self, kind: str, body: Body) -> None:
        self.revision += 1
        key = (body["metadata"].get("namespace", ""), body["metadata"]["name"])
        old = self._swap(kind, key, None)
        last = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.revision)}}
        self._pending.append(Event("DELETED", kind, last, body, encode(last)))
        self._former.append((kind, key, old))

    def _swap(self, kind: str, key: Key, record: Record | None) -> Record | None:
        """Put a record, or nothing, in the place of what is there, which is returned."""
        shelf = self._shelves.setdefault(kind, Shelf())
        old = shelf.records.get(key)
        if old is not None:
            self._garbage.forget(kind, old.body)
        if record is not None:
            shelf.put(key, record)
            self._garbage.learn(kind, record.body)
        elif old is not None:
            shelf.remove(key)
        return old

    def _commit(self) -> None:
        """Make the pending changes last, then tell them. Raises StatusError, with nothing changed, where the disk
        refuses."""
        events, former = self._pending, self._former
        self._pending, self._former = [], []
        if self._rehearsing:
            self._undo(former)
            return
        if self._journal is not None and events:
            try:
                self._journal.append([_journalled(event) for event in events], self.revision)
            except OSError as error:
                self._undo(former)
                raise StatusError(f"the change could not be written: {error}") from error
            self._compact(self._journal)
        self._published.extend(events)
        self._publish()

    def _undo(self, former: Former) -> None:
        for kind, key, record in reversed(former):
            self._swap(kind, key, record)
        self.revision -= len(former)

    def _publish(self) -> None:
        if self._publishing:
            return
        self._publishing = True
        try:
            while self._published:
                event = self._published.popleft()
                self._history.append(event)
                for callback in self._subscribers:
                    try:
                        callback(event)
                    except Exception:  # a subscriber's defect: the change stands, and the others are told of it
                        log.exception("a subscriber failed on %s %s", event.type, event.kind)
        finally:
            self._publishing = False

    def _compact(self, journal: Journal) -> None:
        if not journal.overgrown:
            return
        records = (record.json for shelf in self._shelves.values() for record in shelf.records.values())
        try:
            journal.compact(records, self.revision)
        except OSError as error:  # no room for a second copy: the journal goes on growing
            log.warning("compacting the journal: %s", error)

    def _load(self, journal: Journal) -> None:
        last: dict[meta.Reference, Body] = {}
        for changes in journal.read():
            self.revision = changes[-1]
            for change in changes[:-1]:
                if isinstance(change, dict):
                    metadata = change["metadata"]
                    last[change["kind"], metadata.get("namespace", ""), metadata["name"]] = change
                else:
                    last.pop(tuple(change), None)  # made again, it is younger than the others
        for (kind, *key), body in last.items():
            self._swap(kind, (key[0], key[1]), Record(body, encode(body)))


def _journalled(event: Event) -> bytes:
    """An event as an element of a journal's line."""
    if event.type != "DELETED":
        return event.json
    metadata = event.body["metadata"]
    return encode([event.kind, metadata.get("namespace", ""), metadata["name"]])
