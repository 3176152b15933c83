"""Kubernetes label selectors and node selectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector (`matchLabels` and `matchExpressions`, all of them) selects an object with `labels`.

    An empty selector selects everything, a missing one (None) nothing (k8s.io/apimachinery LabelSelectorAsSelector).
    """
    if selector is None:
        return False
    wanted = selector.get("matchLabels")
    if wanted and not wanted.items() <= labels.items():
        return False
    return satisfies(selector.get("matchExpressions") or (), labels)


def satisfies(expressions: Iterable[Mapping[str, Any]], labels: Mapping[str, str]) -> bool:
    """Whether `labels` meet every requirement; `Gt` and `Lt` exist for nodes only."""
    return all(_requirement(expression, labels) for expression in expressions)


def _requirement(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    operator = expression["operator"]
    value = labels.get(expression["key"])
    values = expression.get("values") or ()
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    return _compares(operator, value, values)


def _compares(operator: str, value: str | None, values: Iterable[str]) -> bool:
    """`Gt` and `Lt` of a node selector: both sides are integers, anything else does not match."""
    try:
        left, right = int(value or ""), int(next(iter(values), ""))
    except ValueError:
        return False
    return left > right if operator == "Gt" else left < right
