"""What an `up` would lead to, tried on a copy of the objects: for the plan, and to refuse before anything is done."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from nslab.agent.objects import Draft, Objects
from nslab.api.kinds import KINDS
from nslab.api.objects import Manifest, Object
from nslab.apiserver.store import Store
from nslab.cluster.model import Cluster, Leases
from nslab.controllers.metadata import key_of
from nslab.controllers.pods import is_ready
from nslab.kubelet.nodes import register


def copied(store: Store) -> Draft:
    """A draft that begins with the objects of a store."""
    bodies: list[Any] = [body for kind in sorted({row.name for row in KINDS}) for body in store.list(kind)]
    return Draft(([*bodies, store.revision],))


def rehearse(
    lab: str, draft: Draft, applied: Manifest, last: Iterable[Object], allotted: Cluster, leases: Leases
) -> Cluster:
    """The Cluster that the first walk of an `up` would build: `applied` are its wishes, `last` those of the `up`
    before, and `allotted` has the nodes. Raises CapacityError."""
    objects = Objects(lab, draft)
    known = {
        key_of(body): (body["metadata"]["uid"], is_ready(body)) for body in objects.store.list("Pod")
    }
    objects.apply(applied.objects, last)
    register(objects.store, allotted)
    objects.start(applied.lab.cluster, partial(register, objects.store, allotted))
    objects.controllers.run()
    ready = {key: state for key, (uid, state) in known.items() if objects.uid("Pod", key) == uid}
    return objects.cluster(applied.lab, leases, ready)
