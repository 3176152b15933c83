from __future__ import annotations

from typing import Any

import pytest

from nslab.api.objects import NodeSpec, Object
from nslab.cluster.allocate import with_readiness
from nslab.cluster.model import Cluster, Endpoint

from .builders import a_cluster, a_container, a_deployment, a_lab, a_pod, a_service, a_template, an_object

PROBED = a_container(80, readinessProbe={"httpGet": {"port": 80}})


def backends(cluster: Cluster, service: str = "default/s", port: int = 0) -> list[tuple[str, int]]:
    return [(endpoint.pod, endpoint.port) for endpoint in cluster.services[service].ports[port].endpoints]


def test_a_service_has_the_pods_of_its_namespace_with_all_its_labels() -> None:
    other = Object("v1", "Pod", "shop", "other", a_pod("other", labels={"app": "web", "tier": "a"}).body)
    cluster = a_cluster(
        a_pod("yes", labels={"app": "web", "tier": "a"}), a_pod("no", labels={"app": "web"}), other,
        a_service("s", selector={"app": "web", "tier": "a"}),
    )
    assert backends(cluster) == [("default/yes", 80)]


def test_an_endpoint_says_where_its_pod_is() -> None:
    cluster = a_cluster(a_pod("web"), a_service("s", "web"), lab=a_lab((NodeSpec("n", zone="a"),)))
    assert cluster.services["default/s"].ports[0].endpoints == (
        Endpoint("10.8.0.2", 80, "n", "default/web", True, True, False, "a"),
    )


def test_target_ports_by_name_are_each_pods_own() -> None:
    def named(pod: str, port: int, name: str, protocol: str = "TCP") -> Object:
        ports = [{"containerPort": port, "name": name, "protocol": protocol}]
        return a_pod(pod, a_container(ports=ports), labels={"app": "web"})

    cluster = a_cluster(
        named("old", 80, "http"), named("new", 8080, "http"), named("none", 81, "web"),
        named("udp", 82, "http", "UDP"), a_service("s", "web", target="http"),
    )
    assert backends(cluster) == [("default/old", 80), ("default/new", 8080)]


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"type": "NodePort"}, {"type": "LoadBalancer"}])
def test_every_type_has_endpoints(spec: dict[str, Any]) -> None:
    assert backends(a_cluster(a_pod("web"), a_service("s", "web", **spec))) == [("default/web", 80)]


@pytest.mark.parametrize("spec", [{"type": "ExternalName", "externalName": "x.y", "selector": {"app": "web"}}, {}])
def test_external_names_and_services_without_a_selector_have_none(spec: dict[str, Any]) -> None:
    assert backends(a_cluster(a_pod("web"), a_service("s", **spec))) == []


def test_a_pod_in_its_nodes_netns_stands_behind_a_service_with_the_nodes_address() -> None:
    cluster = a_cluster(a_pod("web", hostNetwork=True), a_service("s", "web"))
    assert cluster.services["default/s"].ports[0].endpoints[0].ip == cluster.nodes["node-1"].ip


def test_sctp_ports_are_carried() -> None:
    ports = [{"port": 9, "targetPort": 9, "protocol": "SCTP"}]
    cluster = a_cluster(a_pod("web"), a_service("s", "web", ports=ports))
    assert cluster.services["default/s"].ports[0].protocol == "SCTP"
    assert backends(cluster) == [("default/web", 9)]


def test_a_probed_pod_is_not_ready_until_told() -> None:
    objects = a_pod("web", PROBED), a_service("s", "web")
    endpoint = a_cluster(*objects).services["default/s"].ports[0].endpoints[0]
    assert (endpoint.ready, endpoint.serving) == (False, False)
    endpoint = a_cluster(*objects, ready={"default/web": True}).services["default/s"].ports[0].endpoints[0]
    assert (endpoint.ready, endpoint.serving) == (True, True)


def test_published_not_ready_addresses_are_ready_but_do_not_serve() -> None:
    cluster = a_cluster(a_pod("web", PROBED), a_service("s", "web", publishNotReadyAddresses=True))
    endpoint = cluster.services["default/s"].ports[0].endpoints[0]
    assert (endpoint.ready, endpoint.serving) == (True, False)


@pytest.mark.parametrize("publish", [False, True])
def test_with_readiness_is_what_allocate_would_have_made(publish: bool) -> None:
    objects = [a_deployment("web", 3, a_template("web", PROBED)), a_deployment("db", 2)]
    objects += [a_service("s", "web", publishNotReadyAddresses=publish), a_service("t", "db"), a_service("u", "web")]
    before = a_cluster(*objects)
    keys = list(before.pods)
    ready = {keys[0]: True, keys[1]: True, keys[3]: False, "default/nobody": True}
    after = with_readiness(before, ready)
    assert after == a_cluster(*objects, ready=ready)
    assert with_readiness(after, ready) is after
    assert with_readiness(after, {keys[0]: False}) == a_cluster(*objects, ready={**ready, keys[0]: False})


def test_readiness_leaves_what_it_does_not_concern() -> None:
    before = a_cluster(a_pod("web"), a_pod("db"), a_service("s", "web"), a_service("t", "db"))
    after = with_readiness(before, {"default/web": False})
    assert after.services["default/t"] is before.services["default/t"]
    assert after.pods["default/db"] is before.pods["default/db"]
    assert not after.pods["default/web"].ready


def test_one_replica_more_moves_no_endpoint() -> None:
    service = a_service("s", "web")
    before = a_cluster(a_deployment("web", 3), service)
    after = a_cluster(a_deployment("web", 4), service, leases=before.leases)
    assert backends(after)[:3] == backends(before)


def test_topology_hints_keep_traffic_in_its_zone() -> None:
    lab = a_lab((NodeSpec("n", zone="a"), NodeSpec("m")))
    service = a_service("s", "web", trafficDistribution="PreferClose")
    cluster = a_cluster(a_deployment("web", 2), service, lab=lab)
    assert [endpoint.zone_hints for endpoint in cluster.services["default/s"].ports[0].endpoints] == [("a",), ()]


def a_slice(*endpoints: dict[str, Any], ports: list[dict[str, Any]] | None = None, **fields: Any) -> Object:
    return an_object(
        "EndpointSlice", "s-1", metadata={"labels": {"kubernetes.io/service-name": "s"}}, addressType="IPv4",
        endpoints=list(endpoints), ports=ports or [{"name": "", "port": 8080, "protocol": "TCP"}], **fields,
    )


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, (True, True, False)),
        ({"ready": True}, (True, True, False)),
        ({"ready": False}, (False, False, False)),
        ({"ready": False, "serving": True, "terminating": True}, (False, True, True)),
        ({"ready": None, "serving": None, "terminating": None}, (True, True, False)),
    ],
)
def test_a_users_slice_with_its_conditions(conditions: dict[str, Any], expected: tuple[bool, bool, bool]) -> None:
    cluster = a_cluster(a_service("s"), a_slice({"addresses": ["192.0.2.1"], "conditions": conditions}))
    endpoint = cluster.services["default/s"].ports[0].endpoints[0]
    assert (endpoint.ip, endpoint.port, endpoint.pod) == ("192.0.2.1", 8080, "")
    assert (endpoint.ready, endpoint.serving, endpoint.terminating) == expected


def test_a_users_slice_names_node_zone_and_hints() -> None:
    item = {
        "addresses": ["10.8.0.2"], "nodeName": "node-1", "zone": "a", "hints": {"forZones": [{"name": "b"}]}
    }
    endpoint = a_cluster(a_pod("web"), a_service("s"), a_slice(item)).services["default/s"].ports[0].endpoints[0]
    assert endpoint == Endpoint("10.8.0.2", 8080, "node-1", "default/web", zone="a", zone_hints=("b",))


def test_a_slice_of_ipv6_addresses_is_not_for_this_network() -> None:
    item = a_slice({"addresses": ["2001:db8::1"]})
    item.body["addressType"] = "IPv6"
    assert backends(a_cluster(a_service("s"), item)) == []


def test_ports_of_written_endpoints_are_joined_by_name_and_protocol() -> None:
    ports = [{"name": "a", "port": 1, "protocol": "TCP"}, {"name": "b", "port": 2, "protocol": "TCP"},
             {"name": "b", "port": 3, "protocol": "UDP"}]
    service = a_service("s", ports=[{"name": "b", "port": 80, "protocol": "TCP"}])
    assert backends(a_cluster(service, a_slice({"addresses": ["192.0.2.1"]}, ports=ports))) == [("", 2)]


def test_a_users_endpoints_ready_and_not() -> None:
    subset = {"addresses": [{"ip": "192.0.2.1", "nodeName": "node-2"}], "notReadyAddresses": [{"ip": "192.0.2.2"}],
              "ports": [{"port": 9}]}
    cluster = a_cluster(a_service("s"), an_object("Endpoints", "s", subsets=[subset]))
    assert cluster.services["default/s"].ports[0].endpoints == (
        Endpoint("192.0.2.1", 9, "node-2"), Endpoint("192.0.2.2", 9, ready=False, serving=False)
    )


def test_an_address_in_slice_and_endpoints_counts_once() -> None:
    endpoints = an_object("Endpoints", "s", subsets=[{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 8080}]}])
    assert backends(a_cluster(a_service("s"), endpoints, a_slice({"addresses": ["192.0.2.1"]}))) == [("", 8080)]


def test_written_endpoints_of_a_service_with_a_selector_are_its_controllers_business() -> None:
    cluster = a_cluster(a_pod("web"), a_service("s", "web"), a_slice({"addresses": ["192.0.2.1"]}))
    assert backends(cluster) == [("default/web", 80)]
