"""Tables as kubectl aligns them, beside ages and label lists as it writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nslab.api.notation import NONE, age, labels

__all__ = ["NONE", "age", "count", "labels", "table"]

MIN_WIDTH = 6
PADDING = 3


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, padding: int = PADDING) -> str:
    """Left-aligned columns, the last one unpadded, one line a row. An empty `headers` leaves the heading out.

    Each column is as wide as its widest cell and `padding`, at least MIN_WIDTH: kubectl's tabwriter settings
    (k8s.io/cli-runtime/pkg/printers/tabwriter.go).
    """
    lines = [tuple(headers), *map(tuple, rows)] if headers else [*map(tuple, rows)]
    if not lines:
        return ""
    widths = [max(MIN_WIDTH, padding + max(map(len, column))) for column in zip(*lines, strict=True)]
    widths[-1] = 0
    return "".join("".join(map(str.ljust, line, widths)) + "\n" for line in lines)


def count(number: int, noun: str) -> str:
    """`1 pod`, `2 pods`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
