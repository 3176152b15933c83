"""Every case with real packets: what is stated, what the evaluator predicts and what is observed are one.

The steps follow each other in one lab, as changes of a running one. A blocked flow is one of which the kernel itself
said that its rules dropped it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nslab.cluster.model import Cluster
from tests.policies import fuzz
from tests.policies.stage import Stage, staged
from tests.policies.test_evaluator import predicted
from tests.policies.world import FLOWS, LOOPS, Flow, Step, cluster, steps, topology

LAB = "packets"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(cluster(topology(steps()[0], LAB))) as built:
        yield built


def agree(stage: Stage, lab: Cluster, expected: frozenset[Flow]) -> None:
    """Just these flows are blocked, and the kernel says so; all others are answered by whom they were sent to."""
    stage.follow(lab)
    tried(stage, FLOWS | LOOPS, expected)


def tried(stage: Stage, flows: frozenset[Flow], expected: frozenset[Flow]) -> None:
    """As `agree`, for these flows and the rules as they are."""
    results = stage.try_all(flows)
    blocked = {flow for flow, result in results.items() if result.verdict == "timeout"}
    assert {result.verdict for result in results.values()} <= {"open", "timeout"}
    assert sorted(map(str, blocked - expected)) == [], "blocked, and should be open"
    assert sorted(map(str, expected - blocked)) == [], "open, and should be blocked"
    assert all("dropped in" in results[flow].detail for flow in blocked), "the kernel knows of no drop"
    assert all(results[flow].responders == {flow.destination: 1} for flow in results if flow not in blocked)


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.name)
def test_case(stage: Stage, step: Step) -> None:
    lab = cluster(topology(step, LAB))
    agree(stage, lab, step.flows)
    assert predicted(lab) == step.flows


@pytest.mark.parametrize("seed", range(1000, 1100))
def test_random_policies(stage: Stage, seed: int) -> None:
    lab = cluster(topology(fuzz.step(seed), LAB))
    agree(stage, lab, predicted(lab))
