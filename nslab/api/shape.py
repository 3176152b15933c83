"""The shape of an object against its kind's schema: each refusal of the schema as a sentence with a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from nslab.api.schema import KindSchema
from nslab.api.yaml_reader import Path, Place

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

_ARTICLES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


@dataclass(frozen=True, slots=True)
class Misfit:
    """A place in an object that the schema refuses.

    `fatal` says that the value there has no use for later rules; `meant`
    is the field that an unknown one most likely stands for, about which nothing more is said."""

    path: Path
    message: str
    key: bool = False
    fatal: bool = True
    meant: str = ""


def misfits(schema: KindSchema, body: Any, place: Place) -> list[Misfit]:
    """Everything that the schema refuses of an object; empty for a good one."""
    if schema.validator.is_valid(body):
        return []
    errors = schema.validator.iter_errors(body)
    return list(chain.from_iterable(_sentences(error, schema, place) for error in errors))


def without(body: Any, path: Path) -> Path:
    """Cut the value at `path` out of a body, in place, and return the path that is cut: a list goes as a whole, so
    that no index of another path changes its meaning."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    node = body
    for step in path[:-1]:
        if isinstance(node, list) and isinstance(step, int):
            node = node[step] if step < len(node) else None
        elif isinstance(node, dict):
            node = node.get(step)
    if path and isinstance(node, dict):
        node.pop(path[-1], None)
    return path


def closest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that `name` most likely means, in whatever case; empty if none is near."""
    from difflib import get_close_matches

    folded = {candidate.lower(): candidate for candidate in names}
    close = get_close_matches(name.lower(), folded, 1, 0.6)
    return folded[close[0]] if close else ""


def nearest(name: str, names: tuple[str, ...] | list[str]) -> str:
    """The remedy for a name that is not one of `names`: the nearest of them, or all of them if they are few."""
    close = closest(name, names)
    if close:
        return f'did you mean "{close}"?'
    return f"allowed: {', '.join(sorted(names))}" if 0 < len(names) <= 14 else ""


def _sentences(error: ValidationError, schema: KindSchema, place: Place) -> Iterator[Misfit]:
    path: Path = tuple(error.instance_path)
    kind = error.kind
    match kind.name:
        case "additionalProperties":
            allowed = schema.allowed_fields(list(path))
            for name in kind.unexpected:  # type: ignore[attr-defined]
                remedy = nearest(name, allowed)
                meant = closest(name, allowed)
                yield Misfit((*path, name), f"unknown field{'; ' if remedy else ''}{remedy}", key=True, meant=meant)
        case "required":
            name = kind.property  # type: ignore[attr-defined]
            yield Misfit((*path, name), "is required and missing")
        case "anyOf" | "oneOf":
            yield from _alternatives(error, schema, place)
        case "type":
            yield Misfit(path, _wrong_type(error.instance, list(kind.types), place, path))  # type: ignore[attr-defined]
        case "enum" | "const":
            options = getattr(kind, "options", None) or [kind.value]
            yield Misfit(path, _not_an_option(error.instance, list(options)))
        case _:
            yield Misfit(path, _bounds(kind.name, error.instance, kind.value, error.message))


def _alternatives(error: ValidationError, schema: KindSchema, place: Place) -> Iterator[Misfit]:
    path: Path = tuple(error.instance_path)
    branches = getattr(error.kind, "context", None)
    if branches is None or not all(branches):
        yield Misfit(path, "takes only one of to and dns", fatal=False)
        return
    heads = [branch[0] for branch in branches if branch]
    if heads and all(head.kind.name == "required" for head in heads):
        names = [head.kind.property for head in heads]
        yield Misfit(path, f"needs one of {', '.join(names)}", fatal=False)
        return
    fitting = [branch for branch in branches if not any(_is_whole(one, path) for one in branch)]
    if fitting:
        for one in fitting[0]:
            yield from _sentences(one, schema, place)
        return
    wanted = [name for head in heads if head.kind.name == "type" for name in head.kind.types]
    yield Misfit(path, _wrong_type(error.instance, wanted, place, path))


def _is_whole(error: ValidationError, path: Path) -> bool:
    """Whether a branch failed for the whole value's type, and so was not the branch that the user meant."""
    return error.kind.name == "type" and tuple(error.instance_path) == path


def _wrong_type(value: Any, wanted: list[str], place: Place, path: Path) -> str:
    names = " or ".join(_ARTICLES.get(name, name) for name in wanted)
    if "string" in wanted and isinstance(value, (bool, int, float)):
        written = place.written(path) or str(value)
        what = "a boolean" if isinstance(value, bool) else "a number"
        return f'{written} is {what} in YAML where {names} is wanted: quote it, "{written}"'
    if isinstance(value, str) and "integer" in wanted and value.isdigit():
        return f'"{value}" is a string where {names} is wanted: write {int(value)} without quotes'
    if isinstance(value, str) and "boolean" in wanted:
        return f'"{_short(value)}" is a string where {names} is wanted'
    got = {dict: "a mapping", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return f"is {got.get(type(value), 'a number')} where {names} is wanted"


def _not_an_option(value: Any, options: list[Any]) -> str:
    shown = ", ".join(str(option) if option != "" else '""' for option in options)
    if isinstance(value, str):
        if "DoesNotExist" in options:
            return f'"{_short(value)}": not a valid selector operator (allowed: {shown})'
        close = closest(value, [str(option) for option in options])
        hint = f'; did you mean "{close}"?' if close and len(options) > 1 else ""
        return f'"{_short(value)}" is not allowed{hint} (allowed: {shown})'
    return f"{value} is not allowed (allowed: {shown})"


def _bounds(keyword: str, value: Any, limit: Any, fallback: str) -> str:
    match keyword:
        case "minimum":
            return f"{value} is below {limit}, the least allowed"
        case "exclusiveMinimum":
            return f"{value} must be above {limit}"
        case "maximum":
            return f"{value} is above {limit}, the most allowed"
        case "minItems" | "minLength":
            return "must not be empty"
        case "maxItems":
            return f"has {len(value)} items; at most {limit} are allowed"
        case "pattern" if limit.startswith("^[a-z0-9]"):
            return f'"{_short(value)}" is no DNS name: use lower-case letters, digits and inner hyphens'
        case _:
            return fallback


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
