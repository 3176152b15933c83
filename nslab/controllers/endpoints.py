"""Endpoints, the older form of a Service's EndpointSlices (pkg/controller/endpoint)."""

from __future__ import annotations

from collections.abc import Iterable

from nslab.api.objects import Body
from nslab.cluster.endpoint_objects import Port, service_labels, subset
from nslab.cluster.model import Endpoint
from nslab.controllers.endpoint_members import EndpointMembers, Member, is_headless, selects
from nslab.controllers.interface import Event, Store
from nslab.controllers.metadata import is_terminating, key_of, labels_of, split, with_metadata

CAPACITY = 1000
"""Addresses in one Endpoints object; those beyond are left out."""

OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


class EndpointsController:
    """Writes the Endpoints of every Service with a selector; they go with their Service."""

    name = "endpoint-controller"

    def __init__(self, store: Store, members: EndpointMembers) -> None:
        self._store = store
        self._members = members
        self._writing = False

    def keys(self, event: Event) -> Iterable[str]:
        if event.kind == "Endpoints":
            return () if self._writing or event.type == "ADDED" else (key_of(event.body),)
        return self._members.keys(event)

    def sync(self, key: str) -> float | None:
        service = self._store.get("Service", *split(key))
        known = self._store.get("Endpoints", *split(key))
        if service is None:
            if known is not None:
                self._store.delete("Endpoints", *split(key))
        elif selects(service) and not is_terminating(service):
            self._write(service, known)
        return None

    def _write(self, service: Body, known: Body | None) -> None:
        groups: dict[tuple[Port, ...], list[tuple[Endpoint, Body]]] = {}
        count = 0
        for endpoint, target, ports in sorted(self._members.of(service), key=_place):
            # Here a Pod on its way out has no place, unless the Service wants even those that are not ready.
            if endpoint.terminating and not endpoint.ready:
                continue
            count += 1
            if count <= CAPACITY:
                groups.setdefault(ports, []).append((endpoint, target))
        subsets = [subset(ports, members) for ports, members in groups.items()]
        labels = service_labels(service, headless=is_headless(service))
        namespace, name = split(key_of(service))
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        annotations = {OVER_CAPACITY: "truncated"} if count > CAPACITY else None
        body: Body = with_metadata(
            {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}, annotations=annotations
        )
        if subsets:
            body["subsets"] = subsets
        self._writing = True
        try:
            if known is None:
                self._store.create("Endpoints", body)
            elif known.get("subsets") != body.get("subsets") or labels_of(known) != labels:
                self._store.update("Endpoints", body)
        finally:
            self._writing = False


def _place(member: Member) -> tuple[tuple[int, ...], str]:
    """Addresses are listed in their order (pkg/api/v1/endpoints RepackSubsets)."""
    endpoint = member[0]
    return tuple(map(int, endpoint.ip.split("."))), endpoint.pod
