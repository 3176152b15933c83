"""Tables, chains, rules, sets and maps, wanted or observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nslab.nft.datatypes import Datatype, Value
from nslab.nft.statements import Statement, Verdict

Key = tuple[Value, ...]
MapValue = tuple[Value, ...] | Verdict


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: statements from left to right, and a comment (at most 120 characters) that `nft list` shows."""

    statements: tuple[Statement, ...]
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ObservedRule:
    """A rule as the kernel holds it: `canonical` is `expressions.canonical_rule` of its dump, `handle` its number."""

    canonical: bytes
    handle: int


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain hangs: `type` filter or nat, the netfilter `hook`'s name and its numeric `priority`
    (lower first; dstnat is -100, filter 0, srcnat 100)."""

    type: str
    hook: str
    priority: int
    policy: str = "accept"


@dataclass(frozen=True, eq=False)
class Chain:
    """A chain of rules; a base chain where `hook` is set.

    Compared by identity: chains and sets are shared between the tables of many nodes, and what is shared is
    encoded once (see `wire`). `transaction.difference` compares contents.
    """

    name: str
    rules: tuple[Rule | ObservedRule, ...] = ()
    hook: Hook | None = None
    comment: str = ""


DYNAMIC_SIZE: Final = 0xFFFF


@dataclass(frozen=True, eq=False)
class Set:
    """A named set, or a map where `value_type` is not empty.

    `key_type` and `value_type` are concatenations of datatypes; a verdict map has value_type (VERDICT,).
    `elements` maps each key to None (set) or to its value (map). `interval` allows CIDRs and ranges as keys.
    `dynamic` says that packets write the elements (`Remember`, `Record`): they are the kernel's, not the wish's, and
    are neither compared nor removed. `size` is how many elements there may be, 0 for the kernel's own limit.
    """

    name: str
    key_type: tuple[Datatype, ...]
    elements: Mapping[Key, MapValue | None] = field(default_factory=dict)
    value_type: tuple[Datatype, ...] = ()
    interval: bool = False
    dynamic: bool = False
    timeout: int = 0
    comment: str = ""
    size: int = 0

    @property
    def limit(self) -> int:
        """The size, 0 where there is none. A dynamic set without one gets from the beginning that which the kernel
        gives it with the first rule that writes to it (nft_dynset_init): what a kernel holds shall not depend on
        whether there once was such a rule."""
        return self.size or (DYNAMIC_SIZE if self.dynamic else 0)


@dataclass(frozen=True, eq=False)
class Table:
    """One table of one netns. `comment` carries the ownership stamp (`nslab:LAB`)."""

    family: str
    name: str
    chains: tuple[Chain, ...] = ()
    sets: tuple[Set, ...] = ()
    comment: str = ""
