"""A hand-built Cluster for the rendering tests: two nodes, a StatefulSet's Pods, a bare one, three Services."""

from __future__ import annotations

from dataclasses import replace

from nslab.agent.client import Snapshot
from nslab.api.objects import Body, LabSpec, Object
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

NGINX = Container("nginx", "nginx", (ContainerPort(80, "TCP", "http"),))


def body_of(pod: Pod) -> Body:
    """What a manifest would say of the Pod."""
    return {"spec": {"containers": [{"name": each.name, "image": each.image} for each in pod.containers]}}


def cluster(**changes: object) -> Cluster:
    """The Cluster of the tests, with some of its fields changed."""
    web = [
        Pod("default", f"web-{number}", f"uid-{number}", f"10.8.{number}.2", f"node-{number + 1}", {"app": "web"},
            (NGINX,), owner=("StatefulSet", "web"), ready=number == 0)
        for number in (0, 1)
    ]
    job = Pod("tools", "job", "uid-2", "10.8.0.3", "node-1", {}, (
        Container("runner", "host", command=("/bin/sleep", "60")), Container("side", "busybox"),
    ))
    pods = {pod.key: replace(pod, body=body_of(pod)) for pod in (*web, job)}
    endpoints = tuple(Endpoint(pod.ip, 80, pod.node, pod.key, ready=pod.ready) for pod in web)
    services = [
        Service("default", "web", "LoadBalancer", "10.12.0.20",
                (ServicePort("http", "TCP", 80, "http", 30080, 1, endpoints),), {"app": "web"},
                load_balancer_ips=("203.0.113.10",)),
        Service("default", "empty", "ClusterIP", "10.12.0.21", (ServicePort("", "UDP", 53, 53, 0, 2),),
                {"app": "no"}),
        Service("tools", "away", "ExternalName", "", (), {}, external_name="example.com"),
    ]
    fields: dict[str, object] = {
        "lab": LabSpec("shop", where="shop.yaml:1:1"),
        "objects": (
            Object("apps/v1", "StatefulSet", "default", "web", {"metadata": {"name": "web", "namespace": "default"}}),
        ),
        "nodes": {
            "node-1": Node("node-1", "10.128.0.2", "10.8.0.0/24", {"zone": "a"}),
            "node-2": Node("node-2", "10.128.0.3", "10.8.1.0/24"),
        },
        "pods": pods,
        "services": {service.key: service for service in services},
        "clients": {"laptop": Client("laptop", "internet", "198.51.100.2"), "vm": Client("vm", "vpc", "10.128.0.4")},
        "leases": Leases(),
        "warnings": ("shop.yaml:9:1: Pod tools/job: declares no port",),
    }
    return Cluster(**{**fields, **changes})  # type: ignore[arg-type]


def snapshot(**changes: object) -> Snapshot:
    """The lab as it was 90 seconds after its first `up`, which was at the epoch's second 1000."""
    return Snapshot(cluster(**changes), 1000.0, 1050.0, 41, 42, {"default/web-1": False}, {"default/web-1": 3})
