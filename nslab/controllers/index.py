"""What is asked of the store over and over, kept up to date by its events: no controller scans all objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nslab.api.objects import Body
from nslab.cluster.selectors import matches
from nslab.controllers.interface import Event
from nslab.controllers.metadata import controller_of, key_of, labels_of, namespace_of

Selector = Mapping[str, Any]
"""A LabelSelector."""

SELECTING = ("ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Service")
"""Kinds that select Pods by labels. A Job's selector is by its uid, which no orphan carries."""

ADOPTED = ("Pod", "ReplicaSet", "ControllerRevision", "EndpointSlice")
"""Kinds whose objects find another owner by their labels, once theirs is gone without them
(`kubectl delete --cascade=orphan`)."""


def selector_of(kind: str, body: Body) -> Selector | None:
    """The LabelSelector of an object that selects Pods; None where it selects nothing."""
    selector = (body.get("spec") or {}).get("selector")
    if kind in ("Service", "ReplicationController"):
        return {"matchLabels": selector} if selector else None
    return selector or None


class LabelIndex:
    """Objects by namespace and label."""

    def __init__(self) -> None:
        self._bodies: dict[str, Body] = {}
        self._by_label: dict[tuple[str, str, str], dict[str, None]] = {}
        self._by_namespace: dict[str, dict[str, None]] = {}

    def put(self, key: str, body: Body) -> None:
        known = self._bodies.get(key)
        self._bodies[key] = body
        if known is not None:
            if labels_of(known) == labels_of(body):
                return
            self._forget(key, known)
        namespace = namespace_of(body)
        self._by_namespace.setdefault(namespace, {})[key] = None
        for label in labels_of(body).items():
            self._by_label.setdefault((namespace, *label), {})[key] = None

    def drop(self, key: str) -> None:
        known = self._bodies.pop(key, None)
        if known is not None:
            self._forget(key, known)

    def select(self, namespace: str, selector: Selector | None) -> list[Body]:
        """The objects that a LabelSelector selects, in the order in which they got their labels."""
        if selector is None:
            return []
        wanted = selector.get("matchLabels") or {}
        sets = [self._by_label.get((namespace, *label), {}) for label in wanted.items()]
        candidates = min(sets, key=len) if sets else self._by_namespace.get(namespace, {})
        found = (self._bodies[key] for key in candidates)
        if len(sets) == 1 and not selector.get("matchExpressions"):
            return list(found)
        return [body for body in found if matches(selector, labels_of(body))]

    def _forget(self, key: str, body: Body) -> None:
        namespace = namespace_of(body)
        _discard(self._by_namespace, namespace, key)
        for label in labels_of(body).items():
            _discard(self._by_label, (namespace, *label), key)


class SelectorIndex:
    """Selectors by namespace and one of the labels that they ask for: which of them select given labels?"""

    def __init__(self) -> None:
        self._selectors: dict[str, tuple[tuple[str, ...], Selector]] = {}
        self._by_place: dict[tuple[str, ...], dict[str, None]] = {}

    def put(self, key: str, namespace: str, selector: Selector | None) -> None:
        self.drop(key)
        if selector is not None:
            label = next(iter((selector.get("matchLabels") or {}).items()), ())
            self._selectors[key] = ((namespace, *label), selector)
            self._by_place.setdefault((namespace, *label), {})[key] = None

    def drop(self, key: str) -> None:
        place, _ = self._selectors.pop(key, ((), None))
        if place:
            _discard(self._by_place, place, key)

    def selecting(self, namespace: str, labels: Mapping[str, str]) -> Iterator[str]:
        """The keys of the selectors that select an object with these labels."""
        for place in ((namespace,), *((namespace, *label) for label in labels.items())):
            for key in self._by_place.get(place, ()):
                if matches(self._selectors[key][1], labels):
                    yield key


class Index:
    """All indexes over one store. `pods` are all Pods, `orphans` by kind those that no controller owns, bare Pods
    among them."""

    def __init__(self) -> None:
        self.pods = LabelIndex()
        self.orphans = {kind: LabelIndex() for kind in ADOPTED}
        self.selecting = {kind: SelectorIndex() for kind in SELECTING}
        self._owned: dict[tuple[str, str], dict[str, Body]] = {}
        self._by_node: dict[str, dict[str, Body]] = {}

    def owned(self, uid: str, kind: str) -> list[Body]:
        """The objects of a kind whose controller is the object with this uid."""
        return list(self._owned.get((uid, kind), {}).values())

    def on_node(self, node: str) -> list[Body]:
        """The Pods that are bound to a node."""
        return list(self._by_node.get(node, {}).values())

    def note(self, event: Event) -> None:
        """Take up a change. To be called before anybody asks about it."""
        kind, body, key = event.kind, event.body, key_of(event.body)
        gone = event.type == "DELETED"
        owner, before = controller_of(body), controller_of(event.old or body)
        if before is not None and (gone or owner is None or before["uid"] != owner["uid"]):
            _discard(self._owned, (before["uid"], kind), key)
        if owner is not None and not gone:
            self._owned.setdefault((owner["uid"], kind), {})[key] = body
        if kind in self.selecting:
            self.selecting[kind].put(key, namespace_of(body), None if gone else selector_of(kind, body))
        if kind in self.orphans:
            if gone or owner is not None:
                self.orphans[kind].drop(key)
            else:
                self.orphans[kind].put(key, body)
        if kind == "Pod":
            self._note_pod(key, body, event.old, gone)

    def _note_pod(self, key: str, body: Body, old: Body | None, gone: bool) -> None:
        node = body["spec"].get("nodeName", "")
        before = old["spec"].get("nodeName", "") if old else ""
        if before and (gone or before != node):
            _discard(self._by_node, before, key)
        if gone:
            self.pods.drop(key)
            if node:
                _discard(self._by_node, node, key)
            return
        self.pods.put(key, body)
        if node:
            self._by_node.setdefault(node, {})[key] = body


def _discard(places: dict[Any, dict[Any, Any]], place: Any, key: Any) -> None:
    """Take a key from its place, and the place away when it was the last there."""
    keys = places.get(place)
    if keys is not None:
        keys.pop(key, None)
        if not keys:
            del places[place]


def controllers_of(index: Index, kind: str, event: Event) -> Iterable[str]:
    """The keys of the controllers of one kind that a Pod's change concerns: the one that owns it or did, and, if none
    does, those that might adopt it."""
    seen: dict[str, None] = {}
    for body in (event.body, event.old):
        if body is None:
            continue
        owner = controller_of(body)
        if owner is None:
            if kind in index.selecting:
                found = index.selecting[kind].selecting(namespace_of(body), labels_of(body))
                seen.update(dict.fromkeys(found))
        elif owner["kind"] == kind:
            seen[f"{namespace_of(body)}/{owner['name']}"] = None
    return seen
