"""kill -9 at random moments of an `up`: the next `up` or `down` ends right."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from nslab.linux import process
from tests.lab.running import NSLAB, host_state, nslab
from tests.lab.topologies import deployment, pod, service, topology

ROUNDS = 8
"""Of each kind; half of them end with `up`, half with `down`."""

SLEEPER = pod("s", image="host", more="      command: [sleep, '7777']\n")
BEFORE = topology(deployment("web", 12), service("web"), deployment("old", 6), SLEEPER)
AFTER = topology(deployment("web", 8), service("web"), deployment("new", 10), service("new"), SLEEPER, nodes=3)


def titled(title: str) -> list[int]:
    return [pid for pid in process.running() if process.title(pid) == title]


def killed_up(file: Path, victim: str, delay: float) -> None:
    """An `up` of which `victim` (its own client, or the lab's agent or responder) is killed `delay` seconds on."""
    client = subprocess.Popen(
        [NSLAB, "up", str(file), "--lab", "crash"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with suppress(subprocess.TimeoutExpired):
        client.wait(delay)
    victims = [client.pid] if victim == "client" else titled(f"nslab {victim} crash")
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    client.wait(60)


def duration(file: Path) -> float:
    started = time.monotonic()
    nslab("up", str(file), "--lab", "crash")
    return time.monotonic() - started


@pytest.mark.parametrize("victim", ["client", "agent", "responder"])
def test_an_up_killed_at_any_moment_ends_right_the_next_time(tmp_path: Path, victim: str) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(BEFORE)
    second.write_text(AFTER)
    before = host_state()
    whole = duration(first)
    nslab("down", "crash")
    moments = random.Random(victim)
    for number in range(ROUNDS):
        delay = moments.uniform(0.0, whole)
        said = f"round {number}: {victim} killed after {delay:.3f} s"
        killed_up(first if number % 4 < 2 else second, victim, delay)
        if number % 2:
            nslab("down", "crash")
            assert host_state() == before, said
            continue
        nslab("up", str(second), "--lab", "crash")
        status = json.loads(nslab("--lab", "crash", "status", "-o", "json").stdout)
        assert status["drift"] == [], said
        assert len(titled("sleep 7777")) == 1, said
        assert len(titled("nslab responder crash")) == len(titled("nslab agent crash")) == 1, said
        nslab("--lab", "crash", "check")
    nslab("down", "crash")
    assert host_state() == before
