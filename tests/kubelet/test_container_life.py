"""A container's life, with a clock in hand."""

from __future__ import annotations

import pytest

from nslab.kubelet.container_life import (
    ALWAYS,
    BACKOFF_FIRST,
    BACKOFF_LIMIT,
    NEVER,
    ON_FAILURE,
    SIGKILLED,
    STEADY,
    Life,
    phase,
)  # fmt: skip

START = 1_700_000_000.0


def waits(life: Life, runs: int, each: float = 1.0) -> list[float]:
    """The back-offs of a life that ends so often, `each` seconds after its start."""
    now, found = START, []
    for _ in range(runs):
        life.start(now)
        life.end(now + each, 1)
        found.append(life.waits)
        now = life.due
    return found


def test_each_start_waits_twice_as_long_up_to_a_limit() -> None:
    life = Life()
    assert waits(life, 9) == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert (BACKOFF_FIRST, BACKOFF_LIMIT, life.restarts) == (0.5, 30.0, 8)


def test_a_steady_run_is_forgiven() -> None:
    life = Life()
    waits(life, 5)
    assert waits(life, 1, each=STEADY) == [8.0]
    assert waits(life, 3, each=STEADY + 1) == [0.0, 0.0, 0.0]
    assert waits(life, 2) == [0.5, 1.0]


@pytest.mark.parametrize(
    ("policy", "code", "finished"),
    [(ALWAYS, 0, False), (ALWAYS, 1, False), (ON_FAILURE, 0, True), (ON_FAILURE, 1, False), (ON_FAILURE, None, False),
     (NEVER, 0, True), (NEVER, 1, True)],
)  # fmt: skip
def test_the_policy_decides_whether_it_starts_again(policy: str, code: int | None, finished: bool) -> None:
    life = Life(policy)
    life.start(START)
    life.end(START + 1, code)
    assert (life.finished, life.due == START + 1) == (finished, not finished)


def test_the_containers_of_a_deleted_pod_do_not_start_again() -> None:
    running, waiting = Life(), Life()
    for life in (running, waiting):
        life.start(START)
    waiting.end(START + 1, 1)
    for life in (running, waiting):
        life.retire()
    assert (running.finished, waiting.finished) == (False, True)
    running.end(START + 2, 0)
    assert running.finished


def test_the_status_of_every_state() -> None:
    life = Life(ON_FAILURE)
    assert life.status("")["state"] == {"waiting": {"reason": "ContainerCreating"}}
    life.start(START)
    began, ended = "2023-11-14T22:13:20Z", "2023-11-14T22:13:21Z"
    assert life.status("") == {"state": {"running": {"startedAt": began}}, "lastState": {}, "restartCount": 0}
    life.end(START + 1, SIGKILLED)
    terminated = {"exitCode": 137, "reason": "Error", "startedAt": began, "finishedAt": ended}
    assert life.status("back-off") == {
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": terminated}, "restartCount": 0,
    }  # fmt: skip
    life.start(START + 1)
    assert life.status("")["lastState"] == {"terminated": terminated}
    assert life.status("")["restartCount"] == 1
    life.end(START + 2, 0)
    assert life.status("")["state"]["terminated"]["reason"] == "Completed"
    assert life.status("")["lastState"] == {}


def test_an_end_that_nobody_saw() -> None:
    life = Life()
    life.start(START)
    life.end(START + 1, None)
    terminated = life.status("")["lastState"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (137, "ContainerStatusUnknown")


def test_phases() -> None:
    def ended(code: int, policy: str = NEVER) -> Life:
        life = Life(policy)
        life.start(START)
        life.end(START + 1, code)
        return life

    assert phase([]) == "Running"
    assert phase([ended(0), Life()]) == "Running"
    assert phase([ended(1, ALWAYS)]) == "Running"
    assert phase([ended(0), ended(0)]) == "Succeeded"
    assert phase([ended(0), ended(1)]) == "Failed"
