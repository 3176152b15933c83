"""Whole plans, word by word: what `--dry-run` prints for a small lab, for a change of it, and for its end.

`NSLAB_REGENERATE=1 tests/private .venv/bin/pytest tests/agent/test_plans.py` writes the expected files anew.
"""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path

import pytest

from nslab.agent.network import Network
from nslab.api.decode import decode
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Cluster, Leases
from nslab.linux.fake import FakeKernel
from tests.lab.topologies import pod, service, topology

GOLDEN = Path(__file__).with_name("plans")


def cluster(text: str, former: Cluster | None = None) -> Cluster:
    return allocate(decode(["-"], stdin=StringIO(text)), former.leases if former else Leases())


SMALL = cluster(topology(pod("a"), service("a"), nodes=1))
SCALED = cluster(topology(pod("a"), pod("b", labels=", app2: x"), service("a", port=81), nodes=1), SMALL)
ROUTED = cluster(topology(pod("a"), nodes=1, spec="  cluster: {networkPolicy: true, mode: RoutesBased}\n"))


@pytest.mark.parametrize(("name", "before", "after"), [
    ("up", None, SMALL), ("change", SMALL, SCALED), ("down", SCALED, None), ("up-routed", None, ROUTED),
])
def test_plan(name: str, before: Cluster | None, after: Cluster | None) -> None:
    network = Network(FakeKernel(), "unnamed")
    network.converge(before)
    plan = network.plan(after)[1].describe()
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("NSLAB_REGENERATE"):
        golden.write_text(plan)
    assert plan == golden.read_text()
