"""The files that a command names: which they are, in which order, and their text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os.path import isdir
from pathlib import Path
from typing import Final, TextIO

from nslab.api.findings import Findings

_SUFFIXES: Final = (".yaml", ".yml", ".json")
_KUSTOMIZATIONS: Final = ("kustomization.yaml", "kustomization.yml")


@dataclass(frozen=True, slots=True)
class Source:
    """A text to read: `file` as messages name it, and the folder that paths inside it are relative to."""

    file: str
    text: str
    folder: Path


def sources(paths: Iterable[str], stdin: TextIO | None, findings: Findings) -> Iterator[Source]:
    """The texts behind `paths`: files, folders (recursively, sorted) and `-`. What cannot be read is a fault."""
    for path in paths:
        if path == "-":
            findings.opened("-")
            text = _input(stdin, findings)
            if text is not None:
                yield Source("-", text, Path())
            continue
        findings.opened(str(Path(path)))
        for file in _files(Path(path), findings):
            findings.opened(str(file))
            text = _text(file, findings)
            if text is not None:
                yield Source(str(file), text, file.parent)


def _files(path: Path, findings: Findings) -> list[Path]:
    if path.name in _KUSTOMIZATIONS:
        findings.fault_at(f"{path}:1:1", "file: is a kustomization: `kubectl kustomize` renders it to objects")
        return []
    if not isdir(path):
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    for file in found:
        if file.name in _KUSTOMIZATIONS:
            findings.warn_at(f"{file}:1:1", "file: is a kustomization, left out: `kubectl kustomize` renders it")
    if not found:
        findings.fault_at(f"{path}:1:1", f"folder: has no {', '.join(f'*{suffix}' for suffix in _SUFFIXES)} file")
    return [file for file in found if file.name not in _KUSTOMIZATIONS]


def _input(stdin: TextIO | None, findings: Findings) -> str | None:
    try:
        return stdin.read() if stdin else ""
    except UnicodeDecodeError:
        findings.fault_at("-:1:1", "standard input: is not UTF-8 text")
        return None


def _text(file: Path, findings: Findings) -> str | None:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        findings.fault_at(f"{file}:{line}:{column}", "file: is not UTF-8 text; save it as UTF-8")
    except OSError as error:
        findings.fault_at(f"{file}:1:1", f"file: cannot be read: {error.strerror}")
    return None
