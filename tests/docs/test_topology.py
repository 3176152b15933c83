"""docs/topology.md and docs/checks.md say what the decoder and the checks take."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
import yaml

from nslab.api.decode import decode
from nslab.check import flow_file, written
from tests.docs.topology_table import PAGE, ROOT, page

CHECKS = ROOT / "docs/checks.md"


def _blocks(file: Path) -> list[str]:
    """The indented blocks of a page."""
    parts = file.read_text().split("\n\n")
    return [dedent(part) for part in parts if part.strip() and all(line[:4] == "    " for line in part.splitlines())]


def _decode(folder: Path, text: str) -> Any:
    (folder / "shop.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
    (folder / "policies").mkdir()
    (folder / "policies" / "none.yaml").write_text("")
    (folder / "lab.yaml").write_text(text)
    return decode([str(folder / "lab.yaml")])


def _lab(spec: str) -> str:
    return f"apiVersion: nslab.dev/v1\nkind: Lab\nmetadata: {{name: shop}}\n{spec}"


@pytest.mark.parametrize("block", [block for block in _blocks(PAGE) if not block.startswith("sudo")])
def test_examples_are_faultless(tmp_path: Path, block: str) -> None:
    if block.startswith("containers:"):
        block = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n{indent(block, '  ')}"
    assert _decode(tmp_path, block if "apiVersion" in block else _lab(block)).lab


def test_written_checks_are_faultless(tmp_path: Path) -> None:
    (block,) = _blocks(CHECKS)
    manifest = _decode(tmp_path, _lab(f"spec:\n{indent(block, '  ')}"))
    assert len(manifest.lab.checks) == len(yaml.safe_load(block)["checks"])


def test_every_field_of_a_check_is_told() -> None:
    table = CHECKS.read_text().partition("## Written checks")[2]
    for field in {*flow_file.FIELDS, *written._OWN_FIELDS, *written._EXPECT_FIELDS} - {"id", "name"}:
        assert field in table, field


def test_tables_are_the_schemas() -> None:
    assert PAGE.read_text() == page(PAGE.read_text()), "python -m tests.docs.topology_table writes them anew"
