"""resolv.conf and hosts, as kubelet writes them, and what a resolver makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nslab.api.objects import DnsSpec, Manifest
from nslab.cluster.addons import with_addons
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Cluster, Leases
from nslab.cluster.resolvers import Resolver, machine_hosts, pod_hosts, resolvers
from tests.cluster.builders import a_lab, a_pod

CLUSTER_FIRST = Resolver(
    ("10.12.0.10",), ("default.svc.cluster.local", "svc.cluster.local", "cluster.local"), ("ndots:5",)
)
MACHINE = Resolver(("198.51.100.1",))


def with_pod(engine: str = "kube-dns", node_local: bool = False, **spec: Any) -> Cluster:
    lab = replace(a_lab(1), dns=DnsSpec(engine=engine, node_local=node_local))
    return allocate(with_addons(Manifest(lab, (a_pod("p", **spec),))), Leases())


def of(**spec: Any) -> Resolver:
    cluster = with_pod(**spec)
    return resolvers(cluster).of(cluster.pods["default/p"])


@pytest.mark.parametrize(("spec", "expected"), [
    ({}, CLUSTER_FIRST),
    ({"dnsPolicy": "ClusterFirst"}, CLUSTER_FIRST),
    ({"dnsPolicy": "Default"}, MACHINE),
    ({"hostNetwork": True, "dnsPolicy": "ClusterFirst"}, MACHINE),
    ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, CLUSTER_FIRST),
    ({"dnsPolicy": "ClusterFirstWithHostNet"}, CLUSTER_FIRST),
    ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"]}}, Resolver(("192.0.2.1",))),
    ({"engine": "none"}, MACHINE),
    ({"node_local": True}, replace(CLUSTER_FIRST, servers=("169.254.20.10",))),
])
def test_policies(spec: dict[str, Any], expected: Resolver) -> None:
    assert of(**spec) == expected


def test_what_is_configured_besides() -> None:
    config = {
        "nameservers": ["10.12.0.10", "192.0.2.1", "192.0.2.2", "192.0.2.3"],
        "searches": ["cluster.local", "my.example"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    assert of(dnsConfig=config) == Resolver(
        ("10.12.0.10", "192.0.2.1", "192.0.2.2"), (*CLUSTER_FIRST.searches, "my.example"), ("ndots:2", "edns0")
    )
    assert len(of(dnsConfig={"searches": [f"s{number}.example" for number in range(40)]}).searches) == 32


def test_the_file() -> None:
    assert CLUSTER_FIRST.text() == (
        "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.12.0.10\noptions ndots:5\n"
    )
    assert MACHINE.text() == "nameserver 198.51.100.1\n"


@pytest.mark.parametrize(("resolver", "name", "expected"), [
    (Resolver((), ("a.b", "b"), ("ndots:2",)), "x", ["x.a.b", "x.b", "x"]),
    (Resolver((), ("a.b", "b"), ("ndots:2",)), "x.y", ["x.y.a.b", "x.y.b", "x.y"]),
    (Resolver((), ("a.b", "b"), ("ndots:2",)), "x.y.z", ["x.y.z", "x.y.z.a.b", "x.y.z.b"]),
    (Resolver((), ("a.b",)), "x.y", ["x.y", "x.y.a.b"]),
    (Resolver((), ("a.b",), ("ndots:9", "edns0")), "x.y.", ["x.y"]),
    (Resolver(), "x", ["x"]),
    (Resolver((), (".",)), "x", ["x", "x"]),
    (Resolver((), ("a",), ("ndots:99",)), ".".join("abcdefghijklmnop"), [".".join("abcdefghijklmnop"),
                                                                         ".".join("abcdefghijklmnop") + ".a"]),
])
def test_attempts(resolver: Resolver, name: str, expected: list[str]) -> None:
    assert list(resolver.attempts(name)) == expected


def test_hosts() -> None:
    cluster = with_pod(hostname="h", subdomain="s", hostAliases=[{"ip": "10.1.1.1", "hostnames": ["Old", "older"]}])
    pod = cluster.pods["default/p"]
    assert pod_hosts(pod, "cluster.local") == (
        [(pod.ip, ("h.s.default.svc.cluster.local", "h"))], [("10.1.1.1", ("Old", "older"))]
    )
    known = resolvers(cluster)
    assert known.hosts(pod) == {
        "localhost": "127.0.0.1", "h.s.default.svc.cluster.local": pod.ip, "h": pod.ip, "old": "10.1.1.1",
        "older": "10.1.1.1",
    }
    assert known.hosts(None) == {"localhost": "127.0.0.1", "node-1": "10.128.0.2"}
    joined = with_pod(hostNetwork=True, hostAliases=[{"ip": "10.1.1.1", "hostnames": ["old"]}])
    assert resolvers(joined).hosts(joined.pods["default/p"]) == {**known.hosts(None), "old": "10.1.1.1"}
    laptop = cluster.clients["laptop"]
    assert machine_hosts(cluster, laptop)[0] == (laptop.ip, ("laptop",))
    assert known.hosts(None, laptop)["laptop"] == laptop.ip


def test_who_asks_the_cluster() -> None:
    for spec, expected in (({}, True), ({"dnsPolicy": "Default"}, False), ({"node_local": True}, True),
                           ({"engine": "none"}, False)):
        cluster = with_pod(**spec)  # type: ignore[arg-type]
        assert resolvers(cluster).asks_cluster(cluster.pods["default/p"]) is expected
        assert resolvers(cluster) is resolvers(cluster)
