"""References and destinations, right and wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nslab.api.objects import Object
from nslab.check.references import client_source, destination, keys, node_source, parse, pod_source, sources
from nslab.cluster.model import ContainerPort, ServicePort
from nslab.errors import NotFoundError, UsageError
from nslab.servers.flows import Lookup
from tests.check.shop import CLIENTS, NODES, PODS, SHOP, lab, pod, service

WEB_1 = pod_source(SHOP, PODS["shop/web-1"])


@pytest.mark.parametrize(("text", "found"), [
    ("pod/shop/cart", ["pod/shop/cart"]),
    ("pods/shop/cart", ["pod/shop/cart"]),
    ("pod/cart", ["pod/shop/cart"]),
    ("pod/idle", ["pod/default/idle"]),
    ("idle", ["pod/default/idle"]),
    ("deploy/web", ["pod/shop/web-1"]),
    ("deploy/shop/web", ["pod/shop/web-1"]),
    ("deploy/shop/*", ["pod/shop/web-1", "pod/shop/web-2", "pod/shop/web-3"]),
    ("pod/shop/web-*", ["pod/shop/web-1", "pod/shop/web-2", "pod/shop/web-3"]),
    ("pod/web-[12]", ["pod/shop/web-1", "pod/shop/web-2"]),
    ("pod/*/*", [f"pod/{key}" for key in PODS]),
    ("node/node-1", ["node/node-1"]),
    ("node/*", ["node/node-1", "node/node-2"]),
    ("client/*", ["client/laptop", "client/vm"]),
])
def test_sources(text: str, found: list[str]) -> None:
    assert [each.reference for each in sources(SHOP, text)] == found


def test_source_knows_its_netns() -> None:
    cart = sources(SHOP, "pod/shop/cart")[0]
    assert (cart.netns, cart.ip, cart.namespace, cart.node) == ("shop.pod.shop.cart", "10.8.0.3", "shop", "node-1")
    agent = sources(SHOP, "pod/kube-system/agent")[0]
    assert (agent.netns, agent.ip) == ("shop.node.node-2", "10.128.0.3")
    assert sources(SHOP, "client/vm")[0].netns == "shop.client.vm"


@pytest.mark.parametrize(("text", "message", "hint"), [
    ("pod/shop/carts", "pod/shop/carts: not found in the lab", "did you mean pod/shop/cart?"),
    ("pod/default/cart", "pod/default/cart: not found in the lab", "did you mean pod/shop/cart?"),
    ("deploy/wep", "deploy/wep: not found in the lab", "did you mean deploy/shop/web?"),
    ("client/pc", "client/pc: not found in the lab", "there are: client/laptop, client/vm"),
    ("sts/web", "sts/web: not found in the lab", "the lab has no sts"),
    ("pod/shop/x-*", "pod/shop/x-*: not found in the lab",
     "there are: pod/shop/web-1, pod/shop/web-2, pod/shop/web-3"),
])
def test_unknown_source(text: str, message: str, hint: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        sources(SHOP, text)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(("text", "message", "hint"), [
    ("pot/x", "pot/x: there is no kind 'pot'", "did you mean pod/?"),
    ("zzz/x", "zzz/x: there is no kind 'zzz'",
     "kinds: pod, svc, deploy, sts, ds, rs, job, netpol, ingress, node, client"),
    ("pod/", "pod/: is no reference", "write pod/NAME or pod/NAMESPACE/NAME"),
    ("pod/a/b/c", "pod/a/b/c: is no reference", "write pod/NAME or pod/NAMESPACE/NAME"),
    ("node/a/b", "node/a/b: is no reference", "write node/NAME"),
    ("svc/shop/web", "svc/shop/web: no packets come from there", "a source is a pod/, deploy/, node/ or client/"),
    ("netpol/deny", "netpol/deny: no packets come from there", "a source is a pod/, deploy/, node/ or client/"),
])
def test_malformed_source(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        sources(SHOP, text)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_bare_name_in_several_namespaces() -> None:
    both = lab(pods={**PODS, "blog/cart": pod("cart", "10.8.0.9", "node-1", namespace="blog")})
    with pytest.raises(UsageError) as caught:
        sources(both, "pod/cart")
    assert caught.value.message == "pod/cart: is in several namespaces"
    assert caught.value.hint == "one of: shop/cart, blog/cart"
    assert sources(both, "pod/cart", "blog")[0].reference == "pod/blog/cart"


def test_objects_that_carry_no_packets_are_named_too() -> None:
    policies = lab(objects=(Object("networking.k8s.io/v1", "NetworkPolicy", "shop", "deny", {}),))
    assert keys(policies, parse("netpol/deny")) == ["shop/deny"]
    assert keys(SHOP, parse("svc/web"), "shop") == ["shop/web"]


@pytest.mark.parametrize(("text", "ip", "port", "protocol", "label"), [
    ("10.1.2.3:80", "10.1.2.3", 80, "", "10.1.2.3:80"),
    ("10.1.2.3", "10.1.2.3", 0, "", "10.1.2.3"),
    ("[2001:DB8::1]:443", "2001:db8::1", 443, "", "[2001:DB8::1]:443"),
    ("[::1]", "::1", 0, "", "[::1]"),
    ("localhost:80", "127.0.0.1", 80, "", "localhost:80"),
    ("pod/cart:7070", "10.8.0.3", 7070, "", "pod/shop/cart:7070"),
    ("pod/cart", "10.8.0.3", 0, "", "pod/shop/cart"),
    ("pod/web-2:http", "10.8.1.2", 8080, "", "pod/shop/web-2:http"),
    ("pod/web-2:dns", "10.8.1.2", 53, "udp", "pod/shop/web-2:dns"),
    ("deploy/web:8080", "10.8.0.2", 8080, "", "pod/shop/web-1:8080"),
    ("svc/web:80", "10.12.0.20", 80, "", "svc/shop/web:80"),
    ("svc/shop/web:http", "10.12.0.20", 80, "", "svc/shop/web:http"),
    ("svc/web:81", "10.12.0.20", 81, "", "svc/shop/web:81"),
    ("svc/web", "10.12.0.20", 0, "", "svc/shop/web"),
    ("svc/dns:53", "10.12.0.21", 53, "udp", "svc/shop/dns:53"),
    ("node/node-2:30080", "10.128.0.3", 30080, "", "node/node-2:30080"),
    ("client/vm:80", "10.128.0.9", 80, "", "client/vm:80"),
])
def test_destinations(text: str, ip: str, port: int, protocol: str, label: str) -> None:
    to = destination(SHOP, text, WEB_1)
    assert (to.ip, to.port, to.protocol, to.label) == (ip, port, protocol, label)


@pytest.mark.parametrize(("text", "port", "host", "path"), [
    ("http://203.0.113.10/", 80, "203.0.113.10", "/"),
    ("http://203.0.113.10", 80, "203.0.113.10", "/"),
    ("https://203.0.113.10?q=1#top", 443, "203.0.113.10", "/?q=1"),
    ("http://203.0.113.10:8080/a/b?c", 8080, "203.0.113.10:8080", "/a/b?c"),
])
def test_urls(text: str, port: int, host: str, path: str) -> None:
    to = destination(SHOP, text, WEB_1)
    assert (to.ip, to.port, to.host, to.path) == ("203.0.113.10", port, host, path)
    assert to.protocol == text.partition(":")[0]


@pytest.mark.parametrize(("text", "message", "hint"), [
    ("svc/wep:80", "svc/wep: not found in the lab", "did you mean svc/shop/web?"),
    ("svc/web:grpc", "svc/web:grpc: the Service has no port named 'grpc'", "named ports: http"),
    ("svc/cart:http", "svc/cart:http: the Service has no port named 'http'",
     "it has no named ports; write the number"),
    ("svc/headless:8080", "svc/headless:8080: the Service is headless and has no ClusterIP",
     "name a pod/NAME:port behind it"),
    ("pod/cart:grpc", "pod/cart:grpc: no container of the Pod has a port named 'grpc'",
     "it has no named ports; write the number"),
])
def test_unknown_destination(text: str, message: str, hint: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        destination(SHOP, text, WEB_1)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(("text", "message"), [
    ("10.1.2.3:0", "10.1.2.3:0: '0' is no port"),
    ("10.1.2.3:99999", "10.1.2.3:99999: '99999' is no port"),
    ("10.1.2.300:80", "10.1.2.300: is no IPv4 address"),
    ("10.1.2.3:", "10.1.2.3:: is no destination"),
    (":80", ":80: is no destination"),
    ("[::1:80", "[::1:80: is no destination"),
    ("[::1]80", "[::1]80: is no destination"),
    ("[::g]:80", "::g: is no IPv6 address: Only hex digits permitted in 'g' in '::g'"),
    ("::1:80", "::1:80: an IPv6 address stands in brackets"),
    ("ftp://10.1.2.3/", "ftp://10.1.2.3/: the scheme 'ftp' is not known"),
    ("http:///path", "http:///path: names no host"),
    ("a..b:80", "a..b: is no name"),
    ("-a:80", "-a: is no name"),
    (f"{'a' * 64}:80", f"{'a' * 64}: is no name"),
    ("http://a_b*/", "a_b*: is no name"),
    ("pod/shop/*:80", "pod/shop/*:80: a destination is one object, not a pattern"),
    ("ingress/web:80", "ingress/web:80: no packets go there"),
    ("node/node-1:http", "node/node-1:http: 'http' is no port"),
])
def test_malformed_destination(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        destination(SHOP, text, WEB_1)
    assert caught.value.message == message
    assert caught.value.hint


DNS = service("kube-dns", "10.12.0.10", ServicePort("dns", "UDP", 53, 53, 0, 9))
WITH_DNS = lab(replace(DNS, namespace="kube-system"))


@pytest.mark.parametrize(("text", "names", "port", "host"), [
    ("web:80", ["web.shop.svc.cluster.local", "web.svc.cluster.local", "web.cluster.local", "web"], 80, "web:80"),
    ("web.blog:80", ["web.blog.shop.svc.cluster.local", "web.blog.svc.cluster.local", "web.blog.cluster.local",
                     "web.blog"], 80, "web.blog:80"),
    ("web.shop.svc.cluster.local.:80", ["web.shop.svc.cluster.local"], 80, "web.shop.svc.cluster.local.:80"),
    ("a.b.c.d.e.f:80", ["a.b.c.d.e.f", "a.b.c.d.e.f.shop.svc.cluster.local", "a.b.c.d.e.f.svc.cluster.local",
                        "a.b.c.d.e.f.cluster.local"], 80, "a.b.c.d.e.f:80"),
    ("http://cart:7070/x", ["cart.shop.svc.cluster.local", "cart.svc.cluster.local", "cart.cluster.local", "cart"],
     7070, "cart:7070"),
])
def test_names_are_left_to_the_sources_resolver(text: str, names: list[str], port: int, host: str) -> None:
    to = destination(WITH_DNS, text, WEB_1)
    assert (to.ip, to.port, to.host) == ("", port, host)
    assert to.lookup == Lookup(tuple(names), ("10.12.0.10",))


def test_machines_ask_the_internets_server() -> None:
    for source in (node_source(WITH_DNS, NODES["node-1"]), client_source(WITH_DNS, CLIENTS["laptop"])):
        assert destination(WITH_DNS, "www.example.com:80", source).lookup == Lookup(
            ("www.example.com",), ("198.51.100.1",)
        )


def test_names_of_hosts_files() -> None:
    aliased = replace(PODS["shop/cart"], body={"spec": {"hostAliases": [{"ip": "10.1.1.1", "hostnames": ["old"]}]}})
    lab_ = lab(pods={**PODS, aliased.key: aliased})
    assert destination(lab_, "OLD:80", pod_source(lab_, aliased)).ip == "10.1.1.1"
    assert destination(lab_, "cart:80", pod_source(lab_, aliased)).ip == aliased.ip
    assert destination(SHOP, "node-2:80", node_source(SHOP, NODES["node-1"])).ip == "10.128.0.3"
    assert destination(SHOP, "laptop:80", client_source(SHOP, CLIENTS["laptop"])).ip == "198.51.100.2"


def test_a_pod_without_a_name_server() -> None:
    mute = replace(PODS["shop/cart"], body={"spec": {"dnsPolicy": "None"}})
    with pytest.raises(UsageError, match="pod/shop/cart has no name server"):
        destination(lab(pods={mute.key: mute}), "web:80", pod_source(SHOP, mute))


def test_bare_names_are_looked_up_where_the_source_is() -> None:
    near = pod("web-1", "10.8.0.9", "node-1", ContainerPort(80), namespace="blog")
    both = lab(pods={**PODS, near.key: near})
    assert destination(both, "pod/web-1:80", pod_source(both, near)).ip == "10.8.0.9"
    assert destination(both, "pod/web-1:80", WEB_1).ip == "10.8.0.2"
    with pytest.raises(UsageError):
        destination(both, "pod/web-1:80", node_source(both, NODES["node-1"]))


def test_external_name_is_no_destination() -> None:
    away = replace(SHOP.services["shop/headless"], external_name="example.com")
    with pytest.raises(NotFoundError, match="of type ExternalName"):
        destination(lab(away), "svc/headless:80", WEB_1)
