"""The prober's verdicts, each against what makes it, with real packets."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import dns.message
import dns.rrset
import pytest

from nslab.servers.flows import Flow, FlowResult, HttpRequest
from nslab.servers.prober import TALKING, probe
from nslab.servers.responder_client import ResponderClient
from tests.servers.conftest import Network, Peer, address, pod_listener, serving


def one(flow: Flow) -> FlowResult:
    """The result of a single flow."""
    (result,) = probe([flow])
    return result


def nft(netns: str, rules: str) -> None:
    """Load an nft script inside a netns."""
    subprocess.run(["ip", "netns", "exec", netns, "nft", "-f", "-"], input=rules, text=True, check=True)


def forward(verdict: str) -> str:
    """A forward chain with one rule."""
    return f"table inet t {{ chain f {{ type filter hook forward priority 0; {verdict} }}; }}\n"


@pytest.fixture
def lab(network: Network, responder: ResponderClient) -> list[str]:
    """Three namespaces: the first asks, responders are in the others."""
    names = network(3)
    responder.set([pod_listener(names[at], at, protocol=kind) for at in (1, 2) for kind in ("TCP", "UDP")])
    return names


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_responder_says_who_it_is(lab: list[str], protocol: str) -> None:
    result = one(Flow("a", lab[0], protocol, address(1), 80, count=20))
    assert result.counts == {"open": 20}
    assert result.responders == {"default/srv1": 20}
    assert result.client_ips == {address(0): 20}
    assert len(result.rtts) == 20
    assert 0 < min(result.rtts) < 1


def test_icmp(lab: list[str]) -> None:
    results = probe([Flow(str(at), lab[0], "icmp", address(at), count=3) for at in (1, 2)])
    assert [result.counts for result in results] == [{"open": 3}, {"open": 3}]


def test_ipv6_to_itself(lab: list[str]) -> None:
    assert one(Flow("a", lab[0], "icmp", "::1")).verdict == "open"
    assert one(Flow("a", lab[0], "tcp", "::1", 9)).verdict == "refused"
    assert one(Flow("a", lab[0], "udp", "::1", 9)).verdict == "refused"


@pytest.mark.parametrize("protocol", ["tcp", "udp", "http", "https", "dns"])
def test_closed_port_is_refused(lab: list[str], protocol: str) -> None:
    assert one(Flow("a", lab[0], protocol, address(1), 81, query=("a.b", "A"))).counts == {"refused": 1}


@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp", "http", "https", "dns"])
def test_a_drop_is_a_timeout(lab: list[str], protocol: str) -> None:
    nft("hub", forward("drop;"))
    started = time.monotonic()
    result = one(Flow("a", lab[0], protocol, address(1), 80, count=3, timeout=0.2, query=("a.b", "A")))
    assert result.counts == {"timeout": 3}
    assert 0.2 <= time.monotonic() - started < 2


@pytest.mark.parametrize("protocol", ["tcp", "udp", "http", "dns"])
def test_a_reject_on_the_way_is_refused_at_once(lab: list[str], protocol: str) -> None:
    nft("hub", forward("reject with icmpx type port-unreachable;"))
    result = one(Flow("a", lab[0], protocol, address(1), 80, timeout=5, query=("a.b", "A")))
    assert result.counts == {"refused": 1}


@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp", "http", "dns"])
@pytest.mark.parametrize(("verdict", "expected"), [
    ("drop;", "timeout"), ("reject with icmpx type port-unreachable;", "refused"),
])
def test_rules_of_the_senders_own_netns_count_like_others(
    lab: list[str], protocol: str, verdict: str, expected: str
) -> None:
    """A drop in the output hook fails a datagram's send with EPERM, and a reject sends its ICMP error besides."""
    nft(lab[0], forward(verdict).replace("hook forward", "hook output").replace(verdict, f"oif != lo {verdict}"))
    timeout = 5 if expected == "refused" else 0.2
    result = one(Flow("a", lab[0], protocol, address(1), 80, timeout=timeout, query=("a.b", "A")))
    assert result.counts == {expected: 1}


def test_many_that_get_no_answer_do_not_hold_up_others(lab: list[str]) -> None:
    nft("hub", forward(f"ip daddr {address(2)} drop;"))
    lost = [Flow(f"lost {at}", lab[0], "tcp", address(2), 80, timeout=2) for at in range(2 * TALKING)]
    answered = [Flow(f"open {at}", lab[0], "tcp", address(1), 80, timeout=2) for at in range(2 * TALKING)]
    started = time.monotonic()
    results = probe(lost + answered)
    assert [result.verdict for result in results] == ["timeout"] * len(lost) + ["open"] * len(answered)
    assert time.monotonic() - started < 4  # all that are lost were on their way at one time


def test_a_busy_responder_is_waited_for(lab: list[str]) -> None:
    def hesitate(accepted: socket.socket) -> None:
        accepted.recv(4096)
        time.sleep(0.6)
        body = b'{"pod": "slow", "namespace": "d", "node": "n", "client": "10.0.0.1:1"}\n'
        accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + body)

    with serving(lab[1], 81, hesitate):
        patient, hasty = (
            one(Flow("a", lab[0], "tcp", address(1), 81, timeout=5, quiet=quiet)) for quiet in (5.0, 0.1)
        )
    assert (patient.verdict, patient.responders) == ("open", {"d/slow": 1})
    assert (hasty.verdict, hasty.responders) == ("open", {})


def test_a_reset_is_refused(lab: list[str]) -> None:
    nft("hub", forward("meta l4proto tcp reject with tcp reset;"))
    assert one(Flow("a", lab[0], "tcp", address(1), 80, timeout=5)).counts == {"refused": 1}


@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp", "http"])
def test_no_route_is_unreachable(lab: list[str], protocol: str) -> None:
    beyond_the_router = one(Flow("a", lab[0], protocol, "192.0.2.1", 80, timeout=5))
    assert beyond_the_router.counts == {"unreachable": 1}
    subprocess.run(["ip", "-n", lab[0], "route", "delete", "default"], check=True)
    at_home = one(Flow("a", lab[0], protocol, "192.0.2.1", 80, timeout=5))
    assert (at_home.counts, at_home.detail) == ({"unreachable": 1}, "Network is unreachable")


def test_icmp_port_unreachable_is_refused(lab: list[str]) -> None:
    nft("hub", forward("reject with icmpx type port-unreachable;"))
    assert one(Flow("a", lab[0], "icmp", address(1), timeout=5)).counts == {"refused": 1}


def test_a_wrong_netns_or_address_is_an_error(lab: list[str]) -> None:
    flow = Flow("a", "nowhere", "tcp", address(1), 80, count=2)
    results = probe([flow, replace(flow, netns=lab[0], source="192.0.2.9", count=1)])
    assert [result.counts for result in results] == [{"error": 2}, {"error": 1}]
    assert results[0].detail.startswith("netns nowhere:")
    assert results[1].detail == "Cannot assign requested address"
    assert one(replace(flow, netns=lab[0], ip="no address")).verdict == "error"
    with pytest.raises(ValueError, match="unknown protocol 'sctp'"):
        probe([Flow("a", lab[0], "sctp", address(1))])


def test_a_peer_that_is_no_responder_is_open(lab: list[str]) -> None:
    flow = Flow("a", lab[0], "tcp", address(1), 99, timeout=5)
    silence = threading.Event()
    for peer in (
        lambda sock: silence.wait(1),
        lambda sock: sock.sendall(b"220 smtp ready\r\n"),
        lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n{}\n"),
        lambda sock: None,
    ):
        with serving(lab[1], 99, peer):
            result = one(flow)
        assert (result.counts, result.responders) == ({"open": 1}, {})
        assert result.rtts[0] < 3


def test_source_and_interval(lab: list[str]) -> None:
    subprocess.run(["ip", "-n", lab[0], "address", "add", "10.99.0.77/32", "dev", "lo"], check=True)
    subprocess.run(["ip", "-n", "hub", "route", "add", "10.99.0.77/32", "dev", "v0"], check=True)
    started = time.monotonic()
    result = one(Flow("a", lab[0], "tcp", address(1), 80, count=4, interval=0.05, source="10.99.0.77"))
    assert time.monotonic() - started >= 0.15
    assert (result.counts, result.client_ips) == ({"open": 4}, {"10.99.0.77": 4})


def test_thousands_of_flows_keep_their_order(lab: list[str]) -> None:
    # Closed ports over TCP only: the kernel limits how many ICMP errors it sends in a second.
    flows = [
        Flow(str(at), lab[at % 3], kind, address(1 + at // 3 % 2), 81 if kind == "tcp" and at % 4 else 80, timeout=5)
        for at, kind in enumerate(("tcp", "tcp", "udp") * 1000)
    ]
    done: list[tuple[int, int]] = []
    results = probe(flows, lambda *step: done.append(step))
    assert [result.id for result in results] == [flow.id for flow in flows]
    for flow, result in zip(flows, results, strict=True):
        expected = {"open": 1} if flow.port == 80 else {"refused": 1}
        answers = {f"default/srv{1 if flow.ip == address(1) else 2}": 1} if flow.port == 80 else {}
        assert (result.counts, result.responders) == (expected, answers)
    assert done == [(at + 1, 3000) for at in range(3000)]


def test_http(lab: list[str]) -> None:
    request = HttpRequest("POST", "/status/503", "shop.example", (("X-Mark", "7"),), body="hello")
    result = one(Flow("a", lab[0], "http", address(1), 80, count=2, http=request))
    assert (result.counts, result.statuses) == ({"open": 2}, {"503": 2})
    assert (result.responders, result.client_ips) == ({"default/srv1": 2}, {address(0): 2})
    assert result.headers["content-type"] == "application/json"
    assert '"x-mark":"7"' in result.body
    assert '"host":"shop.example"' in result.body
    assert one(Flow("a", lab[0], "http", address(1), 80, http=HttpRequest("HEAD"))).statuses == {"200": 1}


def test_http_peers_of_all_manners(lab: list[str]) -> None:
    def answering(*parts: bytes) -> Peer:
        def peer(sock: socket.socket) -> None:
            sock.recv(65536)
            for part in parts:
                sock.sendall(part)

        return peer

    flow = Flow("a", lab[0], "http", address(1), 99, timeout=5)
    interim = b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"
    with serving(lab[1], 99, answering(interim + b"HTTP/1.1 200 OK\r\n\r\n", b"to the end")):
        result = one(flow)
    assert (result.statuses, result.body, result.headers) == ({"200": 1}, "to the end", {})
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    with serving(lab[1], 99, answering(chunks[:70], chunks[70:])):
        assert one(flow).body == "abc"
    with serving(lab[1], 99, answering(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n", b"x" * 999999)):
        assert len(one(flow).body) == 64 * 1024
    for part, why in (
        (b"SSH-2.0-x\r\n", "the answer is no HTTP"),
        (b"", "the connection was closed before the answer's end"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "the connection was closed before the answer's end"),
    ):
        with serving(lab[1], 99, answering(part)):
            result = one(flow)
        assert (result.counts, result.detail) == ({"error": 1}, why)


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """A server's context with a certificate that nobody trusts."""
    key, cert = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*command, "-keyout", key, "-out", cert, "-subj", "/CN=shop"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def test_https(lab: list[str], certificate: ssl.SSLContext) -> None:
    asked: list[tuple[str | None, str | None]] = []
    certificate.sni_callback = lambda sock, name, context: asked.append((name, None))

    def peer(sock: socket.socket) -> None:
        with certificate.wrap_socket(sock, server_side=True) as tls:
            asked[-1] = asked[-1][0], tls.selected_alpn_protocol()
            tls.recv(65536)
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"s" * 200000)

    request = HttpRequest(host="shop.example", insecure=True)
    flow = Flow("a", lab[0], "https", address(1), 443, timeout=5, http=request)
    with serving(lab[1], 443, peer):
        result = one(flow)
    assert (result.statuses, result.body[:2], result.detail) == ({"200": 1}, "ss", "")
    assert asked == [("shop.example", "http/1.1")]
    with serving(lab[1], 443, peer):
        distrusted = one(replace(flow, http=HttpRequest(sni="other.example")))
    assert distrusted.counts == {"error": 1}
    assert "self-signed certificate" in distrusted.detail
    assert asked[-1][0] == "other.example"
    with serving(lab[1], 443, lambda sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")):
        assert one(flow).verdict == "error"  # plain HTTP there


def test_https_to_a_responder(lab: list[str]) -> None:
    flow = Flow("a", lab[0], "https", address(1), 80, timeout=5, http=HttpRequest(path="/who", insecure=True))
    result = one(flow)
    assert (result.statuses, result.responders, result.detail) == ({"200": 1}, {"default/srv1": 1}, "")
    trusting = one(replace(flow, http=HttpRequest()))
    assert trusting.counts == {"error": 1}
    assert "self-signed certificate" in trusting.detail


def dns_answer(wire: bytes, truncate: bool = False) -> bytes:
    """The answer of a tiny zone: two addresses for any name but `none.test`."""
    query = dns.message.from_wire(wire)
    answer = dns.message.make_response(query)
    name = query.question[0].name
    if name.to_text() == "none.test.":
        answer.set_rcode(3)
    elif truncate:
        answer.flags |= dns.flags.TC
    else:
        answer.answer.append(dns.rrset.from_text(name, 30, "IN", "A", "10.12.0.7", "10.12.0.8"))
    return answer.to_wire()


def test_dns(lab: list[str]) -> None:
    truncate = False

    def datagrams(sock: socket.socket) -> None:
        while True:
            wire, peer = sock.recvfrom(4096)
            sock.sendto(dns_answer(wire, truncate), peer)

    def stream(sock: socket.socket) -> None:
        wire = dns_answer(sock.recv(4096)[2:])
        sock.sendall(len(wire).to_bytes(2, "big") + wire[:5])
        sock.sendall(wire[5:])

    flow = Flow("a", lab[0], "dns", address(1), 53, timeout=5, query=("web.test", "A"))
    with serving(lab[1], 53, stream), serving(lab[1], 53, datagrams, socket.SOCK_DGRAM):
        result = one(flow)
        assert (result.counts, result.statuses) == ({"open": 1}, {"NOERROR": 1})
        assert sorted(result.answers) == ["10.12.0.7", "10.12.0.8"]
        assert one(replace(flow, query=("none.test", "A"))).statuses == {"NXDOMAIN": 1}
        truncate = True
        assert sorted(one(flow).answers) == ["10.12.0.7", "10.12.0.8"]
        assert one(replace(flow, query=("x" * 70, "A"))).verdict == "error"
        assert one(replace(flow, query=("x", "NOTYPE"))).verdict == "error"
    assert one(replace(flow, port=80, timeout=0.3)).detail.startswith("the answer is no DNS")
