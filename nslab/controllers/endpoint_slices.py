"""EndpointSlices of Services: of the Pods they select, and mirrors of Endpoints that a user wrote
(staging/src/k8s.io/endpointslice, pkg/controller/endpointslicemirroring)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

from nslab.api.objects import Body
from nslab.cluster.endpoint_objects import (
    CONTROLLER,
    MIRROR,
    SLICE_SIZE,
    Port,
    endpoint_slice,
    service_labels,
    slice_endpoint,
    slice_name,
)  # fmt: skip
from nslab.cluster.model import Endpoint
from nslab.controllers.endpoint_members import EndpointMembers, is_headless, selects
from nslab.controllers.index import Index
from nslab.controllers.interface import Event, Store
from nslab.controllers.metadata import (
    is_terminating,
    key_of,
    labels_of,
    namespace_of,
    owners_of,
    split,
    uid_of,
)  # fmt: skip

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
Groups = dict[tuple[Port, ...], dict[str, Body]]
"""Endpoints by identity, grouped by the port numbers they have."""


class SliceWriter:
    """Keeps the slices that one manager has of a Service: an endpoint stays in its slice, a slice that changes in
    nothing is not written."""

    def __init__(self, store: Store, index: Index, manager: str) -> None:
        self._store = store
        self._index = index
        self._manager = manager
        self._writing = False

    def keys(self, event: Event) -> Iterable[str]:
        """The Service whose slice somebody else changed or removed."""
        if self._writing or event.type == "ADDED" or labels_of(event.body).get(MANAGED_BY) != self._manager:
            return ()
        return (f"{namespace_of(event.body)}/{labels_of(event.body).get('kubernetes.io/service-name', '')}",)

    def write(self, service: Body, groups: Groups) -> None:
        """Make the slices say what `groups` say. Without any group none is left."""
        slices = self._slices(service)
        kept, spare = _fitted(slices, groups)
        self._writing = True
        try:
            for body, ports, endpoints in kept:
                self._put(service, body["metadata"]["name"], ports, endpoints, body)
            for ports, endpoints in _parts(groups, {ports for _, ports, _ in kept}):
                old = spare.pop(0) if spare else None
                name = old["metadata"]["name"] if old else self._free_name(service)
                self._put(service, name, ports, endpoints, old)
            for body in spare:
                self._store.delete("EndpointSlice", *split(key_of(body)))
        finally:
            self._writing = False

    def _slices(self, service: Body) -> list[Body]:
        """Its slices; those among them that a Service of its name left, which was deleted without them."""
        left = {"matchLabels": {"kubernetes.io/service-name": service["metadata"]["name"], MANAGED_BY: self._manager}}
        owned = self._index.owned(uid_of(service), "EndpointSlice")
        return [
            *(body for body in owned if labels_of(body).get(MANAGED_BY) == self._manager),
            *self._index.orphans["EndpointSlice"].select(namespace_of(service), left),
        ]

    def _free_name(self, service: Body) -> str:
        names = (slice_name(key_of(service), number) for number in count())
        return next(name for name in names if not self._store.get("EndpointSlice", namespace_of(service), name))

    def _put(
        self, service: Body, name: str, ports: tuple[Port, ...], endpoints: list[Body], old: Body | None
    ) -> None:
        labels = service_labels(service, headless=is_headless(service))
        new = endpoint_slice(service, labels, name, ports, endpoints, self._manager)
        mine = {"labels": labels_of(new), "ownerReferences": owners_of(new)}
        if old is None:
            self._store.create("EndpointSlice", new)
        elif (
            any(old.get(field) != new[field] for field in ("ports", "endpoints"))
            or any(old["metadata"].get(field) != value for field, value in mine.items())
        ):
            self._store.update("EndpointSlice", {**new, "metadata": {**old["metadata"], **mine}})


class EndpointSliceController:
    name = "endpointslice-controller"

    def __init__(self, store: Store, index: Index, members: EndpointMembers) -> None:
        self._store = store
        self._members = members
        self._writer = SliceWriter(store, index, CONTROLLER)

    def keys(self, event: Event) -> Iterable[str]:
        return self._writer.keys(event) if event.kind == "EndpointSlice" else self._members.keys(event)

    def sync(self, key: str) -> float | None:
        service = self._store.get("Service", *split(key))
        if service is None or is_terminating(service):
            return None
        groups: Groups = {}
        if selects(service):
            for endpoint, target, ports in self._members.of(service):
                body = slice_endpoint(endpoint, target)
                groups.setdefault(ports, {})[_identity(body)] = body
            groups = groups or {(): {}}  # a Service that has none says so in an empty slice
        self._writer.write(service, groups)
        return None


class EndpointMirrorController:
    """For Endpoints beside a Service without a selector, which their user keeps."""

    name = "endpointslicemirroring-controller"

    def __init__(self, store: Store, index: Index) -> None:
        self._store = store
        self._writer = SliceWriter(store, index, MIRROR)

    def keys(self, event: Event) -> Iterable[str]:
        if event.kind == "EndpointSlice":
            return self._writer.keys(event)
        return (key_of(event.body),) if event.kind in ("Endpoints", "Service") else ()

    def sync(self, key: str) -> float | None:
        service = self._store.get("Service", *split(key))
        if service is None or is_terminating(service):
            return None
        written = self._store.get("Endpoints", *split(key))
        mirrored = not selects(service) and written is not None and SKIP_MIRROR not in labels_of(written)
        self._writer.write(service, _mirror(written) if mirrored and written else {})
        return None


def _mirror(written: Body) -> Groups:
    groups: Groups = {}
    for subset in written.get("subsets") or ():
        ports = tuple(
            Port(port.get("name", ""), port.get("protocol", "TCP"), port["port"])
            for port in subset.get("ports") or ()
        )
        for field, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(field) or ():
                node, hostname = address.get("nodeName") or "", address.get("hostname") or ""
                endpoint = Endpoint(address["ip"], 0, node, "", ready, ready, hostname=hostname)
                target = {"targetRef": address["targetRef"]} if "targetRef" in address else {}
                body = slice_endpoint(endpoint, target)
                groups.setdefault(ports, {})[_identity(body)] = body
    return groups


def _fitted(slices: list[Body], groups: Groups) -> tuple[list[tuple[Body, tuple[Port, ...], list[Body]]], list[Body]]:
    """The slices that stay with what is in them now, and those that nothing is left for. Endpoints that found their
    place are taken out of `groups`."""
    kept, spare = [], []
    for body in slices:
        ports = tuple(Port(port["name"], port["protocol"], port["port"]) for port in body.get("ports") or ())
        wanted = groups.get(ports, {})
        endpoints = [wanted.pop(name) for name in map(_identity, body.get("endpoints") or ()) if name in wanted]
        if endpoints:
            kept.append((body, ports, endpoints))
        else:
            spare.append(body)
    for _, ports, endpoints in kept:
        wanted = groups[ports]
        while wanted and len(endpoints) < SLICE_SIZE:
            endpoints.append(wanted.pop(next(iter(wanted))))
    return kept, spare


def _parts(groups: Groups, kept: set[tuple[Port, ...]]) -> Iterator[tuple[tuple[Port, ...], list[Body]]]:
    """What needs slices of its own: a hundred endpoints each, and an empty one for an empty group that has none."""
    for ports, wanted in groups.items():
        endpoints = list(wanted.values())
        if not endpoints and ports not in kept:
            yield ports, []
        for start in range(0, len(endpoints), SLICE_SIZE):
            yield ports, endpoints[start : start + SLICE_SIZE]


def _identity(endpoint: Body) -> str:
    """The uid of its Pod: Pods in their node's netns share an address. An endpoint without one is its address."""
    uid: str = (endpoint.get("targetRef") or {}).get("uid") or endpoint["addresses"][0]
    return uid
