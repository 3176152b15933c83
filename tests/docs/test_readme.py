"""The README's commands, run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
NSLAB = ROOT / ".venv/bin/nslab"

ELSEWHERE = {
    "make test": "it is what runs this test",
    "cd vagrant && vagrant up": "it needs a hypervisor",
}


def _commands() -> Iterator[str]:
    """Indented lines that begin with a program's name, without their comments."""
    for line in README.splitlines():
        found = re.fullmatch(r"    ((?:make|sudo|cd|kubectl) .*?)(\s+#.*)?", line)
        if found:
            yield found[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A PATH on which sudo is nothing (we are root here), and make neither sets up again nor installs for all."""
    programs = tmp_path_factory.mktemp("bin")
    for name, script in (
        ("sudo", 'exec "$@"'),
        ("make", f'exec /usr/bin/make --old-file .venv/.installed PREFIX={programs.parent} "$@"'),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    installed = programs.parent / "bin"
    path = f"{installed}:{programs}:{os.environ['PATH']}"
    yield {**os.environ, "PATH": path, "KUBECONFIG": "lab.kubeconfig"}
    subprocess.run([NSLAB, "down", "quickstart"], check=True)
    (ROOT / "lab.kubeconfig").unlink(missing_ok=True)


def test_every_command_of_the_readme_works(environment: dict[str, str]) -> None:
    commands = list(_commands())
    assert set(commands) >= ELSEWHERE.keys()
    for command in commands:
        if command not in ELSEWHERE:
            done = subprocess.run(
                command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            assert "timeout" not in done.stdout, f"{command}\n{done.stdout}"


def test_commands_in_sentences_exist() -> None:
    for command in re.findall(r"`nslab ([a-z]+)[^`]*`", README):
        subprocess.run([NSLAB, command, "--help"], check=True, capture_output=True)


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
