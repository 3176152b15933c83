"""Which names are expected to be there, and how an answer is judged."""

from __future__ import annotations

from typing import Any

import pytest

from nslab.api.objects import Manifest
from nslab.check.model import Expectation
from nslab.check.names import of_ports, of_services, resolvers_of_pods
from nslab.check.run import judge
from nslab.check.services import from_pods
from nslab.cluster.addons import with_addons
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Cluster, Leases
from nslab.servers.flows import Flow, FlowResult
from tests.cluster.builders import a_container, a_deployment, a_lab, a_pod, a_service, a_template, a_workload

GATED = a_container(80, readinessProbe={"tcpSocket": {"port": 80}})


def with_dns(*objects: Any) -> Cluster:
    return allocate(with_addons(Manifest(a_lab(), objects)), Leases())


def told(expectations: Any) -> dict[str, tuple[str, frozenset[str] | None]]:
    return {
        " ".join(each.flow.query): (each.code, each.answers) for each in expectations if "kube-" not in each.name
    }


NAMED = [{"name": "http", "port": 80, "targetPort": 80, "protocol": "TCP"}]


def test_services_and_their_ports() -> None:
    cluster = with_dns(
        a_pod("asker"),
        a_deployment("web", 2), a_service("web", "web", ports=NAMED, clusterIP="10.12.0.20"),
        a_workload("StatefulSet", "db", 2, serviceName="db"), a_service("db", "db", ports=NAMED, clusterIP="None"),
        a_deployment("slow", 1, a_template("slow", GATED)),
        a_service("slow", "slow", ports=NAMED, clusterIP="None"),
        a_service("early", "slow", ports=[], clusterIP="None", publishNotReadyAddresses=True),
        a_service("out", type="ExternalName", externalName="WWW.example.com."),
    )
    pods = {pod.name: pod.ip for pod in cluster.pods.values()}
    slow = next(ip for name, ip in pods.items() if name.startswith("slow-"))
    local = "default.svc.cluster.local"
    assert told(of_services(cluster)) == {
        f"web.{local}. A": ("NOERROR", {"10.12.0.20"}),
        f"db.{local}. A": ("NOERROR", {pods["db-0"], pods["db-1"]}),
        f"slow.{local}. A": ("NXDOMAIN", set()),
        f"early.{local}. A": ("NOERROR", {slow}),
        f"out.{local}. CNAME": ("NOERROR", {"www.example.com"}),
    }
    assert told(of_ports(cluster)) == {
        f"_http._tcp.web.{local}. SRV": ("NOERROR", {f"0 100 80 web.{local}"}),
        f"_http._tcp.db.{local}. SRV": ("NOERROR", {f"0 50 80 db-0.db.{local}", f"0 50 80 db-1.db.{local}"}),
        f"_http._tcp.slow.{local}. SRV": ("NXDOMAIN", set()),
    }


def test_pods_that_ask_others_are_not_asked() -> None:
    cluster = with_dns(a_pod("asker"), a_pod("other", dnsPolicy="Default"), a_pod("node", hostNetwork=True))
    assert [each.source for each in resolvers_of_pods(cluster)] == ["pod/default/asker"]
    assert list(of_services(with_dns(a_pod("other", dnsPolicy="Default")))) == []


def test_name_servers_are_asked_questions() -> None:
    asked = {each.destination: each for each in from_pods(with_dns(a_pod("asker")))}
    both = [each.flow for each in asked.values()]
    assert [(flow.protocol, flow.query) for flow in both] == [("dns", ("dns-version.cluster.local", "TXT"))]
    udp, tcp = from_pods(with_dns(a_pod("asker")))
    assert (udp.flow.stream, tcp.flow.stream) == (False, True)
    assert len(udp.spread) == len(tcp.spread) == 2
    assert udp.clients is None


@pytest.mark.parametrize(("code", "answers", "status", "records", "why"), [
    ("NOERROR", {"10.0.0.1"}, "NOERROR", ["10.0.0.1"], ""),
    ("NOERROR", {"a.b"}, "NOERROR", ["A.b."], ""),
    ("NOERROR", None, "NOERROR", ["x"], ""),
    ("NXDOMAIN", set(), "NXDOMAIN", [], ""),
    ("NXDOMAIN", set(), "NOERROR", ["10.0.0.1"], "expected NXDOMAIN, got NOERROR (1x)"),
    ("NOERROR", {"10.0.0.1"}, "NOERROR", [], "expected 10.0.0.1, got no records"),
    ("NOERROR", {"10.0.0.1"}, "NOERROR", ["10.0.0.2"], "expected 10.0.0.1, got 10.0.0.2"),
    ("", {"10.0.0.1"}, "SERVFAIL", [], "expected 10.0.0.1, got no records"),
])
def test_judging(code: str, answers: set[str] | None, status: str, records: list[str], why: str) -> None:
    wanted = None if answers is None else frozenset(answers)
    expectation = Expectation("g", "n", "s", "d", Flow("", "", "dns", ""), code=code, answers=wanted)
    assert judge(expectation, FlowResult("", {"open": 1}, statuses={status: 1}, answers=records)) == why
