"""`nslab status` from a hand-built lab."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from nslab.cli import status
from nslab.cluster.model import Fault
from tests.cli.shop import snapshot

SHARE: status.Json = {"namespaces": 7, "processes": [{"role": "agent", "pid": 41, "rss": 30_000_000}]}


def test_a_lab_at_a_glance() -> None:
    picture = status.health(snapshot(), ["ip -n shop.vpc link add x"], SHARE)
    assert status.text(picture, now=1090.0) == """\
Lab shop: VPCNative, up for 90s, from shop.yaml

nodes     2
pods      2/3 ready, 3 restarts
services  3, 1/2 endpoints ready
rules     not followed: the agent is dead
drift     1 operation to mend
agent     41
host      7 namespaces, agent 41 (30 MB)

NODE     IP           POD RANGE     PODS READY
node-1   10.128.0.2   10.8.0.0/24   2/2
node-2   10.128.0.3   10.8.1.0/24   0/1

Not ready:
  pod/default/web-1

Services without a ready endpoint:
  svc/default/empty

Drift (`nslab up` mends it):
  ip -n shop.vpc link add x

Warnings:
  shop.yaml:9:1: Pod tools/job: declares no port
"""


def test_without_privilege_drift_is_not_looked_at() -> None:
    text = status.text(status.health(snapshot(), None, SHARE), now=1090.0)
    assert "drift     not looked at: that needs root\n" in text


def test_a_dead_agent_is_said() -> None:
    dead = replace(snapshot(), agent_pid=None)
    assert "agent     dead: " in status.text(status.health(dead, [], SHARE), now=1090.0)


def test_what_is_broken_on_purpose_is_listed() -> None:
    faults = (Fault("node/node-2", "dead"), Fault("pod/default/web-1", "slow", "200ms"))
    picture = status.health(snapshot(faults=faults), [], SHARE)
    assert picture["faults"] == [
        {"target": "node/node-2", "effect": "dead", "value": ""},
        {"target": "pod/default/web-1", "effect": "slow", "value": "200ms"},
    ]
    text = status.text(picture, now=1090.0)
    assert "Faults (`nslab heal` mends them):\n  node/node-2 dead\n  pod/default/web-1 slow 200ms\n" in text
    assert "Faults" not in status.text(status.health(snapshot(), [], SHARE), now=1090.0)


def test_long_lists_are_counted() -> None:
    drifted = [f"operation {number}" for number in range(12)]
    text = status.text(status.health(snapshot(), drifted, SHARE), now=1090.0)
    assert "  operation 9\n  and 2 more\n" in text
    assert "operation 10" not in text


def test_the_footprint_counts_this_labs_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("shop.vpc", "shop.node.node-1", "shop2.vpc"):
        (tmp_path / name).touch()
    monkeypatch.setattr(status, "NETNS_ROOT", str(tmp_path))
    share = status.footprint(replace(snapshot(), agent_pid=os.getpid(), responder_pid=2**22 - 1))
    assert share["namespaces"] == 2
    assert [each["role"] for each in share["processes"]] == ["agent"]
    assert share["processes"][0]["rss"] > 1_000_000
