"""Faults and warnings of one pass, each at its place, told in the order of the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nslab.api.objects import Body, Object
from nslab.api.yaml_reader import Path, Place

Step = str | int


@dataclass(slots=True)
class Entry:
    """An object with its place in the text. `broken` are the paths whose values the schema refused: they are cut out
    of the body, and no rule complains a second time about them."""

    object: Object
    place: Place
    broken: tuple[Path, ...] = ()

    @property
    def body(self) -> Body:
        return self.object.body

    @property
    def spec(self) -> Body:
        """The object's `spec`, empty where it has none."""
        spec: Body = self.object.body.get("spec", {})
        return spec


def dotted(path: Sequence[Step]) -> str:
    """A path as the API server writes it: spec.ports[0].port, metadata.labels[app.kubernetes.io/name]."""
    text = ""
    for step in path:
        if isinstance(step, int) or not step.isalnum():
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


@dataclass(slots=True)
class Findings:
    """What is wrong (`faults`) and what is only remarkable (`warnings`) in the files read so far."""

    _faults: dict[str, None] = field(default_factory=dict)
    _warnings: dict[str, None] = field(default_factory=dict)
    _files: dict[str, int] = field(default_factory=dict)

    def fault(self, entry: Entry, path: Sequence[Step], message: str, *, key: bool = False) -> None:
        """Add a fault of an object's field (of the object itself for an empty path)."""
        if any(_related(tuple(path), broken) for broken in entry.broken):
            return
        where = entry.place.at(path, key=key) if path else entry.place.start
        self.fault_at(where, ": ".join(filter(None, [_subject(entry.object), dotted(path), message])))

    def warn(self, entry: Entry, path: Sequence[Step], message: str) -> None:
        where = entry.place.at(path) if path else entry.place.start
        self.warn_at(where, f"{_subject(entry.object)}: {message}")

    def fault_at(self, where: str, message: str) -> None:
        """Add a fault that belongs to no object: `where` is FILE:LINE:COL."""
        self._faults[f"{where}: {message}"] = None

    def warn_at(self, where: str, message: str) -> None:
        self._warnings[f"{where}: {message}"] = None

    def opened(self, file: str) -> None:
        """A file is being read: its findings come after those of the files before."""
        self._files.setdefault(file, len(self._files))

    @property
    def faults(self) -> list[str]:
        return sorted(self._faults, key=self._order)

    @property
    def warnings(self) -> list[str]:
        return sorted(self._warnings, key=self._order)

    def _order(self, line: str) -> tuple[int, int, int]:
        for file, rank in self._files.items():
            if line.startswith(f"{file}:"):
                row, _, rest = line[len(file) + 1 :].partition(":")
                column = rest.partition(":")[0]
                if row.isdigit() and column.isdigit():
                    return rank, int(row), int(column)
        return len(self._files), 0, 0


def _subject(thing: Object) -> str:
    return thing.reference if thing.name else f"{thing.kind} without a name"


def _related(path: Path, broken: Path) -> bool:
    """Whether one path leads to, or through, the other."""
    shorter = min(len(path), len(broken))
    return bool(path) and path[:shorter] == broken[:shorter]
