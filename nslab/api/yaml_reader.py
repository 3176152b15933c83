"""YAML text to plain JSON values as sigs.k8s.io/yaml reads it, and places in that text.

A stream is cut at its `---` lines (YAML forbids such a line inside any scalar) and every document is composed alone:
one broken document leaves the others readable. Node trees are dropped as soon as a document is converted; a place is
found again by composing its document once more, which only faulty input pays for.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import yaml
from yaml._yaml import CParser

Path = tuple[str | int, ...]
"""The way from an object's root to a field: keys and list indices."""

_TAG: Final = "tag:yaml.org,2002:"
_PLAIN: Final = _TAG + "plain"
_STRING: Final = _TAG + "str"
_TRUE: Final = frozenset(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"])
_FALSE: Final = frozenset(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"])
_NULL: Final = frozenset(["", "~", "null", "Null", "NULL"])
_INTEGER: Final = re.compile(r"[-+]?(0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SEPARATOR: Final = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_EMPTY: Final = re.compile(r"(?:^[ \t]*(?:#.*|%.*|\.\.\.[ \t]*)?(?:\r?\n|\Z))*\Z", re.MULTILINE)
_MAX_NODES: Final = 2_000_000
_MAX_DEPTH: Final = 200


@dataclass(slots=True)
class Text:
    """One document's text in its file; `line` is the number of the text's first line, from 0."""

    file: str
    text: str
    line: int

    def position(self, mark: Any) -> str:
        """FILE:LINE:COL of a mark of libyaml in this text, counted from 1."""
        return f"{self.file}:{self.line + mark.line + 1}:{mark.column + 1}"


@dataclass(slots=True)
class Place:
    """Where an object stands: its document and the way from the document's root to it (more than () in a List)."""

    text: Text
    root: Path = ()
    start: str = ""

    def at(self, path: Sequence[str | int] = (), *, key: bool = False) -> str:
        """FILE:LINE:COL of the value at `path`, or of its key; of the nearest parent where the path leads nowhere."""
        node = _compose(self.text.text)
        mark = node.start_mark
        for step in (*self.root, *path):
            pair = _child(node, step)
            if pair is None:
                break
            key_node, node = pair
            mark = key_node.start_mark if key else node.start_mark
        return self.text.position(mark)

    def written(self, path: Sequence[str | int]) -> str:
        """The scalar at `path` as it is written, or an empty string."""
        node = _compose(self.text.text)
        for step in (*self.root, *path):
            pair = _child(node, step)
            if pair is None:
                return ""
            node = pair[1]
        return str(node.value) if isinstance(node, yaml.ScalarNode) else ""

    def inside(self, path: Path) -> Place:
        """The place of a part that is an object of its own."""
        place = Place(self.text, self.root + path)
        place.start = place.at()
        return place


@dataclass(slots=True)
class Document:
    """A document's value (None where it cannot be read) and its faults as (FILE:LINE:COL, message)."""

    place: Place
    value: Any = None
    faults: list[tuple[str, str]] = field(default_factory=list)


def read(file: str, text: str) -> Iterator[Document]:
    """The documents of a YAML or JSON stream, empty ones left out. Never raises for what the text says."""
    start = line = 0
    cuts = [match.start() for match in _SEPARATOR.finditer(text)]
    for end in [*cuts, len(text)]:
        chunk = text[start:end]
        if not _EMPTY.match(chunk.removeprefix("---")):
            yield _document(Text(file, chunk, line))
        line += chunk.count("\n")
        start = end


def _document(text: Text) -> Document:
    document = Document(Place(text, (), f"{text.file}:{text.line + 1}:1"))
    try:
        node = _Parser(text.text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = text.position(mark) if mark else document.place.start
        document.faults.append((where, _syntax_message(error)))
        return document
    except yaml.reader.ReaderError as error:
        line = text.line + text.text.count("\n", 0, error.position) + 1
        column = error.position - text.text.rfind("\n", 0, error.position)
        code = ord(error.character) if isinstance(error.character, str) else error.character
        document.faults.append((f"{text.file}:{line}:{column}", f"the character U+{code:04X} is not allowed in YAML"))
        return document
    if node is not None:
        document.place.start = text.position(node.start_mark)
        conversion = _Conversion(document)
        document.value = conversion.value(node, 0)
    return document


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "syntax error"
    if "cannot start any token" in problem:
        problem += "; indent with spaces, not tabs, and quote values that begin with @ or `"
    elif "mapping values are not allowed" in problem:
        problem += "; quote a value that has a colon, or check the indentation"
    return f"{error.context}: {problem}" if error.context and error.problem else problem


class _Parser(CParser):
    """libyaml's composer that leaves plain scalars unresolved: they are resolved by `_scalar`."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _STRING
        return f"{_TAG}map" if kind is yaml.MappingNode else f"{_TAG}seq"

    def descend_resolver(self, current_node: yaml.Node | None, current_index: Any) -> None:
        """Nothing depends on the way to a node."""

    def ascend_resolver(self) -> None:
        """Nothing depends on the way to a node."""


@lru_cache(maxsize=2)
def _compose(text: str) -> yaml.Node:
    node = _Parser(text).get_single_node()
    assert node is not None  # only documents with a value have places
    return node


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode):
        if isinstance(step, int) and step < len(node.value):
            return node.value[step], node.value[step]
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    merged: yaml.Node | None = None
    for key, value in node.value:
        if key.value == step or str(step) == _key(key):
            return key, value
        if key.value == "<<":
            merged = value
    return _child(merged, step) if merged is not None else None


@lru_cache(maxsize=4096)
def _scalar(text: str) -> str | int | float | bool | None:
    """A plain scalar's value by the rules of go-yaml v2: YAML 1.1 booleans, C's integer prefixes, no timestamps."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        number = float(text)
        return int(number) if number.is_integer() else number
    return text


def _integer(text: str) -> str | int:
    digits = text.lstrip("+-")
    if len(digits) > 40:
        return text
    try:
        value = int(digits, 8) if re.fullmatch("0[0-7]+", digits) else int(digits, 0)
    except ValueError:
        return int(float(digits)) if digits.isdigit() else text
    return -value if text[0] == "-" else value


def _key(node: yaml.Node) -> str | None:
    """A mapping's key as JSON has it: always a string."""
    if not isinstance(node, yaml.ScalarNode):
        return None
    value = _scalar(node.value) if node.tag == _PLAIN else node.value
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


class _Conversion:
    """Nodes to values. A null in a mapping is dropped, as the API server takes it for an absent field."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes = 0

    def value(self, node: yaml.Node, depth: int) -> Any:
        if node.tag == _PLAIN:
            return _scalar(node.value)
        self.nodes += 1
        if depth > _MAX_DEPTH or self.nodes > _MAX_NODES:
            if self.nodes <= _MAX_NODES or not self.document.faults:
                self.fault(node, "is nested too deeply, or its aliases expand to too much")
            self.nodes = _MAX_NODES + 1 if self.nodes > _MAX_NODES else self.nodes
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        return self.tagged(node)

    def mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        seen: set[str] = set()
        for key_node, value_node in node.value:
            name = key_node.value if key_node.tag == _STRING else _key(key_node)
            if name is None:
                self.fault(key_node, "a key must be a string")
                continue
            if name == "<<" and key_node.tag == _PLAIN:
                result = self.merged(value_node, depth) | result
                continue
            if name in seen:
                self.fault(key_node, f'the key "{name}" is given twice')
                continue
            seen.add(name)
            value = self.value(value_node, depth + 1)
            if value is None:
                result.pop(name, None)
            else:
                result[name] = value
        return result

    def merged(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        """The value of a merge key: a mapping, or several of which the first to have a key wins."""
        value = self.value(node, depth + 1)
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            self.fault(node, "a merge key (<<) takes a mapping or a list of mappings")
            return {}
        result: dict[str, Any] = {}
        for part in reversed(parts):
            result |= part
        return result

    def tagged(self, node: yaml.Node) -> Any:
        if node.tag == _STRING or node.tag == "!":
            return node.value
        if node.tag == f"{_TAG}binary":
            try:
                return b64decode("".join(node.value.split()), validate=True).decode("utf-8", "replace")
            except ValueError:
                self.fault(node, "is not base64")
                return None
        if node.tag in (f"{_TAG}int", f"{_TAG}float", f"{_TAG}bool", f"{_TAG}null"):
            return _scalar(node.value)
        self.fault(node, f"the tag {node.tag.replace(_TAG, '!!')} is not known; write the plain value")
        return None

    def fault(self, node: yaml.Node, message: str) -> None:
        self.document.faults.append((self.document.place.text.position(node.start_mark), message))
