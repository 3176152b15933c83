"""What was made of the same before, so that a small change costs little: pure functions hand back former results."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
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

    def one(self, place: str, causes: Causes, make: Callable[[], V]) -> V:
        """The only result of a place."""
        entry = self._places.get(place, {}).get(None)
        if entry is None or entry[0] != causes:
            entry = (causes, make())
            self._places[place] = {None: entry}
        result: V = entry[1]
        return result
