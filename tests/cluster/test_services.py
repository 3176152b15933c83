from __future__ import annotations

from typing import Any

import pytest

from nslab.api.objects import Object
from nslab.cluster.model import Service
from nslab.errors import CapacityError

from .builders import a_cluster, a_service, an_object

INTERNAL = {"annotations": {"networking.gke.io/load-balancer-type": "Internal"}}


def balancer(name: str, metadata: dict[str, Any] | None = None, **spec: Any) -> Object:
    ports = [{"port": 80, "targetPort": 80, "protocol": "TCP"}]
    return an_object("Service", name, {"type": "LoadBalancer", "ports": ports, **spec}, metadata=metadata or {})


def only(*objects: Object) -> Service:
    return next(iter(a_cluster(*objects).services.values()))


@pytest.mark.parametrize(
    ("service", "address"),
    [
        (a_service("a"), "10.12.1.1"),
        (a_service("a", clusterIP="10.12.0.7"), "10.12.0.7"),
        (a_service("a", clusterIP="None"), ""),
        (a_service("a", type="ExternalName", externalName="example.com"), ""),
        (an_object("Service", "kube-dns", {"ports": []}, namespace="kube-system"), "10.12.0.10"),
        (an_object("Service", "kubernetes", {"ports": []}), "10.12.0.1"),
    ],
)
def test_cluster_ips(service: Object, address: str) -> None:
    assert only(service).cluster_ip == address


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ([a_service("a", clusterIP="10.12.0.1")],
         "default/a asks for 10.12.0.1, which is reserved in serviceRange 10.12.0.0/20"),
        ([a_service("a", clusterIP="10.12.0.10")],
         "default/a asks for 10.12.0.10, which is reserved in serviceRange 10.12.0.0/20"),
        ([a_service("a", clusterIP="10.13.0.1")],
         "default/a asks for 10.13.0.1, which is outside serviceRange 10.12.0.0/20"),
        ([a_service("a", clusterIP="10.12.0.7"), a_service("b", clusterIP="10.12.0.7")],
         "default/b asks for 10.12.0.7, which is held by default/a"),
        ([balancer("a", loadBalancerIP="192.0.2.1")],
         "default/a asks for 192.0.2.1, which is outside externalRange 203.0.113.0/24"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused_with_its_place(services: list[Object], message: str) -> None:
    with pytest.raises(CapacityError) as caught:
        a_cluster(*services)
    assert caught.value.message == message
    assert caught.value.where == services[-1].where


def test_a_service_keeps_its_addresses_through_any_change_of_it() -> None:
    before = a_cluster(balancer("a"))
    after = a_cluster(balancer("b"), balancer("a", externalTrafficPolicy="Local"), leases=before.leases)
    old, new = before.services["default/a"], after.services["default/a"]
    assert (new.cluster_ip, new.load_balancer_ips, new.ports[0].node_port, new.ports[0].number) == (
        old.cluster_ip, old.load_balancer_ips, old.ports[0].node_port, old.ports[0].number
    )
    assert new.health_check_node_port not in (0, new.ports[0].node_port)


@pytest.mark.parametrize(
    ("service", "ports"),
    [
        (a_service("a"), [0]),
        (a_service("a", type="NodePort"), [30086]),
        (balancer("a"), [30086]),
        (balancer("a", allocateLoadBalancerNodePorts=False), [0]),
        (a_service("a", type="NodePort", ports=[{"port": 80, "protocol": "TCP", "nodePort": 30007}]), [30007]),
        (a_service("a", type="NodePort", ports=[
            {"name": "tcp", "port": 53, "protocol": "TCP"}, {"name": "udp", "port": 53, "protocol": "UDP"},
            {"name": "metrics", "port": 80, "protocol": "TCP"},
        ]), [30086, 30086, 30087]),
        (a_service("a", type="NodePort", ports=[
            {"name": "tcp", "port": 53, "protocol": "TCP", "nodePort": 30053},
            {"name": "udp", "port": 5353, "protocol": "UDP", "nodePort": 30053},
        ]), [30053, 30053]),
    ],
)
def test_node_ports(service: Object, ports: list[int]) -> None:
    assert [port.node_port for port in only(service).ports] == ports


def test_node_ports_run_out() -> None:
    ports = [{"name": f"p{number}", "port": number, "protocol": "TCP"} for number in range(1, 2770)]
    with pytest.raises(CapacityError, match="NodePort range 30000-32767 has nothing left for default/a:p2769/TCP"):
        a_cluster(a_service("a", type="NodePort", ports=ports))


def test_a_health_check_port_is_honoured() -> None:
    service = only(balancer("a", externalTrafficPolicy="Local", healthCheckNodePort=32000))
    assert service.health_check_node_port == 32000


@pytest.mark.parametrize(
    ("service", "addresses"),
    [
        (balancer("a"), ("203.0.113.10",)),
        (balancer("a", loadBalancerIP="203.0.113.99"), ("203.0.113.99",)),
        (balancer("a", INTERNAL), ("10.128.0.5",)),
        (balancer("a", {"annotations": {"cloud.google.com/load-balancer-type": "internal"}}), ("10.128.0.5",)),
        (balancer("a", INTERNAL, loadBalancerIP="10.128.1.1"), ("10.128.1.1",)),
        (balancer("a", loadBalancerClass="networking.gke.io/l4-regional-internal"), ("10.128.0.5",)),
        (balancer("a", loadBalancerClass="networking.gke.io/l4-regional-external"), ("203.0.113.10",)),
        (balancer("a", loadBalancerClass="metallb.io/x"), ()),
        (a_service("a", type="NodePort"), ()),
    ],
)
def test_vips(service: Object, addresses: tuple[str, ...]) -> None:
    assert only(service).load_balancer_ips == addresses


def test_a_balancer_that_becomes_internal_changes_its_vip() -> None:
    before = a_cluster(balancer("a"))
    after = a_cluster(balancer("a", INTERNAL), leases=before.leases)
    assert after.leases.load_balancer_ips == {"default/a": "10.128.0.5"}


def test_the_fields_of_a_service() -> None:
    service = only(a_service(
        "a", "web", sessionAffinity="ClientIP", externalTrafficPolicy="Local", internalTrafficPolicy="Local",
        externalIPs=["192.0.2.7"], loadBalancerSourceRanges=["198.51.100.0/24"], publishNotReadyAddresses=True,
    ))
    assert (service.affinity_timeout, service.external_traffic_policy, service.internal_traffic_policy) == (
        10800, "Local", "Local"
    )
    assert service.external_ips == ("192.0.2.7",)
    assert service.source_ranges == ("198.51.100.0/24",)
    assert service.publish_not_ready
    assert service.selector == {"app": "web"}
    timeout = {"clientIP": {"timeoutSeconds": 30}}
    assert only(a_service("a", sessionAffinity="ClientIP", sessionAffinityConfig=timeout)).affinity_timeout == 30


def test_numbers_are_unique_and_not_given_again_soon() -> None:
    before = a_cluster(a_service("a"), a_service("b"))
    after = a_cluster(a_service("b"), a_service("c"), leases=before.leases)
    assert after.leases.service_numbers == {"default/b:/TCP": 2, "default/c:/TCP": 3}
