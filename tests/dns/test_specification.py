"""Every record of the Kubernetes DNS specification 1.1.0, with the specification's own examples."""

from __future__ import annotations

import dns.flags
import pytest

from nslab.dns.cluster_zone import ClusterZone, Member, NamedPort, Names, ServiceNames
from tests.dns.asking import Knowing, ask, said, texts

HTTPS = NamedPort("https", "tcp", 443)
MEMBERS = (
    Member("10.3.0.100", "my-pet", (443,)), Member("10.3.0.101", "my-pet-2", (443,)), Member("10.3.0.102", "", (443,))
)
SERVICES = [
    ServiceNames("default", "kubernetes", "10.3.0.1", "", (HTTPS, NamedPort("", "tcp", 80))),
    ServiceNames("default", "headless", "", "", (HTTPS,), MEMBERS),
    ServiceNames("default", "portless", "", "", (), (Member("10.3.0.9", "", ()),)),
    ServiceNames("default", "waiting", "", "", (HTTPS,)),
    ServiceNames("default", "foo", "", "www.example.com"),
    ServiceNames("default", "inside", "", "Kubernetes.default.svc.cluster.local."),
    ServiceNames("default", "loop", "", "loop.default.svc.cluster.local"),
    ServiceNames("default", "numeric", "", "192.0.2.1"),
]
ZONE = ClusterZone(Names(
    "cluster.local", "10.3.0.10", frozenset(["default", "empty"]), {f"default/{row.name}": row for row in SERVICES}
))
VIEW = Knowing(ZONE)
LOCAL = "svc.cluster.local."

ANSWERS = {
    ("dns-version.cluster.local", "TXT"): ['dns-version.cluster.local. 28800 TXT "1.1.0"'],
    (f"kubernetes.default.{LOCAL}", "A"): [f"kubernetes.default.{LOCAL} 30 A 10.3.0.1"],
    (f"_https._tcp.kubernetes.default.{LOCAL}", "SRV"): [
        f"_https._tcp.kubernetes.default.{LOCAL} 30 SRV 0 100 443 kubernetes.default.{LOCAL}"
    ],
    ("1.0.3.10.in-addr.arpa", "PTR"): [f"1.0.3.10.in-addr.arpa. 30 PTR kubernetes.default.{LOCAL}"],
    (f"headless.default.{LOCAL}", "A"): [
        f"headless.default.{LOCAL} 30 A 10.3.0.{last}" for last in (100, 101, 102)
    ],
    (f"my-pet.headless.default.{LOCAL}", "A"): [f"my-pet.headless.default.{LOCAL} 30 A 10.3.0.100"],
    (f"10-3-0-102.headless.default.{LOCAL}", "A"): [f"10-3-0-102.headless.default.{LOCAL} 30 A 10.3.0.102"],
    (f"_https._tcp.headless.default.{LOCAL}", "SRV"): [
        f"_https._tcp.headless.default.{LOCAL} 30 SRV 0 33 443 {name}.headless.default.{LOCAL}"
        for name in ("my-pet", "my-pet-2", "10-3-0-102")
    ],
    ("100.0.3.10.in-addr.arpa", "PTR"): [f"100.0.3.10.in-addr.arpa. 30 PTR my-pet.headless.default.{LOCAL}"],
    (f"portless.default.{LOCAL}", "A"): [f"portless.default.{LOCAL} 30 A 10.3.0.9"],
    (f"foo.default.{LOCAL}", "CNAME"): [f"foo.default.{LOCAL} 30 CNAME www.example.com."],
    (f"inside.default.{LOCAL}", "A"): [
        f"inside.default.{LOCAL} 30 CNAME kubernetes.default.{LOCAL}", f"kubernetes.default.{LOCAL} 30 A 10.3.0.1"
    ],
    ("10-8-0-4.default.pod.cluster.local", "A"): ["10-8-0-4.default.pod.cluster.local. 30 A 10.8.0.4"],
    ("cluster.local", "NS"): ["cluster.local. 30 NS ns.dns.cluster.local."],
    ("ns.dns.cluster.local", "A"): ["ns.dns.cluster.local. 30 A 10.3.0.10"],
    (f"kubernetes.default.{LOCAL}", "ANY"): [f'kubernetes.default.{LOCAL} 30 HINFO "RFC8482" ""'],
}


@pytest.mark.parametrize(("name", "kind"), ANSWERS)
def test_every_record_is_there(name: str, kind: str) -> None:
    message = ask(VIEW, name, kind)
    found = [text.replace("Kubernetes", "kubernetes") for text in said(message)[1]]
    assert found == ANSWERS[name, kind]
    assert message.flags & dns.flags.AA
    assert not message.authority


def test_the_addresses_of_targets_come_along() -> None:
    message = ask(VIEW, f"_https._tcp.headless.default.{LOCAL}", "SRV")
    assert texts(message.additional) == [
        f"{name}.headless.default.{LOCAL} 30 A 10.3.0.{last}"
        for name, last in (("my-pet", 100), ("my-pet-2", 101), ("10-3-0-102", 102))
    ]


NO_DATA = [
    ("cluster.local", "A"), ("svc.cluster.local", "A"), ("pod.cluster.local", "A"), ("dns.cluster.local", "A"),
    ("default.svc.cluster.local", "A"), ("empty.svc.cluster.local", "A"), ("default.pod.cluster.local", "A"),
    (f"kubernetes.default.{LOCAL}", "AAAA"), (f"kubernetes.default.{LOCAL}", "TXT"),
    (f"kubernetes.default.{LOCAL}", "PTR"), (f"kubernetes.default.{LOCAL}", "TYPE65"),
    (f"_tcp.kubernetes.default.{LOCAL}", "A"), (f"_https._tcp.kubernetes.default.{LOCAL}", "A"),
    ("dns-version.cluster.local", "A"), (f"headless.default.{LOCAL}", "AAAA"), ("svc.cluster.local", "ANY"),
    (f"_tcp.headless.default.{LOCAL}", "SRV"), ("svc.cluster.local", "NS"),
]
NO_NAME = [
    f"nothing.default.{LOCAL}", f"kubernetes.nowhere.{LOCAL}", "nowhere.svc.cluster.local", "nowhere.cluster.local",
    f"_udp.kubernetes.default.{LOCAL}", f"_https._udp.kubernetes.default.{LOCAL}",
    f"_http._tcp.kubernetes.default.{LOCAL}", f"__._tcp.kubernetes.default.{LOCAL}",
    f"waiting.default.{LOCAL}", f"_https._tcp.waiting.default.{LOCAL}", f"nobody.headless.default.{LOCAL}",
    f"10-3-0-100.headless.default.{LOCAL}", f"a.b.c.headless.default.{LOCAL}", f"sub.foo.default.{LOCAL}",
    f"numeric.default.{LOCAL}", "10-8-0-256.default.pod.cluster.local", "10-8-0.default.pod.cluster.local",
    "10-8-0-4.nowhere.pod.cluster.local", "x.10-8-0-4.default.pod.cluster.local", "x.dns-version.cluster.local",
    "x.ns.dns.cluster.local", f"*.default.{LOCAL}",
]
SOA = "cluster.local. 30 SOA ns.dns.cluster.local. hostmaster.cluster.local. 0 7200 1800 86400 30"


@pytest.mark.parametrize(("name", "kind"), NO_DATA)
def test_a_name_without_such_records(name: str, kind: str) -> None:
    message = ask(VIEW, name, kind)
    assert said(message) == ("NOERROR", [])
    assert texts(message.authority) == [SOA]
    assert message.flags & dns.flags.AA


@pytest.mark.parametrize("kind", ["A", "SRV", "AAAA", "NS"])
@pytest.mark.parametrize("name", NO_NAME)
def test_no_such_name(name: str, kind: str) -> None:
    message = ask(VIEW, name, kind)
    assert said(message) == ("NXDOMAIN", [])
    assert texts(message.authority) == [SOA]
    assert message.flags & dns.flags.AA


def test_a_reverse_name_has_nothing_but_its_pointer() -> None:
    message = ask(VIEW, "1.0.3.10.in-addr.arpa", "A")
    assert said(message) == ("NOERROR", [])
    assert texts(message.authority)[0].startswith("in-addr.arpa. 30 SOA ns.dns.in-addr.arpa.")


def test_aliases_that_go_round_end() -> None:
    assert said(ask(VIEW, f"loop.default.{LOCAL}")) == ("SERVFAIL", [])


def test_an_alias_leads_to_what_is_not_there() -> None:
    zone = ClusterZone(Names("cluster.local", "", frozenset("n"), {
        "n/a": ServiceNames("n", "a", "", "gone.n.svc.cluster.local")
    }))
    message = ask(Knowing(zone), "a.n.svc.cluster.local")
    assert said(message) == ("NXDOMAIN", ["a.n.svc.cluster.local. 30 CNAME gone.n.svc.cluster.local."])
    assert message.authority


def test_names_are_compared_without_case_and_repeated_with_it() -> None:
    message = ask(VIEW, "KuberNetes.DEFAULT.svc.Cluster.Local", "A")
    assert str(message.question[0].name) == "KuberNetes.DEFAULT.svc.Cluster.Local."
    assert str(message.answer[0].name) == "KuberNetes.DEFAULT.svc.Cluster.Local."
    assert said(message)[1] == ["KuberNetes.DEFAULT.svc.Cluster.Local. 30 A 10.3.0.1"]


def test_addresses_take_turns() -> None:
    first = [said(ask(VIEW, f"headless.default.{LOCAL}", turn=turn))[1][0].rpartition(" ")[2] for turn in range(4)]
    assert first == ["10.3.0.100", "10.3.0.101", "10.3.0.102", "10.3.0.100"]


def test_a_domain_of_ones_own() -> None:
    zone = ClusterZone(Names("k8s.example.org", "10.0.0.10", frozenset(["n"]), {
        "n/web": ServiceNames("n", "web", "10.0.0.1")
    }))
    assert said(ask(Knowing(zone), "web.n.svc.k8s.example.org"))[1] == ["web.n.svc.k8s.example.org. 30 A 10.0.0.1"]
    assert said(ask(Knowing(zone), "1.0.0.10.in-addr.arpa", "PTR"))[1] == [
        "1.0.0.10.in-addr.arpa. 30 PTR web.n.svc.k8s.example.org."
    ]


def test_a_change_touches_its_service_alone() -> None:
    zone = ClusterZone(Names("cluster.local", "", frozenset(["n"]), {
        "n/a": ServiceNames("n", "a", "10.0.0.1"), "n/b": ServiceNames("n", "b", "10.0.0.2")
    }))
    view = Knowing(zone)
    moved = ServiceNames("n", "a", "", "", (), (Member("10.8.0.2", "", ()), Member("10.8.0.3", "x", ())))
    zone.change([moved], [("n", "b"), ("n", "never")], 7)
    assert said(ask(view, "a.n.svc.cluster.local"))[1] == [f"a.n.svc.cluster.local. 30 A 10.8.0.{n}" for n in (2, 3)]
    denied = ask(view, "b.n.svc.cluster.local")
    assert said(denied) == ("NXDOMAIN", [])
    assert texts(denied.authority)[0].endswith(" 7 7200 1800 86400 30")
    assert said(ask(view, "3.0.8.10.in-addr.arpa", "PTR"))[1][0].endswith(" PTR x.a.n.svc.cluster.local.")
    assert view.lookup(b"\x011\x010\x010\x0210\x07in-addr\x04arpa\0", 12) is None
    zone.change([moved._replace(members=())], [], 8)
    assert view.lookup(b"\x013\x010\x018\x0210\x07in-addr\x04arpa\0", 12) is None
    zone.set_namespaces(["n", "m"], 9)
    assert said(ask(view, "m.svc.cluster.local")) == ("NOERROR", [])


def test_an_address_of_several_services_points_to_all() -> None:
    zone = ClusterZone(Names("cluster.local", "", frozenset(["n"]), {
        f"n/{name}": ServiceNames("n", name, "", "", (), (Member("10.8.0.2", "", ()),)) for name in "ab"
    }))
    assert [text.rpartition(" ")[2] for text in said(ask(Knowing(zone), "2.0.8.10.in-addr.arpa", "PTR"))[1]] == [
        "10-8-0-2.a.n.svc.cluster.local.", "10-8-0-2.b.n.svc.cluster.local."
    ]
