"""What a cluster brings along: its DNS, beside what the user wrote and in place of nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nslab.api.objects import DnsSpec, Manifest, Object
from nslab.cluster.addons import is_dns_port, is_node_local, node_local, with_addons
from nslab.cluster.allocate import allocate
from nslab.cluster.model import ContainerPort, Leases
from tests.cluster.builders import a_container, a_deployment, a_lab, a_pod, a_service, an_object

DNS_PORTS = [{"name": "dns", "containerPort": 53, "protocol": "UDP"}, {"name": "metrics", "containerPort": 9153}]


def added(*objects: Object, nodes: int = 2, **dns: Any) -> list[str]:
    manifest = Manifest(replace(a_lab(nodes), dns=DnsSpec(**dns)), objects)
    return [item.reference for item in with_addons(manifest).objects[len(objects):]]


def theirs(kind: str, name: str, spec: dict[str, Any], **rest: Any) -> Object:
    return an_object(kind, name, spec, namespace="kube-system", **rest)


SERVICE, DEPLOYMENT = "Service kube-system/kube-dns", "Deployment kube-system/kube-dns"
LABELLED = {"metadata": {"labels": {"k8s-app": "kube-dns"}}}


@pytest.mark.parametrize(("objects", "expected"), [
    ((), [SERVICE, DEPLOYMENT]),
    ((a_deployment("web"), a_service("kube-dns")), [SERVICE, DEPLOYMENT]),  # in another namespace
    ((theirs("Service", "kube-dns", {"selector": {"k8s-app": "kube-dns"}}),), [DEPLOYMENT]),
    ((theirs("Service", "kube-dns", {"selector": {"app": "mine"}}),), []),
    ((theirs("Service", "kube-dns", {}),), []),
    ((theirs("Deployment", "coredns", {"template": LABELLED}),), [SERVICE]),
    ((theirs("Pod", "coredns", {}, **LABELLED),), [SERVICE]),
    ((theirs("Deployment", "kube-dns", {"template": {}}),), [SERVICE]),
])
def test_what_the_user_brings_wins(objects: tuple[Object, ...], expected: list[str]) -> None:
    assert added(*objects) == expected


def test_asked_for() -> None:
    cache = "DaemonSet kube-system/node-local-dns"
    assert added(engine="none", node_local=True) == []
    assert added(node_local=True) == [SERVICE, DEPLOYMENT, cache]
    own = theirs("DaemonSet", "cache", {"template": {"metadata": {"labels": {"k8s-app": "node-local-dns"}}}})
    assert added(own, node_local=True) == [SERVICE, DEPLOYMENT]


def test_twice_is_once() -> None:
    once = with_addons(Manifest(a_lab(), (a_deployment("web"),)))
    assert with_addons(once) is once


@pytest.mark.parametrize(("nodes", "expected"), [
    (1, ["node-1"]), (2, ["node-1", "node-2"]), (3, ["node-1", "node-2"]),
])
def test_two_servers_on_two_nodes_where_there_are_two(nodes: int, expected: list[str]) -> None:
    cluster = allocate(with_addons(Manifest(a_lab(nodes), ())), Leases())
    assert sorted(pod.node for pod in cluster.pods.values()) == expected
    assert cluster.services["kube-system/kube-dns"].cluster_ip == "10.12.0.10"
    assert cluster.asked_pods == {}
    assert cluster.asked_services == {}


def test_servers_come_on_top_of_full_and_tainted_nodes() -> None:
    taint = an_object("Node", "node-1", {"taints": [{"key": "k", "effect": "NoSchedule"}]}, namespace="")
    tainted = allocate(with_addons(Manifest(a_lab(1), (taint,))), Leases())
    assert len(tainted.pods) == 1
    full = allocate(with_addons(Manifest(a_lab(1, max_pods=8), (a_deployment("web", 8),))), Leases())
    assert len(full.asked_pods) == 8
    assert len(full.pods) == 9


def test_which_ports_are_name_servers() -> None:
    server = a_pod("coredns", a_container(ports=DNS_PORTS), labels={"k8s-app": "kube-dns"})
    server = replace(server, namespace="kube-system", body={**server.body, "metadata": {
        **server.body["metadata"], "namespace": "kube-system"}})
    other = a_pod("kube-dns", a_container(ports=DNS_PORTS), labels={"k8s-app": "kube-dns"})
    cluster = allocate(Manifest(a_lab(1), (server, other)), Leases())
    dns, metrics = ContainerPort(53, "UDP", "dns"), ContainerPort(9153, "TCP", "metrics")
    assert is_dns_port(cluster.pods["kube-system/coredns"], dns)
    assert not is_dns_port(cluster.pods["kube-system/coredns"], metrics)
    assert not is_dns_port(cluster.pods["default/kube-dns"], dns)


def test_every_node_has_its_cache() -> None:
    manifest = Manifest(replace(a_lab(3), dns=DnsSpec(node_local=True)), ())
    cluster = allocate(with_addons(manifest), Leases())
    assert node_local(cluster) == {"node-1", "node-2", "node-3"}
    caches = [pod for pod in cluster.pods.values() if is_node_local(pod)]
    assert [(pod.host_network, pod.ip == cluster.nodes[pod.node].ip) for pod in caches] == [(True, True)] * 3
