"""What was made of the same before, so that a small change costs little: pure functions hand back former results."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import compress, count
from operator import eq, ne
from typing import Any, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Causes = tuple[object, ...]
"""All that a result depends on, beside constants: equal causes have equal results. Nobody changes what is in them."""


class Memo:
    """The last results of each place in the code, with their causes.

    Who asks again with equal causes gets the very same object, and may so skip what follows from it. No result
    depends on a Memo: a fresh one gives equal objects. What a place was not asked for last is forgotten, so that a
    Memo never holds more than one answer to each question.
    """

    def __init__(self) -> None:
        self._places: dict[str, dict[Any, tuple[Causes, Any]]] = {}
        self._rows: dict[str, tuple[list[Causes], tuple[Any, ...]]] = {}

    def each(self, place: str, causes: Mapping[K, Causes], make: Callable[[K], V]) -> dict[K, V]:
        """The result for every key of `causes`, in their order; `make` is called where the causes are not those of
        the last time."""
        former = self._places.get(place, {})
        results: dict[K, V] = {}
        known: dict[Any, tuple[Causes, Any]] = {}
        for key, cause in causes.items():
            entry = former.get(key)
            if entry is None or entry[0] != cause:
                entry = (cause, make(key))
            known[key] = entry
            results[key] = entry[1]
        self._places[place] = known
        return results

    def row(self, place: str, causes: Sequence[Causes], make: Callable[..., V]) -> tuple[V, ...]:
        """The result of each of these causes, in their order; `make` is called with causes that were not there the
        last time. It is the very same tuple where all were. Of thousands of which few are others this is the
        cheapest to ask for; the first of the causes must be the same object for a result to be found again."""
        wanted = list(causes)
        former, results = self._rows.get(place, ([], ()))
        if len(wanted) == len(former) and all(map(eq, wanted, former)):
            return results
        first = _alike(wanted, former)
        last = _alike(wanted[first:][::-1], former[first:][::-1])  # counted from the end
        between = slice(first, len(former) - last)
        pairs = zip(former[between], results[between], strict=True)
        known = {id(cause[0]): (cause, result) for cause, result in pairs}
        made: list[V] = []
        for cause in wanted[first : len(wanted) - last]:
            entry = known.get(id(cause[0]))
            made.append(entry[1] if entry is not None and entry[0] == cause else make(*cause))
        together = (*results[:first], *made, *results[between.stop :])
        self._rows[place] = wanted, together
        return together

    def one(self, place: str, causes: Causes, make: Callable[[], V]) -> V:
        """The only result of a place."""
        entry = self._places.get(place, {}).get(None)
        if entry is None or entry[0] != causes:
            entry = (causes, make())
            self._places[place] = {None: entry}
        result: V = entry[1]
        return result


def _alike(one: Sequence[Causes], other: Sequence[Causes]) -> int:
    """How many at the beginning are equal."""
    return next(compress(count(), map(ne, one, other)), min(len(one), len(other)))
