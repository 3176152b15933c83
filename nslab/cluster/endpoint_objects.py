"""Endpoints and EndpointSlices as the endpoint controllers would write them, beside those of the user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nslab.api.objects import Body
from nslab.cluster.model import Cluster, Endpoint, Service
from nslab.cluster.naming import object_uid
from nslab.cluster.workloads import safe_hash

SLICE_SIZE = 100
_CONTROLLER = "endpointslice-controller.k8s.io"
_MIRROR = "endpointslicemirroring-controller.k8s.io"


class _Port(NamedTuple):
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
            subsets = [_subset(cluster, ports, members) for ports, members in _by_ports(service).items()]
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
        number = 0
        for ports, members in _by_ports(service).items() or {(): []}.items():
            for start in range(0, max(len(members), 1), SLICE_SIZE):
                part = members[start : start + SLICE_SIZE]
                yield _slice(cluster, service, number, ports, part, _CONTROLLER if selects else _MIRROR)
                number += 1


def _written(cluster: Cluster, kind: str) -> Iterator[Body]:
    for item in cluster.objects:
        if item.kind == kind:
            yield {**item.body, "apiVersion": item.api_version, "kind": kind}


def _by_ports(service: Service) -> dict[tuple[_Port, ...], list[Endpoint]]:
    """Endpoints, one for each address, grouped by the port numbers they have: a named target port may mean another
    number on another Pod."""
    ports: dict[str, list[_Port]] = {}
    members: dict[str, Endpoint] = {}
    for port in service.ports:
        for endpoint in port.endpoints:
            # Pods in their node's netns share its address: an address is then not enough to tell them apart.
            identity = endpoint.pod or endpoint.ip
            ports.setdefault(identity, []).append(_Port(port.name, port.protocol, endpoint.port))
            members.setdefault(identity, endpoint)
    groups: dict[tuple[_Port, ...], list[Endpoint]] = {}
    for identity, endpoint in members.items():
        groups.setdefault(tuple(ports[identity]), []).append(endpoint)
    return groups


def _labels(service: Service) -> dict[str, str]:
    labels = dict((service.body.get("metadata") or {}).get("labels") or {})
    if not service.cluster_ip:
        labels["service.kubernetes.io/headless"] = ""
    return labels


def _target(cluster: Cluster, endpoint: Endpoint) -> Body:
    pod = cluster.pods.get(endpoint.pod)
    if pod is None:
        return {}
    return {"targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid}}


def _ports(ports: tuple[_Port, ...]) -> list[Body]:
    return [{"name": port.name, "port": port.port, "protocol": port.protocol} for port in ports]


def _subset(cluster: Cluster, ports: tuple[_Port, ...], members: list[Endpoint]) -> Body:
    subset: Body = {}
    for field, ready in (("addresses", True), ("notReadyAddresses", False)):
        addresses = [
            {"ip": member.ip, **({"nodeName": member.node} if member.node else {}), **_target(cluster, member)}
            for member in members if member.ready is ready
        ]
        if addresses:
            subset[field] = addresses
    unnamed = [{key: value for key, value in port.items() if value != ""} for port in _ports(ports)]
    return {**subset, "ports": unnamed}


def _slice(
    cluster: Cluster, service: Service, number: int, ports: tuple[_Port, ...], members: list[Endpoint], manager: str
) -> Body:
    labels = {
        **_labels(service), "kubernetes.io/service-name": service.name,
        "endpointslice.kubernetes.io/managed-by": manager,
    }
    owner = {
        "apiVersion": "v1", "kind": "Service", "name": service.name, "controller": True, "blockOwnerDeletion": True,
        "uid": object_uid(f"Service/{service.key}"),
    }
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service.name}-{safe_hash(f'EndpointSlice/{service.key}/{number}', 5)}",
            "generateName": f"{service.name}-", "namespace": service.namespace, "labels": labels,
            "ownerReferences": [owner],
        },
        "addressType": "IPv4",
        "ports": _ports(ports),
        "endpoints": [_slice_endpoint(cluster, member) for member in members],
    }


def _slice_endpoint(cluster: Cluster, endpoint: Endpoint) -> Body:
    body: Body = {
        "addresses": [endpoint.ip],
        "conditions": {
            "ready": endpoint.ready, "serving": endpoint.serving, "terminating": endpoint.terminating
        },
        **_target(cluster, endpoint),
    }
    if endpoint.node:
        body["nodeName"] = endpoint.node
    if endpoint.zone:
        body["zone"] = endpoint.zone
    if endpoint.zone_hints:
        body["hints"] = {"forZones": [{"name": zone} for zone in endpoint.zone_hints]}
    return body
