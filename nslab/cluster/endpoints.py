"""Endpoints: which addresses stand behind each Service port, as the endpoint controllers would have it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nslab.api.objects import Body, Object
from nslab.cluster.model import Container, Endpoint, Pod

SAME_ZONE = ("PreferClose", "PreferSameZone")
"""Values of trafficDistribution that keep traffic in its zone where they can."""


Selector = tuple[str, Mapping[str, str]]
"""The namespace of a Service, and the labels that it wants of Pods; none select nothing."""


class SelectorIndex:
    """Services by the rarest label that their selector wants, so that a Pod is only shown to those that may select
    it. `keys` are those of all Services."""

    def __init__(self, selectors: Mapping[str, Selector]) -> None:
        self.keys = tuple(selectors)
        wanted = Counter(
            (namespace, *label) for namespace, selector in selectors.values() for label in selector.items()
        )
        self._by_label: dict[tuple[str, str, str], list[tuple[str, Mapping[str, str]]]] = {}
        for key, (namespace, selector) in selectors.items():
            if selector:
                rarest = min(((namespace, *label) for label in selector.items()), key=wanted.__getitem__)
                self._by_label.setdefault(rarest, []).append((key, selector))

    def selecting(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        """The keys of the Services that select a Pod with these labels."""
        found = (each for label in labels.items() for each in self._by_label.get((namespace, *label), ()))
        return [key for key, selector in found if len(selector) == 1 or selector.items() <= labels.items()]


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where addresses are: the zones of nodes by name, and the Pods by address, without hostNetwork ones."""

    zones: Mapping[str, str]
    pods_by_ip: Mapping[str, str]


def written(objects: Iterable[Object]) -> dict[str, tuple[Object, ...]]:
    """The user's Endpoints and EndpointSlices by the key of their Service."""
    found: dict[str, tuple[Object, ...]] = {}
    for item in objects:
        if item.kind == "EndpointSlice":
            labels = (item.body.get("metadata") or {}).get("labels") or {}
            key = f"{item.namespace}/{labels.get('kubernetes.io/service-name', '')}"
        elif item.kind == "Endpoints":
            key = f"{item.namespace}/{item.name}"
        else:
            continue
        found[key] = (*found.get(key, ()), item)
    return found


class EndpointSource:
    """Endpoints of one Service: of the Pods it selects, in their order, so that a replica more or less moves no
    other, or, without a selector, of the user's Endpoints and EndpointSlices."""

    def __init__(
        self, service: Object, pods: Iterable[Pod], objects: Iterable[Object], places: Places
    ) -> None:
        self._spec: Body = service.body["spec"]
        self._pods = pods
        self._objects = objects
        self._places = places

    def of(self, port: Body) -> tuple[Endpoint, ...]:
        """The endpoints of one port, ready or not; none for ExternalName."""
        spec = self._spec
        if spec.get("type") == "ExternalName":
            return ()
        if not spec.get("selector"):
            return self._of_written(port)
        target: int | str = port.get("targetPort") or port["port"]
        protocol = port.get("protocol", "TCP")
        found = (self._of_pod(pod, target, protocol) for pod in self._pods)
        return tuple(endpoint for endpoint in found if endpoint is not None)

    def _of_pod(self, pod: Pod, target: int | str, protocol: str) -> Endpoint | None:
        number = port_number(pod.containers, target, protocol)
        if number is None:
            return None
        zone = self._places.zones[pod.node]
        ready = (pod.ready and not pod.terminating) or bool(self._spec.get("publishNotReadyAddresses"))
        hinted = zone and self._spec.get("trafficDistribution") in SAME_ZONE
        return Endpoint(
            pod.ip, number, pod.node, pod.key, ready, pod.ready, pod.terminating, zone, (zone,) if hinted else ()
        )

    def _of_written(self, port: Body) -> tuple[Endpoint, ...]:
        found: dict[tuple[str, int], Endpoint] = {}
        for item in self._objects:
            read = self._of_slice if item.kind == "EndpointSlice" else self._of_subsets
            for endpoint in read(item.body, port):
                found.setdefault((endpoint.ip, endpoint.port), endpoint)
        return tuple(found.values())

    def _of_slice(self, body: Body, port: Body) -> Iterable[Endpoint]:
        if body.get("addressType", "IPv4") != "IPv4":
            return
        for number in _written_ports(body.get("ports"), port):
            for item in body.get("endpoints") or ():
                conditions = item.get("conditions") or {}
                terminating = conditions.get("terminating") is True
                ready = conditions.get("ready") is not False
                serving = conditions.get("serving")
                hints = (item.get("hints") or {}).get("forZones") or ()
                for address in item["addresses"]:
                    yield Endpoint(
                        address, number, item.get("nodeName") or "", self._places.pods_by_ip.get(address, ""), ready,
                        ready if serving is None else serving, terminating, item.get("zone") or "",
                        tuple(hint["name"] for hint in hints),
                    )

    def _of_subsets(self, body: Body, port: Body) -> Iterable[Endpoint]:
        for subset in body.get("subsets") or ():
            for number in _written_ports(subset.get("ports"), port):
                for field, ready in (("addresses", True), ("notReadyAddresses", False)):
                    for item in subset.get(field) or ():
                        address, node = item["ip"], item.get("nodeName") or ""
                        yield Endpoint(
                            address, number, node, self._places.pods_by_ip.get(address, ""), ready, ready,
                            zone=self._places.zones.get(node, ""),
                        )


def port_number(containers: Iterable[Container], target: int | str, protocol: str) -> int | None:
    """The number that a target port means on a Pod of these containers; a name that they do not have gives none."""
    if isinstance(target, int):
        return target
    for container in containers:
        for port in container.ports:
            if port.name == target and port.protocol == protocol:
                return port.port
    return None


def _written_ports(ports: Iterable[Body] | None, wanted: Body) -> Iterable[int]:
    """The numbers of the ports with the name and protocol of the Service's port: kube-proxy joins them by name."""
    for port in ports or ():
        same_name = (port.get("name") or "") == wanted.get("name", "")
        if same_name and (port.get("protocol") or "TCP") == wanted.get("protocol", "TCP") and port.get("port"):
            yield port["port"]
