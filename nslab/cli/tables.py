"""The tables of `nslab get`: the API server's columns, aligned for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nslab.apiserver.rest.tables import columns as columns_of
from nslab.apiserver.tables import NAMESPACE
from nslab.cli import columns

Body = dict[str, Any]


def render(kind: str, bodies: Sequence[Body], *, now: float, wide: bool = False, namespaced: bool = False,
           prefix: str = "", headings: bool = True) -> str:
    """The table of `bodies`, all of the plural kind `kind`. `namespaced` puts the namespace first; `prefix` stands
    before each name ("pod/"), as kubectl does where several kinds are shown."""
    shown = [column for column in columns_of(kind) if wide or not column.wide]
    first = [NAMESPACE] if namespaced else []
    rows = []
    for body in bodies:
        cells = [column.cell(body, now) for column in (*first, *shown)]
        cells[len(first)] = prefix + cells[len(first)]
        rows.append(cells)
    return columns.table([column.heading for column in (*first, *shown)] if headings else [], rows)
