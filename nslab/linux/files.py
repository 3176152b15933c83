"""Files that a lab keeps on the host: written whole, removed with the directories made for them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from nslab.linux import netns

NETNS_FILES = "/etc/netns"
"""ip-netns(8): what lies in NETNS_FILES/NAME is mounted over /etc for programs run in the netns NAME."""


def read(paths: Iterable[str]) -> dict[str, str]:
    """The contents of those that exist."""
    found = {}
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError), open(path, encoding="utf-8", errors="replace") as file:
            found[path] = file.read()
    return found


def of_namespaces(names: Iterable[str]) -> Iterator[str]:
    """The files that namespaces have below NETNS_FILES."""
    with suppress(FileNotFoundError):
        for name in sorted(set(names).intersection(os.listdir(NETNS_FILES))):
            for entry in sorted(os.listdir(f"{NETNS_FILES}/{name}")):
                yield f"{NETNS_FILES}/{name}/{entry}"


def write(path: str, content: str) -> None:
    """Write a file, its directories made as needed. Readers see the old or the new content, nothing between.

    Raises OSError.
    """
    temporary = f"{path}.nslab"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(content)
    os.rename(temporary, path)


def remove(path: str) -> None:
    """Remove a file, and the directories that are empty without it: below NETNS_FILES (itself included) and below
    nslab's own. What is gone already counts as done. Raises OSError."""
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)
    directory = os.path.dirname(path)
    while directory == NETNS_FILES or directory.startswith((f"{NETNS_FILES}/", f"{netns.STATE}/")):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            pass
        except OSError:
            return
        directory = os.path.dirname(directory)
