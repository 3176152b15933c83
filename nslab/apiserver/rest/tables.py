"""Answers as a `Table` (meta.k8s.io/v1): columns made by the server, which kubectl only aligns."""

from __future__ import annotations

from collections.abc import Iterable

from nslab.api.objects import Body
from nslab.apiserver.more_tables import MORE_COLUMNS
from nslab.apiserver.tables import AGE, COLUMNS, NAME, Column

_PLAIN = (NAME, AGE)


def columns(plural: str) -> tuple[Column, ...]:
    """The columns of a resource; name and age for one that has none of its own, as custom resources do."""
    return COLUMNS.get(plural) or MORE_COLUMNS.get(plural) or _PLAIN


def table(plural: str, bodies: Iterable[Body], metadata: Body, *, now: float, include: str = "") -> Body:
    """The Table of objects at the Unix time `now`. `include` says how much of an object each row carries: Metadata
    (the default), Object or None."""
    shown = columns(plural)
    definitions = [
        {
            "name": column.heading.title(), "type": "string", "format": "name" if column is NAME else "",
            "description": "", "priority": int(column.wide),
        }
        for column in shown
    ]  # fmt: skip
    rows = [
        {"cells": [column.cell(body, now) for column in shown], **_object(body, include)} for body in bodies
    ]
    return {
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows,
    }  # fmt: skip


def partial(body: Body) -> Body:
    """An object without all but its metadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": body["metadata"]}


def _object(body: Body, include: str) -> Body:
    if include == "None":
        return {}
    return {"object": body if include == "Object" else partial(body)}
