"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386). What is given is never changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from nslab.apiserver.errors import BadRequest, Invalid

_MAX_OPERATIONS: Final = 10_000


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` with `patch` merged in: null removes a field, a list replaces a list."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """`target` after the operations, all or none. Raises BadRequest for what is no JSON Patch, Invalid where one of
    them cannot be done or its test fails."""
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise BadRequest("a JSON Patch is a list of operations")
    if len(operations) > _MAX_OPERATIONS:
        raise BadRequest(f"a JSON Patch has at most {_MAX_OPERATIONS} operations")
    document = {"": _copied(target)}  # so that the whole document has a parent too
    for one in operations:
        operation = _OPERATIONS.get(str(one.get("op")))
        if operation is None or not isinstance(one.get("path"), str):
            raise BadRequest(f"{json.dumps(one)} is no operation of a JSON Patch")
        try:
            operation(document, one)
        except (LookupError, ValueError, TypeError) as error:
            text = f"the server rejected our request due to an error in our request: {json.dumps(one)}: {error}"
            raise Invalid(text) from error
    return document.get("")


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _steps(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise ValueError(f"{pointer} is no JSON Pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")]


def _parent(document: Any, pointer: str) -> tuple[Any, str]:
    """The container of what a pointer means, and the last step."""
    *steps, last = _steps(pointer)
    node = document
    for step in steps:
        node = _child(node, step)
    return node, last


def _index(items: list[Any], step: str, end: int) -> int:
    if not step.isascii() or not step.isdigit() or (step != "0" and step.startswith("0")) or int(step) > end:
        raise LookupError(f"{step} is no index of a list of {len(items)}")
    return int(step)


def _child(node: Any, step: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, step, len(node) - 1)]
    if isinstance(node, dict) and step in node:
        return node[step]
    raise LookupError(f'there is no "{step}"')


def _value(one: dict[str, Any]) -> Any:
    if "value" not in one:
        raise ValueError("it has no value")
    return one["value"]


def _put(document: Any, pointer: str, value: Any) -> None:
    node, last = _parent(document, pointer)
    if isinstance(node, list):
        node.insert(len(node) if last == "-" else _index(node, last, len(node)), value)
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise LookupError(f'"{last}" has no place in what is neither list nor mapping')


def _take(document: Any, pointer: str) -> Any:
    node, last = _parent(document, pointer)
    _child(node, last)
    return node.pop(int(last) if isinstance(node, list) else last)


def _add(document: Any, one: dict[str, Any]) -> None:
    _put(document, one["path"], _value(one))


def _remove(document: Any, one: dict[str, Any]) -> None:
    _take(document, one["path"])


def _replace(document: Any, one: dict[str, Any]) -> None:
    value = _value(one)
    _take(document, one["path"])
    _put(document, one["path"], value)


def _move(document: Any, one: dict[str, Any]) -> None:
    if f"{one['path']}/".startswith(f"{one['from']}/") and one["path"] != one["from"]:
        raise ValueError("a value cannot be moved into itself")
    _put(document, one["path"], _take(document, one["from"]))


def _copy(document: Any, one: dict[str, Any]) -> None:
    node, last = _parent(document, one["from"])
    _put(document, one["path"], _copied(_child(node, last)))


def _test(document: Any, one: dict[str, Any]) -> None:
    node, last = _parent(document, one["path"])
    if json.dumps(_child(node, last), sort_keys=True) != json.dumps(_value(one), sort_keys=True):
        raise ValueError("the test failed")


_OPERATIONS: Final[dict[str, Callable[[Any, dict[str, Any]], None]]] = {
    "add": _add, "remove": _remove, "replace": _replace, "move": _move, "copy": _copy, "test": _test,
}  # fmt: skip
