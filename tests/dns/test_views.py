"""Whom each name server asks, the internet's zones, and the list of all names."""

from __future__ import annotations

import json

import pytest

from nslab.cluster.memo import Memo
from nslab.dns import wire
from nslab.dns.answer import Server
from nslab.dns.cluster_zone import ClusterZone, Member, NamedPort, Names, ServiceNames
from nslab.dns.internet import InternetZones
from nslab.dns.listing import cluster_records, internet_records
from nslab.dns.names import names, order, outside
from nslab.dns.records import data_text, type_name
from nslab.dns.views import ClusterView, InternetView, NodeLocalView, Outside, decode_outside, encode_outside
from tests.cluster.builders import a_cluster, a_lab, a_service, an_object
from tests.dns.asking import Knowing, ask, said, texts

UP, CORP, DEEP = Server("192.0.2.1"), Server("192.0.2.2", 5353), Server("192.0.2.3")
CACHED = Server("10.12.0.10", tcp=True)
OUTSIDE = Outside(
    (UP,), {"corp.example": (CORP,), "deep.Corp.example.": (DEEP,)}, (CACHED,),
    {"example.com": {"www": ("198.51.100.20",)}},
)


@pytest.mark.parametrize(("name", "server"), [
    ("example.org", UP), ("corp.example", CORP), ("www.CORP.example", CORP), ("a.deep.corp.example", DEEP),
    ("notcorp.example", UP), (".", UP),
])
def test_stub_domains(name: str, server: Server) -> None:
    assert list(ClusterView(ClusterZone(), OUTSIDE).servers(wire.encode_name(name))) == [server]


@pytest.mark.parametrize(("name", "server"), [
    ("web.shop.svc.Cluster.Local", CACHED), ("cluster.local", CACHED), ("1.0.12.10.in-addr.arpa", CACHED),
    ("0.ip6.arpa", CACHED), ("local", UP), (".", UP), ("www.corp.example", CORP),
])
def test_a_cache_asks_the_cluster_for_its_names_alone(name: str, server: Server) -> None:
    cache = NodeLocalView(ClusterZone(), OUTSIDE)
    assert list(cache.servers(wire.encode_name(name))) == [server]
    assert cache.lookup(wire.encode_name(name), wire.A) is None


def test_the_internets_servers() -> None:
    assert InternetView(OUTSIDE).servers(b"\0") == ()
    assert InternetView(Outside(host=(UP,))).servers(b"\0") == (UP,)


def test_outside_survives_json() -> None:
    assert decode_outside(json.loads(json.dumps(encode_outside(OUTSIDE)))) == Outside(
        OUTSIDE.upstreams, OUTSIDE.stub_domains, OUTSIDE.cluster, {"example.com": {"www": ["198.51.100.20"]}}
    )


ZONES = {
    "example.com": {
        "@": ["198.51.100.20", "198.51.100.21"], "www": ["198.51.100.20"], "a.b": ["203.0.113.9"],
        "alias": ["www"], "away": ["www.example.org."], "_svc": ["198.51.100.22"],
    },
    "sub.example.com": {"@": ["198.51.100.23"]},
}
CLOSED, OPEN = Knowing(InternetZones(ZONES, closed=True)), Knowing(InternetZones(ZONES, closed=False))


@pytest.mark.parametrize(("name", "kind", "code", "answers"), [
    ("example.com", "A", "NOERROR", ["A 198.51.100.20", "A 198.51.100.21"]),
    ("WWW.example.com", "A", "NOERROR", ["A 198.51.100.20"]),
    ("a.b.example.com", "A", "NOERROR", ["A 203.0.113.9"]),
    ("b.example.com", "A", "NOERROR", []),
    ("alias.example.com", "A", "NOERROR", ["CNAME www.example.com.", "A 198.51.100.20"]),
    ("alias.example.com", "CNAME", "NOERROR", ["CNAME www.example.com."]),
    ("away.example.com", "A", "NXDOMAIN", ["CNAME www.example.org."]),
    ("sub.example.com", "A", "NOERROR", ["A 198.51.100.23"]),
    ("no.sub.example.com", "A", "NXDOMAIN", []),
    ("example.org", "A", "NXDOMAIN", []),
    ("com", "A", "NOERROR", []),
    (".", "NS", "NOERROR", ["NS ns."]),
    ("example.com", "NS", "NOERROR", ["NS ns.example.com."]),
    ("20.100.51.198.in-addr.arpa", "PTR", "NOERROR", ["PTR example.com.", "PTR www.example.com."]),
    ("22.100.51.198.in-addr.arpa", "A", "NOERROR", []),
    ("99.100.51.198.in-addr.arpa", "PTR", "NXDOMAIN", []),
])
def test_the_internets_zones(name: str, kind: str, code: str, answers: list[str]) -> None:
    found, records = said(ask(CLOSED, name, kind))
    assert (found, [text.split(" 300 ")[1] for text in records]) == (code, answers)


def test_denials_are_the_innermost_zones() -> None:
    for name, zone in (("no.sub.example.com", "sub.example.com."), ("no.example.com", "example.com."), ("no", ".")):
        assert texts(ask(CLOSED, name).authority)[0].startswith(f"{zone} 300 SOA ns.{zone.removeprefix('.')}")
    assert said(ask(CLOSED, "example.com", "SOA"))[1][0].startswith("example.com. 300 SOA ns.example.com.")


def test_with_others_to_ask_only_the_zones_are_known() -> None:
    known = OPEN.authority
    assert known.lookup(wire.encode_name("example.org"), wire.A) is None
    assert known.lookup(wire.encode_name("no.example.com"), wire.A) is not None
    assert known.lookup(wire.encode_name("20.100.51.198.in-addr.arpa"), wire.PTR) is not None
    reply = known.lookup(wire.encode_name("away.example.com"), wire.A)
    assert reply is not None
    assert reply[1] == wire.encode_name("www.example.org")


def config(**data: str) -> Outside:
    item = an_object("ConfigMap", "kube-dns", namespace="kube-system", data=data)
    dns = an_object("Service", "kube-dns", {"ports": []}, namespace="kube-system")
    return outside(a_cluster(item, dns))


def test_the_config_map_of_kube_dns() -> None:
    stubs = '{"corp.example": ["192.0.2.3"]}'
    told = config(upstreamNameservers='["192.0.2.1", "192.0.2.2:5353"]', stubDomains=stubs)
    assert told.upstreams == (UP, CORP)
    assert told.stub_domains == {"corp.example": (DEEP,)}
    assert told.cluster == (CACHED,)


@pytest.mark.parametrize("data", [
    {}, {"upstreamNameservers": "[", "stubDomains": "["}, {"upstreamNameservers": "7", "stubDomains": "7"},
    {"upstreamNameservers": '["10.12.0.10"]'},  # itself: it would ask round and round
])
def test_what_cannot_be_read_counts_as_not_written(data: dict[str, str]) -> None:
    assert config(**data) == config()
    assert config().upstreams == (Server("198.51.100.1"),)


def test_the_hosts_servers_count_where_they_are_asked_for() -> None:
    assert outside(a_cluster(), ["192.0.2.1"]).host == ()


def test_only_what_changed_is_told() -> None:
    before = a_cluster(a_service("a"), a_service("b"))
    after = a_cluster(a_service("a", port=81), a_service("c"), an_object("Namespace", "n", namespace=""))
    first, second = names(before), names(after)
    whole = order(first, Outside(), None, None)
    assert (whole["domain"], len(whole["services"])) == ("cluster.local", 2)  # type: ignore[arg-type]
    assert order(first, Outside(), first, Outside()) == {}
    told = order(second, Outside(), first, Outside())
    assert told["namespaces"] == ["default", "kube-node-lease", "kube-public", "kube-system", "n"]
    assert [row[1] for row in told["services"]] == ["a", "c"]  # type: ignore[attr-defined]
    assert told["gone"] == [("default", "b")]
    assert "domain" in order(second, OUTSIDE, first, Outside())


def test_the_list_of_all_names() -> None:
    http = (NamedPort("http", "tcp", 80),)
    rows = {
        "n/web": ServiceNames("n", "web", "10.0.0.1", "", http),
        "n/db": ServiceNames("n", "db", "", "", http, (Member("10.8.0.2", "db-0", (81,)),)),
        "n/out": ServiceNames("n", "out", "", "www.example.com"),
    }
    listed = {
        f"{wire.text_of(record.name)} {type_name(record.type)} {data_text(record)}"
        for record in cluster_records(Names("d", "10.0.0.10", frozenset("n"), rows))
    }
    assert listed == {
        "d. NS ns.dns.d.", 'dns-version.d. TXT "1.1.0"', "ns.dns.d. A 10.0.0.10", "web.n.svc.d. A 10.0.0.1",
        "web.n.svc.d. SRV 0 100 80 web.n.svc.d.", "_http._tcp.web.n.svc.d. SRV 0 100 80 web.n.svc.d.",
        "db.n.svc.d. A 10.8.0.2", "db.n.svc.d. SRV 0 100 81 db-0.db.n.svc.d.", "db-0.db.n.svc.d. A 10.8.0.2",
        "_http._tcp.db.n.svc.d. SRV 0 100 81 db-0.db.n.svc.d.", "out.n.svc.d. CNAME www.example.com.",
        "1.0.0.10.in-addr.arpa. PTR web.n.svc.d.", "2.0.8.10.in-addr.arpa. PTR db-0.db.n.svc.d.",
    }
    assert len(list(internet_records(ZONES))) == 2 + 1 + 1 + 1 + 1 + 1 + 1 + 2 + 6
    assert list(internet_records({})) == []


def test_memory_keeps_the_rows_of_services_that_are_the_same() -> None:
    cluster, memo = a_cluster(a_service("a"), lab=a_lab()), Memo()
    assert names(cluster, memo).services["default/a"] is names(cluster, memo).services["default/a"]
