"""The tables of docs/topology.md, made from the JSON Schema of the topology file.

    python -m tests.docs.topology_table    writes them anew
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/topology.md"
SCHEMA = ROOT / "nslab/api/schemas/lab.json"
_TABLE = re.compile(r"<!-- schema: (\S+) -->\n.*?<!-- end -->", re.DOTALL)


def page(text: str) -> str:
    """The page with every table between `<!-- schema: PATH -->` and `<!-- end -->` as the schema has it now."""
    schema = json.loads(SCHEMA.read_text())
    return _TABLE.sub(lambda match: f"<!-- schema: {match[1]} -->\n{_table(schema, match[1])}<!-- end -->", text)


def _table(schema: Any, path: str) -> str:
    for step in path.split("."):
        schema = schema[step]
    required = schema.get("required", ())
    rows = "".join(_row(name, field, name in required) for name, field in schema["properties"].items())
    return f"| field | what | values | default |\n|---|---|---|---|\n{rows}"


def _row(name: str, field: Any, required: bool) -> str:
    default = "required" if required else f"`{json.dumps(field['default'])}`" if "default" in field else ""
    return f"| {name} | {field.get('description', '')} | {', '.join(_values(field))} | {default} |\n"


def _values(field: Any) -> Iterator[str]:
    if "enum" in field:
        yield from (f"`{value}`" for value in field["enum"])
        return
    for choice in field.get("anyOf", (field,)):
        bounds = [str(choice[key]) for key in ("minimum", "maximum") if key in choice]
        yield choice.get("type", "") + (f" {' to '.join(bounds)}" if bounds else "")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
