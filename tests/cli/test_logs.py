"""`nslab logs`: which container, and which part of its log."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from nslab.cli.logs import chosen, read
from nslab.cluster.model import Container
from nslab.errors import NotFoundError, UsageError
from tests.cli.shop import cluster

JOB = cluster().pods["tools/job"]


def test_the_one_container_with_a_log_is_chosen() -> None:
    assert chosen(JOB, "").name == "runner"
    assert chosen(JOB, "runner").name == "runner"


def test_a_container_of_the_responder_has_no_log() -> None:
    with pytest.raises(NotFoundError, match="container side of pod/tools/job has no log"):
        chosen(JOB, "side")
    with pytest.raises(NotFoundError, match="pod/default/web-0 has no log"):
        chosen(cluster().pods["default/web-0"], "")


def test_an_unknown_container_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="no container 'x'") as caught:
        chosen(JOB, "x")
    assert caught.value.hint == "it has: runner, side"


def test_of_several_logs_one_must_be_named() -> None:
    two = replace(JOB, containers=(*JOB.containers, Container("other", "host", command=("/bin/true",))))
    with pytest.raises(UsageError, match="several") as caught:
        chosen(two, "")
    assert caught.value.hint == "choose with -c: runner, other"


@pytest.mark.parametrize(("content", "tail", "shown"), [
    (b"a\nb\nc\n", None, b"a\nb\nc\n"),
    (b"a\nb\nc\n", 2, b"b\nc\n"),
    (b"a\nb\nc", 1, b"c"),
    (b"a\nb\n", 5, b"a\nb\n"),
    (b"a\nb\n", 0, b""),
    (b"\n\n", 1, b"\n"),
    (b"", 3, b""),
])
def test_the_tail_of_a_log(tmp_path: Path, content: bytes, tail: int | None, shown: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    assert b"".join(read(path, tail, follow=False)) == shown


def test_a_log_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    assert list(read(tmp_path / "log", None, follow=False)) == []


def test_a_followed_log_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = read(path, 1, follow=True)
    threading.Timer(0.05, lambda: path.write_bytes(b"first\nsecond\n")).start()
    assert next(lines) == b"second\n"
    with path.open("ab") as file:
        file.write(b"third\n")
    assert next(lines) == b"third\n"
