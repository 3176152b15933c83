"""Files that a lab keeps on the host: written whole, stamped, and removed with the directories made for them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from errno import ENOENT

from nslab.errors import OwnershipError
from nslab.linux import netns
from nslab.netstate.model import FILE_STAMP

NETNS_FILES = "/etc/netns"
"""ip-netns(8): what lies in NETNS_FILES/NAME is mounted over /etc for programs run in the netns NAME."""

_MADE = f"{netns.STATE}/.made-etc-netns"
"""Exists while NETNS_FILES is nslab's own making."""

_PART = ".nslab"
"""The end of the name of a file not yet whole."""

_ATTEMPTS = 10


def read(paths: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """The contents, without the stamp, of those of `paths` that exist, and of what nslab wrote for the namespaces
    `names`. Raises OwnershipError for one of `paths` without the stamp."""
    found = {}
    asked = dict.fromkeys(paths)
    for path in asked | dict.fromkeys(of_namespaces(names)):
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            content = _content(path)
            if content.endswith(FILE_STAMP) or path.endswith(_PART):
                found[path] = content.removesuffix(FILE_STAMP)
            elif path in asked:
                raise OwnershipError(
                    f"the file {path} exists and is not nslab's",
                    hint=f"move it away (`mv {path} {path}.mine`), or give the lab another name", where=path,
                )
    return found


def of_namespaces(names: Iterable[str]) -> Iterator[str]:
    """The files that namespaces have below NETNS_FILES, whosever they are."""
    for name in sorted(set(names).intersection(namespaces())):
        for entry in sorted(os.listdir(f"{NETNS_FILES}/{name}")):
            yield f"{NETNS_FILES}/{name}/{entry}"


def owned(names: Iterable[str]) -> list[str]:
    """The files that nslab wrote for these namespaces, also those it did not finish."""
    return [path for path in of_namespaces(names) if path.endswith(_PART) or _is_stamped(path)]


def namespaces() -> list[str]:
    """The names of namespaces that have a directory below NETNS_FILES, whether they exist or not."""
    with suppress(FileNotFoundError):
        return sorted(entry.name for entry in os.scandir(NETNS_FILES) if entry.is_dir(follow_symlinks=False))
    return []


def write(path: str, content: str) -> None:
    """Write a file and its stamp, its directories made as needed. Readers see the old or the new content, nothing
    between. Raises OSError."""
    temporary = f"{path}{_PART}"
    _make_directory(os.path.dirname(path))
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(content + FILE_STAMP)
    os.rename(temporary, path)


def remove(path: str) -> None:
    """Remove a file, and the directories that are empty without it: below NETNS_FILES, and this one too where nslab
    made it. What is gone already counts as done. Raises OSError."""
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)
    directory = os.path.dirname(path)
    while directory.startswith(f"{NETNS_FILES}/"):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            pass
        except OSError:  # Somebody's file is in it.
            return
        directory = os.path.dirname(directory)
    restore_root()


def restore_root() -> None:
    """Remove NETNS_FILES where nslab made it and nothing is left in it."""
    if os.path.exists(_MADE):
        try:
            os.rmdir(NETNS_FILES)
        except FileNotFoundError:
            pass
        except OSError:
            return
        netns.forget(_MADE)


def _make_directory(directory: str) -> None:
    for _ in range(_ATTEMPTS):  # The last file of another lab may take NETNS_FILES along at any moment.
        if directory.startswith(f"{NETNS_FILES}/") and not os.path.isdir(NETNS_FILES):
            netns.remember(_MADE)
        with suppress(FileNotFoundError):
            os.makedirs(directory, exist_ok=True)
            return
    raise FileNotFoundError(ENOENT, os.strerror(ENOENT), directory)


def _is_stamped(path: str) -> bool:
    with suppress(FileNotFoundError, IsADirectoryError):
        return _content(path).endswith(FILE_STAMP)
    return False


def _content(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.read().decode(errors="replace")
