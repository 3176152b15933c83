"""What a change of Services, Pods and readiness does to flows under way, and what it leaves alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.flows import PATIENCE, datagrams, requests
from tests.lab.manifests import Addresses, endpoint_slice, pod, service, standing, topology
from tests.lab.running import Json, RunningLab

WEB = {"app": "web"}
SPEC: Json = {"nodes": [{"name": "node-a"}, {"name": "node-b"}], "clients": [{"name": "vm", "network": "vpc"}]}
WEB_A = pod("web-a", "node-a", 8080, "8080/UDP", labels=WEB)
WEB_B = pod("web-b", "node-b", 8080, "8080/UDP", labels=WEB)
CALLER = pod("caller", "node-a", 6000)
SERVICE = service("web", WEB, "http:80>8080", "dgram:80/UDP>8080", type="NodePort")
STICKY = service("sticky", WEB, "80>8080", sessionAffinity="ClientIP")
COMMON = (CALLER, SERVICE, STICKY)
BOTH = topology(SPEC, WEB_A, WEB_B, *COMMON)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RunningLab]:
    with standing(tmp_path, "changing", BOTH) as running:
        yield running


def until(condition: Callable[[], bool]) -> None:
    """Wait for the condition, and fail if it does not come."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.mark.parametrize("source", ["pod.default.caller", "node.node-a", "client.vm"])
def test_a_udp_flow_moves_on_when_its_endpoint_goes(lab: RunningLab, source: str) -> None:
    at = Addresses(lab)
    port = {each["name"]: each["nodePort"] for each in lab.get("services", "web")["spec"]["ports"]}["dgram"]
    to = (at.node["node-b"], port) if source == "client.vm" else (at.cluster_ip["web"], 80)
    ask = datagrams(f"changing.{source}", to)
    first = ask()
    assert {ask() for _ in range(10)} == {first}
    other = {"web-a": WEB_B, "web-b": WEB_A}[first]
    lab.up(topology(SPEC, other, *COMMON))
    assert {ask() for _ in range(3)} == {other["metadata"]["name"]}


def test_a_udp_flow_is_refused_when_no_endpoint_is_left(lab: RunningLab) -> None:
    ask = datagrams("changing.pod.default.caller", (Addresses(lab).cluster_ip["web"], 80))
    ask()
    lab.up(topology(SPEC, *COMMON))
    with pytest.raises(ConnectionRefusedError):
        ask()


def test_a_udp_flow_stays_when_another_endpoint_goes_or_comes(lab: RunningLab) -> None:
    ask = datagrams("changing.pod.default.caller", (Addresses(lab).cluster_ip["web"], 80))
    first = ask()
    lab.up(topology(SPEC, {"web-a": WEB_A, "web-b": WEB_B}[first], *COMMON))
    assert ask() == first
    lab.up(BOTH)
    assert {ask() for _ in range(10)} == {first}


def test_established_connections_go_on_through_changes_of_their_service(lab: RunningLab) -> None:
    """kube-proxy never touches a TCP connection: new ones go where the Service says now."""
    at = Addresses(lab)
    inside = requests("changing.pod.default.caller", (at.cluster_ip["web"], 80))
    outside = requests("changing.client.vm", (at.node["node-b"], at.node_port["web"]))
    before = (inside(), outside())
    new = pod("new", "node-b", 9000, "9000/UDP", labels={"app": "new"})
    moved = service("web", {"app": "new"}, "http:80>9000", "dgram:80/UDP>9000", type="NodePort")
    lab.up(topology(SPEC, WEB_A, WEB_B, CALLER, new, moved, STICKY))
    assert (inside(), outside()) == before
    answers = lab.probes(
        {"from": "pod/caller", "to": "svc/web:http", "count": 8, "timeout": 5},
        {"from": "client/vm", "to": f"node/node-b:{at.node_port['web']}", "count": 8, "timeout": 5},
    )
    assert [each["responders"] for each in answers] == [{"default/new": 8}] * 2
    lab.up(topology(SPEC, WEB_A, WEB_B, CALLER, new, STICKY))  # the Service is gone
    assert (inside(), outside()) == before


def test_affinity_does_not_hold_on_to_an_endpoint_that_is_gone(lab: RunningLab) -> None:
    flow = {"from": "pod/caller", "to": "svc/sticky:80", "count": 8, "timeout": 5}
    (first,) = lab.probes(flow)[0]["responders"]
    other = WEB_B if first == "default/web-a" else WEB_A
    lab.up(topology(SPEC, other, *COMMON))
    after = lab.probes(flow)[0]
    assert after["responders"] == {f"default/{other['metadata']['name']}": 8}


def test_a_replaced_pod_has_a_new_address_and_its_service_the_old_one(lab: RunningLab) -> None:
    before = Addresses(lab)
    changed = pod("web-a", "node-a", 8080, "8080/UDP", 8081, labels=WEB)
    lab.up(topology(SPEC, changed, WEB_B, *COMMON))
    after = Addresses(lab)
    assert after.pod["web-a"] != before.pod["web-a"]
    assert after.pod["web-b"] == before.pod["web-b"]
    assert (after.cluster_ip, after.node_port) == (before.cluster_ip, before.node_port)
    answer = lab.probe("pod/caller", "svc/web:http", count=40, timeout=5)
    assert set(answer["responders"]) == {"default/web-a", "default/web-b"}
    lab.up(topology(SPEC, changed, WEB_B, CALLER, STICKY))
    lab.up(topology(SPEC, changed, WEB_B, CALLER, STICKY, service("late", WEB, "80>8080"), SERVICE))
    assert Addresses(lab).cluster_ip["sticky"] == before.cluster_ip["sticky"]


def test_a_pod_that_fails_its_readiness_probe_leaves_on_all_nodes(tmp_path: Path) -> None:
    sign = tmp_path / "ready"
    sign.touch()
    gate = {
        "name": "gate", "image": "host", "command": ["sleep", "infinity"],
        "readinessProbe": {
            "exec": {"command": ["test", "-e", str(sign)]}, "periodSeconds": 1, "failureThreshold": 1,
        },
    }
    gated = pod("web-b", "node-b", 8080, "8080/UDP", labels=WEB, sidecars=[gate])
    sources = ("pod/caller", "node/node-a", "node/node-b")
    with standing(tmp_path, "gated", topology(SPEC, WEB_A, gated, *COMMON)) as lab:
        def answering() -> list[set[str]]:
            flows = ({"from": source, "to": "svc/web:http", "count": 40, "timeout": 5} for source in sources)
            return [set(each["responders"]) for each in lab.probes(*flows)]

        both = {"default/web-a", "default/web-b"}
        assert answering() == [both] * 3
        to = (Addresses(lab).cluster_ip["web"], 80)
        ask = next(one for _ in range(64) if (one := datagrams("gated.pod.default.caller", to))() == "web-b")
        sign.unlink()
        until(lambda: answering() == [{"default/web-a"}] * 3)
        assert ask() == "web-a"
        (subset,) = lab.get("endpoints", "web")["subsets"]
        assert len(subset["notReadyAddresses"]) == 1
        sign.touch()
        until(lambda: answering() == [both] * 3)


def test_terminating_endpoints_serve_while_none_is_ready(lab: RunningLab) -> None:
    """KEP-1669: they are the last resort."""
    at = Addresses(lab)
    bare = service("bare", None, "http:80")
    ending = {"ready": False, "serving": True, "terminating": True}
    members = [
        {"addresses": [at.pod["web-a"]], "conditions": {"ready": True}, "nodeName": "node-a"},
        {"addresses": [at.pod["web-b"]], "conditions": ending, "nodeName": "node-b"},
    ]
    ports = [{"name": "http", "port": 8080}]

    def answering(*listed: Json) -> set[str]:
        lab.up(topology(SPEC, WEB_A, WEB_B, *COMMON, bare, endpoint_slice("bare", *listed, ports=ports)))
        return set(lab.probe("pod/caller", "svc/bare:http", count=40, timeout=5)["responders"])

    assert answering(*members) == {"default/web-a"}
    assert answering(members[1]) == {"default/web-b"}
