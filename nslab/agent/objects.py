"""The lab's objects: the store on its journal, the controllers over it, and what of them the network is made of."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nslab.agent.merging import is_another, merged, wish
from nslab.api.kinds import KINDS
from nslab.api.objects import Body, ClusterSpec, LabSpec, Manifest, Object
from nslab.apiserver.events import Event
from nslab.apiserver.store import Store
from nslab.cluster.allocate import allocate
from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster, Leases, Pod
from nslab.cluster.naming import object_uid
from nslab.cluster.render import SYSTEM_NAMESPACES
from nslab.cluster.workloads import controller
from nslab.controllers.interface import Settings
from nslab.controllers.metadata import key_of
from nslab.controllers.pods import is_ready
from nslab.errors import CapacityError
from nslab.kubelet.pod_status import conditions_of, unmet_gates

if TYPE_CHECKING:  # controllers begin once a new lab's `up` has its answer
    from nslab.controllers.control_plane import ControlPlane

log = logging.getLogger("nslab.agent")

WORKLOADS = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Job")
CARRIED = tuple(row.name for row in KINDS if row.role == "carried" and row.name != "Lab")
NETWORK = frozenset(CARRIED) - frozenset(WORKLOADS)
"""Kinds that the network is made of: controllers turn the others into Pods."""

_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")
_VERSIONS = frozenset(["resourceVersion", "generation", "managedFields"])

Bodies = Mapping[str, Iterable[Body]]
"""Objects by kind."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A journal that begins with the lines of another and forgets what is appended: for a store that only tries."""

    lines: tuple[list[Any], ...] = ()
    overgrown: bool = False

    def read(self) -> Iterator[list[Any]]:
        return iter(self.lines)

    def append(self, changes: Iterable[bytes], revision: int) -> None: ...

    def compact(self, objects: Iterable[bytes], revision: int) -> None: ...


class _Keeping(Store):
    """A store in which promised Pods, by namespace and name, come into being with the uid and on the node they
    have."""

    def __init__(self, promised: dict[tuple[str, str], Pod], journal: Any, *, new_uid: Callable[[], str]) -> None:
        super().__init__(journal, new_uid=lambda: self._next or new_uid())
        self._promised = promised
        self._next = ""

    def create(self, kind: str, body: Body) -> Body:
        metadata = body.get("metadata") or {}
        key = metadata.get("namespace", ""), metadata.get("name", "")
        pod = self._promised.pop(key, None) if kind == "Pod" else None
        if pod is None:
            return super().create(kind, body)
        self._next = pod.uid
        try:
            return super().create(kind, {**body, "spec": {**body["spec"], "nodeName": pod.node}})
        finally:
            self._next = ""


@dataclass(slots=True)
class Objects:
    """All objects of a lab. `promised` are Pods that stand already, before controllers make their objects.
    `changed` says that the network may have to follow; `on_matter` is told, with kind, key and type of event, what it
    is that it may have to follow; `on_change` is called after each change of any object."""

    lab: str
    journal: Any = field(default_factory=Draft)
    on_change: Callable[[], None] = lambda: None
    on_matter: Callable[[str, str, str], None] = lambda kind, key, what: None
    changed: bool = True
    store: Store = field(init=False)
    controllers: ControlPlane = field(init=False)
    places: Mapping[tuple[str, str, str], tuple[int, str]] = field(default_factory=dict)
    refused: dict[tuple[str, str, str], str] = field(default_factory=dict)
    promised: dict[tuple[str, str], Pod] = field(default_factory=dict)
    _memo: Memo = field(default_factory=Memo)
    _bodies: dict[str, tuple[Body, ...]] = field(default_factory=dict)
    _quiet: bool = False
    _uids: int = 0

    def __post_init__(self) -> None:
        self.store = _Keeping(self.promised, self.journal, new_uid=self._new_uid)
        self.store.subscribe(self._note)

    def start(self, spec: ClusterSpec, hear: Callable[[], None]) -> None:
        """Let the controllers begin, once the nodes have been heard of. `hear` lets the nodes speak."""
        from nslab.controllers.control_plane import ControlPlane

        settings = Settings(grace=spec.node_monitor_grace_period, max_pods=spec.max_pods_per_node)
        self.controllers = ControlPlane(self.store, time.time, settings, hear)

    def _new_uid(self) -> str:
        """The same changes give the same uids, so that a plan tells the truth."""
        self._uids += 1
        return object_uid(f"{self.lab}/{self.store.revision}/{self._uids}")

    def _note(self, event: Event) -> None:
        self._bodies.pop(event.kind, None)
        if not self._quiet and event.kind in NETWORK and _matters(event) and not self._is_derived(event):
            self.changed = True
            self.on_matter(event.kind, key_of(event.body).lstrip("/"), event.type)
        self.on_change()

    def _is_derived(self, event: Event) -> bool:
        """Whether a controller made what changed of objects that the network looks at itself."""
        if event.kind not in ("Endpoints", "EndpointSlice"):
            return False
        service = self.store.get("Service", *_key(event.body))
        selecting = {_key(event.body)} if service and service["spec"].get("selector") else set[tuple[str, str]]()
        return _is_derived(event.kind, event.body, set(), selecting)

    # --- What `up` applies

    def remember(self, applied: Iterable[Object]) -> None:
        """Take note of where the objects that `up` applied stand in the files."""
        self.places = places(applied)

    def apply(self, wishes: Iterable[Object], last: Iterable[Object]) -> None:
        """Make the stored objects what is wished, and remove those of `last` that are wished no longer. What others
        wrote stays."""
        wanted = list(wishes)
        former = {_reference(item): item.body for item in last}
        self.remember(wanted)
        for name in dict.fromkeys([*SYSTEM_NAMESPACES, *(item.namespace for item in wanted)]):
            if name and ("Namespace", "", name) not in self.places and not self.store.get("Namespace", "", name):
                self.store.create("Namespace", namespace(name))
        for item in wanted:
            self._apply(item, former.get(_reference(item), {}))
        for reference in former.keys() - self.places.keys():
            if self.store.get(*reference):
                self.store.delete(*reference)

    def _apply(self, item: Object, last: Body) -> None:
        new = wish({**item.body, "apiVersion": item.api_version, "kind": item.kind})
        stored = self.store.get(item.kind, item.namespace, item.name)
        if stored is None:
            self.store.create(item.kind, new)
            return
        result = merged(wish(last) if last else {}, new, stored)
        if is_another(item.kind, stored, result):
            self.store.delete(item.kind, item.namespace, item.name, grace=0)
            self.store.create(item.kind, new)
        else:
            self.store.update(item.kind, result)

    def presume(self) -> None:
        """Let the controllers make all that a new lab will have: where one Pod waits for another, that one counts as
        ready unless a probe has to say so. Nobody sees it: its status is written again once its network stands."""
        while True:
            self.controllers.run()
            awaited = [body for body in self.store.list("Pod") if _is_awaited(body)]
            if not awaited:
                return
            for body in awaited:
                status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
                self.store.update("Pod", {**body, "status": {**(body.get("status") or {}), **status}}, status=True)

    def uid(self, kind: str, key: str) -> str:
        """The uid of an object by NAMESPACE/NAME, empty where there is none."""
        body = self.store.get(kind, *key.split("/"))
        return str(body["metadata"]["uid"]) if body else ""

    # --- What the network is made of

    def cluster(self, lab: LabSpec, leases: Leases, ready: Mapping[str, bool]) -> Cluster:
        """The Cluster of these objects. One that asks for what cannot be had is left out, and the log says so."""
        for kind in NETWORK - self._bodies.keys():  # where nothing has changed since the last time, it is what it was
            self._bodies[kind] = tuple(self.store.by_age(kind))
        found = manifest(lab, self._bodies, self.places, self._memo)
        cluster, refused = possible(found, leases, ready, self._memo)
        for reference, reason in refused.items():
            if self.refused.get(reference) != reason:
                log.warning("%s: %s", " ".join(filter(None, reference)), reason)
        self.refused = refused
        return cluster

    def write(self, kind: str, body: Body, *, status: bool = False) -> None:
        """Store what the network was given; nothing has to follow from it."""
        self._quiet = True
        try:
            self.store.update(kind, body, status=status)
        finally:
            self._quiet = False


Places = Mapping[tuple[str, str, str], tuple[int, str]]
"""The position among the applied objects, and the place in the files, by kind, namespace and name."""


def places(applied: Iterable[Object]) -> Places:
    return {_reference(item): (number, item.where) for number, item in enumerate(applied)}


def manifest(lab: LabSpec, bodies: Bodies, known: Places, memo: Memo | None = None) -> Manifest:
    """What `allocate` makes a Cluster of: the stored objects, without those that controllers turn into others, or
    made of others. `known` are the places of those that were applied."""
    memo = memo or Memo()
    labels = {body["metadata"]["name"]: body["metadata"].get("labels") or {} for body in bodies.get("Node", ())}
    nodes = tuple(replace(node, labels=labels.get(node.name, node.labels)) for node in lab.nodes)
    names = memo.one("names", nodes, lambda: frozenset(node.name for node in nodes))
    selectors = memo.row("selectors", [(body,) for body in bodies.get("Service", ())], _selecting)
    # Only of Endpoints does it matter who selects: for thousands of others a new Service would be a new cause.
    selecting = memo.one("selecting", selectors, lambda: {"Endpoints": frozenset(filter(None, selectors))})
    there = {kind: tuple(bodies[kind]) for kind in sorted(NETWORK & bodies.keys())}

    def placed(kind: str) -> tuple[tuple[int, Object], ...]:
        causes = [(body, kind, known, names, selecting.get(kind, frozenset())) for body in there[kind]]
        return tuple(filter(None, memo.row(f"objects {kind}", causes, _placed)))

    kinds = {kind: (those, known, names, selecting.get(kind)) for kind, those in there.items()}
    found = tuple(memo.each("objects", kinds, placed).values())
    together = memo.one("manifest", found, lambda: tuple(
        item for _, item in sorted(chain.from_iterable(found), key=itemgetter(0))
    ))
    return Manifest(memo.one("lab", (lab, nodes), lambda: replace(lab, nodes=nodes)), together)


def _selecting(service: Body) -> tuple[str, str] | None:
    return _key(service) if service["spec"].get("selector") else None


def _placed(
    body: Body, kind: str, known: Places, nodes: Set[str], selecting: Set[tuple[str, str]]
) -> tuple[int, Object] | None:
    """A stored object, and where it stands among the applied ones; None of one that is left out."""
    if _is_derived(kind, body, nodes, selecting):
        return None
    reference = (kind, *_key(body))
    number, where = known.get(reference, (len(known), " ".join(filter(None, reference))))
    return _position(body, number, known), Object(body["apiVersion"], *reference, body, where or " ".join(reference))


def _position(body: Body, number: int, known: Places) -> int:
    """Where an object stands among the applied ones: a workload's Pods stand where it does."""
    kind, name = controller(body["metadata"])
    return known.get((kind, body["metadata"].get("namespace", ""), name), (number,))[0] if kind else number


def possible(
    found: Manifest, leases: Leases, ready: Mapping[str, bool], memo: Memo | None = None
) -> tuple[Cluster, dict[tuple[str, str, str], str]]:
    """The Cluster of what can be had, and the reasons of what was left out. Raises CapacityError where the Lab itself
    asks for too much."""
    refused: dict[tuple[str, str, str], str] = {}
    while True:
        try:
            return allocate(found, leases, ready, memo), refused
        except CapacityError as error:
            culprit = next((item for item in found.objects if item.where == error.where), None)
            if culprit is None:
                raise
            refused[_reference(culprit)] = error.message
            found = replace(found, objects=tuple(item for item in found.objects if item is not culprit))


def _is_derived(kind: str, body: Body, nodes: Set[str], selecting: Set[tuple[str, str]]) -> bool:
    if kind == "Pod":
        return body["spec"].get("nodeName") not in nodes or (body.get("status") or {}).get("phase") in (
            "Succeeded", "Failed"
        )
    if kind == "Endpoints":
        return _key(body) in selecting
    return kind == "EndpointSlice" and (body["metadata"].get("labels") or {}).get(_MANAGED_BY) in _CONTROLLERS


def namespace(name: str) -> Body:
    return {
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}, "status": {"phase": "Active"},
    }


def read_journal(path: Path) -> list[list[Any]]:
    """The lines of a journal that another process may be writing; one that is not complete yet is left out."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    lines: list[list[Any]] = json.loads(b"[%b]" % b",".join(content.split(b"\n")[:-1]))
    return lines


def stored(lines: Iterable[list[Any]]) -> dict[str, list[Body]]:
    """The objects by kind, in the order in which they were made, that the lines of a journal lead to."""
    found: dict[str, dict[tuple[str, str], Body]] = {}
    for line in lines:
        for change in line[:-1]:
            if isinstance(change, dict):
                found.setdefault(change["kind"], {})[_key(change)] = change
            else:
                kind, *key = change
                found.get(kind, {}).pop(tuple(key), None)
    return {kind: list(bodies.values()) for kind, bodies in found.items()}


def _opens_or_closes(old: Body, body: Body) -> bool:
    """Whether a change of a Pod's status is one of its readiness gates."""
    if not body["spec"].get("readinessGates"):
        return False
    return unmet_gates(old["spec"], conditions_of(old)) != unmet_gates(body["spec"], conditions_of(body))


def _is_awaited(pod: Body) -> bool:
    """Whether a StatefulSet waits for nothing but this Pod's network."""
    owners = pod["metadata"].get("ownerReferences") or ()
    containers = (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"])
    probed = any("readinessProbe" in container or "startupProbe" in container for container in containers)
    ordered = any(owner["kind"] == "StatefulSet" for owner in owners)
    return ordered and not probed and bool(pod["spec"].get("nodeName")) and not is_ready(pod)


def _matters(event: Event) -> bool:
    """Whether the network may look different after a change: a Pod without a node it does not see, nor a status but
    the readiness of a Pod whose kubelet is silent, of which others tell."""
    body, old = event.body, event.old
    if event.kind == "Pod" and not body["spec"].get("nodeName"):
        return False
    if old is None or event.type != "MODIFIED":
        return True
    if event.kind == "Pod" and (is_ready(old) != is_ready(body) or _opens_or_closes(old, body)):
        return True
    keys = (old.keys() | body.keys()) - {"status", "metadata"}
    if any(old.get(key) != body.get(key) for key in keys):
        return True
    before, after = old["metadata"], body["metadata"]
    return any(before.get(key) != after.get(key) for key in (before.keys() | after.keys()) - _VERSIONS)


def objects(bodies: Bodies) -> tuple[Object, ...]:
    """The stored objects of the kinds that a user writes, those that controllers made left out."""
    return tuple(
        Object(body["apiVersion"], kind, *_key(body), body)
        for kind in CARRIED for body in bodies.get(kind, ())
        if not body["metadata"].get("ownerReferences") and not _is_derived(kind, body, set(), set())
    )


def restarts(pods: Iterable[Body]) -> dict[str, int]:
    """How often containers of a Pod were started again, by Pod key."""
    return {key_of(body): restarts_of(body) for body in pods}


def restarts_of(pod: Body) -> int:
    """How often containers of a stored Pod were started again."""
    return sum(item["restartCount"] for item in (pod.get("status") or {}).get("containerStatuses") or ())


def _key(body: Body) -> tuple[str, str]:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


def _reference(item: Object) -> tuple[str, str, str]:
    return item.kind, item.namespace, item.name
