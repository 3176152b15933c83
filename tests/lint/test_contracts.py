"""import-linter's contracts name modules one by one: they must not miss one that came later."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def _contract(name: str) -> dict[str, Any]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return next(contract for contract in contracts if contract["name"].startswith(name))


def _functions(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_component_is_held_to_independence() -> None:
    """A component is what has `desired(cluster)`, and the one that breaks what they want; desired.py joins them."""
    components = {
        f"nslab.components.{file.stem}"
        for file in (ROOT / "nslab/components").glob("*.py")
        if file.stem != "desired" and _functions(file) & {"desired", "broken"}
    }
    assert components == set(_contract("Components never")["modules"])


def test_every_module_of_check_but_the_runner_is_held_to_purity() -> None:
    named = set(_contract("Pure rooms")["source_modules"])
    modules = {f"nslab.check.{file.stem}" for file in (ROOT / "nslab/check").glob("[!_]*.py")}
    assert modules - named == {"nslab.check.run"}

