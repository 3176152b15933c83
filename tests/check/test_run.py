"""How checks are sent (rounds, filter, progress) and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from nslab.check.expectations import expectations
from nslab.check.model import Expectation
from nslab.check.run import add, judge, run
from nslab.servers.flows import Flow, FlowResult
from tests.check.network import Network
from tests.check.shop import SHOP

THREE = frozenset(["a/1", "a/2", "a/3"])


def spread(count: int = 12, share: float = 1 / 3) -> Expectation:
    flow = Flow("", "lab.node.n", "tcp", "10.0.0.1", 80, count)
    return Expectation("Spread", "name", "node/n", "svc", flow, responders=THREE, spread=THREE, share=share)


class Scripted:
    """Answers each round as told: the verdict's and the responders' counts for the first flow."""

    def __init__(self, *rounds: dict[str, int]) -> None:
        self.rounds = list(rounds)
        self.counts: list[int] = []

    def __call__(self, flows: Sequence[Flow], progress: Callable[[int, int], None] | None = None) -> list[FlowResult]:
        self.counts.append(flows[0].count)
        responders = self.rounds[min(len(self.counts), len(self.rounds)) - 1]
        if progress:
            progress(flows[0].count, flows[0].count)
        return [FlowResult(flows[0].id, {"open": flows[0].count}, responders)]


def test_one_round_where_everything_is_seen() -> None:
    probe = Scripted({"a/1": 4, "a/2": 4, "a/3": 4})
    assert run(SHOP, [spread()], probe).ok
    assert probe.counts == [12]


def test_further_rounds_until_seen() -> None:
    probe = Scripted({"a/1": 6, "a/2": 6}, {"a/1": 6, "a/2": 6}, {"a/3": 24})
    report = run(SHOP, [spread()], probe)
    assert report.ok
    assert probe.counts == [12, 12, 24]
    assert report.attempts == 48


def test_rounds_are_bounded_and_the_bound_is_beyond_doubt() -> None:
    probe = Scripted({"a/1": 6, "a/2": 6}, {"a/1": 6, "a/2": 6}, {"a/1": 24}, {"a/2": 6})
    report = run(SHOP, [spread()], probe)
    assert probe.counts == [12, 12, 24, 6]
    assert report.checks[0].why == "never answered by a/3 in 54 attempts"
    assert 3 * (2 / 3) ** spread().attempts < 1e-9 < 3 * (2 / 3) ** (spread().attempts - 1)


def test_no_further_round_once_it_has_failed() -> None:
    def lossy(flows: Sequence[Flow]) -> list[FlowResult]:
        return [FlowResult(flow.id, {"open": 1, "timeout": 11}, {"a/1": 1}) for flow in flows]

    report = run(SHOP, [spread()], lossy)
    assert report.attempts == 12
    assert report.checks[0].why == "expected open, but nothing came back in 11 of 12 attempts"


def test_all_flows_go_in_one_call() -> None:
    network = Network(SHOP)
    wanted = expectations(SHOP)
    report = run(SHOP, wanted, network)
    assert report.ok
    assert network.rounds <= 4
    assert report.attempts == network.attempts


def test_filter_takes_subject_or_name_in_any_case() -> None:
    wanted = expectations(SHOP)
    by_subject = run(SHOP, wanted, Network(SHOP), filter="hairpin")
    assert {each.expectation.group for each in by_subject.checks} == {"Hairpin: a Pod to itself through its Service"}
    by_name = run(SHOP, wanted, Network(SHOP), filter="SVC/SHOP/NEAR")
    assert by_name.checks
    assert all("svc/shop/near" in each.expectation.name for each in by_name.checks)
    assert run(SHOP, wanted, Network(SHOP), filter="no such thing").checks == ()


def test_progress_goes_on_over_rounds() -> None:
    seen: list[tuple[int, int]] = []
    probe = Scripted({"a/1": 6, "a/2": 6}, {"a/3": 12})
    run(SHOP, [spread()], probe, lambda done, total: seen.append((done, total)))
    assert seen == [(12, 12), (24, 24)]


def test_prober_that_answers_nothing_fails() -> None:
    result = FlowResult("0")
    assert judge(spread(), result).startswith("expected open, but no attempt was made")


def test_reason_of_an_error_is_told() -> None:
    result = FlowResult("0", {"error": 12}, detail="netns lab.node.n: No such file or directory")
    assert judge(spread(), result) == "expected open, but error (netns lab.node.n: No such file or directory)"


def test_many_names_are_counted() -> None:
    result = FlowResult("0", {"open": 9}, {f"b/{number}": 1 for number in range(9)})
    assert "b/5 (1x) and 3 more, which is no endpoint of it; expected a/1, a/2, a/3" in judge(spread(), result)


def test_sums() -> None:
    total = FlowResult(
        "0", {"open": 1}, {"a/1": 1}, {"10.0.0.1": 1}, [0.1], {"200": 1}, {"x": "1"}, "one", ["A"], "d")
    add(total, FlowResult("0", {"open": 1, "timeout": 1}, {"a/2": 1}, {"10.0.0.1": 1}, [0.2], {"200": 1}))
    assert total == FlowResult(
        "0", {"open": 2, "timeout": 1}, {"a/1": 1, "a/2": 1}, {"10.0.0.1": 2}, [0.1, 0.2], {"200": 2}, {"x": "1"},
        "one", ["A"], "d",
    )


@pytest.mark.parametrize(("pods", "share", "attempts"), [
    (1, 1.0, 4), (2, 1 / 2, 31), (3, 1 / 3, 54), (10, 1 / 10, 219), (1, 1 / 20, 405),
])
def test_attempts_that_leave_no_doubt(pods: int, share: float, attempts: int) -> None:
    flow = Flow("", "n", "tcp", "10.0.0.1", 80, 4)
    wanted = Expectation("g", "n", "s", "d", flow, spread=frozenset(f"a/{n}" for n in range(pods)), share=share)
    assert wanted.attempts == attempts
