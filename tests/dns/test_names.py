"""What of a Cluster gets names."""

from __future__ import annotations

import json
from typing import Any

from nslab.cluster.allocate import with_readiness
from nslab.dns.cluster_zone import Member, NamedPort, ServiceNames, changed, decode_rows, encode_rows
from nslab.dns.names import names
from tests.cluster.builders import a_cluster as made
from tests.cluster.builders import a_container, a_deployment, a_pod, a_service, a_template, a_workload, an_object

GATED = a_container(80, readinessProbe={"tcpSocket": {"port": 80}})


def row(*objects: Any, service: str = "default/s", ready: dict[str, bool] | None = None) -> ServiceNames:
    return names(made(*objects, ready=ready)).services[service]


def test_a_service_with_a_cluster_ip() -> None:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    found = row(a_deployment("web", 3), a_service("s", "web", ports=ports, clusterIP="10.12.3.4"))
    assert found == ServiceNames(
        "default", "s", "10.12.3.4", "", (NamedPort("http", "tcp", 80), NamedPort("dns", "udp", 53))
    )


def test_the_dns_service_and_the_namespaces() -> None:
    dns = an_object("Service", "kube-dns", {"clusterIP": "10.12.0.10", "ports": []}, namespace="kube-system")
    found = names(made(dns, an_object("Namespace", "empty", namespace=""), a_pod("p")))
    assert (found.domain, found.dns_ip) == ("cluster.local", "10.12.0.10")
    assert found.namespaces == {"default", "empty", "kube-node-lease", "kube-public", "kube-system"}
    assert names(made()).dns_ip == ""


def test_the_pods_of_a_stateful_set_are_called_by_their_names() -> None:
    found = row(a_workload("StatefulSet", "db", 2, serviceName="s"), a_service("s", "db", clusterIP="None"))
    assert found.members == (Member("10.8.0.2", "db-0", (80,)), Member("10.8.1.2", "db-1", (80,)))


def test_a_pods_hostname_counts_in_its_subdomain_alone() -> None:
    headless = a_service("s", "x", clusterIP="None"), a_service("t", "x", clusterIP="None")
    labels = {"app": "x"}
    pods = (
        a_pod("a", labels=labels, hostname="chosen", subdomain="s"), a_pod("b", labels=labels, subdomain="s"),
        a_pod("c", labels=labels, hostname="idle"),
    )
    assert [member.hostname for member in row(*pods, *headless).members] == ["chosen", "", ""]
    assert [member.hostname for member in row(*pods, *headless, service="default/t").members] == ["", "", ""]


def test_a_named_target_port_has_each_pods_own_number() -> None:
    port = {"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}
    named = a_container(ports=[{"containerPort": 8080, "name": "web", "protocol": "TCP"}])
    objects = a_pod("a", named, labels={"app": "x"}), a_pod("b", labels={"app": "x"})
    found = row(*objects, a_service("s", "x", ports=[port], clusterIP="None"))
    assert [member.ports for member in found.members] == [(8080,), (0,)]


def test_a_headless_service_needs_no_port() -> None:
    found = row(a_pod("a"), a_service("s", "a", ports=[], clusterIP="None"))
    assert found.members == (Member("10.8.0.2", "", ()),)


def test_endpoints_that_are_not_ready() -> None:
    template = a_template("web", GATED)
    before = made(
        a_deployment("web", 1, template), a_service("s", "web", ports=[], clusterIP="None"),
        a_service("all", "web", ports=[], clusterIP="None", publishNotReadyAddresses=True),
    )
    assert names(before).services["default/s"].members == ()
    assert len(names(before).services["default/all"].members) == 1
    after = with_readiness(before, dict.fromkeys(before.pods, True))
    assert len(names(after).services["default/s"].members) == 1
    assert names(with_readiness(after, dict.fromkeys(before.pods, False))).services == names(before).services


def test_written_endpoints_have_the_hostnames_that_they_say() -> None:
    item = an_object(
        "EndpointSlice", "s-1", metadata={"labels": {"kubernetes.io/service-name": "s"}}, addressType="IPv4",
        endpoints=[{"addresses": ["192.0.2.1"], "hostname": "one"}],
        ports=[{"name": "", "port": 81, "protocol": "TCP"}],
    )
    subset = {"addresses": [{"ip": "192.0.2.2", "hostname": "two"}, {"ip": "2001:db8::1"}], "ports": [{"port": 82}]}
    found = row(a_service("s", clusterIP="None"), item, an_object("Endpoints", "s", subsets=[subset]))
    assert found.members == (Member("192.0.2.1", "one", (81,)), Member("192.0.2.2", "two", (82,)))


def test_an_alias() -> None:
    found = row(a_service("s", type="ExternalName", externalName="www.example.com"))
    assert found == ServiceNames("default", "s", "", "www.example.com", (NamedPort("", "tcp", 80),))


def test_rows_survive_json() -> None:
    rows = [
        row(a_workload("StatefulSet", "db", 2, serviceName="s"), a_service("s", "db", clusterIP="None")),
        row(a_service("s", "x")),
    ]
    assert decode_rows(json.loads(json.dumps(encode_rows(rows)))) == rows


def test_the_difference() -> None:
    a, b, c = (ServiceNames("n", name, "10.0.0.1") for name in "abc")
    other = b._replace(cluster_ip="10.0.0.2")
    assert changed({"n/a": a, "n/b": b}, {"n/b": other, "n/c": c}) == ([other, c], [("n", "a")])
