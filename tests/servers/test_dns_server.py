"""The responder as a name server: real packets from namespaces of their own, with dig and dnspython."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dns.message
import dns.query
import dns.rcode
import pytest

from nslab.dns.cluster_zone import Member, NamedPort, ServiceNames, encode_rows
from nslab.dns.views import CLUSTER, INTERNET, NODE_LOCAL, Outside, Server, encode_outside
from nslab.linux.netns import entered
from nslab.servers.listeners import Identity, Listener
from nslab.servers.responder_client import ResponderClient
from tests.servers.conftest import Network, address

HTTP = (NamedPort("http", "tcp", 80),)
WEB = ServiceNames("shop", "web", "10.12.0.20", "", HTTP)
MANY = ServiceNames("shop", "many", "", "", HTTP, tuple(Member(f"10.8.0.{n}", "", (80,)) for n in range(200)))
OUT = ServiceNames("shop", "out", "", "www.example.com")
LOCAL = "svc.cluster.local"
ZONES = {"example.com": {"www": ["198.51.100.20"], "alias": ["www"], "@": ["198.51.100.9"]}}


def names(*rows: ServiceNames, outside: Outside | None = None) -> dict[str, Any]:
    """The order that makes these Services, and no others, known."""
    order = {"domain": "cluster.local", "dns_ip": "10.12.0.10", "namespaces": ["shop"], "services": encode_rows(rows)}
    return {**order, "outside": encode_outside(outside or Outside())}


def listener(netns: str, kind: str = CLUSTER, protocol: str = "UDP") -> Listener:
    return Listener(netns, "0.0.0.0", 53, protocol, Identity("dns", "kube-system", "node-a", "", "dns"), speaks=kind)


def both(netns: str, kind: str = CLUSTER) -> list[Listener]:
    return [listener(netns, kind, "UDP"), listener(netns, kind, "TCP")]


def dig(netns: str, server: str, *arguments: str) -> list[str]:
    """The records that dig prints with +short, sorted; its whole output where it is asked for otherwise."""
    command = ["ip", "netns", "exec", netns, "dig", f"@{server}", "+tries=1", "+time=5", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def ask(netns: str, server: str, name: str, kind: str = "A") -> dns.message.Message:
    """An answer over UDP, from inside a netns, read by dnspython."""
    with entered(netns):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)  # as dns.query wants it, to keep to its timeout
    with sock:
        return dns.query.udp(dns.message.make_query(name, kind), server, timeout=5, sock=sock)


def eventually(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


@pytest.fixture
def pair(network: Network, responder: ResponderClient) -> tuple[str, str, str]:
    """Two namespaces, a name server of the cluster's in the second: (client, server's netns, server's address)."""
    client, server = network(2)
    responder.know(names(WEB, MANY, OUT))
    assert not responder.add(both(server)).failed
    return client, server, address(1)


def test_dig_over_udp_and_tcp(pair: tuple[str, str, str]) -> None:
    client, _, server = pair
    assert dig(client, server, "+short", f"web.shop.{LOCAL}") == ["10.12.0.20"]
    assert dig(client, server, "+short", "+tcp", f"web.shop.{LOCAL}") == ["10.12.0.20"]
    assert dig(client, server, "+short", "-x", "10.12.0.20") == [f"web.shop.{LOCAL}."]
    assert dig(client, server, "+short", "SRV", f"_http._tcp.web.shop.{LOCAL}") == [f"0 100 80 web.shop.{LOCAL}."]
    shown = "\n".join(dig(client, server, f"nothing.shop.{LOCAL}"))
    assert "status: NXDOMAIN" in shown
    assert "flags: qr aa rd ra;" in shown
    assert "cluster.local.\t\t30\tIN\tSOA\tns.dns.cluster.local." in shown


def test_a_truncated_answer_is_asked_for_again_over_tcp(pair: tuple[str, str, str]) -> None:
    client, _, server = pair
    assert len(dig(client, server, "+short", f"many.shop.{LOCAL}")) == 200
    assert 0 < len(dig(client, server, "+short", "+ignore", f"many.shop.{LOCAL}")) < 100


def test_many_questions_on_one_connection(pair: tuple[str, str, str]) -> None:
    client, _, server = pair
    with entered(client):
        sock = socket.create_connection((server, 53), timeout=5)
    with sock:
        octets = b"".join(
            len(wire).to_bytes(2, "big") + wire
            for number in range(50)
            for wire in [dns.message.make_query(f"web.shop.{LOCAL}", "A", id=number).to_wire()]
        )
        sock.sendall(octets[:77])
        sock.sendall(octets[77:])
        assert [dns.query.receive_tcp(sock)[0].id for _ in range(50)] == list(range(50))


def test_names_change(pair: tuple[str, str, str], responder: ResponderClient) -> None:
    client, _, server = pair
    moved = WEB._replace(cluster_ip="10.12.0.21")
    responder.know({"services": encode_rows([moved]), "gone": [["shop", "out"]]})
    assert ask(client, server, f"web.shop.{LOCAL}").answer[0][0].to_text() == "10.12.0.21"
    assert ask(client, server, f"out.shop.{LOCAL}").rcode() == dns.rcode.NXDOMAIN
    responder.know(names(WEB))
    assert ask(client, server, f"many.shop.{LOCAL}").rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("order", [
    {}, {"services": [["n"]]}, {"services": [], "gone": [[1]]}, {"domain": "a..b", "services": []},
    {"services": [], "outside": {"upstreams": [["x"]]}},
])
def test_a_wrong_order_is_refused(responder: ResponderClient, order: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Error"):
        responder.know(order)


# --- Other servers


@pytest.fixture
def world(network: Network, responder: ResponderClient) -> tuple[str, str]:
    """A client and a cluster's server that asks the internet's, which knows example.com. Returns the client's netns
    and the address of the cluster's server."""
    client, server, internet = network(3)
    outside = Outside(upstreams=(Server(address(2)),), zones=ZONES, cluster=(Server(address(1)),))
    responder.know(names(WEB, OUT, outside=outside))
    assert not responder.add([*both(server), *both(internet, INTERNET), *both(client, NODE_LOCAL)]).failed
    return client, address(1)


def test_names_of_the_internet(world: tuple[str, str]) -> None:
    client, server = world
    assert dig(client, server, "+short", "www.example.com") == ["198.51.100.20"]
    assert dig(client, server, "+short", "+tcp", "example.com") == ["198.51.100.9"]
    assert dig(client, server, "+short", "alias.example.com") == ["www.example.com.", "198.51.100.20"]
    assert dig(client, server, "+short", "-x", "198.51.100.20") == ["www.example.com."]
    assert dig(client, server, "+short", f"out.shop.{LOCAL}") == ["www.example.com.", "198.51.100.20"]
    missing = ask(client, server, "nothing.example.com")
    assert missing.rcode() == dns.rcode.NXDOMAIN
    assert missing.authority[0].name.to_text() == "example.com."
    assert ask(client, server, "example.org").authority[0].name.to_text() == "."
    assert ask(client, server, "www.example.com", "AAAA").rcode() == dns.rcode.NOERROR


def test_a_nodes_cache(world: tuple[str, str], responder: ResponderClient) -> None:
    client, _ = world
    first = ask(client, address(0), f"web.shop.{LOCAL}")
    assert first.answer[0][0].to_text() == "10.12.0.20"
    responder.know({"services": [], "gone": [["shop", "web"]]})
    assert ask(client, address(0), f"web.shop.{LOCAL}").answer == first.answer  # remembered
    assert ask(client, address(1), f"web.shop.{LOCAL}").rcode() == dns.rcode.NXDOMAIN


def test_a_nodes_cache_asks_over_tcp(network: Network, responder: ResponderClient) -> None:
    """A server that hears TCP alone answers it, and one that hears UDP alone does not."""
    client, server = network(2)
    responder.know(names(WEB, outside=Outside(cluster=(Server(address(1), tcp=True),))))
    assert not responder.add([*both(client, NODE_LOCAL), listener(server)]).failed
    assert ask(client, address(0), f"web.shop.{LOCAL}").rcode() == dns.rcode.SERVFAIL
    responder.remove([listener(server)])
    assert not responder.add([listener(server, protocol="TCP")]).failed
    assert ask(client, address(0), f"web.shop.{LOCAL}").answer[0][0].to_text() == "10.12.0.20"


def test_nobody_to_ask(pair: tuple[str, str, str]) -> None:
    client, _, server = pair
    answer = ask(client, server, "www.example.com")
    assert answer.rcode() == dns.rcode.SERVFAIL
    assert ask(client, server, f"out.shop.{LOCAL}").rcode() == dns.rcode.SERVFAIL


@contextlib.contextmanager
def upstream(netns: str, reply: Callable[[bytes], list[bytes]]) -> Iterator[None]:
    """A UDP server on port 53 of a netns that answers each packet by `reply`."""
    with entered(netns):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", 53))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                octets, peer = sock.recvfrom(4096)
                if octets == b"end":
                    return
                for each in reply(octets):
                    sock.sendto(each, peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        with entered(netns):
            ending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with ending:
            ending.sendto(b"end", ("127.0.0.1", 53))
        thread.join()
        sock.close()


def responding(octets: bytes, text: str = "192.0.2.1", code: int = 0) -> bytes:
    question = dns.message.from_wire(octets)
    message = dns.message.make_response(question)
    message.set_rcode(code)
    if not code:
        message.answer.append(dns.rrset.from_text(question.question[0].name, 60, "IN", "A", text))
    return message.to_wire()


FOREIGN = {
    "a forged number": lambda octets: [
        bytes([octets[0] ^ 1]) + responding(octets, "203.0.113.66")[1:], responding(octets)
    ],
    "another question": lambda octets: [
        responding(octets[:2] + dns.message.make_query("evil.example", "A").to_wire()[2:], "203.0.113.66"),
        responding(octets),
    ],
}


@pytest.mark.parametrize("how", FOREIGN)
def test_what_is_no_reply_to_the_question_is_passed_over(
    network: Network, responder: ResponderClient, how: str
) -> None:
    client, server, other = network(3)
    responder.know(names(outside=Outside(upstreams=(Server(address(2)),))))
    responder.add(both(server))
    with upstream(other, FOREIGN[how]):
        assert ask(client, address(1), "www.example.net").answer[0][0].to_text() == "192.0.2.1"


@pytest.mark.parametrize("first", ["silent", "refusing", "broken", "failing", "closed"])
def test_another_server_is_asked_where_one_has_no_answer(
    network: Network, responder: ResponderClient, first: str
) -> None:
    client, server, bad, good = network(4)
    servers = Server(address(2)), Server(address(3))
    responder.know(names(outside=Outside(upstreams=servers, stub_domains={"corp.example": servers[1:]})))
    responder.add(both(server))
    replies: dict[str, Callable[[bytes], list[bytes]]] = {
        "silent": lambda octets: [], "refusing": lambda octets: [responding(octets, code=5)],
        "broken": lambda octets: [octets[:2] + b"\x81"], "failing": lambda octets: [responding(octets, code=2)],
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(upstream(good, lambda octets: [responding(octets)]))
        if first != "closed":
            stack.enter_context(upstream(bad, replies[first]))
        assert ask(client, address(1), "www.example.net").answer[0][0].to_text() == "192.0.2.1"
        assert ask(client, address(1), "www.corp.example").answer[0][0].to_text() == "192.0.2.1"


def test_no_server_answers(network: Network, responder: ResponderClient) -> None:
    client, server = network(2)
    responder.know(names(OUT, outside=Outside(upstreams=(Server("192.0.2.99"), Server(address(0))))))
    responder.add(both(server))
    answer = ask(client, address(1), f"out.shop.{LOCAL}")
    assert answer.rcode() == dns.rcode.SERVFAIL
    assert answer.answer[0][0].to_text() == "www.example.com."


def test_a_truncated_reply_of_another_server_is_asked_for_over_tcp(
    network: Network, responder: ResponderClient
) -> None:
    """The cluster's server asks another cluster's for a name with 200 addresses."""
    client, server, other = network(3)
    responder.know(names(MANY, outside=Outside(cluster=(Server(address(2)),))))
    assert not responder.add([*both(server, NODE_LOCAL), *both(other)]).failed
    assert len(dig(client, address(1), "+short", f"many.shop.{LOCAL}")) == 200


def test_a_peer_that_leaves_before_its_answer(network: Network, responder: ResponderClient) -> None:
    client, server, other = network(3)
    responder.know(names(outside=Outside(upstreams=(Server(address(2)),))))
    responder.add(both(server))
    heard = threading.Event()
    go_on = threading.Event()

    def reply(octets: bytes) -> list[bytes]:
        heard.set()
        assert go_on.wait(5)
        return [responding(octets)]

    with upstream(other, reply):
        with entered(client):
            sock = socket.create_connection((address(1), 53), timeout=5)
        wire = dns.message.make_query("www.example.net", "A").to_wire()
        sock.sendall(len(wire).to_bytes(2, "big") + wire)
        assert heard.wait(5)
        sock.close()
        go_on.set()
        eventually(lambda: responder.stats()["connections"] == 0)
        assert ask(client, address(1), "www.example.net").answer[0][0].to_text() == "192.0.2.1"
