"""kube-proxy as it appears on a cluster: its Pod on every node, its two ports, and what its death does to rules."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nslab.linux.netns import entered
from tests.lab.flows import datagrams
from tests.lab.live import eventually
from tests.lab.manifests import Addresses, pod, service, standing, topology
from tests.lab.running import Json, RunningLab

NODES = [{"name": "node-a"}, {"name": "node-b"}]
SPEC: Json = {"nodes": NODES, "clients": [{"name": "vm", "network": "vpc"}]}
WEB = {"app": "web"}
CALLERS = (pod("caller-a", "node-a", 6000), pod("caller-b", "node-b", 6000))
WEB_A = pod("web-a", "node-a", 8080, "8080/UDP", labels=WEB)
WEB_B = pod("web-b", "node-b", 8080, "8080/UDP", labels=WEB)
SERVICE = service("web", WEB, "http:80>8080", "dgram:80/UDP>8080")
OBJECTS = (*CALLERS, WEB_A, WEB_B, SERVICE)
RISING = (
    "network_programming_duration_seconds_count", "sync_partial_proxy_rules_duration_seconds_count",
    "sync_proxy_rules_duration_seconds_count", "sync_proxy_rules_endpoint_changes_total",
    "sync_proxy_rules_last_timestamp_seconds",
)
"""What grows with each change of an endpoint, less "kubeproxy_"."""

REFUSED = 7
"""curl's exit code where nobody listens."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RunningLab]:
    with standing(tmp_path, "proxied", topology(SPEC, *OBJECTS)) as running:
        yield running


def asked(lab: RunningLab, place: str, url: str) -> tuple[int, str]:
    """The status and the body that curl gets, from a place of the lab; its exit code if it gets none."""
    done = subprocess.run(
        ["ip", "netns", "exec", f"{lab.name}.{place}", "curl", "-s", "-m", "20", "-w", "\n%{http_code}", url],
        capture_output=True, text=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return done.returncode or int(status), body


def metrics(lab: RunningLab, node: str) -> dict[str, float]:
    """The metrics of a node's kube-proxy by name, those with labels that differ summed up, buckets left out."""
    status, body = asked(lab, f"node.{node}", "http://127.0.0.1:10249/metrics")
    assert status == 200
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def mirrors(lab: RunningLab) -> dict[str, Json]:
    listed = lab.get("pods", "-n", "kube-system", "-l", "component=kube-proxy")["items"]
    return {item["metadata"]["name"]: item for item in listed}


def is_ready(lab: RunningLab, name: str) -> bool:
    conditions = mirrors(lab)[name]["status"]["conditions"]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def responders(lab: RunningLab, place: str) -> set[str]:
    return {name.rpartition("/")[2] for name in lab.probe(place, "svc/web:80", count=60)["responders"]}


def endpoints(lab: RunningLab, node: str) -> str:
    """What the rules of a node choose from."""
    listing = ["nft", "list", "map", "ip", "kube-proxy", "endpoints"]
    command = ["ip", "netns", "exec", f"{lab.name}.node.{node}", *listing]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def leave(lab: RunningLab) -> None:
    """web-b is no endpoint any more; the Pod itself goes on."""
    lab.nslab("label", "pod", "web-b", "app=other", "--overwrite")


def test_every_node_shows_its_kube_proxy(lab: RunningLab) -> None:
    nodes = {item["metadata"]["name"]: item for item in lab.get("nodes")["items"]}
    for name, node in nodes.items():
        shown = mirrors(lab)[f"kube-proxy-{name}"]
        assert shown["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]
        assert shown["status"]["podIP"] == node["status"]["addresses"][0]["address"]
        assert is_ready(lab, f"kube-proxy-{name}")
    listed = lab.json("status")
    assert listed["pods"]["total"] == 4  # those that were asked for
    inside = lab.nslab("exec", "pod/kube-system/kube-proxy-node-b", "--", "ip", "-br", "address", "show", "eth0")
    assert nodes["node-b"]["status"]["addresses"][0]["address"] in inside.stdout


def test_who_deletes_the_mirror_deletes_a_picture(lab: RunningLab) -> None:
    former = mirrors(lab)["kube-proxy-node-a"]["metadata"]["uid"]
    before = asked(lab, "client.vm", f"http://{Addresses(lab).node['node-a']}:10256/healthz")[0]
    lab.nslab("delete", "pod", "kube-proxy-node-a", "-n", "kube-system")
    eventually(lambda: "kube-proxy-node-a" in mirrors(lab) and is_ready(lab, "kube-proxy-node-a"))
    assert mirrors(lab)["kube-proxy-node-a"]["metadata"]["uid"] != former
    assert (before, metrics(lab, "node-a")["kubeproxy_proxy_healthz_total"]) == (200, 1)  # it is the same kube-proxy


def test_nodes_bring_theirs_and_take_it_with_them(lab: RunningLab) -> None:
    text = topology({**SPEC, "nodes": [*NODES, {"name": "node-c"}]}, *OBJECTS)
    changed = json.loads(lab.up(text, "-o", "json").stdout)["changed"]
    assert changed == ["+ Node node-c"]
    assert is_ready(lab, "kube-proxy-node-c")
    address = Addresses(lab).node["node-c"]
    assert asked(lab, "node.node-a", f"http://{address}:10256/livez")[0] == 200
    assert json.loads(lab.up(text, "-o", "json").stdout)["operations"] == 0
    lab.up(topology(SPEC, *OBJECTS))
    assert set(mirrors(lab)) == {"kube-proxy-node-a", "kube-proxy-node-b"}
    assert not [name for name in lab.netns() if name.endswith("node-c")]


def test_health_is_for_all_and_metrics_for_the_node_itself(lab: RunningLab) -> None:
    address = Addresses(lab).node["node-a"]
    for place in ("client.vm", "node.node-b", "pod.default.caller-b", "node.node-a"):
        status, body = asked(lab, place, f"http://{address}:10256/healthz")
        assert (status, json.loads(body)["nodeEligible"]) == (200, True)
    assert asked(lab, "node.node-b", f"http://{address}:10249/metrics")[0] == REFUSED
    assert asked(lab, "node.node-a", "http://127.0.0.1:10249/proxyMode") == (200, "nftables")
    assert asked(lab, "node.node-a", "http://127.0.0.1:10249/nothing") == (404, "404 page not found\n")
    with entered(f"{lab.name}.client.vm"):
        stranger = socket.create_connection((address, 10256), timeout=20)
    with stranger:
        stranger.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert stranger.recv(1) == b""  # and nobody else is hurt
    assert asked(lab, "client.vm", f"http://{address}:10256/{'x' * 9000}")[0] == 404


def test_metrics_move_when_an_endpoint_changes(lab: RunningLab) -> None:
    before = {node: metrics(lab, node) for node in ("node-a", "node-b")}
    leave(lab)
    eventually(lambda: responders(lab, "pod/caller-b") == {"web-a"})
    for node, former in before.items():
        now = metrics(lab, node)
        assert [name for name in RISING if now[f"kubeproxy_{name}"] <= former[f"kubeproxy_{name}"]] == []
        assert now["kubeproxy_sync_proxy_rules_endpoint_changes_pending"] == 0
        queued, done = (now[f"kubeproxy_sync_proxy_rules_last_{what}timestamp_seconds"] for what in ("queued_", ""))
        assert queued <= done
        assert now["kubeproxy_sync_proxy_rules_nftables_sync_failures_total"] == 0


def test_a_local_policy_counts_where_it_has_no_endpoint(lab: RunningLab) -> None:
    local = service("local", {"app": "caller-a"}, "80>6000", internalTrafficPolicy="Local")
    lab.up(topology(SPEC, *OBJECTS, local))
    for node, count in (("node-a", 0), ("node-b", 1)):
        assert metrics(lab, node)["kubeproxy_sync_proxy_rules_no_local_endpoints_total"] == count


def test_a_service_of_kube_proxies_is_one_like_any_other(lab: RunningLab) -> None:
    health = service("health", {"component": "kube-proxy"}, "80>10256")
    health["metadata"]["namespace"] = "kube-system"
    assert "selects no Pod" not in lab.up(topology(SPEC, *OBJECTS, health)).stderr
    checked = lab.nslab("check", "--filter", "svc/kube-system/health").stdout
    assert "Service ports from nodes  2 of 2" in checked
    address = lab.get("service", "health", "-n", "kube-system")["spec"]["clusterIP"]
    for _ in range(30):
        assert asked(lab, "pod.default.caller-a", f"http://{address}/healthz")[0] == 200
    answered = [metrics(lab, node)["kubeproxy_proxy_healthz_total"] for node in ("node-a", "node-b")]
    assert sum(answered) == 30  # by both of them: a missing one has no sample, and that by chance once in 10^9


def test_a_node_that_is_about_to_go_is_not_eligible(lab: RunningLab) -> None:
    taint = {"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"}, "spec": {"taints": [taint]}}
    lab.up(topology(SPEC, node, *OBJECTS))
    address = Addresses(lab).node["node-a"]
    status, body = asked(lab, "client.vm", f"http://{address}:10256/healthz")
    assert (status, json.loads(body)["nodeEligible"]) == (503, False)
    assert asked(lab, "client.vm", f"http://{address}:10256/livez")[0] == 200
    lab.up(topology(SPEC, *OBJECTS))
    assert asked(lab, "client.vm", f"http://{address}:10256/healthz")[0] == 200


def test_a_crashed_one_freezes_its_rules_while_packets_go_on(lab: RunningLab) -> None:
    at = Addresses(lab)
    health = f"http://{at.node['node-a']}:10256/healthz"
    senders = [datagrams(f"{lab.name}.pod.default.caller-a", (at.cluster_ip["web"], 80)) for _ in range(12)]
    to_b = [ask for ask in senders if ask() == "web-b"]
    assert to_b  # of twelve, one in four thousand times none
    lab.nslab("fail", "pod/kube-system/kube-proxy-node-a", "--crash")
    assert not is_ready(lab, "kube-proxy-node-a")
    assert asked(lab, "client.vm", health)[0] == REFUSED
    assert asked(lab, "node.node-a", "http://127.0.0.1:10249/metrics")[0] == REFUSED
    leave(lab)
    eventually(lambda: responders(lab, "pod/caller-b") == {"web-a"})

    def frozen() -> bool:
        return (
            responders(lab, "pod/caller-a") == {"web-a", "web-b"} and {ask() for ask in to_b} == {"web-b"}
            and asked(lab, "client.vm", health)[0] == REFUSED and lab.json("status")["drift"] == []
        )

    assert frozen()
    os.kill(lab.json("status")["agent_pid"], signal.SIGKILL)
    lab.nslab("label", "pod", "caller-b", "round=2")  # by another agent
    assert frozen()
    lab.up(topology(SPEC, *OBJECTS, service("more", WEB, "80>8080")), "--wait", "0s", code=None)
    leave(lab)
    assert frozen()
    lab.nslab("heal", "pod/kube-system/kube-proxy-node-a")
    assert responders(lab, "pod/caller-a") == {"web-a"}
    assert {ask() for ask in to_b} == {"web-a"}  # conntrack has forgotten where they went
    assert asked(lab, "client.vm", health)[0] == 200
    assert is_ready(lab, "kube-proxy-node-a")
    fresh = metrics(lab, "node-a")
    assert fresh["kubeproxy_sync_proxy_rules_duration_seconds_count"] >= 1
    assert fresh["kubeproxy_proxy_healthz_total"] == 1


def test_unready_is_a_word_and_no_deed(lab: RunningLab) -> None:
    lab.nslab("fail", "pod/kube-system/kube-proxy-node-a", "--unready")
    assert not is_ready(lab, "kube-proxy-node-a")
    leave(lab)
    eventually(lambda: responders(lab, "pod/caller-a") == {"web-a"})
    assert asked(lab, "client.vm", f"http://{Addresses(lab).node['node-a']}:10256/healthz")[0] == 200


def test_a_dead_machine_catches_up_when_it_comes_back(lab: RunningLab) -> None:
    address = Addresses(lab).pod["web-b"]
    lab.nslab("fail", "node/node-a", "--wait", "0s", code=None)
    leave(lab)
    eventually(lambda: address not in endpoints(lab, "node-b"))
    assert address in endpoints(lab, "node-a")
    lab.nslab("heal", "node/node-a")
    assert address not in endpoints(lab, "node-a")
    eventually(lambda: responders(lab, "pod/caller-a") == {"web-a"})


def test_a_port_that_somebody_has_is_had_later(lab: RunningLab) -> None:
    health = f"http://{Addresses(lab).node['node-a']}:10256/healthz"
    lab.nslab("fail", "pod/kube-system/kube-proxy-node-a", "--crash")
    with entered(f"{lab.name}.node.node-a"):
        taker = socket.create_server(("127.0.0.1", 10249))
    with taker:
        lab.nslab("heal", "pod/kube-system/kube-proxy-node-a")
        leave(lab)
        assert responders(lab, "pod/caller-a") == {"web-a"}  # the rules need no port
        assert asked(lab, "client.vm", health)[0] == REFUSED
        log = Path(f"/run/nslab/{lab.name}/agent.log").read_text()
        assert "kube-proxy of node node-a cannot listen on port 10249: " in log
    eventually(lambda: asked(lab, "client.vm", health)[0] == 200)
