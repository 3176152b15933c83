"""`image: host` containers: commands of the host's own files, as a kubelet would run them, in their Pod's netns."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

import psutil
import pytest

from tests.lab.conftest import LabFactory
from tests.lab.running import RunningLab

TOPOLOGY = """\
apiVersion: nslab.dev/v1
kind: Lab
metadata: {name: hosts}
spec: {nodes: 1}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {GREETING: hello, colour: green}
---
apiVersion: v1
kind: Pod
metadata: {name: worker, labels: {app: worker}, annotations: {note: a note}}
spec:
  hostAliases: [{ip: 192.0.2.7, hostnames: [far.example]}]
  containers:
  - name: talk
    image: host
    command: [sh, -c]
    args:
    - echo "$MY_POD $MY_IP $MY_NODE $NOTE $GREETING $COLOUR $(NAME)"; pwd; echo complaint >&2; exec sleep 1000
    workingDir: /usr
    envFrom: [{configMapRef: {name: settings}}]
    env:
    - {name: NAME, value: expanded}
    - {name: MY_POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: MY_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: MY_NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
  - name: serve
    image: host
    command: [python3, -m, http.server, "8000", --bind, $(IP), --directory, /usr/share]
    env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    ports: [{containerPort: 8000}]
    readinessProbe: {tcpSocket: {port: 8000}, periodSeconds: 1}
  - name: side
    image: nginx
    ports: [{containerPort: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: files}
spec:
  selector: {app: worker}
  ports: [{name: files, port: 80, targetPort: 8000}, {name: side, port: 81, targetPort: 80}]
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec: {containers: [{name: asker, image: busybox, ports: [{containerPort: 1}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: failing}
spec: {containers: [{name: one, image: host, command: [sh, -c, "echo tried; exit 3"]}]}
"""


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def hosts(lab: LabFactory) -> RunningLab:
    return lab("hosts", TOPOLOGY)


def test_commands_of_the_host_run_in_their_pods(hosts: RunningLab) -> None:
    ip = hosts.get("pod", "worker")["status"]["podIP"]
    log = ("logs", "pod/worker", "-c", "talk")

    # Command and arguments, $(VAR) as the kubelet expands it, the downward API, ConfigMaps, the working directory,
    # and stderr in the same log.
    eventually(lambda: "complaint" in hosts.nslab(*log).stdout, "the command has printed all")
    said = hosts.nslab(*log).stdout.splitlines()
    assert said[0] == f"worker {ip} node-1 a note hello green expanded"
    assert said[1:] == ["/usr", "complaint"]

    # It is in the Pod's netns, and seen with the Pod's own files.
    netns = hosts.nslab("exec", "pod/worker", "--", "ip", "netns", "identify").stdout.strip()
    assert netns == "hosts.pod.default.worker"
    assert hosts.nslab("exec", "pod/worker", "--", "hostname", "-I").stdout.split() == [ip]
    assert f"{ip}\tworker" in hosts.nslab("exec", "pod/worker", "--", "cat", "/etc/hosts").stdout
    found = hosts.nslab("exec", "pod/worker", "--", "getent", "hosts", "far.example").stdout.split()
    assert found == ["192.0.2.7", "far.example"]
    # Cluster DNS is asked for other names, and not the host's name server.
    assert "nameserver 10.12.0.10\n" in hosts.nslab("exec", "pod/worker", "--", "cat", "/etc/resolv.conf").stdout
    hosts.nslab("exec", "pod/worker", "--", "getent", "hosts", "nosuch.example", code=2)

    # A server among them is an endpoint as any other, and shares the Pod with a container that the responder plays.
    assert hosts.get("pod", "worker")["status"]["conditions"]
    assert hosts.probe("pod/asker", "svc/files:80", proto="http")["http"]["status"] == {"200": 1}
    assert hosts.probe("pod/asker", "svc/files:81", proto="http")["responders"] == {"default/worker": 1}
    assert hosts.probe("pod/worker", "127.0.0.1:80")["responders"] == {"default/worker": 1}


def test_a_command_that_ends_starts_again_and_is_counted(hosts: RunningLab) -> None:
    def restarts() -> int:
        [status] = hosts.get("pod", "failing")["status"]["containerStatuses"]
        return int(status["restartCount"])

    eventually(lambda: restarts() >= 1, "the failing container has been started again")
    eventually(lambda: hosts.nslab("logs", "pod/failing").stdout.count("tried\n") >= 2, "both runs are in one log")
    assert hosts.get("pod", "worker")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_ip_netns_exec_sees_the_files_of_the_pod(hosts: RunningLab) -> None:
    seen = subprocess.run(
        ["ip", "netns", "exec", "hosts.pod.default.worker", "cat", "/etc/hosts"],
        capture_output=True, text=True, check=True,
    )
    assert seen.stdout == hosts.nslab("exec", "pod/worker", "--", "cat", "/etc/hosts").stdout
    assert "far.example" in seen.stdout


def test_host_containers_end_with_their_lab(hosts: RunningLab) -> None:
    def running() -> list[list[str]]:
        return [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])
                if "http.server" in (process.info["cmdline"] or [])]

    eventually(lambda: len(running()) == 1, "the server runs")
    hosts.nslab("down")
    assert running() == []
    assert json.loads(hosts.nslab("ls", "-o", "json").stdout) == []
