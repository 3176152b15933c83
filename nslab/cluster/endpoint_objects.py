"""Endpoints and EndpointSlices as the endpoint controllers would write them, beside those of the user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from nslab.api.objects import Body
from nslab.cluster.model import Cluster, Endpoint, Service
from nslab.cluster.naming import object_uid
from nslab.cluster.workloads import safe_hash

SLICE_SIZE = 100
CONTROLLER = "endpointslice-controller.k8s.io"
MIRROR = "endpointslicemirroring-controller.k8s.io"


class Port(NamedTuple):
    """A port of a slice: all its endpoints have these numbers."""

    name: str
    protocol: str
    port: int


def endpoints(cluster: Cluster) -> Iterator[Body]:
    """The user's Endpoints, and those of every Service with a selector."""
    yield from _written(cluster, "Endpoints")
    for service in cluster.services.values():
        if service.selector and service.type != "ExternalName":
            body: Body = {
                "apiVersion": "v1", "kind": "Endpoints",
                "metadata": {"name": service.name, "namespace": service.namespace, "labels": _labels(service)},
            }
            subsets = [
                subset(ports, [(member, _target(cluster, member)) for member in members])
                for ports, members in _by_ports(service).items()
            ]
            yield {**body, "subsets": subsets} if subsets else body


def endpoint_slices(cluster: Cluster) -> Iterator[Body]:
    """The user's EndpointSlices, those of every Service with a selector, and the mirrors of the user's Endpoints;
    at most 100 endpoints a slice."""
    yield from _written(cluster, "EndpointSlice")
    mirrored = {f"{item.namespace}/{item.name}" for item in cluster.objects if item.kind == "Endpoints"}
    for service in cluster.services.values():
        selects = bool(service.selector) and service.type != "ExternalName"
        if not selects and (service.selector or service.key not in mirrored):
            continue
        owner = {"metadata": {"name": service.name, "namespace": service.namespace, "uid": _uid(service)}}
        number = 0
        for ports, members in _by_ports(service).items() or {(): []}.items():
            for start in range(0, max(len(members), 1), SLICE_SIZE):
                part = [slice_endpoint(item, _target(cluster, item)) for item in members[start : start + SLICE_SIZE]]
                manager = CONTROLLER if selects else MIRROR
                name = slice_name(service.key, number)
                yield endpoint_slice(owner, _labels(service), name, ports, part, manager)
                number += 1


def _written(cluster: Cluster, kind: str) -> Iterator[Body]:
    for item in cluster.objects:
        if item.kind == kind:
            yield {**item.body, "apiVersion": item.api_version, "kind": kind}


def _by_ports(service: Service) -> dict[tuple[Port, ...], list[Endpoint]]:
    """Endpoints, one for each address, grouped by the port numbers they have: a named target port may mean another
    number on another Pod."""
    ports: dict[str, list[Port]] = {}
    members: dict[str, Endpoint] = {}
    for port in service.ports:
        for endpoint in port.endpoints:
            # Pods in their node's netns share its address: an address is then not enough to tell them apart.
            identity = endpoint.pod or endpoint.ip
            ports.setdefault(identity, []).append(Port(port.name, port.protocol, endpoint.port))
            members.setdefault(identity, endpoint)
    groups: dict[tuple[Port, ...], list[Endpoint]] = {}
    for identity, endpoint in members.items():
        groups.setdefault(tuple(ports[identity]), []).append(endpoint)
    return groups


def _labels(service: Service) -> dict[str, str]:
    return service_labels(service.body, headless=not service.cluster_ip)


def service_labels(service: Body, *, headless: bool) -> dict[str, str]:
    """The labels that a Service's Endpoints and EndpointSlices take over from it."""
    labels = dict((service.get("metadata") or {}).get("labels") or {})
    return {**labels, "service.kubernetes.io/headless": ""} if headless else labels


def _uid(service: Service) -> str:
    return object_uid(f"Service/{service.key}")


def _target(cluster: Cluster, endpoint: Endpoint) -> Body:
    pod = cluster.pods.get(endpoint.pod)
    return target_reference(pod.namespace, pod.name, pod.uid) if pod else {}


def target_reference(namespace: str, name: str, uid: str) -> Body:
    """What says in an endpoint which Pod it is."""
    return {"targetRef": {"kind": "Pod", "namespace": namespace, "name": name, "uid": uid}}


def _ports(ports: tuple[Port, ...]) -> list[Body]:
    return [{"name": port.name, "port": port.port, "protocol": port.protocol} for port in ports]


def subset(ports: tuple[Port, ...], members: Iterable[tuple[Endpoint, Body]]) -> Body:
    """A subset of an Endpoints object: endpoints, each with what `target_reference` says of it (or nothing)."""
    listed = list(members)
    made: Body = {}
    for field, ready in (("addresses", True), ("notReadyAddresses", False)):
        addresses = [
            {
                "ip": member.ip, **({"hostname": member.hostname} if member.hostname else {}),
                **({"nodeName": member.node} if member.node else {}), **target,
            }
            for member, target in listed if member.ready is ready
        ]
        if addresses:
            made[field] = addresses
    unnamed = [{key: value for key, value in port.items() if value != ""} for port in _ports(ports)]
    return {**made, "ports": unnamed}


def slice_name(service: str, number: int) -> str:
    """The name of the slice with this number, from 0, of a Service by key."""
    return f"{service.partition('/')[2]}-{safe_hash(f'EndpointSlice/{service}/{number}', 5)}"


def endpoint_slice(
    service: Body, labels: Mapping[str, str], name: str, ports: tuple[Port, ...], endpoints: list[Body], manager: str
) -> Body:
    """A slice of a Service, with the labels that it takes over and those that say whose it is."""
    metadata = service["metadata"]
    owner = {
        "apiVersion": "v1", "kind": "Service", "name": metadata["name"], "controller": True,
        "blockOwnerDeletion": True, "uid": metadata["uid"],
    }
    own = {"kubernetes.io/service-name": metadata["name"], "endpointslice.kubernetes.io/managed-by": manager}
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": name, "generateName": f"{metadata['name']}-", "namespace": metadata["namespace"],
            "labels": {**labels, **own}, "ownerReferences": [owner],
        },
        "addressType": "IPv4",
        "ports": _ports(ports),
        "endpoints": endpoints,
    }


def slice_endpoint(endpoint: Endpoint, target: Body) -> Body:
    """An endpoint of a slice; `target` is what `target_reference` says of it, or nothing."""
    body: Body = {
        "addresses": [endpoint.ip],
        "conditions": {
            "ready": endpoint.ready, "serving": endpoint.serving, "terminating": endpoint.terminating
        },
        **target,
    }
    if endpoint.hostname:
        body["hostname"] = endpoint.hostname
    if endpoint.node:
        body["nodeName"] = endpoint.node
    if endpoint.zone:
        body["zone"] = endpoint.zone
    if endpoint.zone_hints:
        body["hints"] = {"forZones": [{"name": zone} for zone in endpoint.zone_hints]}
    return body
