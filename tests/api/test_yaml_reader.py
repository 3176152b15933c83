"""YAML is read as sigs.k8s.io/yaml reads it, and every place in it can be found again."""

from __future__ import annotations

from typing import Any

import pytest

from nslab.api.yaml_reader import read


def value(text: str) -> Any:
    (document,) = read("a.yaml", text)
    assert document.faults == []
    return document.value


def faults(text: str) -> list[tuple[str, str]]:
    return [fault for document in read("a.yaml", text) for fault in document.faults]


@pytest.mark.parametrize(
    ("scalar", "expected"),
    [
        ("80", 80), ("-1", -1), ("+7", 7), ("0x10", 16), ("0o17", 15), ("017", 15), ("0b11", 3), ("1_000", 1000),
        ("1.5", 1.5), ("2.0", 2), ("1e3", 1000), (".5", 0.5), ("08", 8), ("089", 89), ("1.2.3", "1.2.3"),
        ("y", True), ("Yes", True), ("on", True), ("TRUE", True), ("n", False), ("off", False), ("No", False),
        ("'y'", "y"), ('"80"', "80"), ("yEs", "yEs"), ("2024-01-01", "2024-01-01"), ("12:30:45", "12:30:45"),
        ("10.0.0.1", "10.0.0.1"), ("-", "-"), (".inf", ".inf"), ("!!str 80", "80"), ("!!int '80'", 80),
        ("!!binary aGk=", "hi"), ("|\n  80\n", "80\n"), ("+", "+"), ("9" * 60, "9" * 60),
    ],
)  # fmt: skip
def test_scalars(scalar: str, expected: Any) -> None:
    found = value(f"a: {scalar}")["a"] if scalar != "-" else value('a: "-"')["a"]
    assert found == expected
    assert type(found) is type(expected)


def test_nulls_in_mappings_are_absent_fields() -> None:
    assert value("{a: , b: null, c: ~, d: [~], e: Null, f: ''}") == {"d": [None], "f": ""}


def test_keys_are_strings() -> None:
    assert value("{1: a, true: b, 1.5: c, x: d}") == {"1": "a", "true": "b", "1.5": "c", "x": "d"}


def test_anchors_and_merge_keys() -> None:
    text = "a: &a {x: 1, z: 2}\nb: {<<: *a, z: 3}\nc: {<<: [{x: 5}, *a]}\nd: *a\n"
    read_value = value(text)
    assert read_value["b"] == {"x": 1, "z": 3}
    assert read_value["c"] == {"x": 5, "z": 2}
    assert read_value["d"] == read_value["a"]
    assert read_value["d"] is not read_value["a"]


def test_a_null_unsets_a_merged_field() -> None:
    assert value("a: &a {x: 1}\nb: {<<: *a, x: null}")["b"] == {}


def test_empty_documents_are_left_out() -> None:
    text = "# only a comment\n---\n---\na: 1\n---\n# more\n...\n---\nb: 2\n"
    assert [document.value for document in read("a.yaml", text)] == [{"a": 1}, {"b": 2}]


def test_directives_and_windows_line_ends() -> None:
    assert [document.value for document in read("a", "%YAML 1.1\r\n---\r\na: 1\r\n---\r\nb: 2\r\n")] == [
        {"a": 1}, {"b": 2},
    ]  # fmt: skip


def test_json_is_yaml() -> None:
    assert value('{\n\t"a": [1, true, null, "b\\n"],\n\t"c": {}\n}') == {"a": [1, True, None, "b\n"], "c": {}}


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("a: 1\na: 2\n", "a.yaml:2:1", 'the key "a" is given twice'),
        ("{1: a, '1': b}", "a.yaml:1:8", 'the key "1" is given twice'),
        ("[a]: 1", "a.yaml:1:1", "a key must be a string"),
        ("~: 1", "a.yaml:1:1", "a key must be a string"),
        ("a: {<<: 3}", "a.yaml:1:9", "a merge key (<<) takes a mapping or a list of mappings"),
        ("a: !!binary '%'", "a.yaml:1:4", "is not base64"),
        ("a: !x b", "a.yaml:1:4", "the tag !x is not known; write the plain value"),
        ("a: b: c", "a.yaml:1:5", "mapping values are not allowed"),
        ("a:\n\t- b", "a.yaml:2:1", "indent with spaces, not tabs"),
        ("a: \x07", "a.yaml:1:4", "the character U+0007 is not allowed in YAML"),
        ("b: 1\n---\n\na: *b", "a.yaml:4:4", "found undefined alias"),
        ("&a [*a]", "a.yaml:1:1", "is nested too deeply"),
    ],
)
def test_faults_have_a_place(text: str, where: str, message: str) -> None:
    ((found, told),) = faults(text)
    assert found == where
    assert message in told


def test_a_fault_leaves_the_other_documents() -> None:
    documents = list(read("a.yaml", "a: [\n---\nb: 1\n---\nc: {\n"))
    assert [document.value for document in documents] == [None, {"b": 1}, None]


def test_aliases_cannot_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    told = faults("\n".join(lines))
    assert any("aliases expand to too much" in message for _, message in told)


def test_deep_nesting_is_a_fault() -> None:
    assert faults("[" * 300 + "]" * 300)
    assert faults("[" * 5000)


def test_places() -> None:
    text = "x: 1\n---\nspec:\n  ports:\n  - port: 80\n    name: a\n  more: {k: v}\n"
    text += "other: &o {m: 1}\nmerged: {<<: *o}\n"
    place = list(read("f.yaml", text))[1].place
    assert place.start == "f.yaml:3:1"
    assert place.at(("spec", "ports", 0, "port")) == "f.yaml:5:11"
    assert place.at(("spec", "ports", 0, "name"), key=True) == "f.yaml:6:5"
    assert place.at(("spec", "ports", 7)) == "f.yaml:5:3"
    assert place.at(("spec", "missing", "x")) == "f.yaml:4:3"
    assert place.at(("spec", "more", "k", "too far")) == "f.yaml:7:13"
    assert place.at(("merged", "m")) == "f.yaml:8:15"
    assert place.written(("spec", "ports", 0, "port")) == "80"
    assert place.written(("spec", "ports")) == ""
    assert place.written(("spec", "nothing")) == ""
    inside = place.inside(("spec", "ports", 0))
    assert inside.start == "f.yaml:5:5"
    assert inside.at(("name",)) == "f.yaml:6:11"
