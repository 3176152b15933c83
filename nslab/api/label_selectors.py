"""Label selectors as kubectl's `-l` takes them, turned into the requirements of a LabelSelector."""

from __future__ import annotations

import re
from typing import Any

from nslab.errors import UsageError

_KEY = r"[A-Za-z0-9][\w./-]*"
_VALUE = r"[\w.-]*"
_FORMS = (
    (re.compile(rf"({_KEY})\s+(in|notin)\s+\(([^()]*)\)"), ("In", "NotIn")),
    (re.compile(rf"({_KEY})\s*(==?|!=)\s*({_VALUE})"), ("In", "NotIn")),
)
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")


def parse(text: str) -> list[dict[str, Any]]:
    """The `matchExpressions` of a selector such as `app=web,tier!=db,zone in (a, b),!canary`.

    Raises UsageError for what kubectl's grammar does not have
    (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#list-and-watch-filtering).
    """
    return [_requirement(part.strip(), text) for part in re.split(r",(?![^(]*\))", text) if text.strip()]


def _requirement(part: str, whole: str) -> dict[str, Any]:
    for pattern, (positive, negative) in _FORMS:
        if found := pattern.fullmatch(part):
            key, operator, values = found.groups()
            return {
                "key": key,
                "operator": negative if operator in ("!=", "notin") else positive,
                "values": [value.strip() for value in values.split(",")],
            }
    if found := _EXISTS.fullmatch(part):
        return {"key": found[2], "operator": "DoesNotExist" if found[1] else "Exists"}
    raise UsageError(
        f"cannot read {part!r} in the label selector {whole!r}",
        hint="write KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY or !KEY, joined by commas",
    )
