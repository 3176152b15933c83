"""The single steps of a transaction on one table, each of which `text` and `wire` can render.

A step that fills a whole Chain or Set holds the object itself, so that `wire` finds what it has encoded before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nslab.nft.objects import Chain, Key, MapValue, Rule, Set


@dataclass(frozen=True, slots=True)
class AddTable:
    """Create the table with its comment. Where it exists, this does nothing."""

    comment: str = ""


@dataclass(frozen=True, slots=True)
class DeleteTable:
    """Delete the table with all it holds."""


@dataclass(frozen=True, slots=True)
class AddChain:
    """Create the chain, without its rules."""

    chain: Chain


@dataclass(frozen=True, slots=True)
class FlushChain:
    """Delete the rules of the chain called `name`."""

    name: str


@dataclass(frozen=True, slots=True)
class DeleteChain:
    """Delete the chain called `name`, which nothing may refer to any more."""

    name: str


@dataclass(frozen=True, slots=True)
class AddRules:
    """Append the chain's rules from number `start` on."""

    chain: Chain
    start: int = 0

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules to append. Raises TypeError where one is an ObservedRule: those are never written."""
        rules = tuple(rule for rule in self.chain.rules[self.start:] if isinstance(rule, Rule))
        if len(rules) != len(self.chain.rules) - self.start:
            raise TypeError(f"chain {self.chain.name} holds observed rules, which cannot be written")
        return rules


@dataclass(frozen=True, slots=True)
class DeleteRule:
    """Delete one rule by its number."""

    chain: str
    handle: int


@dataclass(frozen=True, slots=True)
class AddSet:
    """Create the set or map, without its elements."""

    set: Set


@dataclass(frozen=True, slots=True)
class DeleteSet:
    """Delete the set or map called `name`, which no rule may refer to any more."""

    name: str
    is_map: bool = False


@dataclass(frozen=True, slots=True)
class AddElements:
    """Add `elements` to the set, all of its own where None."""

    set: Set
    some: Mapping[Key, MapValue | None] | None = None

    @property
    def elements(self) -> Mapping[Key, MapValue | None]:
        return self.set.elements if self.some is None else self.some


@dataclass(frozen=True, slots=True)
class DeleteElements:
    """Delete the elements with these keys."""

    set: Set
    keys: tuple[Key, ...]


Operation = (
    AddTable | DeleteTable | AddChain | FlushChain | DeleteChain | AddRules | DeleteRule
    | AddSet | DeleteSet | AddElements | DeleteElements
)
