"""What `up` does to an object that is there already: `kubectl apply`'s three-way merge.

A field of the file wins; one that the last `up` had and the file no longer has goes; whatever others wrote stays
(https://kubernetes.io/docs/tasks/manage-kubernetes-objects/declarative-config, "How apply calculates differences").
"""

from __future__ import annotations

from typing import Any

from nslab.api.objects import Body
from nslab.apiserver.metadata import SERVER_OWNED

_NOT_WISHED = SERVER_OWNED | {"managedFields", "selfLink"}

_RECREATED: dict[str, tuple[str, ...]] = {
    "Pod": (), "Job": ("selector", "template", "completions"), "Deployment": ("selector",),
    "ReplicaSet": ("selector",), "StatefulSet": ("selector", "serviceName"), "DaemonSet": ("selector",),
}
"""Fields of a spec that no update may change (none named: the whole spec): another value makes another object."""


def wish(body: Body) -> Body:
    """The part of a written object that is the user's: not its status, and nothing that only a server sets."""
    metadata = {key: value for key, value in body["metadata"].items() if key not in _NOT_WISHED}
    return {**{key: value for key, value in body.items() if key != "status"}, "metadata": metadata}


def merged(last: Any, new: Any, stored: Any) -> Any:
    """`stored` with `new` in it, and without what `last` had and `new` has not. Lists of as many mappings are merged
    one by one, so that what was allotted to a Service's ports stays; other lists are replaced."""
    if isinstance(new, dict) and isinstance(stored, dict):
        former = last if isinstance(last, dict) else {}
        result = {key: value for key, value in stored.items() if key in new or key not in former}
        for key, value in new.items():
            result[key] = merged(former.get(key), value, stored[key]) if key in stored else value
        return result
    if _are_mappings(new) and _are_mappings(stored) and len(new) == len(stored):
        before = last if _are_mappings(last) and len(last) == len(new) else [None] * len(new)
        return [merged(*items) for items in zip(before, new, stored, strict=True)]
    return new


def _are_mappings(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def is_another(kind: str, stored: Body, new: Body) -> bool:
    """Whether `new` cannot become of `stored` by an update."""
    fields = _RECREATED.get(kind)
    if fields is None:
        return False
    old_spec, new_spec = stored.get("spec") or {}, new.get("spec") or {}
    return any(old_spec.get(field) != new_spec.get(field) for field in fields or old_spec.keys() | new_spec.keys())
