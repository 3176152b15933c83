"""Containers that end, wait and start again, as the API tells it and as packets see it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nslab.linux.lab_files import Paths
from tests.lab.conftest import LabFactory
from tests.lab.running import Json, RunningLab
from tests.lab.topologies import pod, service, topology


def eventually(condition: Callable[[], Any]) -> Any:
    """Wait until the condition holds; returns what it gave."""
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def status(running: RunningLab, name: str) -> Json:
    found: Json = running.get("pod", name)["status"]
    return found


def condition(running: RunningLab, name: str, kind: str) -> Json:
    found: Json = next(item for item in status(running, name)["conditions"] if item["type"] == kind)
    return found


def events(running: RunningLab, name: str) -> dict[tuple[str, str], Json]:
    """The kubelet's Events about a Pod, by reason and message."""
    return {
        (body["reason"], body["message"]): body
        for body in objects(running, "Event")
        if body["involvedObject"]["name"] == name and body["source"]["component"] == "kubelet"
    }


def objects(running: RunningLab, kind: str) -> list[Json]:
    """The stored objects of a kind, straight from the API."""
    path = {"Event": "/api/v1/events", "Job": "/apis/batch/v1/jobs", "Pod": "/api/v1/pods"}[kind]
    return list(ask(running, "GET", path)["items"])


def ask(running: RunningLab, method: str, path: str, body: Json | None = None) -> Json:
    """One request on the API's own socket, which a new lab has a moment after `up` has answered."""
    socket = str(Paths(running.name).root / "api.sock")
    eventually(lambda: os.path.exists(socket))
    command = ["curl", "-sS", "--fail-with-body", "--unix-socket", socket, "-X", method, f"http://api{path}"]
    if body is not None:
        command += ["-H", "Content-Type: application/merge-patch+json", "-d", json.dumps(body)]
    answer: Json = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return answer


def host_pod(name: str, script: str, more: str = "", spec: str = "") -> str:
    return f"""\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  nodeName: node-1
{spec}  containers:
    - name: main
      image: host
      command: [sh, -c, "{script}"]
      ports: [{{containerPort: 80}}]
{more}"""


JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: task}
spec:
  completions: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: host, command: [sh, -c, "echo done"]}]
"""


def test_a_job_completes_and_its_pods_leave_the_network(lab: LabFactory) -> None:
    running = lab("jobs", topology(JOB, host_pod("failed", "exit 3", spec="  restartPolicy: Never\n"), pod("web")))
    (job,) = eventually(lambda: [one for one in objects(running, "Job") if one["status"].get("succeeded") == 2])
    assert [item["type"] for item in job["status"]["conditions"] if item["status"] == "True"][-1] == "Complete"
    done = [one for one in objects(running, "Pod") if one["metadata"]["name"].startswith("task-")]
    assert len(done) == 2
    for body in done:
        (container,) = body["status"]["containerStatuses"]
        assert (body["status"]["phase"], container["restartCount"], container["ready"]) == ("Succeeded", 0, False)
        assert container["state"]["terminated"]["reason"] == "Completed"
        assert {item["type"]: item.get("reason") for item in body["status"]["conditions"]}["Ready"] == "PodCompleted"
    eventually(lambda: status(running, "failed")["phase"] == "Failed")
    terminated = status(running, "failed")["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (3, "Error")
    eventually(lambda: [name for name in running.netns() if ".pod.default." in name] == ["jobs.pod.default.web"])
    assert running.json("status")["drift"] == []
    again = running.up(running.file.read_text(), "-o", "json")
    assert json.loads(again.stdout)["operations"] == 0


def test_a_pod_that_comes_and_goes_is_told_of(lab: LabFactory) -> None:
    running = lab("told", topology(pod("old")))
    running.up(topology(pod("old"), pod("new")))
    assert {reason for reason, _ in events(running, "new")} == {"Pulled", "Created", "Started"}
    running.up(topology(pod("old")))
    assert ("Killing", "Stopping container main") in events(running, "new")


def test_a_container_that_crashes_waits_and_is_nobodys_endpoint(lab: LabFactory) -> None:
    pods = [host_pod("bad", "exit 7"), service("bad"), pod("asker")]
    running = lab("crashing", topology(*pods), options=("--wait", "0s"))

    def waiting() -> Json | None:
        found = status(running, "bad")
        (container,) = found["containerStatuses"]
        return found if "waiting" in container["state"] and container["restartCount"] > 1 else None

    found = eventually(waiting)
    (container,) = found["containerStatuses"]
    assert container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert "restarting failed container=main pod=bad_default(" in container["state"]["waiting"]["message"]
    assert container["lastState"]["terminated"]["exitCode"] == 7
    assert (container["ready"], container["started"]) == (False, False)
    unready = next(item for item in found["conditions"] if item["type"] == "Ready")
    assert unready["message"] == "containers with unready status: [main]"
    assert running.probe("pod/asker", "svc/bad:80")["verdict"] == "refused"
    reasons = {reason for reason, _ in events(running, "bad")}
    assert {"Started", "BackOff"} <= reasons


UNHEALTHY = """\
      readinessProbe: {httpGet: {port: 80, path: /status/503}, periodSeconds: 1, failureThreshold: 1}
"""
DYING = """\
      livenessProbe: {httpGet: {port: 80, path: /status/500}, initialDelaySeconds: 1, failureThreshold: 1}
"""
SECURE = """\
      readinessProbe: {httpGet: {port: 80, scheme: HTTPS, path: /healthz}, periodSeconds: 1}
"""
ASKING = """\
      livenessProbe: {exec: {command: [sh, -c, "echo $GREETING; exit 4"]}, periodSeconds: 1, failureThreshold: 1,
                      terminationGracePeriodSeconds: 1}
      env: [{name: GREETING, value: hello}]
"""


@pytest.fixture
def probed(lab: LabFactory) -> RunningLab:
    stubborn = host_pod("stubborn", "trap : TERM; while :; do sleep 0.1; done", ASKING)
    pods = [pod("unhealthy", more=UNHEALTHY), pod("dying", more=DYING), pod("secure", more=SECURE), stubborn]
    return lab("probed", topology(*pods), options=("--wait", "0s"))


def test_probes_are_told_in_events_and_end_containers(probed: RunningLab) -> None:
    failed = "Readiness probe failed: HTTP probe failed with statuscode: 503"
    eventually(lambda: events(probed, "unhealthy").get(("Unhealthy", failed), {}).get("count", 0) > 1)
    told = events(probed, "unhealthy")["Unhealthy", failed]
    assert (told["type"], told["source"]["host"]) == ("Warning", "node-1")
    assert told["involvedObject"]["fieldPath"] == "spec.containers{main}"
    assert condition(probed, "secure", "Ready")["status"] == "True"

    eventually(lambda: status(probed, "dying")["containerStatuses"][0]["restartCount"] > 1)
    last = status(probed, "dying")["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (143, "Error")
    assert ("Killing", "Container main failed liveness probe, will be restarted") in events(probed, "dying")
    eventually(lambda: probed.probe("node/node-1", "pod/dying:80")["verdict"] == "refused")  # in its back-off
    eventually(lambda: probed.probe("node/node-1", "pod/dying:80")["verdict"] == "open")

    eventually(lambda: status(probed, "stubborn")["containerStatuses"][0]["lastState"])
    last = status(probed, "stubborn")["containerStatuses"][0]["lastState"]["terminated"]
    assert last["exitCode"] == 137  # it did not heed SIGTERM
    assert ("Unhealthy", "Liveness probe failed: hello\n") in events(probed, "stubborn")


PEERS = """\
import socketserver, threading

class Peer(socketserver.StreamRequestHandler):
    def handle(self):
        print(self.client_address[0], self.server.server_address[1], flush=True)
        if self.rfile.readline():
            self.wfile.write(b"HTTP/1.0 200 OK\\r\\n\\r\\n")

for port in (80, 81):
    threading.Thread(target=socketserver.ThreadingTCPServer(("", port), Peer).serve_forever).start()
"""
"""A program that says who connects to it."""

ASKED = """\
      startupProbe: {tcpSocket: {port: 81}, periodSeconds: 1}
      readinessProbe: {httpGet: {port: 80}, periodSeconds: 1}
"""
CALLED = """\
      startupProbe: {grpc: {port: 80}, periodSeconds: 1}
      readinessProbe: {grpc: {port: 80}, periodSeconds: 1}
"""


def test_probes_of_every_kind_come_from_the_pods_node(lab: LabFactory, tmp_path: Path) -> None:
    program = tmp_path / "peers.py"
    program.write_text(PEERS)
    asked = host_pod("asked", f"exec python3 {program}", ASKED)
    deaf = pod("deaf", more=CALLED.replace("port: 80", "port: 82"))  # where nobody listens
    running = lab("kinds", topology(asked, pod("called", more=CALLED), deaf), options=("--wait", "0s"))
    for name in ("asked", "called"):
        eventually(lambda name=name: condition(running, name, "Ready")["status"] == "True")
    gateway = gateway_of("kinds", "asked")
    eventually(lambda: running.nslab("logs", "pod/asked").stdout.count(" 80\n") > 1)
    assert set(running.nslab("logs", "pod/asked").stdout.splitlines()) == {f"{gateway} 80", f"{gateway} 81"}
    assert condition(running, "deaf", "Ready")["status"] == "False"
    eventually(lambda: any("Startup probe failed" in message for _, message in events(running, "deaf")))


def gateway_of(lab: str, name: str) -> str:
    """The address of a Pod's gateway: its node's, as its Pods see it."""
    command = ["ip", "-n", f"{lab}.pod.default.{name}", "-j", "route", "show", "default"]
    (route,) = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return str(route["gateway"])


GATED = """\
apiVersion: v1
kind: Pod
metadata: {name: gated, labels: {app: gated}}
spec:
  nodeName: node-1
  readinessGates: [{conditionType: cloud.google.com/load-balancer-neg-ready}]
  containers: [{name: main, image: web, ports: [{containerPort: 80}]}]
"""


def test_a_readiness_gate_keeps_a_pod_from_its_services(lab: LabFactory) -> None:
    gated = topology(GATED, service("gated"), pod("asker"))
    running = lab("gates", gated, options=("--wait", "0s"))
    gate = "cloud.google.com/load-balancer-neg-ready"
    eventually(lambda: condition(running, "gated", "Ready")["status"] == "False")
    assert condition(running, "gated", "ContainersReady")["status"] == "True"
    assert condition(running, "gated", "Ready")["reason"] == "ReadinessGatesNotReady"
    eventually(lambda: running.probe("pod/asker", "svc/gated:80")["verdict"] == "refused")
    for state, verdict in (("True", "open"), ("False", "refused")):
        others = [item for item in status(running, "gated")["conditions"] if item["type"] != gate]
        changed = {"status": {"conditions": [*others, {"type": gate, "status": state}]}}
        ask(running, "PATCH", "/api/v1/namespaces/default/pods/gated/status", changed)
        eventually(lambda verdict=verdict: running.probe("pod/asker", "svc/gated:80")["verdict"] == verdict)
        assert condition(running, "gated", "Ready")["status"] == state
