"""Locks that name their holder. Imports no netlink: `nslab ls` asks for holders, and for nothing else of the host."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress


def lock(path: str) -> int | None:
    """Take the lock of that path: an open file to hold it with, or None where another process has it.

    The holder's pid is in the file. The lock ends with its last holder, however that ends. Raises FileNotFoundError
    where its directory is gone.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                own(fd)
                return fd
        os.close(fd)  # The former holder removed the file: that lock is worth nothing.


def own(fd: int) -> None:
    """Write this process' pid into a lock it holds: anew after a fork, whose child keeps the lock."""
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


def lock_holder(path: str) -> int | None:
    """The pid of the process that holds the lock; None where nobody does. 0 where it has not said who it is."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 32, 0).strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(fd)
    return None
