"""Objects for the tests of the store and the API, and a store with a clock that the tests turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from nslab.api.objects import Body
from nslab.apiserver.events import Event
from nslab.apiserver.journal import Journal
from nslab.apiserver.store import Store

NOON = 1_700_000_000.0


@dataclass
class Scene:
    """A store, what it told its subscribers, and its present time."""

    store: Store
    events: list[Event] = field(default_factory=list)

    def told(self) -> list[tuple[str, str, str]]:
        """Type, kind and name of the events since the last call."""
        told = [(event.type, event.kind, event.body["metadata"]["name"]) for event in self.events]
        self.events.clear()
        return told


def uids() -> Iterator[str]:
    return (f"00000000-0000-4000-a000-{number * 7919:012x}" for number in count(1))


def scene(journal: Journal | None = None, window: int = 4096) -> Scene:
    fresh = uids()
    made = Scene(Store(journal, clock=lambda: NOON, new_uid=lambda: next(fresh), window=window))
    made.store.subscribe(made.events.append)
    return made


def pod(name: str, namespace: str = "default", *, node: str = "", labels: dict[str, str] | None = None) -> Body:
    spec: Body = {"containers": [{"name": "app", "image": "app"}]}
    if node:
        spec["nodeName"] = node
    metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def config_map(name: str, namespace: str = "default", **data: str) -> Body:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def namespace(name: str) -> Body:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "status": {"phase": "Active"}}


def owned_by(body: Body, *owners: Body, block: bool = False) -> Body:
    references = [
        {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
         "uid": owner["metadata"]["uid"], "blockOwnerDeletion": block}
        for owner in owners
    ]  # fmt: skip
    return {**body, "metadata": {**body["metadata"], "ownerReferences": references}}


def changed(body: Body, **parts: object) -> Body:
    """A copy with top-level parts replaced; `metadata` is merged."""
    metadata = {**body["metadata"], **parts.pop("metadata", {})}  # type: ignore[dict-item]
    return {**body, **parts, "metadata": metadata}
