"""Tables and operations as text that `nft -f` reads, one operation a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from nslab.nft import datatypes
from nslab.nft.datatypes import Datatype, Value
from nslab.nft.objects import Chain, Key, MapValue, Rule, Set, Table
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


def table_text(table: Table) -> str:
    """The whole table. Sets and chains come before the rules that refer to them."""
    operations: list[Operation] = [AddTable(table.comment)]
    operations += [AddChain(chain) for chain in table.chains]
    operations += [AddSet(item) for item in table.sets]
    operations += [AddElements(item) for item in table.sets if item.elements]
    operations += [AddRules(chain) for chain in table.chains if chain.rules]
    return transaction_text(table.family, table.name, operations)


def transaction_text(family: str, table: str, operations: Iterable[Operation]) -> str:
    """The operations in order; ends with a newline unless it is empty."""
    return "".join(f"{line}\n" for operation in operations for line in lines(family, table, operation))


def lines(family: str, table: str, operation: Operation) -> Iterator[str]:
    """One operation: a line, or one for each of its rules or elements."""
    place = f"{family} {table}"
    match operation:
        case AddTable():
            yield f"add table {place}{_block(_comment(operation.comment))}"
        case DeleteTable():
            yield f"delete table {place}"
        case AddChain():
            yield f"add chain {place} {operation.chain.name}{_chain(operation.chain)}"
        case FlushChain():
            yield f"flush chain {place} {operation.name}"
        case DeleteChain():
            yield f"delete chain {place} {operation.name}"
        case AddRules():
            yield from (f"add rule {place} {operation.chain.name} {rule_text(rule)}" for rule in operation.rules)
        case DeleteRule():
            yield f"delete rule {place} {operation.chain} handle {operation.handle}"
        case AddSet():
            yield f"add {_noun(bool(operation.set.value_type))} {place} {operation.set.name}{_set(operation.set)}"
        case DeleteSet():
            yield f"delete {_noun(operation.is_map)} {place} {operation.name}"
        case AddElements():
            item = operation.set
            yield from (
                f"add element {place} {item.name} {{ {element} }}" for element in _elements(item, operation.elements)
            )
        case DeleteElements():
            item = operation.set
            yield from (f"delete element {place} {item.name} {{ {key_text(item.key_type, key)} }}"
                        for key in operation.keys)


def rule_text(rule: Rule) -> str:
    """The statements and the comment, as `nft add rule` takes them."""
    words = [statement.text for statement in rule.statements]
    return " ".join([*words, f"comment {_quoted(rule.comment)}"] if rule.comment else words)


def key_text(types: tuple[Datatype, ...], key: Key) -> str:
    """A key, or a map's plain value: `10.8.0.1 . tcp . 80`."""
    return " . ".join(_value(datatype, value) for datatype, value in zip(types, key, strict=True))


def _value(datatype: Datatype, value: Value) -> str:
    if isinstance(value, tuple):
        return f"{value[0]}-{value[1]}"
    if datatype is datatypes.IFNAME:
        return _quoted(str(value))
    return str(value)


def _quoted(text: str) -> str:
    """nft has no way to write a quotation mark within a string."""
    if '"' in text or "\n" in text:
        raise ValueError(f"nft cannot write {text!r}")
    return f'"{text}"'


def _comment(text: str) -> list[str]:
    return [f"comment {_quoted(text)}"] if text else []


def _block(parts: list[str]) -> str:
    return f" {{ {'; '.join(parts)}; }}" if parts else ""


def _noun(is_map: bool) -> str:
    return "map" if is_map else "set"


def _chain(chain: Chain) -> str:
    parts = []
    if chain.hook:
        hook = chain.hook
        parts = [f"type {hook.type} hook {hook.hook} priority {hook.priority}", f"policy {hook.policy}"]
    return _block(parts + _comment(chain.comment))


def _set(item: Set) -> str:
    types = " . ".join(datatype.name for datatype in item.key_type)
    if item.value_type:
        types += " : " + " . ".join(datatype.name for datatype in item.value_type)
    has_timeout = item.timeout or item.dynamic
    flags = [
        name for name, given in (("interval", item.interval), ("dynamic", item.dynamic), ("timeout", has_timeout))
        if given
    ]
    parts = [f"type {types}"]
    parts += [f"flags {','.join(flags)}"] if flags else []
    parts += [f"timeout {item.timeout}s"] if item.timeout else []
    parts += [f"size {item.limit}"] if item.limit else []
    return _block(parts + _comment(item.comment))


def _elements(item: Set, elements: Mapping[Key, MapValue | None]) -> Iterator[str]:
    for key, value in elements.items():
        text = key_text(item.key_type, key)
        if isinstance(value, Verdict):
            text += f" : {value.text}"
        elif value is not None:
            text += f" : {key_text(item.value_type, value)}"
        yield text
