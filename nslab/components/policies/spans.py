"""Sets of whole numbers as spans: sorted, apart from each other, both ends included. Addresses and ports are such."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]
Spans = tuple[Span, ...]

NOTHING: Spans = ()


def merged(spans: Iterable[Span]) -> Spans:
    """The union of spans in any order, overlapping or not."""
    result: list[Span] = []
    for first, last in sorted(spans):
        if result and first <= result[-1][1] + 1:
            if last > result[-1][1]:
                result[-1] = (result[-1][0], last)
        else:
            result.append((first, last))
    return tuple(result)


def minus(one: Spans, other: Spans) -> Spans:
    """What is in `one` and not in `other`."""
    result: list[Span] = []
    for first, last in one:
        for start, end in other:
            if end < first or start > last:
                continue
            if start > first:
                result.append((first, start - 1))
            first = end + 1
        if first <= last:
            result.append((first, last))
    return tuple(result)


def common(one: Spans, other: Spans) -> Spans:
    """What is in both."""
    return merged(
        (max(first, start), min(last, end))
        for first, last in one for start, end in other if first <= end and start <= last
    )
