"""Starting a responder process, and telling it what to listen on."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nslab.servers.listeners import Listener, decode_listeners, encode_listeners

START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Listening:
    """How an order went: `sockets` listen now, and those of `failed` could not, each with the reason."""

    sockets: int
    failed: tuple[tuple[Listener, str], ...]


class ResponderClient:
    """One control connection to the responder at `path`.

    The constructor and every method raise ConnectionError or FileNotFoundError where the process is gone, and
    ValueError where it refused the order. `timeout` is in seconds, for one answer; past it TimeoutError is raised.
    """

    def __init__(self, path: str, timeout: float = 30.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._lines = self._socket.makefile("rb")

    def set(self, listeners: Iterable[Listener]) -> Listening:
        """Have the responder listen on exactly these. Returns when all of them do, or are known to fail."""
        return self._order({"set": encode_listeners(listeners)})

    def add(self, listeners: Iterable[Listener]) -> Listening:
        """Have it listen on these too."""
        return self._order({"add": encode_listeners(listeners)})

    def remove(self, listeners: Iterable[Listener]) -> Listening:
        """Have it no longer listen on these; their connections are reset."""
        return self._order({"remove": encode_listeners(listeners)})

    def know(self, names: dict[str, Any]) -> None:
        """Have its name servers know these names (DnsServer.obey)."""
        self._ask({"dns": names})

    def queries(self, since: int = 0) -> list[dict[str, Any]]:
        """The last queries that name servers answered, those after number `since`: number, at (seconds of the epoch),
        client, server, name, type, code, answers, ms."""
        found: list[dict[str, Any]] = self._ask({"queries": since})["queries"]
        return found

    def stats(self) -> dict[str, int]:
        """sockets, connections, answered, exhausted (closed for want of file descriptors) and rss in bytes."""
        return self._ask({"stats": True})

    @property
    def pid(self) -> int:
        """The process at the other end (SO_PEERCRED of unix(7))."""
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid: int = struct.unpack("3i", credentials)[0]
        return pid

    def connected(self) -> bool:
        """Whether the process is still there: it says nothing unasked, so what can be read is its end."""
        return not select.select([self._socket], [], [], 0)[0]

    def stop(self) -> None:
        """End the process. Returns when its control socket is gone."""
        self._ask({"stop": True})
        self._lines.read()
        self.close()

    def close(self) -> None:
        """Leave the process alone."""
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> ResponderClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _order(self, order: dict[str, Any]) -> Listening:
        answer = self._ask(order)
        failed = ((next(decode_listeners([one["listener"]])), one["error"]) for one in answer["failed"])
        return Listening(answer["ok"], tuple(failed))

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        self._socket.sendall(json.dumps(order, separators=(",", ":")).encode() + b"\n")
        line = self._lines.readline()
        if not line:
            raise ConnectionResetError("the responder is gone")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer


def start_responder(path: str, title: str, log_path: str) -> int:
    """Start a responder, and wait for it. Returns its pid. Raises as `spawn_responder` and `await_responder` do."""
    child = spawn_responder(path, title, log_path)
    await_responder(child, path, log_path)
    return child.pid


def spawn_responder(path: str, title: str, log_path: str) -> subprocess.Popen[bytes]:
    """Start a responder that outlives this process, with its control socket at `path` and its stderr appended to
    `log_path`. It imports its code for a while before it accepts. Raises OSError."""
    with open(log_path, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "nslab.servers.responder", "--control", path, "--title", title],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )


def await_responder(child: subprocess.Popen[bytes], path: str, log_path: str) -> None:
    """Return once the control socket of a responder just started accepts.

    Raises ChildProcessError where it ended instead (the log says why), TimeoutError where it does not come up.
    """
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        if child.poll() is not None:
            raise ChildProcessError(f"the responder ended with status {child.returncode}; see {log_path}")
        if os.path.exists(path):
            try:
                ResponderClient(path).close()
            except ConnectionRefusedError:
                pass  # left by a dead process, or bound but not listening yet
            else:
                child.returncode = 0  # it is nobody's child to wait for
                return
        time.sleep(0.002)
    child.kill()
    raise TimeoutError(f"the responder does not accept on {path}; see {log_path}")
