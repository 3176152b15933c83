"""What CoreDNS's kubernetes plugin is tested for, on the same kinds of Services: the codes and the records, with our
TTL. Only what concerns IPv4, one cluster and its own zone; endpoints of a Service with a ClusterIP have no names
here, as in kube-dns."""

from __future__ import annotations

import pytest

from nslab.dns.cluster_zone import ClusterZone, Member, NamedPort, Names, ServiceNames
from tests.dns.asking import Knowing, ask, said, texts

HTTP = NamedPort("http", "tcp", 80)
ROWS = [
    ServiceNames("testns", "svc1", "10.0.0.1", "", (HTTP,)),
    ServiceNames("testns", "hdls1", "", "", (HTTP,), (
        Member("172.0.0.2", "", (80,)), Member("172.0.0.3", "", (80,)),
        Member("172.0.0.4", "dup-name", (80,)), Member("172.0.0.5", "dup-name", (80,)),
    )),
    ServiceNames("testns", "hdlsprtls", "", "", (), (Member("172.0.0.20", "", ()),)),
    ServiceNames("testns", "external", "", "ext.interwebs.test"),
    ServiceNames("testns", "external-to-service", "", "svc1.testns.svc.cluster.local."),
]
VIEW = Knowing(ClusterZone(Names(
    "cluster.local", "10.0.0.10", frozenset(["testns"]), {f"testns/{row.name}": row for row in ROWS}
)))

FOUND = [
    ("svc1.testns", "A", ["A 10.0.0.1"], []),
    ("svc1.testns", "SRV", ["SRV 0 100 80 svc1.testns."], ["svc1.testns. A 10.0.0.1"]),
    ("_http._tcp.svc1.testns", "SRV", ["SRV 0 100 80 svc1.testns."], ["svc1.testns. A 10.0.0.1"]),
    ("hdls1.testns", "A", ["A 172.0.0.2", "A 172.0.0.3", "A 172.0.0.4", "A 172.0.0.5"], []),
    ("hdlsprtls.testns", "A", ["A 172.0.0.20"], []),
    ("172-0-0-20.hdlsprtls.testns", "A", ["A 172.0.0.20"], []),
    ("172-0-0-2.hdls1.testns", "A", ["A 172.0.0.2"], []),
    ("dup-name.hdls1.testns", "A", ["A 172.0.0.4", "A 172.0.0.5"], []),
    (
        "_http._tcp.hdls1.testns", "SRV",
        [f"SRV 0 33 80 {name}.hdls1.testns." for name in ("172-0-0-2", "172-0-0-3", "dup-name")],
        ["172-0-0-2.hdls1.testns. A 172.0.0.2", "172-0-0-3.hdls1.testns. A 172.0.0.3",
         "dup-name.hdls1.testns. A 172.0.0.4", "dup-name.hdls1.testns. A 172.0.0.5"],
    ),
    ("external.testns", "CNAME", ["CNAME ext.interwebs.test."], []),
    ("svc0.testns", "A", "NXDOMAIN", []),
    ("svc0.svc-nons", "A", "NXDOMAIN", []),
    ("svc0.svc-nons", "TXT", "NXDOMAIN", []),
    ("svc1.testns", "TXT", "NOERROR", []),
    ("svc1.testns", "SOA", "NOERROR", []),
    ("bogusendpoint.hdls1.testns", "A", "NXDOMAIN", []),
    ("bogusendpoint.svc0.testns", "A", "NXDOMAIN", []),
    ("testns", "A", "NOERROR", []),
    ("testns", "NS", "NOERROR", []),
    ("foo", "NS", "NXDOMAIN", []),
    ("endpoint.external.testns", "CNAME", "NXDOMAIN", []),
    ("subdomain.subdomain.external.testns", "CNAME", "NXDOMAIN", []),
]


@pytest.mark.parametrize(("name", "kind", "expected", "extra"), FOUND)
def test_as_coredns(name: str, kind: str, expected: list[str] | str, extra: list[str]) -> None:
    message = ask(VIEW, f"{name}.svc.cluster.local", kind)
    code, answer = said(message)
    short = [text.split(" 30 ", 1)[1].replace(".svc.cluster.local.", ".") for text in answer]
    if isinstance(expected, str):
        assert (code, short, len(message.authority)) == (expected, [], 1)
    else:
        assert (code, short, message.authority) == ("NOERROR", expected, [])
    added = [text.replace(".svc.cluster.local.", ".").replace(" 30 ", " ") for text in texts(message.additional)]
    assert added == extra


def test_an_alias_to_a_service_is_followed() -> None:
    assert [text.split(" 30 ")[1] for text in said(ask(VIEW, "external-to-service.testns.svc.cluster.local"))[1]] == [
        "CNAME svc1.testns.svc.cluster.local.", "A 10.0.0.1"
    ]
