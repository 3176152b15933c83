"""Commands of exec probes: run in their Pod's netns, waited for without waiting, ended when they take too long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nslab.kubelet.probe_exchange import ERROR, FAILURE, SUCCESS, ProbeOutcome
from nslab.linux import process

OUTPUT = 10 * 1024
"""Bytes of what a command prints that are kept (pkg/probe/exec)."""

Report = Callable[[ProbeOutcome], None]


@dataclass(slots=True)
class _Command:
    """One that runs: its process, an open file with what it has printed, and when (monotonic seconds) it has taken
    too long."""

    line: str
    pid: int
    printed: int
    timeout: float
    deadline: float
    report: Report


class ExecProbes:
    """The commands that run now."""

    def __init__(self) -> None:
        self._commands: list[_Command] = []

    def run(
        self, netns: str, environment: Mapping[str, str], cwd: str, command: Sequence[str], timeout: float,
        report: Report,
    ) -> None:
        """Start a command that has `timeout` seconds. `report` is called within this method where it cannot be
        started, else within `tick`."""
        line = " ".join(command)
        printed = os.memfd_create("probe", os.MFD_CLOEXEC)
        try:
            pid = process.spawn_in(netns, list(command), env=dict(environment), cwd=cwd, log_fd=printed)
        except OSError as error:
            os.close(printed)
            report(ProbeOutcome(ERROR, f'failed to exec "{line}": {error.strerror}'))
            return
        self._commands.append(_Command(line, pid, printed, timeout, time.monotonic() + timeout, report))

    def tick(self) -> float:
        """Report those that have ended. Returns when (monotonic seconds) the next one has taken too long."""
        now = time.monotonic()
        for command in list(self._commands):
            code = process.reap(command.pid)
            if code is not None:
                printed = os.pread(command.printed, OUTPUT, 0).decode(errors="replace")
                self._conclude(command, ProbeOutcome(SUCCESS if code == 0 else FAILURE, printed))
            elif now >= command.deadline:
                process.terminate([command.pid], timeout=0.0)
                process.reap(command.pid)
                why = f'command timed out: "{command.line}" timed out after {command.timeout:g}s'
                self._conclude(command, ProbeOutcome(FAILURE, why))
        return min((command.deadline for command in self._commands), default=float("inf"))

    def _conclude(self, command: _Command, outcome: ProbeOutcome) -> None:
        self._commands.remove(command)
        os.close(command.printed)
        command.report(outcome)
