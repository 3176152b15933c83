"""Whatever a file says, `decode` either reads it or tells faults with their places; nothing else is raised."""

from __future__ import annotations

import json
import re
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nslab.api.decode import decode
from nslab.errors import ManifestError

PLACE = re.compile(r"[^\n]+?:\d+:\d+: [^\n]+")
VALID = (Path(__file__).parent / "valid.yaml").read_text()
DOCUMENTS = list(yaml.safe_load_all(VALID))
VALUES: list[Any] = [
    None, "", "x", "10.0.0.1", "10.0.0.0/8", "a/b/c", 0, -1, 80, 2**40, 1.5, True, [], {}, [None], [{}], [[]], ["x"],
    {"a": 1}, {"a": None}, {"matchLabels": 3}, "None", "ünï", "127.0.0.1",
]  # fmt: skip


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path of a JSON value, its root's included."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, item in items for path in paths(item, (*here, key)))]


def changed(documents: list[Any], path: tuple[Any, ...], value: Any, action: str) -> list[Any]:
    result = deepcopy(documents)
    if not path:
        return [value]
    node = result
    for step in path[:-1]:
        node = node[step]
    if action == "set":
        node[path[-1]] = value
    elif action == "delete":
        del node[path[-1]]
    elif isinstance(node, dict):
        node[f"{path[-1]}s"] = node.pop(path[-1])
    return result


def judge(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "lab.yaml")
        file.write_text(text)
        faults = []
        try:
            decode([str(file)], ignore_unknown=True)
        except ManifestError as error:
            faults = error.faults or ["an error without a fault"]
        assert [fault for fault in faults if not PLACE.fullmatch(fault)] == []


def test_the_file_that_is_mutated_is_right(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(VALID)
    assert decode([str(file)]).warnings == ()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_changed_values(data: st.DataObject) -> None:
    documents = DOCUMENTS
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(paths(documents)))
        value, action = data.draw(st.sampled_from(VALUES)), data.draw(st.sampled_from(["set", "delete", "rename"]))
        documents = changed(documents, path, value, action)
    judge("\n---\n".join(json.dumps(document) for document in documents))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, len(VALID)), st.integers(0, 40), st.text(max_size=8))
def test_changed_text(start: int, length: int, text: str) -> None:
    judge(VALID[:start] + text.encode(errors="ignore").decode() + VALID[start + length :])
