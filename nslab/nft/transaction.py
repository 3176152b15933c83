"""The steps that lead from one table to another, carried out together or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from nslab.nft import text, wire
from nslab.nft.objects import Chain, MapValue, ObservedRule, Rule, Set, Table
from nslab.nft.operations import (
    AddChain,
    AddElements,
    AddRules,
    AddSet,
    AddTable,
    DeleteChain,
    DeleteElements,
    DeleteRule,
    DeleteSet,
    DeleteTable,
    FlushChain,
    Operation,
)
from nslab.nft.statements import Verdict


@dataclass(frozen=True)
class Transaction:
    """Ordered operations on one table."""

    family: str
    table: str
    operations: tuple[Operation, ...]

    def __len__(self) -> int:
        return len(self.operations)

    def __bool__(self) -> bool:
        return bool(self.operations)

    def text(self) -> str:
        """What `nft -f` would read to do the same, one operation a line; ends with a newline."""
        return text.transaction_text(self.family, self.table, self.operations)

    def messages(self) -> list[wire.Message]:
        """The nfnetlink messages of the operations in order, without the batch's begin and end."""
        return [
            message
            for operation in self.operations
            for message in wire.encode_operation(self.family, self.table, operation)
        ]


Exchange = tuple[list[Operation], list[Operation]]
"""What to remove from a set at first, and what to add to it later."""

Exchanges = dict[tuple[Set, Set], Exchange]
"""What makes of one set another, by the wanted and the present one."""


def difference(want: Table | None, have: Table | None, known: Exchanges | None = None) -> Transaction | None:
    """The transaction that makes a kernel that holds `have` hold `want`; None where they are equal already.

    `have` is an observed table (its chains hold ObservedRule). Nothing that is already as wanted is touched, but
    for chains whose rules changed beyond additions at their end or plain deletions: these are flushed and filled
    anew. Elements of dynamic sets belong to packets and are left alone.

    Who compares the tables of many nodes, which share sets, hands the same `known` to each call: it is filled here.
    """
    if want is None:
        return Transaction(have.family, have.name, (DeleteTable(),)) if have else None
    if have is not None and (want.family, want.name) != (have.family, have.name):
        raise ValueError(f"{want.family} {want.name} and {have.family} {have.name} are two tables")
    operations: list[Operation] = []
    if have is None or want.comment != have.comment:  # The kernel cannot change the comment of a table.
        operations = [AddTable(want.comment)] if have is None else [DeleteTable(), AddTable(want.comment)]
        have = replace(want, chains=(), sets=())
    operations += _Comparison(want, have, {} if known is None else known).operations()
    return Transaction(want.family, want.name, tuple(operations)) if operations else None


def steps(want: Table | None, have: Table | None, known: Exchanges | None = None) -> list[Transaction]:
    """As `difference`, in up to three transactions: what nobody refers to yet is added, then all that is there
    becomes what is wanted, then what nobody refers to any more is deleted.

    The second decides, and is one. But a packet under way meets the rules of the moment at which it began and the
    elements of the moment at which it looks them up: of a new chain, which an element leads to, it would find no rule
    yet, and of a set that goes in the same moment no element any more.
    """
    if want is None or have is None or want is have or want.comment != have.comment or _may_not_wait(want, have):
        whole = difference(want, have, known)
        return [whole] if whole else []
    stations = [have, _with(have, want), _with(want, have), want]
    found = (difference(after, before, known) for before, after in pairwise(stations))
    return [transaction for transaction in found if transaction]


def _with(table: Table, other: Table) -> Table:
    """The table, and all chains and sets of another of whose name it has none."""
    chains, sets = {chain.name for chain in table.chains}, {item.name for item in table.sets}
    more_chains = [chain for chain in other.chains if chain.name not in chains]
    more_sets = [item for item in other.sets if item.name not in sets]
    if not more_chains and not more_sets:
        return table
    return replace(table, chains=(*table.chains, *more_chains), sets=(*table.sets, *more_sets))


def _may_not_wait(want: Table, have: Table) -> bool:
    """Whether something must be deleted before it can be added, or begins or ends to see packets by itself."""
    chains = {chain.name: chain for chain in have.chains}
    sets = {item.name: item for item in have.sets}
    return (
        any(chain.name in chains and not _same_chain(chain, chains[chain.name]) for chain in want.chains)
        or any(item.name in sets and not _same_set(item, sets[item.name]) for item in want.sets)
        or {chain.name for chain in want.chains if chain.hook} != {chain.name for chain in have.chains if chain.hook}
    )


class _Comparison:
    """Two tables side by side. Takes apart what must go, then adds what is wanted, then deletes unused chains.

    A chain or set that differs in more than its contents is `replaced`: deleted and added anew, in the course of
    which all that refers to it must let go of it too.
    """

    def __init__(self, want: Table, have: Table, known: Exchanges) -> None:
        self.known = known
        self.want_chains = {chain.name: chain for chain in want.chains}
        self.have_chains = {chain.name: chain for chain in have.chains}
        self.want_sets = {item.name: item for item in want.sets}
        self.have_sets = {item.name: item for item in have.sets}
        self.replaced_chains = {
            name for name, chain in self.have_chains.items()
            if name in self.want_chains and not _same_chain(self.want_chains[name], chain)
        }
        self.replaced_sets = {
            name for name, item in self.have_sets.items()
            if name in self.want_sets and not _same_set(self.want_sets[name], item)
        }

    def operations(self) -> list[Operation]:
        unused_chains = [chain for name, chain in self.have_chains.items() if name not in self.want_chains]
        unused_sets = [
            item for name, item in self.have_sets.items() if name not in self.want_sets or name in self.replaced_sets
        ]
        release: list[Operation] = [FlushChain(chain.name) for chain in unused_chains if chain.rules]
        refill: list[Operation] = []
        for chain in self.want_chains.values():
            removal, addition = self._rules(chain)
            release += removal
            refill += addition
        fill: list[Operation] = []
        for item in self.want_sets.values():
            removal, addition = self._elements(item)
            release += removal
            fill += addition
        return [
            *release,
            *(DeleteSet(item.name, bool(item.value_type)) for item in unused_sets),
            *(DeleteChain(name) for name in sorted(self.replaced_chains)),
            *(AddChain(chain) for name, chain in self.want_chains.items() if self._is_new_chain(name)),
            *(AddSet(item) for name, item in self.want_sets.items() if self._is_new_set(name)),
            *fill,
            *refill,
            *(DeleteChain(chain.name) for chain in unused_chains),
        ]

    def _is_new_chain(self, name: str) -> bool:
        return name not in self.have_chains or name in self.replaced_chains

    def _is_new_set(self, name: str) -> bool:
        return name not in self.have_sets or name in self.replaced_sets

    def _rules(self, want: Chain) -> tuple[list[Operation], list[Operation]]:
        """What to remove from the chain at first, and what to add to it at last."""
        have = self.have_chains.get(want.name)
        if have is want and not self.replaced_chains and not self.replaced_sets:
            return [], []
        addition: list[Operation] = [AddRules(want)] if want.rules else []
        if have is None or not have.rules:
            return [], addition
        if want.name in self.replaced_chains or self._must_let_go(want):
            return [FlushChain(want.name)], addition
        wanted, held = wire.canonical_rules(want), wire.canonical_rules(have)
        if wanted == held:
            return [], []
        if wanted[: len(held)] == held:
            return [], [AddRules(want, len(held))]
        surplus = _surplus(wanted, held)
        observed = [rule for rule in have.rules if isinstance(rule, ObservedRule)]
        if surplus is None or len(observed) < len(have.rules):
            return [FlushChain(want.name)], addition
        return [DeleteRule(want.name, observed[number].handle) for number in surplus], []

    def _must_let_go(self, chain: Chain) -> bool:
        """Whether a rule of the chain refers to what is replaced."""
        if not self.replaced_chains and not self.replaced_sets:
            return False
        names = {name for rule in chain.rules if isinstance(rule, Rule) for name in _references(rule)}
        return not names.isdisjoint(self.replaced_chains | self.replaced_sets)

    def _elements(self, want: Set) -> Exchange:
        if want.dynamic:
            return [], []
        if self._is_new_set(want.name):
            return [], [AddElements(want)] if want.elements else []
        have = self.have_sets[want.name]
        if want.elements is have.elements or (not self.replaced_chains and want.elements == have.elements):
            return [], []
        if self.replaced_chains:
            return _exchange(want, have, self.replaced_chains)
        if (want, have) not in self.known:
            self.known[want, have] = _exchange(want, have, set())
        return self.known[want, have]


def _exchange(want: Set, have: Set, replaced_chains: set[str]) -> Exchange:
    wanted, held = wire.canonical_elements(want), wire.canonical_elements(have)

    def differs(want: MapValue | None, have: MapValue | None) -> bool:
        return want != have or (isinstance(want, Verdict) and want.chain in replaced_chains)

    gone = tuple(key for key, value in held.items() if key not in wanted or differs(wanted[key], value))
    added = {key: value for key, value in wanted.items() if key not in held or differs(value, held[key])}
    return (
        [DeleteElements(have, gone)] if gone else [],
        [AddElements(want, added if held else None)] if added else [],
    )


def _same_chain(want: Chain, have: Chain) -> bool:
    return want is have or (want.hook, want.comment) == (have.hook, have.comment)


def _same_set(want: Set, have: Set) -> bool:
    return want is have or wire.set_shape(want) == wire.set_shape(have)


def _references(rule: Rule) -> Iterable[str]:
    """The names of the sets and chains that a rule refers to."""
    for statement in rule.statements:
        for field in ("set_name", "map_name", "chain"):
            name = getattr(statement, field, "")
            if name:
                yield name


def _surplus(want: tuple[bytes, ...], have: tuple[bytes, ...]) -> list[int] | None:
    """The positions in `have` that must go for it to become `want`; None where that is not enough."""
    surplus, position = [], 0
    for number, rule in enumerate(have):
        if position < len(want) and want[position] == rule:
            position += 1
        else:
            surplus.append(number)
    return surplus if position == len(want) else None
