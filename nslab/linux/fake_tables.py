"""A model of how nf_tables carries a transaction out, for `fake.FakeKernel`."""

from __future__ import annotations

from dataclasses import replace
from errno import EBUSY, EEXIST, ENOENT
from itertools import count
from typing import TypeVar

from nslab.nft import wire
from nslab.nft.objects import Chain, ObservedRule, Rule, Set, Table
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
from nslab.nft.transaction import Transaction

T = TypeVar("T")

_handles = count(1)


def applied(table: Table | None, transaction: Transaction) -> Table | None:
    """The table after the transaction, as the kernel would dump it; None where it is deleted.

    Raises OSError with the kernel's errno, in which case nothing has happened.
    """
    for operation in transaction.operations:
        table = _step(table, transaction, operation)
    return table


def _step(table: Table | None, transaction: Transaction, operation: Operation) -> Table | None:
    if isinstance(operation, AddTable):
        return table or Table(transaction.family, transaction.table, comment=operation.comment)
    if table is None:
        raise OSError(ENOENT, "no such table")
    if isinstance(operation, DeleteTable):
        return None
    chains = {chain.name: chain for chain in table.chains}
    sets = {item.name: item for item in table.sets}
    if isinstance(operation, AddSet | DeleteSet | AddElements | DeleteElements):
        _step_sets(sets, operation)
    else:
        _step_chains(chains, operation)
    return replace(table, chains=tuple(chains.values()), sets=tuple(sets.values()))


def _step_sets(sets: dict[str, Set], operation: AddSet | DeleteSet | AddElements | DeleteElements) -> None:
    match operation:
        case AddSet(set=item):
            if item.name in sets:
                raise OSError(EEXIST, "the set exists")
            sets[item.name] = replace(item, elements={})
        case DeleteSet(name=name):
            _known(sets, name)
            del sets[name]
        case AddElements(set=item):
            known = _known(sets, item.name)
            sets[item.name] = replace(known, elements={**known.elements, **operation.elements})
        case DeleteElements(set=item, keys=keys):
            left = dict(_known(sets, item.name).elements)
            if any(key not in left for key in keys):
                raise OSError(ENOENT, "no such element")
            for key in keys:
                del left[key]
            sets[item.name] = replace(sets[item.name], elements=left)


def _step_chains(
    chains: dict[str, Chain], operation: AddChain | FlushChain | DeleteChain | AddRules | DeleteRule
) -> None:
    match operation:
        case AddChain(chain=chain):
            if chain.name in chains:
                raise OSError(EEXIST, "the chain exists")
            chains[chain.name] = replace(chain, rules=())
        case FlushChain(name=name):
            chains[name] = replace(_known(chains, name), rules=())
        case DeleteChain(name=name):
            if _known(chains, name).rules:
                raise OSError(EBUSY, "the chain has rules")
            del chains[name]
        case AddRules(chain=chain):
            known = _known(chains, chain.name)
            chains[chain.name] = replace(known, rules=known.rules + _observed(operation.rules))
        case DeleteRule(chain=name, handle=handle):
            left = tuple(rule for rule in _known(chains, name).rules if _handle(rule) != handle)
            if len(left) == len(chains[name].rules):
                raise OSError(ENOENT, "no such rule")
            chains[name] = replace(chains[name], rules=left)


def _known(there: dict[str, T], name: str) -> T:
    if name not in there:
        raise OSError(ENOENT, f"no such chain or set: {name}")
    return there[name]


def _observed(rules: tuple[Rule, ...]) -> tuple[ObservedRule, ...]:
    canonical = wire.canonical_rules(Chain("", rules))
    return tuple(ObservedRule(form, next(_handles)) for form in canonical)


def _handle(rule: Rule | ObservedRule) -> int:
    return rule.handle if isinstance(rule, ObservedRule) else 0
