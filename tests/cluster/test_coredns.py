"""CoreDNS's objects, and its Corefile."""

from __future__ import annotations

from dataclasses import replace

from nslab.api.objects import COREDNS, ClusterSpec, DnsSpec, Manifest, Object
from nslab.cluster.addons import with_addons
from nslab.cluster.allocate import allocate
from nslab.cluster.coredns import api_address, api_names
from nslab.cluster.model import Cluster, Leases
from tests.cluster.builders import a_lab, an_object

LAB = replace(a_lab(), name="shop", dns=DnsSpec(engine=COREDNS, coredns="/opt/coredns"))
COREFILE = """\
.:53 {
    errors
    health
    ready
    nsid kube-system/{$HOSTNAME}
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig /run/nslab/shop/coredns/kubeconfig
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
        max_concurrent 1000
    }
    cache 30 {
        disable success cluster.local
        disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
"""
STUB = """\
corp.example:53 {
    errors
    cache 30
    forward . 198.51.100.53 198.51.100.54:5353
}
"""


def cluster(*objects: Object) -> Cluster:
    return allocate(with_addons(Manifest(LAB, objects)), Leases())


def corefile(*objects: Object, domain: str = "cluster.local") -> str:
    lab = replace(LAB, cluster=ClusterSpec(domain=domain))
    found = with_addons(Manifest(lab, objects)).objects
    text = next(item for item in found if item.reference == "ConfigMap kube-system/coredns").body["data"]["Corefile"]
    assert isinstance(text, str)
    return text


def kube_dns(**data: str) -> Object:
    return an_object("ConfigMap", "kube-dns", namespace="kube-system", data=data)


def test_the_corefile() -> None:
    assert corefile() == COREFILE
    assert corefile(domain="shop.test") == COREFILE.replace("cluster.local", "shop.test")


def test_the_servers_that_kube_dns_would_ask() -> None:
    others = kube_dns(
        stubDomains='{"corp.example": ["198.51.100.53", "198.51.100.54:5353"]}', upstreamNameservers='["192.0.2.1"]'
    )
    assert corefile(others) == COREFILE.replace("/etc/resolv.conf", "192.0.2.1") + STUB


def test_the_users_corefile_wins() -> None:
    own = an_object("ConfigMap", "coredns", namespace="kube-system", data={"Corefile": ". { whoami }"})
    assert corefile(own) == ". { whoami }"


def test_its_pods_run_the_users_program() -> None:
    pods = [pod for pod in cluster().pods.values() if pod.labels.get("k8s-app") == "kube-dns"]
    assert sorted(pod.node for pod in pods) == ["node-1", "node-2"]
    for pod in pods:
        container, = pod.containers
        assert (container.image, container.command) == (
            "host", ("/opt/coredns", "-conf", "/run/nslab/shop/coredns/Corefile")
        )
        assert [(port.name, port.port) for port in container.ports] == [
            ("dns", 53), ("dns-tcp", 53), ("metrics", 9153)
        ]


def test_the_way_to_the_api() -> None:
    """The first address of the service range leads to the VPC's gateway."""
    service = cluster().services["default/kubernetes"]
    assert (service.cluster_ip, [port.port for port in service.ports]) == ("10.12.0.1", [443])
    assert [each.ip for each in service.ports[0].endpoints] == [api_address(LAB)] == ["10.128.0.1"]
    assert api_names(LAB) == (
        "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "10.12.0.1",
        "10.128.0.1",
    )
    assert [service.key for service in cluster().asked_services.values()] == []
