"""The evaluator against the cases, which state by hand what the specifications say."""

from __future__ import annotations

import pytest

from nslab.check.policies.decision import Evaluator
from nslab.cluster.model import Cluster
from tests.policies.world import FLOWS, Flow, Step, cluster, matching, steps, topology


def predicted(lab: Cluster) -> frozenset[Flow]:
    """The flows that the evaluator says are blocked."""
    evaluator, ips = Evaluator(lab), {key: pod.ip for key, pod in lab.pods.items()}
    return frozenset(
        flow for flow in FLOWS
        if not evaluator.decide(ips[flow.source], ips[flow.destination], flow.port, flow.protocol).allowed
    )


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.name)
def test_case(step: Step) -> None:
    found, stated = predicted(cluster(topology(step))), step.flows
    assert sorted(map(str, found - stated)) == [], "blocked, and should be open"
    assert sorted(map(str, stated - found)) == [], "open, and should be blocked"


def test_a_pattern_that_means_nothing_is_no_pattern() -> None:
    with pytest.raises(ValueError, match="no flow is"):
        matching(("x/a > q/*",))
