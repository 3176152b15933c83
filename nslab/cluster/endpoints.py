"""Endpoints: which addresses stand behind each Service port, as the endpoint controllers would have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nslab.api.objects import Body, Object
from nslab.cluster.model import Container, Endpoint, Pod

SAME_ZONE = ("PreferClose", "PreferSameZone")
"""Values of trafficDistribution that keep traffic in its zone where they can."""


Label = tuple[str, str, str]
"""A label of Pods: their namespace, its key and its value."""


class LabelIndex:
    """Pods, by position, under each of their labels."""

    def __init__(self, pods: Iterable[tuple[str, Mapping[str, str]]]) -> None:
        self._having: dict[Label, list[int]] = {}
        for position, (namespace, labels) in enumerate(pods):
            for key, value in labels.items():
                self._having.setdefault((namespace, key, value), []).append(position)

    def selected(self, wanted: Sequence[Label]) -> Sequence[int]:
        """The Pods that have all these labels, in order; none where no label is wanted."""
        having = [self._having.get(label, ()) for label in wanted]
        if len(having) < 2:
            return having[0] if having else ()
        rarest, *others = sorted(having, key=len)
        return sorted(set(rarest).intersection(*others)) if rarest else ()


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
        self._name = service.name
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

    def addresses(self) -> tuple[Endpoint, ...]:
        """The endpoints of a headless Service whatever its ports, with their hostnames; none for ExternalName."""
        if self._spec.get("type") == "ExternalName":
            return ()
        if not self._spec.get("selector"):
            return self._of_written(None)
        found = (self._of_pod(pod, 0, "") for pod in self._pods)
        return tuple(endpoint for endpoint in found if endpoint is not None)

    def _of_pod(self, pod: Pod, target: int | str, protocol: str) -> Endpoint | None:
        number = port_number(pod.containers, target, protocol)
        if number is None:
            return None
        zone = self._places.zones[pod.node]
        ready = (pod.ready and not pod.terminating) or bool(self._spec.get("publishNotReadyAddresses"))
        hinted = zone and self._spec.get("trafficDistribution") in SAME_ZONE
        return Endpoint(
            pod.ip, number, pod.node, pod.key, ready, pod.ready, pod.terminating, zone, (zone,) if hinted else (),
            hostname(pod, self._name),
        )

    def _of_written(self, port: Body | None) -> tuple[Endpoint, ...]:
        found: dict[tuple[str, int], Endpoint] = {}
        for item in self._objects:
            read = self._of_slice if item.kind == "EndpointSlice" else self._of_subsets
            for endpoint in read(item.body, port):
                found.setdefault((endpoint.ip, endpoint.port), endpoint)
        return tuple(found.values())

    def _of_slice(self, body: Body, port: Body | None) -> Iterable[Endpoint]:
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
                        tuple(hint["name"] for hint in hints), item.get("hostname") or "",
                    )

    def _of_subsets(self, body: Body, port: Body | None) -> Iterable[Endpoint]:
        for subset in body.get("subsets") or ():
            for number in _written_ports(subset.get("ports"), port):
                for field, ready in (("addresses", True), ("notReadyAddresses", False)):
                    for item in subset.get(field) or ():
                        address, node = item["ip"], item.get("nodeName") or ""
                        yield Endpoint(
                            address, number, node, self._places.pods_by_ip.get(address, ""), ready, ready,
                            zone=self._places.zones.get(node, ""), hostname=item.get("hostname") or "",
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


def hostname(pod: Pod, service: str) -> str:
    """What a Pod is called below a headless Service of its namespace: its hostname, where its subdomain is the
    Service (as the endpoints controllers have it); a StatefulSet's Pod has its name for a hostname."""
    spec = pod.body.get("spec") or {}
    if spec.get("subdomain") != service:
        return ""
    return spec.get("hostname") or (pod.name if pod.owner[0] == "StatefulSet" else "")


def _written_ports(ports: Iterable[Body] | None, wanted: Body | None) -> Iterable[int]:
    """The numbers of the ports with the name and protocol of the Service's port: kube-proxy joins them by name. 0 for
    no port, which all have."""
    if wanted is None:
        yield 0
        return
    for port in ports or ():
        same_name = (port.get("name") or "") == wanted.get("name", "")
        if same_name and (port.get("protocol") or "TCP") == wanted.get("protocol", "TCP") and port.get("port"):
            yield port["port"]
