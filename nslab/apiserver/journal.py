"""The store on disk: an append-only file of JSON lines, so that an agent killed at any instant forgets nothing.

A line is what one request changed, written by one write(2) before the request is answered: a list whose elements are
an object (put), `[KIND, NAMESPACE, NAME]` (removed) and, last, the revision that the store has reached. So the
removal of an owner and of all that it owned is on disk wholly or not at all. A last line without its end was never
acknowledged, and is dropped.

The lab's state lies on a tmpfs and lives as long as the kernel's namespaces do: what must be survived is the death of
the process, not of the machine, and for that a write(2) is enough; nothing here calls fsync.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from nslab.errors import NslabError

COMPACT_BYTES: Final = 1 << 20
"""The journal is written anew when it has grown by this, and to twice its size: that costs less than what is appended
to it. The heartbeats of two nodes take half an hour for it, those of twenty some minutes; and every command that
looks at the lab reads what is there."""


class Journal:
    """The file at `path`, which is made where there is none. One process writes it at a time."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._descriptor = self._open(self._path)
        self._size = os.fstat(self._descriptor).st_size
        self._compacted = 0

    @staticmethod
    def _open(path: Path, flags: int = 0) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)

    def read(self) -> Iterator[list[Any]]:
        """The lines of the file, oldest first. Raises NslabError for one that is no line of a journal."""
        lines = self._path.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            self._size -= len(lines.pop())
            os.ftruncate(self._descriptor, self._size)
        for number, line in enumerate(lines, 1):
            try:
                changes = json.loads(line)
            except ValueError as error:
                raise self._damaged(number) from error
            if not isinstance(changes, list) or not changes or not isinstance(changes[-1], int):
                raise self._damaged(number)
            yield changes

    def append(self, changes: Iterable[bytes], revision: int) -> None:
        """Write one line of encoded elements. Raises OSError where the disk refuses; the file is then as before."""
        line = b"[%b,%d]\n" % (b",".join(changes), revision)
        try:
            if os.write(self._descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(line)

    @property
    def overgrown(self) -> bool:
        """Whether it is time to compact."""
        return self._size > 2 * self._compacted + COMPACT_BYTES

    def compact(self, objects: Iterable[bytes], revision: int) -> None:
        """Replace the file by one that holds these objects alone. Raises OSError; the old file then goes on."""
        temporary = self._path.with_name(f".{self._path.name}.new")
        content = b"[%b%d]\n" % (b"".join(body + b"," for body in objects), revision)
        descriptor = self._open(temporary, os.O_TRUNC)
        try:
            with open(os.dup(descriptor), "wb") as file:
                file.write(content)
            os.rename(temporary, self._path)
        except OSError:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
            raise
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = self._compacted = len(content)

    def rename(self, path: Path) -> None:
        """Go on under another name, in the place of what has it. Raises OSError."""
        os.rename(self._path, path)
        self._path = path

    def close(self) -> None:
        os.close(self._descriptor)

    def _damaged(self, number: int) -> NslabError:
        return NslabError("is no line of a journal", where=f"{self._path}:{number}",
                          hint="the file was changed by something else; `nslab down`, then `nslab up`")  # fmt: skip
