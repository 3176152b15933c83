"""A small lab by hand: two nodes, six Pods and Services of every kind, with knobs that tests turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nslab.api.objects import LabSpec
from nslab.cluster.model import (
    Client,
    Cluster,
    Container,
    ContainerPort,
    Endpoint,
    Leases,
    Node,
    Pod,
    Service,
    ServicePort,
)

NODES = {
    "node-1": Node("node-1", "10.128.0.2", "10.8.0.0/24", zone="a"),
    "node-2": Node("node-2", "10.128.0.3", "10.8.1.0/24", zone="b"),
}
CLIENTS = {
    "laptop": Client("laptop", "internet", "198.51.100.2"),
    "vm": Client("vm", "vpc", "10.128.0.9"),
}


def pod(name: str, ip: str, node: str, *ports: ContainerPort, namespace: str = "shop", **more: Any) -> Pod:
    container = Container("main", more.pop("image", "nginx"), ports)
    return Pod(namespace, name, f"uid-{name}", ip, node, {"app": name}, (container,), **more)


WEB = (ContainerPort(8080, "TCP", "http"), ContainerPort(53, "UDP", "dns"))
PODS = {each.key: each for each in (
    pod("web-1", "10.8.0.2", "node-1", *WEB, owner=("Deployment", "web")),
    pod("web-2", "10.8.1.2", "node-2", *WEB, owner=("Deployment", "web")),
    pod("web-3", "10.8.1.3", "node-2", *WEB, owner=("Deployment", "web")),
    pod("cart", "10.8.0.3", "node-1", ContainerPort(7070)),
    pod("idle", "10.8.1.4", "node-2", namespace="default"),
    pod("agent", "10.128.0.3", "node-2", ContainerPort(9100), namespace="kube-system", host_network=True),
)}


def endpoint(key: str, port: int, **more: Any) -> Endpoint:
    each = PODS[key]
    return Endpoint(each.ip, port, each.node, key, **more)


def service(name: str, cluster_ip: str, port: ServicePort, **more: Any) -> Service:
    return Service("shop", name, more.pop("type", "ClusterIP"), cluster_ip, (port,), {}, **more)


TWO = (
    endpoint("shop/web-1", 8080), endpoint("shop/web-2", 8080),
    endpoint("shop/web-3", 8080, ready=False, serving=False),
)
SERVICES = {each.key: each for each in (
    service("web", "10.12.0.20", ServicePort("http", "TCP", 80, "http", 30080, 1, TWO), type="LoadBalancer",
            load_balancer_ips=("203.0.113.10",)),
    service("dns", "10.12.0.21", ServicePort("dns", "UDP", 53, "dns", 0, 2, (
        endpoint("shop/web-1", 53), endpoint("shop/web-2", 53)))),
    service("cart", "10.12.0.22", ServicePort("", "TCP", 7070, 7070, 30070, 3, (endpoint("shop/cart", 7070),)),
            type="LoadBalancer", external_traffic_policy="Local", load_balancer_ips=("203.0.113.11",),
            source_ranges=("198.51.100.0/25",)),
    service("none", "10.12.0.23", ServicePort("", "TCP", 80, 80, 30081, 4), type="NodePort"),
    service("sticky", "10.12.0.24", ServicePort("", "TCP", 80, 8080, 0, 5, TWO), affinity_timeout=10800),
    service("near", "10.12.0.25", ServicePort("", "TCP", 7070, 7070, 0, 6, (endpoint("shop/cart", 7070),)),
            internal_traffic_policy="Local"),
    service("headless", "", ServicePort("", "TCP", 8080, 8080, 0, 7, TWO)),
    service("inner", "10.12.0.26", ServicePort("", "TCP", 80, 8080, 0, 8, TWO), type="LoadBalancer",
            load_balancer_ips=("10.128.0.40",)),
    service("fixed", "10.12.0.27", ServicePort("", "TCP", 80, 8080, 0, 9, TWO), external_ips=("203.0.113.77",)),
    service("agent", "10.12.0.28", ServicePort("", "TCP", 9100, 9100, 0, 10, (endpoint("kube-system/agent", 9100),))),
)}

SHOP = Cluster(LabSpec("shop"), (), NODES, PODS, SERVICES, CLIENTS, Leases())


def lab(*services: Service, **more: Any) -> Cluster:
    """The same lab with these Services instead, and other fields of Cluster."""
    return replace(SHOP, **({"services": {each.key: each for each in services}} if services else {}), **more)


def changed(name: str, **more: Any) -> Cluster:
    """The same lab with one Service, changed: fields of its port (`endpoints`, `protocol`) or of itself."""
    each = SERVICES[f"shop/{name}"]
    port_fields = {key: more.pop(key) for key in ("endpoints", "protocol", "node_port") if key in more}
    return lab(replace(each, ports=(replace(each.ports[0], **port_fields),), **more))
