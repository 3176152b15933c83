"""The prober with names: it looks them up as the source's resolver does, by real packets, and goes there."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from nslab.dns.cluster_zone import ServiceNames
from nslab.linux.netns import entered
from nslab.servers.flows import Flow, HttpRequest, Lookup
from nslab.servers.prober import probe
from nslab.servers.responder_client import ResponderClient
from tests.servers.conftest import Network, address, pod_listener
from tests.servers.test_dns_server import HTTP, LOCAL, MANY, both, names

SEARCH = (f"web.shop.{LOCAL}", f"web.{LOCAL}", "web.cluster.local", "web")


@pytest.fixture
def flow(network: Network, responder: ResponderClient) -> Flow:
    """A flow to the name `web`, which is the address of a Pod on port 80; a name server is in another netns."""
    client, server, _, web = network(4)
    responder.know(names(ServiceNames("shop", "web", address(3), "", HTTP), MANY))
    listeners = [pod_listener(web, 3, protocol=protocol) for protocol in ("TCP", "UDP")]
    assert not responder.add([*both(server), *listeners]).failed
    return Flow("a", client, "tcp", "", 80, timeout=5, lookup=Lookup(SEARCH, (address(1),)))


@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp", "http"])
def test_a_name_leads_to_its_address(flow: Flow, protocol: str) -> None:
    http = HttpRequest(host="web") if protocol == "http" else None
    result = probe([replace(flow, protocol=protocol, count=20, http=http)])[0]
    assert result.counts == {"open": 20}
    assert len(result.rtts) == 20
    if protocol != "icmp":
        assert result.responders == {f"default/{flow.netns[:-1]}3": 20}
    assert result.statuses == ({"200": 20} if http else {})


def test_the_search_path_is_gone_through(flow: Flow) -> None:
    at_the_end = replace(flow, lookup=Lookup(tuple(reversed(SEARCH[:3])), (address(1),)))
    assert probe([at_the_end])[0].counts == {"open": 1}


@pytest.mark.parametrize(("lookup", "verdict", "detail"), [
    (Lookup(("nothing.cluster.local", "nothing"), (address(1),)), "error",
     "nothing: the name is not there (SERVFAIL)"),
    (Lookup(("nothing.cluster.local",), (address(1),)), "error",
     "nothing.cluster.local: the name is not there (NXDOMAIN)"),
    (Lookup((f"shop.{LOCAL}",), (address(1),)), "error", f"shop.{LOCAL}: the name has no address"),
    (Lookup(SEARCH, (address(2),)), "refused", "Connection refused"),
    (Lookup(SEARCH, (address(2), address(1))), "open", ""),
    (Lookup(("a..b",), (address(1),)), "error",
     '"a..b" is no domain name: labels have 1 to 63 ASCII characters, a name at most 253'),
])
def test_what_a_look_up_can_come_to(flow: Flow, lookup: Lookup, verdict: str, detail: str) -> None:
    result = probe([replace(flow, lookup=lookup, timeout=3)])[0]
    assert (result.verdict, result.detail) == (verdict, detail)


def test_a_server_that_says_nothing(flow: Flow) -> None:
    with entered(f"{flow.netns[:-1]}2"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("0.0.0.0", 53))
        alone = probe([replace(flow, lookup=Lookup(SEARCH, (address(2),)), timeout=0.5)])[0]
        assert (alone.verdict, alone.detail) == ("timeout", f"{SEARCH[0]}: no name server answered")
        assert probe([replace(flow, lookup=Lookup(SEARCH, (address(2), address(1))))])[0].counts == {"open": 1}


def test_many_look_ups_side_by_side(flow: Flow) -> None:
    results = probe([replace(flow, id=str(number), count=10) for number in range(30)])
    assert [result.counts for result in results] == [{"open": 10}] * 30


@pytest.mark.parametrize("stream", [False, True])
def test_questions(flow: Flow, stream: bool) -> None:
    question = replace(flow, protocol="dns", query=("web", "A"), stream=stream, count=10)
    result = probe([question])[0]
    assert (result.counts, result.statuses, result.answers) == ({"open": 10}, {"NOERROR": 10}, [address(3)])
    assert result.responders == {"kube-system/dns": 10}
    straight = probe([replace(question, ip=address(1), port=53, lookup=None, query=(SEARCH[0], "SRV"))])[0]
    assert straight.answers == [f"0 100 80 {SEARCH[0]}."]
    many = probe([replace(question, lookup=Lookup((f"many.shop.{LOCAL}",), (address(1),)))])[0]
    assert len(many.answers) == 200
    lost = probe([replace(question, lookup=Lookup(("no.cluster.local",), (address(1),)))])[0]
    assert (lost.statuses, lost.answers) == ({"NXDOMAIN": 10}, [])
    strange = probe([replace(question, query=("web", "NULL"))])[0]
    assert strange.detail == "web NULL: is no type of records that can be asked for"
