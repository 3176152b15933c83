"""Random changes of a lab, while its agent is killed now and then and packets flow: nothing acknowledged is lost,
what is not concerned answers on, and in the end the kernel holds what a fresh kernel is given for the same objects.

NSLAB_SOAK is how many seconds it takes, NSLAB_SEED what it draws from.
"""

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
from contextlib import suppress
from pathlib import Path

import pytest

from nslab.agent import client
from nslab.agent.api_client import ApiClient
from nslab.api.faults import fault_name
from nslab.api.kinds import by_name
from nslab.errors import NotFoundError, NslabError
from nslab.linux.lab_files import Paths
from nslab.linux.locks import lock_holder
from tests.lab import kernel
from tests.lab.live import EMPTY, load
from tests.lab.manifests import standing
from tests.lab.running import ROOT, Json, RunningLab, nslab

SECONDS = float(os.environ.get("NSLAB_SOAK", "8"))
SEED = int(os.environ.get("NSLAB_SEED", "3"))
NAMES = [f"app-{number}" for number in range(5)]
"""What comes and goes."""

STEADY = """---
apiVersion: apps/v1
kind: Deployment
metadata: {name: steady}
spec:
  replicas: 3
  selector: {matchLabels: {app: steady}}
  template:
    metadata: {labels: {app: steady}}
    spec:
      nodeSelector: {kubernetes.io/hostname: node-1}
      containers: [{name: web, image: web, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: steady}
spec: {selector: {app: steady}, ports: [{port: 80}]}
"""
"""What nothing is done to: it answers all the while."""


class Soak:
    """The lab's user: what was acknowledged is in `stored`, what an agent may have died over in `unknown`."""

    def __init__(self, lab: RunningLab, seed: int) -> None:
        self.lab = lab
        self.draw = random.Random(seed)
        self.api = ApiClient(lab.name)
        self.stored: dict[tuple[str, str], Json] = {}
        self.unknown: set[tuple[str, str]] = set()
        self.done: dict[str, int] = {}
        self.operations: tuple[Callable[[], None], ...] = (
            self.workload, self.workload, self.workload, self.service, self.service, self.scale, self.scale,
            self.policy, self.delete, self.relabel, self.end_pod, self.cordon, self.fail, self.fail_link, self.heal,
            self.kill,
        )

    def step(self) -> None:
        """One operation. What cannot be had is refused, and that is fine; an agent that is dead is woken."""
        operation = self.draw.choice(self.operations)
        try:
            operation()
            self.done[operation.__name__] = self.done.get(operation.__name__, 0) + 1
        except NotFoundError:
            pass
        except NslabError as error:
            if "does not answer" not in error.message:
                raise
            self.wake()

    def wake(self) -> None:
        self.api = ApiClient(self.lab.name)

    def put(self, kind: str, name: str, spec: Json) -> None:
        row = by_name(kind)[0]
        body = {"apiVersion": row.api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.unknown.add((kind, name))
        self.api.apply(row, body)
        self.unknown.discard((kind, name))
        self.stored[kind, name] = spec

    # --- Operations

    def workload(self) -> None:
        name = self.draw.choice(NAMES)
        ports = [{"containerPort": 80, "protocol": protocol} for protocol in ("TCP", "UDP")]
        container: Json = {"name": "web", "image": f"web:{self.draw.randrange(4)}", "ports": ports}
        if self.draw.random() < 0.3:
            container["readinessProbe"] = {"tcpSocket": {"port": 80}, "periodSeconds": 1}
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
        kind = self.draw.choice(["Deployment", "Deployment", "StatefulSet", "DaemonSet"])
        spec: Json = {"selector": {"matchLabels": {"app": name}}, "template": template}
        if kind != "DaemonSet":
            spec["replicas"] = self.draw.randrange(5)
        if kind == "StatefulSet":
            spec["serviceName"] = name
        self.put(kind, f"{name}-{kind.lower()}", spec)

    def service(self) -> None:
        name = self.draw.choice(NAMES)
        port = {"port": 80, "protocol": self.draw.choice(["TCP", "UDP"])}
        spec: Json = {"selector": {"app": name}, "ports": [port]}
        spec["type"] = self.draw.choice(["ClusterIP", "NodePort", "LoadBalancer"])
        if self.draw.random() < 0.3:
            spec["sessionAffinity"] = "ClientIP"
        self.put("Service", name, spec)

    def policy(self) -> None:
        """Who may reach the Pods of a name, if anybody; it means something in a lab that enforces policies."""
        name, other = self.draw.choice(NAMES), self.draw.choice(NAMES)
        some = {"podSelector": {"matchLabels": {"app": other}}}
        peers: list[Json] = self.draw.choice([[], [some], [some, {"namespaceSelector": {}}]])
        rules = [{"from": peers, "ports": [{"port": 80}]}] if peers else []
        spec = {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress"], "ingress": rules}
        self.put("NetworkPolicy", name, spec)

    def scale(self) -> None:
        kind, name = self.draw.choice([key for key in self.stored if "replicas" in self.stored[key]] or [("", "")])
        if kind:
            replicas = self.draw.randrange(7)
            self.unknown.add((kind, name))
            self.api.patch(by_name(kind)[0], "default", name, {"spec": {"replicas": replicas}}, "scale")
            self.unknown.discard((kind, name))
            self.stored[kind, name] = {**self.stored[kind, name], "replicas": replicas}

    def delete(self) -> None:
        if self.stored:
            kind, name = self.draw.choice(list(self.stored))
            self.unknown.add((kind, name))
            with suppress(NotFoundError):  # it died over the answer the last time
                self.api.delete(by_name(kind)[0], "default", name)
            self.unknown.discard((kind, name))
            del self.stored[kind, name]

    def pod(self, mark: str = "app-") -> str:
        names = [body["metadata"]["name"] for body in self.api.list(by_name("Pod")[0], "default")]
        return self.draw.choice([name for name in names if mark in name] or ["nobody"])

    def relabel(self) -> None:
        labels = {"app": self.draw.choice([*NAMES, "none"])}
        name = self.pod("-deployment-")  # a StatefulSet would wait for ever for the name of a Pod that it lost
        self.api.patch(by_name("Pod")[0], "default", name, {"metadata": {"labels": labels}})

    def end_pod(self) -> None:
        self.api.delete(by_name("Pod")[0], "default", self.pod())

    def cordon(self) -> None:
        unschedulable = self.draw.choice([True, None])
        node = self.draw.choice(["node-2", "node-3"])
        self.api.patch(by_name("Node")[0], "", node, {"spec": {"unschedulable": unschedulable}})

    def fail(self) -> None:
        effect = self.draw.choice(["unready", "crash", "blackhole", "dead"])
        self.break_("node/node-3" if effect == "dead" else f"pod/default/{self.pod()}", effect)

    def fail_link(self) -> None:
        effect, value = self.draw.choice([("down", ""), ("loss", "10%"), ("rate", "10mbit")])
        target = self.draw.choice([f"pod/default/{self.pod()}", "node/node-2", "node/node-3", "client/vm"])
        self.break_(target, effect, value)

    def break_(self, target: str, effect: str, value: str = "") -> None:
        row = by_name("Fault")[0]
        spec = {"target": target, "effect": effect, **({"value": value} if value else {})}
        metadata = {"name": fault_name(target, effect)}
        self.api.apply(row, {"apiVersion": row.api_version, "kind": "Fault", "metadata": metadata, "spec": spec})

    def heal(self) -> None:
        row = by_name("Fault")[0]
        for body in self.api.list(row):
            self.api.delete(row, "", body["metadata"]["name"])

    def kill(self) -> None:
        """In the middle of an answer, or of what follows from one."""
        pid = lock_holder(str(Paths(self.lab.name).lock))
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    # --- The end

    def finish(self) -> None:
        """Mend all, and wait until nothing is under way."""
        self.wake()
        self.heal()
        for node in ("node-2", "node-3"):
            self.api.patch(by_name("Node")[0], "", node, {"spec": {"unschedulable": None}})
        assert client.settle(self.lab.name, 100.0) == []
        assert self.lab.json("status")["drift"] == []
        assert self.lab.json("status")["failures"] == {}

    def lost(self) -> list[str]:
        """What was acknowledged and is not there, or was deleted and is."""
        found = []
        for kind in ("Deployment", "StatefulSet", "DaemonSet", "Service", "NetworkPolicy"):
            bodies = {body["metadata"]["name"]: body["spec"] for body in self.api.list(by_name(kind)[0], "default")}
            for name in {name for of, name in self.stored if of == kind} | bodies.keys() - {"steady"}:
                if (kind, name) in self.unknown:
                    continue
                wanted, there = self.stored.get((kind, name)), bodies.get(name)
                if wanted is None or there is None or not _within(wanted, there):
                    found.append(f"{kind} {name}: {wanted} became {there}")
        return found


def _within(wanted: Json, there: Json) -> bool:
    """Whether what was wished is what is stored, defaults apart."""
    fields = ("replicas", "type", "sessionAffinity")
    same = all(there[field] == wanted[field] for field in fields if field in wanted)
    return same and _image(wanted) == _image(there)


def _image(spec: Json) -> str:
    if "template" not in spec:
        return ""
    image: str = spec["template"]["spec"]["containers"][0]["image"]
    return image


@pytest.fixture
def soaked(tmp_path: Path) -> Iterator[RunningLab]:
    """With bridges, or, by an even seed, with a link of its own to each Pod, and policies enforced."""
    enforced = str(SEED % 2 == 0).lower()
    lab = (EMPTY % "soak").replace("{nodes: 3}", f"{{nodes: 3, cluster: {{networkPolicy: {enforced}}}}}")
    with standing(tmp_path, "soak", lab + STEADY) as running:
        yield running


def test_a_soak(soaked: RunningLab, tmp_path: Path) -> None:
    soak = Soak(soaked, SEED)
    address = soaked.get("svc", "steady")["spec"]["clusterIP"]
    with load("soak.node.node-1", address, rate=50) as result:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            soak.step()
            time.sleep(soak.draw.choice([0.0, 0.0, 0.05, 0.2]))  # some operations meet what follows from the last
        soak.finish()
    assert sum(soak.done.values()) > SECONDS, soak.done
    assert set(result["outcomes"]) == {"ok"}, result
    assert soak.lost() == []
    check = json.loads(soaked.nslab("check", "-o", "json", code=None).stdout)
    assert [result for result in check["checks"] if result["outcome"] == "failed"] == []
    mine = kernel.held("soak")
    again = fresh(soaked, tmp_path)
    assert mine.keys() == again.keys()
    found = kernel.differences(mine, again)
    assert not found, "\n".join(found)


def fresh(lab: RunningLab, tmp_path: Path) -> kernel.State:
    """What another kernel comes to hold for the lab's objects, with the addresses that they have."""
    saved = tmp_path / "saved"
    saved.mkdir()
    nslab("--lab", lab.name, "kubeconfig")  # the agent has nothing under way that is not written
    for path in (Paths(lab.name).state, Paths(lab.name).journal, Paths(lab.name).summary):
        shutil.copy(path, saved)
    root = Paths(lab.name).root
    script = f"""
        mkdir -p {root} && cp {saved}/* {root} && {sys.executable} -m nslab --lab {lab.name} kubeconfig > /dev/null
        for _ in $(seq 300); do
            {sys.executable} -m nslab --lab {lab.name} status -o json > {saved}/status || exit 1
            grep -q '"drift": \\[\\]' {saved}/status && grep -q '"not_ready": \\[\\]' {saved}/status && break
            sleep 0.1
        done
        exec {sys.executable} -m tests.lab.kernel {lab.name}
    """
    done = subprocess.run(
        [str(ROOT / "tests" / "private"), "bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    state: kernel.State = json.loads(done.stdout)
    return state
