"""How a command reaches a lab's agent: finds or starts it, asks it, waits for it, ends it. Cheap to import."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from nslab import __version__
from nslab.agent import messages
from nslab.errors import BusyError, NslabError
from nslab.linux.lab_files import Paths

Progress = Callable[[str, int, int], None]
BUSY_TIMEOUT = 60.0
"""Seconds to wait for whoever holds the lab: another `up`, a `down`."""
POLL = 0.01
STOP_TIMEOUT = 20.0
"""Seconds that an agent which is told to stop may take: what it is doing is done first."""
PATIENCE = 1.0
"""Seconds without an answer after which it matters whether an agent is stopped, as by SIGSTOP."""


class StandbyAgent:
    """A process that imports the agent's code while the caller still reads files, and then becomes a lab's agent."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nslab.agent"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd="/",
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    def become(self, lab: str) -> bool:
        """Make it the lab's agent. False when another process holds the lab."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{lab}\n".encode())
        self.process.stdin.close()
        line = self.process.stdout.readline()
        self.process.stdout.close()
        if not line:
            raise NslabError(
                f"the agent of lab {lab} does not start (exit code {self.process.wait()})",
                hint=f"its log: {Paths(lab).agent_log}",
            )
        return "listening" in json.loads(line)

    def dismiss(self) -> None:
        """End it; there is no lab to run."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class AgentEndedError(NslabError):
    """The agent ended before it answered. `began` says whether it had begun to work on the request."""

    def __init__(self, lab: str, began: bool) -> None:
        super().__init__(
            f"the agent of lab {lab} ended before it answered", hint="run the command again: a new agent takes over"
        )
        self.began = began


def _connect(lab: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(Paths(lab).agent_socket))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        return None
    return connection


def ask(
    lab: str, connection: socket.socket, request: messages.Json, progress: Progress | None = None
) -> messages.Json:
    """Send a request and wait for its result. Raises what the agent raised, TimeoutError past the connection's
    timeout."""
    began = False
    try:
        with connection:
            messages.send(connection, request)
            for message in messages.receive(connection):
                began = True
                if "progress" in message:
                    if progress:
                        progress(*message["progress"])
                elif "error" in message:
                    raise messages.decode_error(message["error"])
                else:
                    result: messages.Json = message["result"]
                    return result
    except (ConnectionError, ValueError):  # it was killed, perhaps in the middle of a line
        pass
    raise AgentEndedError(lab, began)


def live_agent(lab: str, standby: StandbyAgent | None) -> socket.socket:
    """A connection to the lab's agent, which is started where there is none, or where it is of another version.

    Waits while another process holds the lab, such as a `down`; raises BusyError past BUSY_TIMEOUT.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT
    try:
        while time.monotonic() < deadline:
            status = agent_status(lab)
            if status and status["version"] != __version__:
                stop_agent(lab)
                continue
            if status is None and holder(lab) is None:
                agent, standby = standby or StandbyAgent(), None
                agent.become(lab)
            connection = _connect(lab)
            if connection:
                return connection
            time.sleep(POLL)
    finally:
        if standby:
            standby.dismiss()
    raise busy(lab)


def busy(lab: str) -> BusyError:
    if _is_stopped(lab):
        return BusyError(
            f"process {holder(lab)}, which holds lab {lab}, is stopped",
            hint=f"`kill -CONT {holder(lab)}` has it go on; `nslab down {lab}` ends an agent that does not",
        )
    return BusyError(
        f"lab {lab} is held by process {holder(lab) or 'unknown'}, which does not let go of it",
        hint="wait for it to end, or end it with `kill`, and try again",
    )


def agent_status(lab: str, *, whole: bool = False) -> messages.Json | None:
    """What the lab's agent says of itself; None where none lives. `whole`: once its objects are stored. Raises
    BusyError where it does not answer."""
    return _answer(lab, {"op": "status", "whole": whole}, BUSY_TIMEOUT)


def _answer(lab: str, request: messages.Json, timeout: float) -> messages.Json | None:
    """What the lab's agent says to a request that may be sent twice; None where none lives. Raises BusyError where it
    is silent for `timeout` seconds, and soon where it is stopped."""
    deadline = time.monotonic() + timeout
    while True:
        connection = _connect(lab)
        if connection is None:
            return None
        connection.settimeout(PATIENCE)
        try:
            return ask(lab, connection, request)
        except AgentEndedError:
            return None
        except TimeoutError:
            if time.monotonic() >= deadline or _is_stopped(lab):
                raise busy(lab) from None


def _is_stopped(lab: str) -> bool:
    from nslab.linux.process import stopped

    pid = holder(lab)
    return pid is not None and stopped(pid)


def holder(lab: str) -> int | None:
    """The pid of the process that holds the lab's lock, if one does."""
    from nslab.linux.locks import lock_holder

    return lock_holder(str(Paths(lab).lock))


def stop_agent(lab: str) -> None:
    """End the lab's agent, leaving the network and the containers as they are; kill one that does not answer."""
    try:
        if _answer(lab, {"op": "stop"}, STOP_TIMEOUT) is None:
            _end_agent(lab, PATIENCE)  # of one that lives nevertheless, somebody has removed the socket
    except BusyError:
        _end_agent(lab, 0.0)


def _end_agent(lab: str, timeout: float) -> None:
    """Ask the process that holds the lab to end, and kill it `timeout` seconds later: if it is an agent of the lab,
    which whoever holds its lock under an agent's title is. An agent that has yet to open its socket has no title yet.
    """
    from nslab.linux.process import terminate, title

    pid = holder(lab)
    if pid and title(pid) == f"nslab agent {lab}":
        terminate([pid], timeout)
