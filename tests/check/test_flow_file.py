"""FLOWS files: what they decode to, every fault in one pass, and the answer's shape."""

from __future__ import annotations

import json

import pytest

from nslab.check.flow_file import read_flows, services_by_pod, to_json
from nslab.errors import ManifestError
from nslab.servers.flows import Flow, FlowResult, HttpRequest
from tests.check.shop import SHOP

GOOD = """\
- {id: a, from: pod/shop/cart, to: "svc/shop/web:http", count: 20, timeout: 0.5}
- {from: client/laptop, to: "http://203.0.113.10/x?y", http: {method: POST, headers: {X-A: 1}, host: shop.test}}
- {id: c, from: pod/shop/web-*, to: "svc/dns:53"}
- {id: d, from: node/node-1, to: pod/shop/cart, proto: icmp}
- {id: e, from: client/laptop, to: "203.0.113.10:443", proto: https, http: {sni: shop.test, insecure: true}}
- {id: f, from: client/vm, to: "10.8.0.3:80", http: {body: x}}
"""


def test_flows() -> None:
    asked = read_flows("flows.yaml", GOOD, SHOP)
    assert [each.flow for each in asked] == [
        Flow("a", "shop.pod.shop.cart", "tcp", "10.12.0.20", 80, 20, 0.5),
        Flow("2", "shop.client.laptop", "http", "203.0.113.10", 80, http=HttpRequest(
            "POST", "/x?y", "shop.test", (("X-A", "1"),))),
        Flow("c/pod/shop/web-1", "shop.pod.shop.web-1", "udp", "10.12.0.21", 53),
        Flow("c/pod/shop/web-2", "shop.pod.shop.web-2", "udp", "10.12.0.21", 53),
        Flow("c/pod/shop/web-3", "shop.pod.shop.web-3", "udp", "10.12.0.21", 53),
        Flow("d", "shop.node.node-1", "icmp", "10.8.0.3"),
        Flow("e", "shop.client.laptop", "https", "203.0.113.10", 443, http=HttpRequest(
            host="203.0.113.10:443", sni="shop.test", insecure=True)),
        Flow("f", "shop.client.vm", "http", "10.8.0.3", 80, http=HttpRequest(host="10.8.0.3:80", body="x")),
    ]
    assert (asked[0].source.reference, asked[0].to.label) == ("pod/shop/cart", "svc/shop/web:http")


def test_json_is_yaml() -> None:
    text = json.dumps([{"id": "a", "from": "pod/cart", "to": "10.0.0.1:1"}])
    assert read_flows("-", text, SHOP)[0].flow.ip == "10.0.0.1"


BAD = """\
- {id: a, from: pod/shop/carts, to: "svc/shop/web:80", prot: udp}
- {id: a, from: pod/shop/cart, to: "svc/shop/web:grpc", count: 0}
- id: b
  to: 7
  proto: sctp
  timeout: soon
  http: {paths: /, path: x, insecure: maybe}
- {id: c, from: pod/shop/cart, to: "http://10.0.0.1/", proto: udp}
- {id: d, from: pod/shop/cart, to: "10.0.0.1:53", proto: udp, http: {path: /}}
- {id: e, from: pod/shop/cart, to: "10.0.0.1"}
- {id: f, from: pod/shop/cart, to: "10.0.0.1:53", proto: dns}
- {id: g, from: pod/shop/cart, to: web, proto: dns, type: Q}
- {id: h, from: pod/shop/cart, to: "10.0.0.1:53", type: A}
- {id: i, from: pod/shop/cart, to: "10.0.0.1:53", count: true}
- just text
"""


def test_all_faults_in_one_pass() -> None:
    with pytest.raises(ManifestError) as caught:
        read_flows("flows.yaml", BAD, SHOP)
    assert caught.value.faults == [
        "flows.yaml:1:56: flow a: the field 'prot' is not known; did you mean 'proto'?",
        "flows.yaml:1:11: flow a: from: pod/shop/carts: not found in the lab; did you mean pod/shop/cart?",
        "flows.yaml:2:4: flow a: the id is given twice",
        "flows.yaml:2:57: flow a: count: must be above 0 and at most 1000000, not 0",
        "flows.yaml:2:32: flow a: to: svc/shop/web:grpc: the Service has no port named 'grpc'; named ports: http",
        "flows.yaml:5:3: flow b: proto 'sctp' is not known; one of tcp, udp, icmp, http, https, dns",
        "flows.yaml:6:3: flow b: timeout: must be a number of seconds, not 'soon'",
        "flows.yaml:7:10: flow b: http: the field 'paths' is not known; did you mean 'path'?",
        "flows.yaml:7:29: flow b: http: insecure: must be true or false, not 'maybe'",
        "flows.yaml:7:20: flow b: http: path: must begin with /",
        "flows.yaml:3:3: flow b: from: is missing",
        "flows.yaml:4:3: flow b: to: must be a string, not 7",
        "flows.yaml:8:56: flow c: proto udp does not go with the URL http://10.0.0.1/",
        "flows.yaml:9:63: flow d: http: does not go with proto udp",
        "flows.yaml:10:32: flow e: to: 10.0.0.1 has no port; write 10.0.0.1:PORT",
        "flows.yaml:11:32: flow f: to: 10.0.0.1:53: is no name; write IP:port, [IPv6]:port, NAME:port, "
        "pod/NAME:port, svc/NAME:port, node/NAME:port, client/NAME:port or a URL",
        "flows.yaml:12:53: flow g: type: 'Q' is not known; "
        "one of A, NS, CNAME, SOA, PTR, HINFO, MX, TXT, AAAA, SRV, ANY",
        "flows.yaml:13:51: flow h: type: goes with proto dns",
        "flows.yaml:14:51: flow i: count: must be a whole number, not True",
        "flows.yaml:15:3: a flow must be a mapping, not 'just text'",
    ]


@pytest.mark.parametrize(("text", "fault"), [
    ("", "f:1:1: there are no flows in it"),
    ("[]", "f:1:1: there are no flows in it"),
    ("{from: x}", "f:1:1: must be a list of flows"),
])
def test_no_list_of_flows(text: str, fault: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read_flows("f", text, SHOP)
    assert caught.value.faults == [fault]


def test_broken_yaml() -> None:
    with pytest.raises(ManifestError, match=r"^f:\d:\d+: while parsing"):
        read_flows("f", "- {from: [", SHOP)


def test_answer() -> None:
    asked = read_flows("f", '[{id: a, from: pod/cart, to: "svc/shop/web:80", count: 3}]', SHOP)[0]
    result = FlowResult(
        "a", {"open": 2, "timeout": 1}, {"shop/web-1": 1, "shop/web-2": 1}, {"10.8.0.3": 2}, [0.001, 0.003],
        {"200": 2}, {"via": "x"}, detail="one was lost",
    )
    assert to_json(asked.flow, asked.source.reference, asked.to.label, result, services_by_pod(SHOP)) == {
        "id": "a", "from": "pod/shop/cart", "to": "svc/shop/web:80", "proto": "tcp", "attempts": 3,
        "verdict": "mixed",
        "counts": {"open": 2, "timeout": 1}, "responders": {"shop/web-1": 1, "shop/web-2": 1},
        "client_ips": {"10.8.0.3": 2},
        "http": {"status": {"200": 2}, "headers": {"via": "x"}, "service": "shop/web"},
        "rtt_ms": {"min": 1.0, "median": 2.0, "max": 3.0}, "detail": "one was lost",
    }


@pytest.mark.parametrize(("ip", "responders", "service"), [
    ("203.0.113.10", {"shop/web-1": 1}, "shop/web"),
    ("10.8.0.2", {"shop/web-1": 1}, None),
    ("10.128.0.3", {"kube-system/agent": 1}, "shop/agent"),
    ("10.8.0.2", {}, None),
    ("10.8.1.4", {"default/idle": 1}, None),
])
def test_service_of_the_responders(ip: str, responders: dict[str, int], service: str | None) -> None:
    flow = Flow("a", "shop.client.vm", "http", ip, 80)
    answer = to_json(flow, "client/vm", ip, FlowResult("a", {"timeout": 1}, responders), services_by_pod(SHOP))
    assert answer["http"]["service"] == service
    assert answer["rtt_ms"] == {"min": None, "median": None, "max": None}


def test_places_of_json_faults_are_those_of_its_text() -> None:
    text = '[{"id": "a", "from": "pod/shop/cart",\n  "to": "10.0.0.1:80", "prot": "tcp"}]'
    with pytest.raises(ManifestError) as raised:
        read_flows("-", text, SHOP)
    assert raised.value.faults == [
        "-:2:24: flow a: the field 'prot' is not known; did you mean 'proto'?"
    ]
