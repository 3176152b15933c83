"""Which Pods stand behind a Service, and how: ready, serving, terminating (KEP-1669)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from nslab.api.objects import Body
from nslab.cluster import containers
from nslab.cluster.endpoint_objects import Port, target_reference
from nslab.cluster.endpoints import SAME_ZONE, port_number
from nslab.cluster.hosts import ZONE
from nslab.cluster.model import Endpoint
from nslab.controllers.index import Index, selector_of
from nslab.controllers.interface import Event, Store
from nslab.controllers.metadata import is_terminating, key_of, labels_of, namespace_of, status_of, uid_of
from nslab.controllers.pods import is_finished, is_ready

Member = tuple[Endpoint, Body, tuple[Port, ...]]
"""An endpoint (its port left 0), what says which Pod it is, and the numbers that the Service's ports have there."""


class EndpointMembers:
    """The members of Services. What was found of a Pod is kept until the Pod or the Service changes, so that one
    change among many Pods costs little."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store = store
        self._index = index
        self._known: dict[str, tuple[str, dict[str, tuple[Body, Member | None]]]] = {}

    def keys(self, event: Event) -> Iterable[str]:
        """The Services that a change of a Service, Pod or Node concerns."""
        if event.kind == "Service":
            key = key_of(event.body)
            if event.type == "DELETED":
                self._known.pop(key, None)
            return (key,)
        if event.kind == "Pod" and _facts(event.old) != _facts(event.body, event.type):
            return self._selecting(event)
        if event.kind == "Node" and _zone(event.old) != _zone(event.body):
            self._known.clear()
            return [key_of(service) for service in self._store.list("Service")]
        return ()

    def _selecting(self, event: Event) -> Iterable[str]:
        index = self._index.selecting["Service"]
        found = dict.fromkeys(index.selecting(namespace_of(event.body), labels_of(event.body)))
        if event.old is not None and labels_of(event.old) != labels_of(event.body):
            found |= dict.fromkeys(index.selecting(namespace_of(event.body), labels_of(event.old)))
        return found

    def of(self, service: Body) -> Iterator[Member]:
        """The members of a Service with a selector, those on their way out included."""
        version, key = service["metadata"]["resourceVersion"], key_of(service)
        before = self._known.get(key, ("", {}))
        known = before[1] if before[0] == version else {}
        found: dict[str, tuple[Body, Member | None]] = {}
        for pod in self._index.pods.select(namespace_of(service), selector_of("Service", service)):
            uid = uid_of(pod)
            old = known.get(uid)
            found[uid] = old if old is not None and old[0] is pod else (pod, self._member(service, pod))
        self._known[key] = (version, found)
        return (member for _, member in found.values() if member is not None)

    def _member(self, service: Body, pod: Body) -> Member | None:
        address = status_of(pod).get("podIP")
        if not address or is_finished(pod):
            return None
        spec, node = service["spec"], pod["spec"].get("nodeName", "")
        serving, terminating = is_ready(pod), is_terminating(pod)
        zone = _zone(self._store.get("Node", "", node))
        hints = (zone,) if zone and spec.get("trafficDistribution") in SAME_ZONE else ()
        ready = bool(spec.get("publishNotReadyAddresses")) or (serving and not terminating)
        is_named = pod["spec"].get("subdomain") == service["metadata"]["name"]
        hostname = pod["spec"].get("hostname", "") if is_named else ""
        endpoint = Endpoint(address, 0, node, key_of(pod), ready, serving, terminating, zone, hints, hostname)
        target = target_reference(namespace_of(pod), pod["metadata"]["name"], uid_of(pod))
        return endpoint, target, _ports(spec, pod)


def selects(service: Body) -> bool:
    """Whether the endpoints of a Service are the Pods that it selects."""
    return bool(service["spec"].get("selector")) and service["spec"].get("type") != "ExternalName"


def is_headless(service: Body) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def _ports(spec: Body, pod: Body) -> tuple[Port, ...]:
    found = []
    for port in spec.get("ports") or ():
        target, protocol = port.get("targetPort") or port["port"], port.get("protocol", "TCP")
        parts = containers.parse(pod["spec"]) if isinstance(target, str) else ()
        number = port_number(parts, target, protocol)
        if number is not None:
            found.append(Port(port.get("name", ""), protocol, number))
    return tuple(found)


def _facts(pod: Body | None, event_type: str = "") -> Any:
    """What of a Pod decides how it stands behind a Service; None where it is not there."""
    if pod is None or event_type == "DELETED":
        return None
    ip = status_of(pod).get("podIP")
    if not ip:
        return None
    return ip, is_finished(pod), is_ready(pod), is_terminating(pod), labels_of(pod), pod["spec"].get("nodeName")


def _zone(node: Body | None) -> str:
    return labels_of(node).get(ZONE, "") if node else ""
