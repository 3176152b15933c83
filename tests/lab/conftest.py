"""The `lab` fixture: a factory of running labs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.running import RunningLab, nslab

LabFactory = Callable[..., RunningLab]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabFactory]:
    """Bring up a lab from a text or from files: `lab("name", text)`, `lab("name", files=[..])`."""
    running: list[str] = []

    def bring_up(
        name: str, text: str = "", *, files: list[Path] | None = None, options: tuple[str, ...] = ()
    ) -> RunningLab:
        file = tmp_path / f"{name}.yaml"
        if files is None:
            file.write_text(text)
        running.append(name)
        nslab("up", *map(str, files or [file]), "--lab", name, *options)
        return RunningLab(name, file)

    yield bring_up
    for name in running:
        nslab("down", name)
