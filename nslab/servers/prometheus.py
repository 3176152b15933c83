"""Metrics as Prometheus reads them: its text format 0.0.4, and the histogram that gathers observations for it.

https://prometheus.io/docs/instrumenting/exposition_formats
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


class Sample(NamedTuple):
    """A value; `suffix` follows the family's name, as "_sum" does."""

    value: float
    labels: Labels = {}  # noqa: RUF012  # never changed
    suffix: str = ""


class Family(NamedTuple):
    """All samples of one name. `kind` is "counter", "gauge" or "histogram"."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]


class Histogram:
    """Observations counted by `bounds`, the upper limits of its buckets in rising order, without the infinite one."""

    __slots__ = ("_counts", "bounds", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.sum = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self._counts)

    def samples(self, labels: Labels) -> list[Sample]:
        """Its buckets, each with all that is below it, its sum and its count."""
        limits = [*map(number, self.bounds), "+Inf"]
        return [
            *(
                Sample(total, {**labels, "le": limit}, "_bucket")
                for limit, total in zip(limits, accumulate(self._counts), strict=True)
            ),
            Sample(self.sum, labels, "_sum"),
            Sample(self.count, labels, "_count"),
        ]


def text(families: Iterable[Family]) -> bytes:
    """The families in the text format. One without samples is left out, as a vector that nobody has touched is."""
    lines: list[str] = []
    for family in families:
        found = [_line(family.name, sample) for sample in family.samples]
        if found:
            lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}", *found]
    return "".join(f"{line}\n" for line in lines).encode()


def number(value: float) -> str:
    """As Go prints it, the whole ones without a point."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sorted(sample.labels.items()))
    return f"{name}{sample.suffix}{f'{{{labels}}}' if labels else ''} {number(sample.value)}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
