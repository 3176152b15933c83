"""Pods, nodes and links that fail on purpose, and what packets make of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import LabFactory
from tests.lab.live import eventually
from tests.lab.running import EVERYTHING, NSLAB, RunningLab, host_state, nslab

LAB = """\
apiVersion: nslab.dev/v1
kind: Lab
metadata: {name: %s}
spec:
  nodes: 2
  cluster: {networkPolicy: %s, nodeMonitorGracePeriod: %s}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: tcp, port: 80}, {name: udp, port: 80, protocol: UDP}]}
"""

POD = """\
---
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: %s}}
spec:
  nodeName: %s
  containers:
  - {name: main, image: nginx, ports: [{containerPort: 80}, {containerPort: 80, protocol: UDP}]%s}
"""

HOST = """\
---
apiVersion: v1
kind: Pod
metadata: {name: program}
spec:
  nodeName: node-1
  containers:
  - {name: main, image: host, command: [python3, -m, http.server, "8000"], ports: [{containerPort: 8000}]}
"""

PROBED = ", readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 1}"
BRIDGED_AND_ROUTED = pytest.mark.parametrize("routed", [False, True], ids=["bridged", "routed"])
SECONDS = 0.4
"""How long a probe waits for what is not to come."""


def topology(name: str, *, routed: bool = False, grace: str = "2s") -> str:
    """Two nodes; web-1 and client on the first, web-2 and probed web-3 on the second; a program of the host's."""
    pods = [("web-1", "web", "node-1", ""), ("asker", "asker", "node-1", ""), ("web-2", "web", "node-2", ""),
            ("web-3", "web", "node-2", PROBED)]
    return LAB % (name, str(routed).lower(), grace) + "".join(POD % pod for pod in pods) + HOST


def verdicts(lab: RunningLab, *pairs: tuple[str, str], **fields: Any) -> list[str]:
    flows = [{"from": source, "to": to, "timeout": SECONDS, **fields} for source, to in pairs]
    return [answer["verdict"] for answer in lab.probes(*flows)]


def answering(lab: RunningLab, source: str = "pod/asker", **fields: Any) -> set[str]:
    """The Pods behind the Service, by name, that answer; empty where one does not."""
    answer = lab.probe(source, "svc/web:80", count=40, timeout=SECONDS, **fields)
    return {key.partition("/")[2] for key in answer["responders"]} if answer["verdict"] == "open" else set()


def ready(lab: RunningLab, pod: str) -> str:
    """The Ready condition of a Pod."""
    (body,) = [item for item in lab.get("pods")["items"] if item["metadata"]["name"] == pod]
    return next(str(item["status"]) for item in body["status"]["conditions"] if item["type"] == "Ready")


def container(lab: RunningLab, pod: str) -> dict[str, Any]:
    """The status of a Pod's only container."""
    (body,) = [item for item in lab.get("pods")["items"] if item["metadata"]["name"] == pod]
    (status,) = body["status"]["containerStatuses"]
    return status  # type: ignore[no-any-return]


def drift(lab: RunningLab) -> list[str]:
    return lab.json("status")["drift"]  # type: ignore[no-any-return]


@contextmanager
def failing(lab: RunningLab, *words: str) -> Iterator[None]:
    """Something is broken, and whole again afterwards: then the kernel is as if nothing had been."""
    lab.nslab("fail", *words)
    assert drift(lab) == []
    yield
    lab.nslab("heal", "--all")
    status = lab.json("status")
    assert (status["drift"], status["faults"]) == ([], [])
    eventually(lambda: answering(lab) == {"web-1", "web-2", "web-3"})


WEB = {"web-1", "web-2", "web-3"}


@BRIDGED_AND_ROUTED
def test_pods_fail_in_four_ways(lab: LabFactory, routed: bool) -> None:
    running = lab("pods", topology("pods", routed=routed))
    assert answering(running) == WEB

    with failing(running, "pod/web-1", "--unready"):
        assert answering(running) == answering(running, "node/node-2") == {"web-2", "web-3"}
        assert ready(running, "web-1") == "False"
        assert verdicts(running, ("pod/asker", "pod/web-1:80")) == ["open"]

    with failing(running, "pod/web-3", "--unready"):
        assert answering(running) == {"web-1", "web-2"}

    with failing(running, "pod/web-1", "--crash"):
        pairs = [("pod/asker", "pod/web-1:80"), ("pod/web-2", "pod/web-1:80")]
        assert verdicts(running, *pairs) == verdicts(running, *pairs, proto="udp") == ["refused", "refused"]
        assert answering(running) == {"web-2", "web-3"}
        assert container(running, "web-1")["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert ready(running, "web-1") == "False"
        assert container(running, "web-1")["restartCount"] == 0
    assert container(running, "web-1")["restartCount"] == 1

    with failing(running, "pod/web-3", "--blackhole"):
        pairs = [("pod/asker", "pod/web-3:80"), ("pod/web-2", "pod/web-3:80"), ("pod/web-3", "pod/web-2:80"),
                 ("pod/web-3", "pod/asker:80"), ("node/node-2", "pod/web-3:80"), ("pod/web-3", "node/node-2:1")]
        assert verdicts(running, *pairs) == ["timeout"] * 6
        assert verdicts(running, *pairs[:4], proto="udp") == ["timeout"] * 4
        eventually(lambda: answering(running) == {"web-1", "web-2"})  # its probe finds out

    with failing(running, "pod/web-1", "--slow", "200ms"):
        for proto in ("http", "udp"):
            answer = running.probe("pod/asker", "pod/web-1:80", proto=proto, timeout=5)
            assert answer["verdict"] == "open"
            assert answer["rtt_ms"]["min"] >= 200
        assert running.probe("pod/asker", "pod/web-2:80", proto="http", timeout=5)["rtt_ms"]["min"] < 200


def test_a_program_that_crashes_starts_again_when_it_is_healed(lab: LabFactory) -> None:
    running = lab("program", topology("program"))
    to = ("node/node-2", "pod/program:8000")
    eventually(lambda: verdicts(running, to) == ["open"])
    running.nslab("fail", "pod/program", "--crash")
    assert verdicts(running, to) == ["refused"]
    os.kill(running.json("status")["agent_pid"], signal.SIGKILL)
    running.nslab("label", "pod", "program", "touched=yes")  # by a new agent
    assert verdicts(running, to) == ["refused"]
    assert container(running, "program")["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    running.nslab("heal", "pod/program")
    eventually(lambda: verdicts(running, to) == ["open"])
    assert container(running, "program")["restartCount"] == 1
    refused = running.nslab("fail", "pod/program", "--slow", "1s", code=2).stderr
    assert "only nslab's responder can be slow" in refused
    assert "nslab fail link pod/default/program --delay 1s" in refused


@BRIDGED_AND_ROUTED
def test_a_dead_node_is_silent_and_comes_back(lab: LabFactory, routed: bool) -> None:
    running = lab("dead", topology("dead", routed=routed))
    running.nslab("fail", "node/node-2")
    pairs = [
        ("node/node-1", "node/node-2:1"), ("pod/asker", "pod/web-2:80"), ("pod/web-2", "pod/asker:80"),
        ("pod/web-2", "pod/web-3:80"), ("node/node-2", "pod/web-2:80"), ("client/vm", "node/node-2:1"),
        ("pod/web-2", "client/vm:80"), ("node/node-2", "client/vm:80"),
    ]
    assert verdicts(running, *pairs) == ["timeout"] * 8
    assert drift(running) == []
    eventually(lambda: answering(running) == {"web-1"})
    states = {
        item["metadata"]["name"]: {one["type"]: one["status"] for one in item["status"]["conditions"]}["Ready"]
        for item in running.get("nodes")["items"]
    }
    assert states == {"node-1": "True", "node-2": "Unknown"}
    (node,) = [item for item in running.get("nodes")["items"] if item["metadata"]["name"] == "node-2"]
    assert {taint["key"] for taint in node["spec"]["taints"]} == {"node.kubernetes.io/unreachable"}
    assert ready(running, "web-2") == ready(running, "web-3") == "False"
    assert drift(running) == []

    os.kill(running.json("status")["agent_pid"], signal.SIGKILL)
    running.nslab("label", "pod", "asker", "touched=yes")
    assert answering(running) == {"web-1"}
    assert verdicts(running, *pairs[:2]) == ["timeout"] * 2

    running.nslab("heal", "node/node-2")
    assert verdicts(running, *pairs[1:5]) == ["open"] * 4
    eventually(lambda: answering(running) == WEB)
    eventually(lambda: ready(running, "web-3") == "True")
    eventually(lambda: "taints" not in running.get("nodes", "node-2")["spec"])
    eventually(lambda: drift(running) == [])


def test_a_dead_nodes_pods_are_replaced_elsewhere_once_they_are_evicted(lab: LabFactory) -> None:
    template = (
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: moving}\nspec:\n  replicas: 2\n"
        "  selector: {matchLabels: {app: moving}}\n  template:\n    metadata: {labels: {app: moving}}\n    spec:\n"
        "      tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, "
        "tolerationSeconds: 1}]\n"
        "      containers: [{name: main, image: nginx, ports: [{containerPort: 80}]}]\n"
    )
    running = lab("evicted", topology("evicted", grace="1s") + template)

    def places() -> Counter[tuple[str, bool]]:
        pods = running.get("pods", "-l", "app=moving")["items"]
        return Counter((pod["spec"]["nodeName"], "deletionTimestamp" in pod["metadata"]) for pod in pods)

    assert places() == {("node-1", False): 1, ("node-2", False): 1}
    running.nslab("fail", "node/node-2")
    # Its kubelet cannot confirm that the old one has ended.
    eventually(lambda: places() == {("node-1", False): 2, ("node-2", True): 1})
    running.nslab("heal", "node/node-2")
    eventually(lambda: places() == {("node-1", False): 2})


@BRIDGED_AND_ROUTED
def test_links_go_down_and_up(lab: LabFactory, routed: bool) -> None:
    running = lab("links", topology("links", routed=routed))
    with failing(running, "link", "pod/web-1", "--down"):
        assert verdicts(running, ("pod/asker", "pod/web-1:80"), ("pod/web-1", "pod/asker:80")) == [
            "timeout", "unreachable",
        ]
        assert "state DOWN" in _ip(running, "pod.default.web-1")
    if routed:  # beyond the node, both modes are the same
        return
    with failing(running, "link", "node/node-2", "--down"):
        pairs = [("pod/asker", "pod/web-2:80"), ("pod/web-2", "pod/asker:80"), ("pod/web-2", "pod/web-3:80")]
        assert verdicts(running, *pairs) == ["timeout", "unreachable", "open"]
    with failing(running, "link", "client/vm", "--down"):
        assert verdicts(running, ("client/vm", "node/node-1:1"), ("pod/asker", "client/vm:80")) == [
            "unreachable", "timeout",
        ]


def _ip(running: RunningLab, netns: str) -> str:
    command = ["ip", "-n", f"{running.name}.{netns}", "link", "show", "eth0"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _lost(running: RunningLab, source: str, to: str, count: int = 300) -> float:
    """The share of datagrams that had no answer."""
    counts = running.probe(source, to, proto="udp", count=count, timeout=1)["counts"]
    assert set(counts) <= {"open", "timeout"}, counts
    return float(counts.get("timeout", 0)) / count


@BRIDGED_AND_ROUTED
def test_links_lose_packets_in_both_directions(lab: LabFactory, routed: bool) -> None:
    running = lab("loss", topology("loss", routed=routed))
    ways = [
        ("pod/web-1", "pod/asker", "pod/web-1:80"), ("pod/web-1", "pod/web-1", "pod/web-2:80"),
        ("node/node-2", "pod/asker", "pod/web-2:80"), ("client/vm", "pod/asker", "client/vm:80"),
    ]
    for target, source, to in ways[:2] if routed else ways:  # beyond the node, both modes are the same
        assert _lost(running, source, to, count=50) == 0
        running.nslab("fail", "link", target, "--loss", "30%")
        assert drift(running) == []
        assert 0.36 < _lost(running, source, to) < 0.66  # 1 - 0.7 * 0.7 is 0.51; ten standard deviations
        running.nslab("heal", "link", target)
    assert _lost(running, "pod/asker", "pod/web-1:80", count=50) == 0
    running.nslab("fail", "link", "pod/web-1", "--loss", "100%")
    assert verdicts(running, ("pod/asker", "pod/web-1:80"), ("pod/web-1", "pod/web-2:80")) == ["timeout"] * 2
    running.nslab("heal", "--all")
    assert drift(running) == []


SENDER = """
import socket, sys, threading, time
from nslab.linux.netns import entered
with entered(sys.argv[1]):
    listening = socket.create_server(("0.0.0.0", 9000))
with entered(sys.argv[2]):
    sending = socket.create_connection((sys.argv[3], 9000), timeout=30)
accepted, _ = listening.accept()
began, left = time.monotonic(), int(sys.argv[4])
threading.Thread(target=sending.sendall, args=(bytes(left),)).start()
while left:
    left -= len(accepted.recv(65536))
print(time.monotonic() - began)
"""


def _transfer(running: RunningLab, source: str, to: str, ip: str, octets: int) -> float:
    """Seconds that a TCP transfer between two of the lab's namespaces takes."""
    command = [sys.executable, "-c", SENDER, f"{running.name}.{to}", f"{running.name}.{source}", ip, str(octets)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def test_links_have_a_rate_in_both_directions(lab: LabFactory) -> None:
    running = lab("rate", topology("rate"))
    ips = {item["metadata"]["name"]: item["status"]["podIP"] for item in running.get("pods")["items"]}
    ways = [("pod.default.web-1", "pod.default.web-2", ips["web-2"]),
            ("pod.default.web-2", "pod.default.web-1", ips["web-1"])]
    for source, to, ip in ways:
        assert _transfer(running, source, to, ip, 500_000) < 1.0
    for target in ("pod/web-1", "node/node-1"):
        running.nslab("fail", "link", target, "--rate", "4mbit")
        assert drift(running) == []
        for source, to, ip in ways:  # a second, less what may pass at once
            assert 0.8 < _transfer(running, source, to, ip, 500_000) < 10.0
        running.nslab("heal", "link", target, "--rate")
    assert drift(running) == []


def test_a_delay_is_there_or_refused_before_anything(lab: LabFactory) -> None:
    running = lab("delay", topology("delay"))
    features = {item["name"]: item for item in running.json("doctor")}
    done = running.nslab("fail", "link", "pod/web-1", "--delay", "50ms", code=None)
    if features["netem"]["present"]:
        assert done.returncode == 0
        assert running.probe("pod/asker", "pod/web-1:80", proto="icmp", timeout=5)["rtt_ms"]["min"] >= 100
        return
    assert done.returncode == 4
    assert done.stderr.startswith("error: this kernel has no queueing discipline netem")
    assert f"hint: {features['netem']['remedy']}" in done.stderr
    fault = {
        "apiVersion": "nslab.dev/v1", "kind": "Fault", "metadata": {"name": "pod.default.web-1.delay"},
        "spec": {"target": "pod/default/web-1", "effect": "delay", "value": "50ms"},
    }
    refused = running.nslab("apply", "-f", "-", stdin=json.dumps(fault), code=3).stderr
    assert "spec.effect: Invalid value: this kernel has no queueing discipline netem" in refused
    text = topology("delay") + "---\n" + json.dumps(fault) + "\n"
    assert "no queueing discipline netem" in running.up(text, code=4).stderr
    assert running.get("faults")["items"] == []
    assert drift(running) == []


def test_faults_outlive_an_agent_and_an_up_and_end_with_the_lab(tmp_path: Path) -> None:
    before = host_state(EVERYTHING)
    file = tmp_path / "lasting.yaml"
    running = RunningLab("lasting", file)
    written = (
        "---\napiVersion: nslab.dev/v1\nkind: Fault\nmetadata: {name: pod.default.web-2.crash}\n"
        "spec: {target: pod/default/web-2, effect: crash}\n"
    )
    try:
        running.up(topology("lasting") + written)
        assert answering(running) == {"web-1", "web-3"}  # broken from the beginning
        running.nslab("fail", "link", "client/vm", "--rate", "10mbit", "--loss", "20%")
        running.nslab("fail", "pod/asker", "--slow", "50ms", "--unready")
        running.nslab("fail", "node/node-1")
        eventually(lambda: answering(running, "node/node-2") == {"web-3"})
        eventually(lambda: "taints" in running.get("nodes", "node-1")["spec"])
        os.kill(running.json("status")["agent_pid"], signal.SIGKILL)
        assert "nothing to change" in running.up(topology("lasting") + written).stdout
        present = {(fault["target"], fault["effect"], fault["value"]) for fault in running.json("status")["faults"]}
        assert present == {
            ("pod/default/web-2", "crash", ""), ("client/vm", "rate", "10mbit"),
            ("client/vm", "loss", "20%"), ("pod/default/asker", "slow", "50ms"),
            ("pod/default/asker", "unready", ""), ("node/node-1", "dead", ""),
        }
        assert drift(running) == []
        table = running.nslab("get", "faults").stdout.splitlines()
        assert table[0].split() == ["NAME", "TARGET", "EFFECT", "VALUE", "AGE"]
        assert len(table) == 7
        running.up(topology("lasting"))  # what the file said, it says no more; what was said besides stays
        left = {fault["target"] for fault in running.json("status")["faults"]}
        assert left == {"client/vm", "pod/default/asker", "node/node-1"}
    finally:
        nslab("down", "lasting")
    assert host_state(EVERYTHING) == before


def test_words_that_cannot_be_meant_are_refused(lab: LabFactory) -> None:
    running = lab("words", topology("words"))
    for words, code, text in (
        ((), 2, "name what is to be broken"),
        (("pod/web-1",), 2, "say how a pod is to fail"),
        (("pod/web-1", "--down"), 2, "nslab fail link pod/.. --down"),
        (("link", "pod/web-1"), 2, "--down, --loss, --delay, --rate"),
        (("link", "pod/web-1", "--crash"), 2, "--crash is no fault of a link"),
        (("node/node-1", "--crash"), 2, "a node fails as a whole"),
        (("client/vm",), 2, "its link can be broken"),
        (("svc/web", "--crash"), 2, "cannot be broken"),
        (("pod/web-1", "--slow", "soon"), 2, '--slow: "soon" is no time: write 200ms'),
        (("link", "pod/web-1", "--loss", "120%"), 2, "is no share of packets: write 10%"),
        (("link", "pod/web-1", "--rate", "1"), 2, "is no rate: write 10mbit"),
        (("pod/web-9", "--crash"), 6, "did you mean pod/default/web-"),
        (("node/node-9",), 6, "did you mean node/node-"),
        (("pod/kube-system/kube-proxy-node-1", "--blackhole"), 2, "uses its node's network"),
    ):
        assert text in running.nslab("fail", *words, code=code).stderr, words
    for words, code, text in (
        ((), 2, "name what to heal, or everything"),
        (("--all", "pod/web-1"), 2, "name what to heal, or everything"),
        (("pod/web-1",), 6, "nothing of the lab is broken"),
        (("pod/web-9",), 6, "not found in the lab"),
    ):
        assert text in running.nslab("heal", *words, code=code).stderr, words
    assert running.nslab("heal", "--all").stdout == ""
    running.nslab("fail", "pod/web-1", "--slow", "10ms")
    assert running.nslab("fail", "pod/web-1", "--slow", "20ms").stdout == "pod/default/web-1 fails: slow 20ms\n"
    assert [fault["value"] for fault in running.json("status")["faults"]] == ["20ms"]
    assert "broken: pod/default/web-1 (slow)" in running.nslab("heal", "link", "pod/web-1", code=6).stderr
    assert running.nslab("heal", "pod/web-1", "--slow").stdout == "pod/default/web-1 healed: slow 20ms\n"


def completed(running: RunningLab, *words: str) -> set[str]:
    """What bash is offered behind these words."""
    line = ["nslab", "--lab", running.name, *words, ""]
    asked = {"_NSLAB_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}
    shown = subprocess.run([NSLAB], env={**os.environ, **asked}, capture_output=True, text=True, check=True).stdout
    return {line.partition(",")[2] for line in shown.splitlines()}


def test_names_complete_in_the_shell(lab: LabFactory) -> None:
    running = lab("completed", topology("completed"))
    everything = {"pod/web-1", "pod/program", "node/node-2", "client/laptop"}
    assert everything | {"link"} <= completed(running, "fail")
    assert everything <= completed(running, "fail", "link")
    assert "link" not in completed(running, "fail", "link")
    running.nslab("fail", "link", "client/vm", "--down")
    assert completed(running, "heal") == {"link", "client/vm"}


def test_a_fault_waits_for_its_pod_and_can_be_healed_without_it(lab: LabFactory) -> None:
    running = lab("waiting", topology("waiting"))
    fault = (
        "apiVersion: nslab.dev/v1\nkind: Fault\nmetadata: {name: pod.default.later.crash}\n"
        "spec: {target: pod/default/later, effect: crash}\n"
    )
    running.nslab("apply", "-f", "-", stdin=fault)
    running.nslab("apply", "-f", "-", stdin=(POD % ("later", "later", "node-1", "")).removeprefix("---\n"))
    assert verdicts(running, ("pod/asker", "pod/later:80")) == ["refused"]
    running.nslab("delete", "pod/later")
    assert running.nslab("heal", "pod/later").stdout == "pod/default/later healed: crash\n"
