"""A running lab changed from outside, by a stock kubectl and by nslab itself; packets tell what came of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import LabFactory
from tests.lab.running import RunningLab
from tests.published import MANIFESTS, needs_manifests

Json = dict[str, Any]

KUBECTL = shutil.which("kubectl")
LOAD = str(Path(__file__).with_name("load.py"))
EMPTY = "apiVersion: nslab.dev/v1\nkind: Lab\nmetadata: {name: %s}\nspec: {nodes: 3}\n"

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="there is no kubectl")


def web(replicas: int = 3, version: str = "1", name: str = "web") -> str:
    """A Deployment and its Service."""
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\n"
        f"spec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: {name}}}}}\n"
        f"  template:\n    metadata: {{labels: {{app: {name}, version: \"{version}\"}}}}\n"
        f"    spec: {{containers: [{{name: web, image: \"web:{version}\", ports: [{{containerPort: 80}}]}}]}}\n"
        f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n"
        f"spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}\n"
    )


@dataclass(slots=True)
class Live:
    """A running lab with a kubectl for it."""

    lab: RunningLab
    config: Path

    def kubectl(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """Run kubectl; returns its stdout."""
        done = subprocess.run(
            ["kubectl", *arguments], input=stdin, capture_output=True, text=True, timeout=60,
            env={**os.environ, "KUBECONFIG": str(self.config), "HOME": str(self.config.parent)},
        )
        assert done.returncode == code, f"kubectl {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def apply(self, text: str) -> None:
        self.kubectl("apply", "-f", "-", stdin=text)

    def pods(self, selector: str = "app=web") -> dict[str, Json]:
        """The Pods with these labels that are not on their way out, by name."""
        items = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        return {
            item["metadata"]["name"]: item for item in items if "deletionTimestamp" not in item["metadata"]
        }

    def responders(self, service: str = "svc/web:80", count: int = 60) -> set[str]:
        """The Pods, by name, that answer through a Service."""
        answer = self.lab.probe("node/node-1", service, count=count)
        assert answer["verdict"] == "open", answer
        return {key.partition("/")[2] for key in answer["responders"]}

    def agent(self) -> int:
        pid: int = self.lab.json("status")["agent_pid"]
        return pid


def eventually(condition: Callable[[], bool], within: float = 20.0) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)


@pytest.fixture
def live(lab: LabFactory, tmp_path: Path) -> Callable[..., Live]:
    """Bring up a lab, and have kubectl talk to it: `live("name", text)`."""

    def bring_up(name: str, text: str = "") -> Live:
        running = lab(name, text or EMPTY % name)
        config = tmp_path / f"{name}.kubeconfig"
        config.write_text(running.nslab("kubeconfig").stdout)
        return Live(running, config)

    return bring_up


@contextmanager
def load(netns: str, address: str, port: int = 80, rate: int = 200) -> Iterator[Json]:
    """New connections all the while; the dictionary is filled at the end."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", netns, sys.executable, LOAD, address, str(port), str(rate)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    found: Json = {}
    try:
        yield found
    finally:
        found.update(json.loads(process.communicate("")[0]))


def test_what_kubectl_applies_answers_and_what_it_deletes_is_gone(live: Callable[..., Live]) -> None:
    running = live("applied")
    running.apply(web())
    running.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert running.responders() == set(running.pods())
    assert len(running.pods()) == 3
    assert len([name for name in running.lab.netns() if ".pod." in name]) == 3
    running.kubectl("delete", "deployment/web", "service/web")
    eventually(lambda: not [name for name in running.lab.netns() if ".pod." in name])
    assert running.lab.json("status")["drift"] == []


def test_a_scaled_deployment_answers_from_every_pod(live: Callable[..., Live]) -> None:
    running = live("scaled")
    running.apply(web(2))
    running.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    few = set(running.pods())
    running.kubectl("scale", "deployment/web", "--replicas=6")
    running.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert few < set(running.pods()) == running.responders(count=200)
    running.kubectl("scale", "deployment/web", "--replicas=1")
    eventually(lambda: len(running.pods()) == 1)
    eventually(lambda: running.responders() == set(running.pods()))


def test_a_relabelled_pod_leaves_its_service_and_is_replaced(live: Callable[..., Live]) -> None:
    running = live("relabelled")
    running.apply(web(2))
    running.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    name = next(iter(running.pods()))
    running.kubectl("label", "pod", name, "app=other", "--overwrite")
    eventually(lambda: len(running.pods()) == 2 and running.responders(count=100) == set(running.pods()))
    assert name not in running.pods()
    assert running.lab.probe("node/node-1", f"pod/{name}:80")["verdict"] == "open"


def test_a_deleted_pod_leaves_its_service_before_it_goes(live: Callable[..., Live]) -> None:
    running = live("deleted")
    running.apply(web(3))
    running.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    name = next(iter(running.pods()))
    running.kubectl("delete", "pod", name, "--wait=false")
    eventually(lambda: name not in running.responders(count=100))
    eventually(lambda: not any(netns.endswith(name) for netns in running.lab.netns()))
    running.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert len(running.responders(count=100)) == 3


def test_a_cordoned_node_takes_no_new_pods(live: Callable[..., Live]) -> None:
    running = live("cordoned")
    running.kubectl("cordon", "node-2")
    running.apply(web(6))
    running.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert {pod["spec"]["nodeName"] for pod in running.pods().values()} == {"node-1", "node-3"}
    running.kubectl("uncordon", "node-2")
    running.kubectl("scale", "deployment/web", "--replicas=9")
    running.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert "node-2" in {pod["spec"]["nodeName"] for pod in running.pods().values()}


def test_a_rolling_update_loses_no_connection(live: Callable[..., Live]) -> None:
    running = live("rolling")
    running.apply(web(10))
    running.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    before = set(running.pods())
    address = json.loads(running.kubectl("get", "service", "web", "-o", "json"))["spec"]["clusterIP"]
    with load("rolling.node.node-1", address) as result:
        eventually(lambda: bool(running.responders()))
        running.apply(web(10, version="2"))
        running.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        eventually(lambda: before.isdisjoint(running.responders(count=100)))
    assert set(result["outcomes"]) == {"ok"}, result
    assert set(running.pods()) <= set(result["pods"])


@needs_manifests
def test_online_boutique_comes_up_by_kubectl_alone(live: Callable[..., Live]) -> None:
    running = live("boutique")
    running.kubectl("apply", "-f", str(MANIFESTS / "online-boutique" / "release" / "kubernetes-manifests.yaml"))
    running.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    services = json.loads(running.kubectl("get", "services", "-o", "json"))["items"]
    flows = [
        {"from": "node/node-1", "to": f"svc/default/{item['metadata']['name']}:{port['port']}"}
        for item in services for port in item["spec"]["ports"]
    ]
    answers = running.lab.probes(*flows)
    assert len(answers) > 10
    assert {answer["verdict"] for answer in answers} == {"open"}


def test_a_killed_agent_forgets_nothing_that_it_acknowledged(live: Callable[..., Live]) -> None:
    running = live("killed")
    running.apply(web(1))
    random.seed(7)
    for number in range(4):
        replicas = number % 3 + 2
        running.apply(web(replicas))
        running.apply(web(1, name=f"more-{number}"))
        time.sleep(random.uniform(0.0, 0.2))  # any moment of what follows from it
        os.kill(running.agent(), signal.SIGKILL)
        running.lab.nslab("label", "node", "node-1", f"round={number}", "--overwrite")  # starts another agent
        eventually(lambda expected=replicas: len(running.pods()) == expected)  # type: ignore[misc]
    names = {f"more-{number}" for number in range(4)} | {"web"}
    deployed = json.loads(running.kubectl("get", "deployments", "-o", "json"))["items"]
    assert {item["metadata"]["name"] for item in deployed} == names
    running.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=20s")
    for name in sorted(names):
        assert running.responders(f"svc/{name}:80") == set(running.pods(f"app={name}"))
    eventually(lambda: running.lab.json("status")["drift"] == [])


def test_up_again_leaves_kubectls_objects_alone(live: Callable[..., Live]) -> None:
    text = (EMPTY % "shared") + "---\n" + web(2)
    running = live("shared", text)
    running.apply(web(2, name="mine"))
    running.kubectl("rollout", "status", "deployment/mine", "--timeout=20s")
    again = json.loads(running.lab.up(text, "-o", "json").stdout)
    assert (again["operations"], again["changed"]) == (0, [])
    assert running.responders("svc/mine:80") == set(running.pods("app=mine"))
    running.kubectl("scale", "deployment/web", "--replicas=4")
    running.lab.up(text)
    assert len(running.pods()) == 2  # the file says so
    running.lab.up(EMPTY % "shared")
    assert not running.pods()
    assert len(running.pods("app=mine")) == 2


def test_commands_return_once_the_change_is_in_force(live: Callable[..., Live], tmp_path: Path) -> None:
    running = live("commands")
    file = tmp_path / "web.yaml"
    file.write_text(web(2))
    assert running.lab.nslab("apply", "-f", str(file)).stdout == "deployment.apps/web created\nservice/web created\n"
    assert len(running.responders()) == 2
    again = running.lab.nslab("apply", "-f", str(file)).stdout
    assert again == "deployment.apps/web unchanged\nservice/web unchanged\n"
    running.lab.nslab("scale", "deploy/web", "--replicas", "5")
    assert len(running.responders(count=150)) == 5
    running.lab.nslab("delete", "-f", str(file))
    assert not [name for name in running.lab.netns() if ".pod." in name]
    reasons = [json.loads(line)["reason"] for line in running.lab.nslab("events", "-o", "json").stdout.splitlines()]
    assert {"Scheduled", "SuccessfulCreate", "ScalingReplicaSet"} <= set(reasons)
    assert running.lab.nslab("delete", "deploy/web", code=6).stderr.startswith("error: ")
