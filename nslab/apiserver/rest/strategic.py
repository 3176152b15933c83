"""Strategic merge patch: lists are merged by the keys that the kind's published schema names
(https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md).

The schema's `x-kubernetes-patch-strategy` of a list is "merge" (or "merge,retainKeys"), and
`x-kubernetes-patch-merge-key` the field by which its objects are known; lists without are replaced.
"""

from __future__ import annotations

from typing import Any, Final

from nslab.api.objects import Body
from nslab.apiserver.errors import BadRequest

_PATCH: Final = "$patch"
_RETAIN: Final = "$retainKeys"
_ORDER: Final = "$setElementOrder/"
_DELETE: Final = "$deleteFromPrimitiveList/"


class StrategicMerge:
    """The merge for one kind. `schema` is its JSON Schema with `$defs`, empty for a kind without: lists of such a
    kind are replaced."""

    def __init__(self, schema: Body) -> None:
        self._schema = schema

    def merge(self, target: Body, patch: Any) -> Body:
        """`target` with the patch merged in, neither of them changed. Raises BadRequest for what is no patch."""
        if not isinstance(patch, dict):
            raise BadRequest("a strategic merge patch is a JSON object")
        return self._map(target, patch, self._resolved(self._schema))

    def _resolved(self, node: Body) -> Body:
        if "$ref" not in node:
            return node
        definition: Body = self._schema["$defs"][node["$ref"].rpartition("/")[2]]
        return self._resolved(definition)

    def _field(self, node: Body, name: str) -> Body:
        part: Body | bool | None = node.get("properties", {}).get(name, node.get("additionalProperties"))
        return part if isinstance(part, dict) else {}

    def _map(self, target: Any, patch: Body, node: Body) -> Body:
        directive = patch.get(_PATCH)
        plain = {key: value for key, value in patch.items() if not key.startswith("$")}
        if directive == "replace":
            return {key: _without_nulls(value) for key, value in plain.items() if value is not None}
        if directive == "delete":
            return {}
        if directive not in (None, "merge"):
            raise BadRequest(f"unknown {_PATCH} directive: {directive}")
        result = dict(target) if isinstance(target, dict) else {}
        if _RETAIN in patch:
            result = {key: value for key, value in result.items() if key in _listed(patch, _RETAIN)}
        for key in patch:
            if key.startswith(_DELETE):
                name = key.removeprefix(_DELETE)
                result[name] = [item for item in result.get(name, ()) if item not in _listed(patch, key)]
        for key, value in plain.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = self._value(result.get(key), value, self._field(node, key))
        for key in patch:
            if key.startswith(_ORDER):
                name = key.removeprefix(_ORDER)
                if isinstance(result.get(name), list):
                    merge_key = self._field(node, name).get("x-kubernetes-patch-merge-key", "")
                    result[name] = _ordered(result[name], _listed(patch, key), merge_key)
        return result

    def _value(self, target: Any, patch: Any, part: Body) -> Any:
        if isinstance(patch, dict):
            return self._map(target, patch, self._resolved(part))
        if not isinstance(patch, list):
            return patch
        if "merge" not in part.get("x-kubernetes-patch-strategy", "").split(","):
            return _without_nulls(patch)
        merge_key = part.get("x-kubernetes-patch-merge-key")
        current = target if isinstance(target, list) else []
        if merge_key:
            return self._objects(current, patch, merge_key, self._resolved(part.get("items", {})))
        return [*current, *(item for item in patch if item not in current)]

    def _objects(self, current: list[Any], patch: list[Any], merge_key: str, node: Body) -> list[Any]:
        """A list of objects merged by their key."""
        if any(isinstance(one, dict) and one.get(_PATCH) == "replace" for one in patch):
            return [_without_nulls(one) for one in patch if one.get(_PATCH) != "replace"]
        result = list(current)
        for one in patch:
            if not isinstance(one, dict) or merge_key not in one:
                raise BadRequest(f"an element of a list that is merged has no {merge_key}")
            places = [index for index, item in enumerate(result) if item.get(merge_key) == one[merge_key]]
            if one.get(_PATCH) == "delete":
                result = [item for item in result if item.get(merge_key) != one[merge_key]]
            elif places:
                result[places[0]] = self._map(result[places[0]], one, node)
            else:
                result.append(self._map({}, one, node))
        return result


def _listed(patch: Body, key: str) -> list[Any]:
    value = patch[key]
    if not isinstance(value, list):
        raise BadRequest(f"{key} takes a list")
    return value


def _ordered(items: list[Any], order: list[Any], merge_key: str) -> list[Any]:
    """The items in the wanted order; one that the order does not name stays behind the one it was behind."""

    def identity(item: Any) -> Any:
        return item.get(merge_key) if merge_key and isinstance(item, dict) else item

    wanted = [identity(item) for item in order]
    ranks, last = [], -1
    for item in items:
        last = wanted.index(identity(item)) if identity(item) in wanted else last
        ranks.append(last)
    return [item for _, item in sorted(zip(ranks, items, strict=True), key=lambda pair: pair[0])]


def _without_nulls(value: Any) -> Any:
    """A value that is put whole: a null in it is an absent field, a directive no field."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _without_nulls(part) for key, part in value.items() if part is not None and not key.startswith("$")}
