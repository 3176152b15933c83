"""Services: what each asks of the pools, and the noun that comes of what it got."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from nslab.api.objects import Body, Object
from nslab.cluster.endpoints import EndpointSource
from nslab.cluster.ipam import Request
from nslab.cluster.ipv4 import to_int
from nslab.cluster.model import Service, ServicePort

INTERNAL_ANNOTATIONS = ("networking.gke.io/load-balancer-type", "cloud.google.com/load-balancer-type")
EXTERNAL_CLASS = "networking.gke.io/l4-regional-external"
INTERNAL_CLASS = "networking.gke.io/l4-regional-internal"
AFFINITY_TIMEOUT = 10800


class Requests(NamedTuple):
    """What one Service asks of each pool. A request for a NodePort comes with all holders that share it."""

    key: str
    cluster_ip: tuple[Request, ...]
    external: tuple[Request, ...]
    internal: tuple[Request, ...]
    node_ports: tuple[tuple[Request, list[str]], ...]
    numbers: tuple[Request, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Grants:
    """What the pools gave, by holder (see model.Leases)."""

    cluster_ips: Mapping[str, str]
    node_ports: Mapping[str, int]
    load_balancer_ips: Mapping[str, str]
    numbers: Mapping[str, int]

    def of(self, one: Requests) -> tuple[str | int | None, ...]:
        """All that one Service was given."""
        service, holders = one.key, [each.holder for each in one.numbers]
        ports = (*map(self.node_ports.get, holders), *map(self.numbers.get, holders))
        check = self.node_ports.get(health_check_holder(service))
        return (self.cluster_ips.get(service), self.load_balancer_ips.get(service), check, *ports)


def key(item: Object) -> str:
    return f"{item.namespace}/{item.name}"


def port_holder(service: str, port: Body) -> str:
    return f"{service}:{port.get('name', '')}/{port.get('protocol', 'TCP')}"


def health_check_holder(service: str) -> str:
    return f"{service}:healthCheckNodePort/TCP"


def load_balancer(item: Object) -> str:
    """Where a Service's VIP comes from: "external", "internal" or "" for none.

    A class wins over the annotation; one that is not GKE's leaves the Service to somebody else
    (cloud.google.com/kubernetes-engine/docs/concepts/service-load-balancer).
    """
    spec = item.body["spec"]
    if spec.get("type") != "LoadBalancer":
        return ""
    if spec.get("loadBalancerClass"):
        return {EXTERNAL_CLASS: "external", INTERNAL_CLASS: "internal"}.get(spec["loadBalancerClass"], "")
    annotations = (item.body.get("metadata") or {}).get("annotations") or {}
    internal = any(annotations.get(name, "").lower() == "internal" for name in INTERNAL_ANNOTATIONS)
    return "internal" if internal else "external"


def requests(item: Object) -> Requests:
    """What a Service asks for; a cluster IP of its own is none of it (`ipam.service_addresses`)."""
    spec, holder = item.body["spec"], key(item)
    address, balancer = spec.get("clusterIP") or "", load_balancer(item)
    has_address = spec.get("type") != "ExternalName" and address != "None"
    vip = (_request(holder, spec.get("loadBalancerIP"), item.where),)
    return Requests(
        holder,
        (_request(holder, address, item.where),) if has_address else (),
        vip if balancer == "external" else (),
        vip if balancer == "internal" else (),
        tuple(_node_port_requests(item)),
        tuple(Request(port_holder(holder, port), None, item.where) for port in spec.get("ports") or ()),
    )


def _request(holder: str, address: str | None, where: str) -> Request:
    return Request(holder, to_int(address) if address else None, where)


def _node_port_requests(item: Object) -> Iterator[tuple[Request, list[str]]]:
    """One for each NodePort, with all holders that share it: ports of one Service that differ only in protocol, as
    the API server lets them."""
    spec = item.body["spec"]
    kind = spec.get("type")
    if kind not in ("NodePort", "LoadBalancer"):
        return
    service = key(item)
    automatic = kind == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True)
    sharing: dict[tuple[str, int], list[str]] = {}
    for port in spec.get("ports") or ():
        asked = port.get("nodePort")
        if asked or automatic:
            identity = ("asked", asked) if asked else ("port", port["port"])
            sharing.setdefault(identity, []).append(port_holder(service, port))
    for (reason, number), holders in sharing.items():
        yield Request(holders[0], number if reason == "asked" else None, item.where), holders
    if kind == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
        holder = health_check_holder(service)
        yield Request(holder, spec.get("healthCheckNodePort") or None, item.where), [holder]


def build(item: Object, grants: Grants, endpoints: EndpointSource) -> Service:
    """The Service of an object, with what it was granted and its endpoints."""
    spec = item.body["spec"]
    service = key(item)
    kind = spec.get("type", "ClusterIP")
    address = grants.cluster_ips.get(service)
    vip = grants.load_balancer_ips.get(service)
    affinity = 0
    if spec.get("sessionAffinity") == "ClientIP":
        config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        affinity = config.get("timeoutSeconds", AFFINITY_TIMEOUT)
    ports = []
    for port in spec.get("ports") or ():
        holder = port_holder(service, port)
        ports.append(ServicePort(
            port.get("name", ""), port.get("protocol", "TCP"), port["port"], port.get("targetPort", port["port"]),
            grants.node_ports.get(holder, 0), grants.numbers[holder], endpoints.of(port),
        ))
    return Service(
        item.namespace, item.name, kind, address or "", tuple(ports),
        spec.get("selector") or {}, affinity,
        spec.get("externalTrafficPolicy", "Cluster"), spec.get("internalTrafficPolicy", "Cluster"),
        tuple(spec.get("externalIPs") or ()), (vip,) if vip else (),
        tuple(spec.get("loadBalancerSourceRanges") or ()), grants.node_ports.get(health_check_holder(service), 0),
        bool(spec.get("publishNotReadyAddresses")), spec.get("externalName", ""), item.body,
        () if address else endpoints.addresses(),
    )
