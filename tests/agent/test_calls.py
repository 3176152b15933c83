"""How commands treat a process that holds a lab and does not answer them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nslab.agent import calls, store
from nslab.errors import BusyError

MUTE = """
import os, socket, sys, time
from pathlib import Path
from setproctitle import setproctitle
from nslab.linux.lab_files import Paths
from nslab.linux.locks import lock

paths = Paths("mute")
paths.root.mkdir(parents=True, exist_ok=True)
held = lock(str(paths.lock))
listening = socket.socket(socket.AF_UNIX)
listening.bind(str(paths.agent_socket))
listening.listen()
setproctitle(sys.argv[1])
print("there", flush=True)
time.sleep(600)
"""


@contextmanager
def mute(title: str) -> Iterator[subprocess.Popen[str]]:
    """A process of that title that holds the lab `mute`, takes connections and says nothing."""
    with subprocess.Popen([sys.executable, "-c", MUTE, title], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "there\n"
        try:
            yield process
        finally:
            process.kill()
            store.remove("mute")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PATIENCE", 0.1)
    monkeypatch.setattr(calls, "STOP_TIMEOUT", 0.3)


def test_an_agent_that_does_not_answer_is_killed() -> None:
    with mute("nslab agent mute") as process:
        assert calls.holder("mute") == process.pid
        calls.stop_agent("mute")
        assert process.wait(10) < 0


@pytest.mark.parametrize("title", ["nslab agent other", "nslab down mute"])
def test_what_is_no_agent_of_the_lab_is_left_alone(title: str) -> None:
    with mute(title) as process:
        calls.stop_agent("mute")
        assert process.poll() is None


def test_a_silent_agent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "BUSY_TIMEOUT", 0.3)
    with mute("nslab agent mute") as process, pytest.raises(BusyError, match=f"held by process {process.pid}"):
        calls.agent_status("mute")
