"""Processes: programs in a netns, and their end."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from struct import pack, unpack
from time import monotonic
from typing import NoReturn

from nslab.linux import files, netns

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_SLAVE = 4096, 16384, 1 << 19
_ERRNO = "=i"
_CANNOT_RUN = 127


def start_time(pid: int) -> int:
    """When the process began, in clock ticks since boot (proc(5), field 22 of stat); 0 where there is none.

    With the pid it identifies a process for good: pids are used again, never with the same start.
    """
    return _status(pid)[1]


def alive(pid: int, started: int) -> bool:
    """Whether that process, begun at `started`, still runs. A zombie does not."""
    state, start = _status(pid)
    return start == started != 0 and state not in "ZX"


def stopped(pid: int) -> bool:
    """Whether a signal (SIGSTOP) or a debugger keeps the process from going on."""
    return _status(pid)[0] in "Tt"


def _status(pid: int) -> tuple[str, int]:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    return fields[0], int(fields[19])


def running() -> Iterator[int]:
    """The pids of all processes that this one can see."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def title(pid: int) -> str:
    """What `ps` shows of the process; empty where it has gone or has none."""
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def variable(pid: int, name: str) -> str:
    """What the process had in its environment when its program began: empty where nothing, or where it has gone or is
    somebody else's. Children inherit it, in whatever session or process group they are."""
    for pair in _read(pid, "environ").split(b"\0"):
        found, _, value = pair.partition(b"=")
        if found == name.encode():
            return value.decode(errors="replace")
    return ""


def sees_same(pid: int, path: str) -> bool:
    """Whether the process, in its own mount namespace and below its own root, finds there what this one does."""
    with suppress(OSError):
        return os.path.samefile(f"/proc/{pid}/root{path}", path)
    return False


def misses(pid: int, path: str) -> bool:
    """Whether the process, which lives and may be looked into, finds nothing at that path of its own."""
    return os.path.exists(f"/proc/{pid}/root/") and not os.path.lexists(f"/proc/{pid}/root{path}")


def leads_session(pid: int) -> bool:
    with suppress(ProcessLookupError):
        return os.getsid(pid) == pid
    return False


def reap(pid: int) -> int | None:
    """Bury the process where it has ended and is this one's child. Returns its exit code, 128 + n where signal n
    ended it; None where nobody can tell."""
    with suppress(ChildProcessError):
        ended, status = os.waitpid(pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if ended else None
        return 128 - code if code is not None and code < 0 else code
    return None


def _read(pid: int, file: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{file}", "rb") as opened:
            return opened.read()
    except OSError:
        return b""


def exec_in(name: str, argv: list[str], *, files_of: str = "") -> NoReturn:
    """Become the program in the netns, as `ip netns exec` would. Raises OSError where that fails.

    The program sees the netns' own files of /etc/netns/NAME in /etc, or where there are those of /etc/netns/FILES_OF,
    and the netns' devices in /sys.
    """
    enter_with_mounts(name, files_of)
    os.execvp(argv[0], argv)


def enter_with_mounts(name: str, files_of: str = "") -> None:
    """Move this process, which must have one thread, into the netns and into a mount namespace of its own."""
    netns.enter(name)
    netns.unshare(_CLONE_NEWNS)
    # Slave: what is mounted here stays here, while new namespaces of the host still show in /run/netns.
    netns.mount("none", "/", "none", _MS_SLAVE | _MS_REC)
    with suppress(OSError):  # Refused in a user namespace whose /sys has something hidden.
        netns.mount("sysfs", "/sys", "sysfs", 0)
    for path in (*files.of_namespaces([name]), *files.of_namespaces({files_of} - {name})):
        with suppress(FileNotFoundError):  # A file that the host's /etc lacks cannot be mounted over.
            netns.mount(path, f"/etc/{os.path.basename(path)}", "none", _MS_BIND)


def spawn_in(
    name: str, argv: list[str], *, env: dict[str, str], cwd: str, log_fd: int, files_of: str = ""
) -> int:
    """Start a program in the netns, as `exec_in` would, in a session of its own. Returns its pid.

    Its output goes to `log_fd`, its input is empty. Raises OSError of whatever keeps it from starting.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
        if pid == 0:
            _become(partial(enter_with_mounts, name, files_of), argv, env, cwd, log_fd, writing)
        os.close(writing)
        writing = -1
        failure = os.read(reading, 4)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    if failure:
        os.waitpid(pid, 0)
        code = unpack(_ERRNO, failure)[0]
        raise OSError(code, os.strerror(code), argv[0])
    return pid


def _become(
    enter: Callable[[], None], argv: list[str], env: dict[str, str], cwd: str, log_fd: int, failed: int
) -> NoReturn:
    """The child's way from fork to exec; tells the parent by `failed`, which a successful exec closes."""
    try:
        os.setsid()
        enter()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log_fd, 1)
        os.dup2(log_fd, 2)
        os.chdir(cwd)
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        os.write(failed, pack(_ERRNO, error.errno or 0))
    finally:
        os._exit(_CANNOT_RUN)


def ask(pids: Iterable[int]) -> None:
    """Ask processes, and the process groups they lead, to end. Those that have already count as asked."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            if os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGTERM)


def terminate(pids: Iterable[int], timeout: float) -> None:
    """End processes, and the process groups they lead: ask, wait `timeout` seconds at most, then kill.

    Returns when they have ended. Those that have already count as done.
    """
    running: dict[int, int] = {}
    for pid in pids:
        with suppress(ProcessLookupError):
            running[os.pidfd_open(pid)] = pid
    try:
        _signal(running, signal.SIGTERM)
        _wait(running, timeout)
        _signal(running, signal.SIGKILL)
        _wait(running, None)
    finally:
        for fd in running:
            os.close(fd)


def _signal(running: dict[int, int], number: signal.Signals) -> None:
    for fd, pid in running.items():
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, number)
            if os.getpgid(pid) == pid:
                os.killpg(pid, number)


def _wait(running: dict[int, int], timeout: float | None) -> None:
    """Wait for the ends of the processes, and forget those that have ended."""
    deadline = None if timeout is None else monotonic() + timeout
    poll = select.poll()
    for fd in running:
        poll.register(fd, select.POLLIN)
    while running:
        left = None if deadline is None else max(0.0, deadline - monotonic()) * 1000
        ended = poll.poll(left)
        if not ended:
            return
        for fd, _ in ended:
            poll.unregister(fd)
            os.close(fd)
            del running[fd]
