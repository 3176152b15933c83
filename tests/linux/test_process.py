"""Locks, programs in a netns, and their end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from nslab.linux import locks, netns, process
from nslab.linux.real import RealKernel
from nslab.netstate.operations import AddNetns, WriteFile
from tests.linux.test_conformance import NODE, do
from tests.netstate.states import LAB

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def spawned(name: str, script: str, log: Path, cwd: str = "/") -> int:
    with open(log, "ab") as file:
        return process.spawn_in(name, ["sh", "-c", script], env=ENVIRONMENT, cwd=cwd, log_fd=file.fileno())


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_lock_has_one_holder_and_says_who(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    assert locks.lock_holder(path) is None
    held = locks.lock(path)
    assert held is not None
    assert locks.lock(path) is None
    assert locks.lock_holder(path) == os.getpid()
    os.close(held)
    assert locks.lock_holder(path) is None
    again = locks.lock(path)
    assert again is not None
    os.close(again)


def test_a_program_runs_in_the_netns_with_its_files(real: RealKernel, tmp_path: Path) -> None:
    do(real, AddNetns(NODE, "1", LAB), WriteFile(f"/etc/netns/{NODE}/hosts", "10.0.0.1 there\n"))
    hosts = Path("/etc/hosts").read_text()
    log = tmp_path / "log"
    pid = spawned(NODE, "cat /etc/hosts; ls /sys/class/net; pwd; echo $HOME; cat", log, "/tmp")
    assert ended(pid) == 0
    assert log.read_text() == "10.0.0.1 there\n# nslab\nlo\n/tmp\n\n"
    assert Path("/etc/hosts").read_text() == hosts


@pytest.mark.parametrize(("name", "argv", "cwd", "error"), [
    (NODE, ["nosuch-program"], "/", FileNotFoundError),
    (NODE, ["/etc"], "/", PermissionError),
    (NODE, ["true"], "/nosuch", FileNotFoundError),
    ("t.nosuch", ["true"], "/", FileNotFoundError),
])
def test_what_keeps_a_program_from_starting_is_raised(
    real: RealKernel, name: str, argv: list[str], cwd: str, error: type[OSError]
) -> None:
    do(real, AddNetns(NODE, "1", LAB))
    with pytest.raises(error):
        process.spawn_in(name, argv, env=ENVIRONMENT, cwd=cwd, log_fd=2)


def test_a_process_is_known_by_pid_and_start(real: RealKernel, tmp_path: Path) -> None:
    do(real, AddNetns(NODE, "1", LAB))
    pid = spawned(NODE, "exec sleep 100", tmp_path / "log")
    started = process.start_time(pid)
    assert process.alive(pid, started)
    assert not process.alive(pid, started + 1)
    process.terminate([pid], timeout=5)
    assert not process.alive(pid, started)  # A zombie still.
    assert ended(pid) == -signal.SIGTERM
    assert process.start_time(pid) == 0
    assert not process.alive(pid, 0)
    process.terminate([pid], timeout=5)


def test_who_does_not_listen_is_killed_with_its_group(real: RealKernel, tmp_path: Path) -> None:
    do(real, AddNetns(NODE, "1", LAB))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    pid = spawned(NODE, f"trap '' TERM; sleep 100 & echo $! > {fifo}; wait; wait", tmp_path / "log")
    child = int(fifo.read_text())
    started = process.start_time(child)
    process.terminate([pid], timeout=0.1)
    assert ended(pid) == -signal.SIGKILL
    with suppress(ProcessLookupError):  # It has ended already.
        handle = os.pidfd_open(child)
        assert select.select([handle], [], [], 5)[0]
        os.close(handle)
    assert not process.alive(child, started)


def test_exec_becomes_the_program(real: RealKernel) -> None:
    do(real, AddNetns(NODE, "1", LAB))
    code = f"from nslab.linux.process import exec_in; exec_in({NODE!r}, ['sh', '-c', 'ip -br link; exit 7'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
    )
    assert done.returncode == 7
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["lo"]


def test_sockets_made_inside_stay_inside(real: RealKernel) -> None:
    import socket

    do(real, AddNetns(NODE, "1", LAB))
    home = os.readlink("/proc/thread-self/ns/net")
    with netns.open_socket_in(NODE, socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with socket.socket() as outside, pytest.raises(ConnectionRefusedError):
            outside.connect(listening.getsockname())
        with netns.entered(NODE), socket.socket() as inside:
            inside.connect(listening.getsockname())
    with pytest.raises(RuntimeError, match="boom"), netns.entered(NODE):
        raise RuntimeError("boom")
    with pytest.raises(FileNotFoundError), netns.entered("t.nosuch"):
        pass
    assert os.readlink("/proc/thread-self/ns/net") == home
