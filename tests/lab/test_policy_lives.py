"""Policies over the lives of Pods: those that are not ready, that end, that have ended, that come back; and beside
sidecars, faults, name servers and their caches."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.lab.conftest import LabFactory
from tests.lab.running import RunningLab
from tests.policies.world import Spec, Step

LAB = """
apiVersion: nslab.dev/v1
kind: Lab
metadata: {name: %s}
spec: {cluster: {networkPolicy: true}, nodes: 2, dns: {nodeLocal: %s}}
---
"""
STUBBORN = "import signal, http.server as h; signal.signal(15, signal.SIG_IGN); h.test(bind='0.0.0.0', port=8000)"
"""A program that does not end on SIGTERM."""


def eventually(condition: Callable[[], Any], what: str) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def pod(name: str, node: str, *, image: str = "i", **spec: Any) -> Spec:
    container: Spec = {"name": "c", "image": image, **spec.pop("container", {})}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "x", "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [container], **spec},
    }


WEB = {"container": {"ports": [{"containerPort": 80, "name": "web"}]}}
SIDECARS = [
    {"name": "init", "image": "i", "ports": [{"containerPort": 9002, "name": "late"}]},
    {"name": "side", "image": "i", "restartPolicy": "Always", "ports": [{"containerPort": 9001, "name": "metrics"}]},
]
DB: Spec = {
    "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "x"},
    "spec": {
        "serviceName": "db", "replicas": 2, "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [
            {"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}},
    },
}
JOB: Spec = {
    "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "done", "namespace": "x"},
    "spec": {"template": {"metadata": {"labels": {"role": "done"}}, "spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "host", "command": ["true"]}]}}},
}


def from_app(name: str, subject: Spec, app: str, **rule: Any) -> Spec:
    """Only Pods with the label app=APP may connect to the subjects."""
    peers = [{"podSelector": {"matchLabels": {"app": app}}}]
    return {"netpol": f"x/{name}", "podSelector": {"matchLabels": subject}, "ingress": [{"from": peers, **rule}]}


POLICIES: tuple[Spec, ...] = (
    from_app("slow", {"app": "slow"}, "friend"), from_app("of-slow", {"app": "web"}, "slow"),
    from_app("first", {"statefulset.kubernetes.io/pod-name": "db-0"}, "friend"),
    from_app("side", {"app": "side"}, "friend", ports=[{"port": "metrics"}, {"port": "late"}]),
    {"netpol": "x/done", "podSelector": {"matchLabels": {"app": "stranger"}},
     "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "done"}}}]}]},
)


def topology(name: str, *policies: Spec, more: tuple[Spec, ...] = (), cached: bool = False) -> str:
    pods = [
        pod("friend", "node-1", **WEB), pod("stranger", "node-2", **WEB), pod("web", "node-2", **WEB), *more,
    ]
    documents = "---\n".join(json.dumps(each) + "\n" for each in pods)
    return LAB % (name, "true" if cached else "false") + documents + "---\n" + Step("", policies).policies_text


@pytest.fixture
def lives(lab: LabFactory) -> RunningLab:
    slow = pod(
        "slow", "node-1", image="host", terminationGracePeriodSeconds=60,
        container={"command": [sys.executable, "-c", STUBBORN], "ports": [{"containerPort": 8000}]},
    )
    side = pod("side", "node-1", initContainers=SIDECARS, **WEB)
    return lab("lives", topology("lives", *POLICIES, more=(slow, side, DB, JOB)))


def verdict(lab: RunningLab, source: str, to: str) -> str:
    answer = lab.probe(f"pod/x/{source}", to, timeout=3)
    return str(answer["verdict"])


def test_policies_hold_for_every_moment_of_a_pods_life(lives: RunningLab) -> None:
    # A Pod that is not ready is judged, and is a peer, as any.
    lives.nslab("fail", "pod/x/web", "--unready")
    assert verdict(lives, "slow", "pod/x/web:80") == "open"
    assert verdict(lives, "stranger", "pod/x/web:80") == "timeout"

    # One that has ended is nobody's peer: its address may be another's by now.
    eventually(lambda: lives.get("job", "done", "-n", "x")["status"].get("succeeded"), "the Job completes")
    assert "from pod/" not in lives.nslab("rules", "netpol/x/done").stdout

    # A StatefulSet's Pod comes back under its name, and its policies with it.
    for _ in range(2):
        assert verdict(lives, "friend", "pod/x/db-0:80") == "open"
        assert verdict(lives, "stranger", "pod/x/db-0:80") == "timeout"
        assert verdict(lives, "stranger", "pod/x/db-1:80") == "open"
        uid = lives.get("pod", "db-0", "-n", "x")["metadata"]["uid"]
        lives.nslab("delete", "pod", "db-0", "-n", "x", "--wait", "0s", code=None)
        eventually(partial(is_another, lives, uid), "db-0 is there again")

    # One that ends and has not ended is judged, and is a peer, as before.
    ip = lives.get("pod", "slow", "-n", "x")["status"]["podIP"]
    eventually(lambda: verdict(lives, "friend", f"{ip}:8000") == "open", "it listens")
    lives.nslab("delete", "pod", "slow", "-n", "x", "--wait", "0s", code=None)
    eventually(lambda: "deletionTimestamp" in lives.get("pod", "slow", "-n", "x")["metadata"], "it is to end")
    assert verdict(lives, "friend", f"{ip}:8000") == "open"
    assert verdict(lives, "stranger", f"{ip}:8000") == "timeout"
    assert verdict(lives, "slow", "pod/x/web:80") == "open"
    assert verdict(lives, "stranger", "pod/x/web:80") == "timeout"


def is_another(lab: RunningLab, uid: str) -> bool:
    """Whether db-0 is another than the one with this uid, and ready."""
    found = [each for each in lab.get("pods", "-n", "x")["items"] if each["metadata"]["name"] == "db-0"]
    return any(
        each["metadata"]["uid"] != uid and {"type": "Ready", "status": "True"}.items() <= condition.items()
        for each in found for condition in each["status"].get("conditions", ())
    )


def test_a_sidecars_named_port_counts_and_an_init_containers_does_not(lives: RunningLab) -> None:
    assert verdict(lives, "friend", "pod/x/side:9001") == "open"
    assert verdict(lives, "stranger", "pod/x/side:9001") == "timeout"
    assert verdict(lives, "friend", "pod/x/side:80") == "timeout", "no rule means it"
    assert verdict(lives, "friend", "pod/x/side:9002") == "timeout", "its container is over"


def test_what_is_broken_on_purpose_is_no_mismatch(lives: RunningLab) -> None:
    lives.nslab("fail", "pod/x/web", "--blackhole")
    told = lives.nslab("policy", "why", "--from", "pod/x/slow", "--to", "pod/x/web:80").stdout
    assert "predicted: open\nobserved:  blocked x1\n" in told
    lives.nslab("fail", "pod/x/db-1", "--crash")
    cells = {(cell["from"], cell["to"]): cell for cell in lives.json("policy", "matrix", "-n", "x")}
    assert cells["x/slow", "x/web"]["observed"] == "lost"
    assert cells["x/friend", "x/db-1"]["observed"] == "refused"
    assert cells["x/stranger", "x/db-0"]["observed"] == "blocked"
    assert all(cell["agrees"] for cell in cells.values())
    lives.nslab("label", "pod", "stranger", "-n", "x", "app=friend", "--overwrite")
    assert verdict(lives, "stranger", "pod/x/db-0:80") == "open", "policies follow while faults last"


NO_EGRESS: Spec = {"netpol": "x/mute", "podSelector": {"matchLabels": {"app": "stranger"}}, "policyTypes": ["Egress"]}
DNS_ONLY: Spec = {
    "netpol": "kube-system/dns", "podSelector": {}, "ingress": [{"ports": [{"port": 53, "protocol": "UDP"}]}],
}


def test_name_servers_under_policies(lab: LabFactory) -> None:
    """A Pod without egress hears no name server, and nothing else is to be expected of it; `why` says so."""
    running = lab("mute", topology("mute", NO_EGRESS, DNS_ONLY))
    report = running.json("check")
    assert report["failed"] == 0, report
    names = [check["name"] for check in report["checks"]]
    blocked = [name for name in names if "asks for" in name and "blocked by policies" in name]
    assert any(name.startswith("pod/x/stranger asks for") for name in blocked)
    assert not any(name.startswith("pod/x/friend asks for") for name in blocked)
    why = ("policy", "why", "--from")
    told = running.nslab(*why, "pod/x/stranger", "--to", "kube-dns.kube-system:53", code=1).stderr
    assert "pod/x/stranger hears nothing from its name server 10.12.0.10" in told
    assert "`nslab policy why --from pod/x/stranger --to 10.12.0.10:53 --proto udp`" in told
    told = running.nslab(*why, "pod/x/friend", "--to", "nobody:80", code=1).stderr
    assert "pod/x/friend finds no address of that name" in told
    name = "kube-dns.kube-system"
    answer = running.json(*why, "pod/x/friend", "--to", f"{name}:53", "--proto", "tcp")
    assert (answer["to"], answer["predicted"], answer["mismatch"]) == (f"{name}:53 (10.12.0.10)", "blocked", "")
    protocols = {(cell["port"], cell["protocol"]): cell["predicted"] for cell in running.json("policy", "matrix")
                 if cell["from"] == "x/friend" and cell["port"] == 53}
    assert protocols == {(53, "UDP"): "open", (53, "TCP"): "blocked"}


def test_the_nodes_cache_is_open_to_its_pods(lab: LabFactory) -> None:
    """Its address is one of the node's own."""
    running = lab("cached", topology("cached", NO_EGRESS, cached=True))
    found = running.json("dns", "kube-dns.kube-system", "--from", "pod/x/stranger")
    assert found[-1]["answers"] == ["10.12.0.10"]
    answer = running.json("policy", "why", "--from", "pod/x/stranger", "--to", "169.254.20.10:53", "--proto", "udp")
    assert (answer["predicted"], answer["mismatch"]) == ("open", "")
    assert running.json("check")["failed"] == 0
