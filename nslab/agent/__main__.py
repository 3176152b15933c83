"""The agent's process: `python -m nslab.agent`, started by `client.start_agent`.

It stands by until it is told its lab on standard input (so that its imports run beside the decoding of the user's
files), takes the lab's lock, and says on standard output what became of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from contextlib import suppress

import setproctitle

from nslab.agent import store
from nslab.agent.daemon import Agent
from nslab.collection import collect_seldom
from nslab.linux.lab_files import Paths

LOCK_TIMEOUT = 0.2
"""Seconds: whoever asks who holds the lock (`nslab ls`) has it for a moment himself."""


def main() -> int:
    """Become the agent of the lab named on standard input. Returns the exit code."""
    lab = sys.stdin.readline().strip()
    if not lab:  # the files were at fault: there is no lab
        return 0
    paths = Paths(lab)
    lock = store.hold(lab, LOCK_TIMEOUT)
    if lock is None:
        _say({"busy": True})
        return 0
    paths.agent_socket.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listening.bind(str(paths.agent_socket))
    os.chmod(paths.agent_socket, 0o600)
    listening.listen(64)
    _detach(paths)
    setproctitle.setproctitle(f"nslab agent {lab}")
    collect_seldom()
    try:
        asyncio.run(Agent(lab, listening).serve())
    finally:
        paths.agent_socket.unlink(missing_ok=True)
        if not paths.state.exists():
            store.remove(lab)
        os.close(lock)
    return 0


def _say(message: dict[str, bool]) -> None:
    with suppress(BrokenPipeError):  # The caller was killed: without a lab the agent ends by itself.
        os.write(1, f"{json.dumps(message)}\n".encode())


def _detach(paths: Paths) -> None:
    """Say that the socket listens, and move the standard streams away from the caller's."""
    _say({"listening": True})
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(paths.agent_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
