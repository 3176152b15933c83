"""A running lab changed from outside: kubectl, load on its Services, and waiting for what comes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kubectl import KUBECTLS
from tests.lab.running import Json, RunningLab

LOAD = str(Path(__file__).with_name("load.py"))
EMPTY = "apiVersion: nslab.dev/v1\nkind: Lab\nmetadata: {name: %s}\nspec: {nodes: 3}\n"
PROBE = "readinessProbe: {httpGet: {path: /healthz, port: 80}, periodSeconds: 1}"
SECONDS = 60
"""How long one command may take on a machine that has much else to do."""


def web(replicas: int = 3, version: str = "1", name: str = "web", *, more: str = "") -> str:
    """A Deployment and its Service. `more` are further fields of the container."""
    container = f'name: web, image: "web:{version}", ports: [{{containerPort: 80}}]' + (f", {more}" if more else "")
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\n"
        f"spec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: {name}}}}}\n"
        f"  template:\n    metadata: {{labels: {{app: {name}, version: \"{version}\"}}}}\n"
        f"    spec: {{containers: [{{{container}}}]}}\n"
        f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n"
        f"spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}\n"
    )


@dataclass(slots=True)
class Kubectl:
    """A kubectl with a kubeconfig. Its home is beside the kubeconfig, where it keeps what it discovered."""

    program: str
    config: Path
    namespace: str = "default"

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """Run it to its end; returns its stdout, or all that it said where it is to fail."""
        done = subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, text=True, timeout=2 * SECONDS,
            env=self.environment,
        )
        assert done.returncode == code, f"kubectl {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr if code else done.stdout

    def json(self, *arguments: str) -> Json:
        answer: Json = json.loads(self(*arguments, "-o", "json"))
        return answer

    @contextmanager
    def following(self, *arguments: str) -> Iterator[Iterator[str]]:
        """Run it for as long as the block lasts; the lines that it prints."""
        process = subprocess.Popen(
            self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=self.environment,
        )
        assert process.stdout
        try:
            yield iter(process.stdout)
        finally:
            process.terminate()
            process.communicate()

    def command(self, *arguments: str) -> list[str]:
        return [self.program, "-n", self.namespace, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.config), "HOME": str(self.config.parent)}


@dataclass(slots=True)
class Live:
    """A running lab with a kubectl for it."""

    lab: RunningLab
    kubectl: Kubectl

    def apply(self, text: str) -> None:
        self.kubectl("apply", "-f", "-", stdin=text)

    def rolled_out(self, name: str = "web") -> None:
        """Wait until a Deployment's rollout is complete."""
        self.kubectl("rollout", "status", f"deployment/{name}", f"--timeout={SECONDS}s")

    def pods(self, selector: str = "app=web") -> dict[str, Json]:
        """The Pods with these labels that are not on their way out, by name."""
        items = self.kubectl.json("get", "pods", "-l", selector)["items"]
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


def connected(lab: RunningLab, program: str = "") -> Live:
    """The lab with a kubectl (any that there is, without `program`) for its API."""
    config = lab.file.with_suffix(".kubeconfig")
    config.write_text(lab.nslab("kubeconfig").stdout)
    return Live(lab, Kubectl(program or KUBECTLS[0], config))


def eventually(condition: Callable[[], bool], within: float = SECONDS) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)


@contextmanager
def load(netns: str, address: str, port: int = 80, rate: int = 200) -> Iterator[Json]:
    """New connections all the while; the dictionary is filled at the end."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", netns, sys.executable, LOAD, address, str(port), str(rate)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "\n"
    found: Json = {}
    try:
        yield found
    finally:
        found.update(json.loads(process.communicate("")[0]))
