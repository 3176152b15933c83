"""What a lab tells of its own changes: `nslab events`, and the times and failures in `nslab status`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.conftest import LabFactory
from tests.lab.running import NSLAB, RunningLab

Json = dict[str, Any]

SHOP = """
apiVersion: nslab.dev/v1
kind: Lab
metadata: {name: told}
spec: {nodes: 2}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: web, image: web, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


@pytest.fixture
def told(lab: LabFactory) -> RunningLab:
    return lab("told", SHOP)


def events(lab: RunningLab, *options: str) -> list[Json]:
    return [json.loads(line) for line in lab.nslab("events", "-o", "json", *options).stdout.splitlines()]


def followed(lines: list[Json]) -> list[Json]:
    return [line for line in lines if line["reason"] == "Programmed" and line["operations"]]


def test_of_a_new_labs_objects_only_what_happened_is_told(told: RunningLab) -> None:
    assert {line["change"] for line in events(told) if line["reason"] == "Programmed"} <= {"ready"}


def test_an_endpoint_that_leaves_its_service_is_told_with_the_time_until_the_rules_followed(told: RunningLab) -> None:
    before = len(followed(events(told, "--for", "pod/web")))
    told.nslab("label", "pod/web", "app=other", "--overwrite")
    change = followed(events(told, "--for", "pod/web"))[before]
    assert change["object"] == "pod/default/web"
    assert change["operations"] > 0
    assert change["namespaces"] == 2  # each node has the rules
    assert 0 < change["in_force_ms"] < 10_000
    programming = told.json("status")["programming"]
    assert programming["changes"] >= 1
    assert 0 < programming["p50_ms"] <= programming["p99_ms"]
    assert "in force after" in told.nslab("status").stdout


def test_events_can_be_chosen_by_namespace_and_object(told: RunningLab) -> None:
    told.nslab("label", "pod/web", "app=other", "--overwrite")
    told.nslab("label", "svc/web", "tier=front")
    assert {line["object"] for line in events(told, "--for", "svc/web")} == {"service/default/web"}
    assert events(told, "-n", "elsewhere") == []
    inside = events(told, "-n", "default")
    assert inside
    assert all(line["object"].split("/")[1] == "default" for line in inside)


def test_a_table_has_one_line_for_each(told: RunningLab) -> None:
    told.nslab("label", "pod/web", "app=other", "--overwrite")
    lines = told.nslab("events", "--for", "pod/web").stdout.splitlines()
    assert lines[0].split() == ["TIME", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert any("Programmed" in line and "pod/default/web" in line and "in force after" in line for line in lines)


@pytest.fixture
def watching(told: RunningLab) -> Iterator[subprocess.Popen[str]]:
    command = [NSLAB, "events", "--watch", "-o", "json", "--lab", told.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_a_watch_goes_on_with_what_happens_then(told: RunningLab, watching: subprocess.Popen[str]) -> None:
    told.nslab("label", "pod/web", "app=other", "--overwrite")
    assert watching.stdout
    line = next(line for line in map(json.loads, watching.stdout) if line.get("object") == "pod/default/web")
    assert line["time"]


def test_a_watch_ends_with_its_lab(told: RunningLab, watching: subprocess.Popen[str]) -> None:
    told.nslab("down", told.name)
    _, problem = watching.communicate(timeout=30)
    assert watching.returncode == 6
    assert "told" in problem


def test_a_dead_agent_is_replaced_to_tell(told: RunningLab) -> None:
    told.nslab("get", "pods")
    os.kill(told.json("status")["agent_pid"], signal.SIGKILL)
    assert "the agent is dead" in told.nslab("status").stdout
    assert isinstance(events(told), list)
    assert told.json("status")["agent_pid"]


def test_a_pod_that_waits_for_a_node_is_an_event_and_no_failure(told: RunningLab) -> None:
    told.nslab("apply", "-f", "-", "--wait", "0s", stdin="""
apiVersion: apps/v1
kind: Deployment
metadata: {name: nowhere}
spec:
  selector: {matchLabels: {app: nowhere}}
  template:
    metadata: {labels: {app: nowhere}}
    spec: {nodeSelector: {disk: none}, containers: [{name: a, image: a}]}
""")
    assert told.json("status")["failures"] == {}
    reasons = [line["reason"] for line in events(told) if line["object"].startswith("pod/default/nowhere-")]
    assert "FailedScheduling" in reasons
