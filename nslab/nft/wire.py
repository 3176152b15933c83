"""Operations as nfnetlink messages (linux/netfilter/nf_tables.h), as nft(8) 1.0.6 would send them.

What Chain and Set objects become is remembered for as long as the objects live: the tables of many nodes share
them, and then each is encoded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

from nslab.nft import elements, expressions
from nslab.nft import text as nft_text
from nslab.nft.attributes import attribute, comment, nested, spans, string, u32, u64, userdata
from nslab.nft.datatypes import MARK, Datatype
from nslab.nft.elements import ELEMENTS, LISTED_SET, LISTED_TABLE
from nslab.nft.objects import Chain, Key, MapValue, ObservedRule, Rule, Set
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
from nslab.nft.values import canonical_key, register_size

NEWTABLE, GETTABLE, DELTABLE = 0, 1, 2
NEWCHAIN, GETCHAIN, DELCHAIN = 3, 4, 5
NEWRULE, GETRULE, DELRULE = 6, 7, 8
NEWSET, GETSET, DELSET = 9, 10, 11
NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14
NEWGEN, GETGEN = 15, 16

FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
POLICIES = {"drop": 0, "accept": 1}

REQUEST, CREATE, APPEND = 0x1, 0x400, 0x800

SET_INTERVAL, SET_MAP, SET_TIMEOUT, SET_EVAL, SET_CONCAT = 0x4, 0x8, 0x10, 0x20, 0x80


class Message(NamedTuple):
    """One nfnetlink message: its type within nf_tables, NLM_F_* flags, and all that follows the netlink header.
    `operation` is the one it carries out, and `part` its number among that operation's messages."""

    kind: int
    flags: int
    payload: bytes
    operation: Operation
    part: int = 0


def encode_operation(family: str, table: str, operation: Operation) -> Iterable[Message]:
    """The messages that carry the operation out on the table."""
    bodies: Iterable[bytes]
    match operation:
        case AddTable():
            kind, flags, bodies = NEWTABLE, CREATE, [_table(table, operation.comment)]
        case DeleteTable():
            kind, flags, bodies = DELTABLE, 0, [string(1, table)]
        case AddChain():
            kind, flags, bodies = NEWCHAIN, CREATE, [_chain(table, operation.chain)]
        case DeleteChain():
            kind, flags, bodies = DELCHAIN, 0, [string(1, table) + string(3, operation.name)]
        case FlushChain():
            kind, flags, bodies = DELRULE, 0, [string(1, table) + string(2, operation.name)]
        case AddRules():
            kind, flags, bodies = NEWRULE, CREATE | APPEND, _rules(table, operation)
        case DeleteRule():
            rule = string(1, table) + string(2, operation.chain) + u64(3, operation.handle)
            kind, flags, bodies = DELRULE, 0, [rule]
        case AddSet():
            kind, flags, bodies = NEWSET, CREATE, [_set(table, operation.set)]
        case DeleteSet():
            kind, flags, bodies = DELSET, 0, [string(1, table) + string(2, operation.name)]
        case AddElements():
            kind, flags, bodies = NEWSETELEM, CREATE, _added_elements(table, operation)
        case DeleteElements():
            kind, flags, bodies = DELSETELEM, 0, _deleted_elements(table, operation)
    header = bytes((FAMILIES[family], 0, 0, 0))
    return [Message(kind, REQUEST | flags, header + body, operation, part) for part, body in enumerate(bodies)]


def _table(name: str, text: str) -> bytes:
    return string(1, name) + u32(2, 0) + (attribute(6, userdata(0, comment(text))) if text else b"")


def _chain(table: str, chain: Chain) -> bytes:
    body = string(1, table) + string(3, chain.name)
    if chain.hook:
        hook = nested(4, u32(1, HOOKS[chain.hook.hook]), u32(2, chain.hook.priority))
        body += string(7, chain.hook.type) + u32(5, POLICIES[chain.hook.policy]) + hook
    return body + (attribute(12, userdata(0, comment(chain.comment))) if chain.comment else b"")


_rule_bodies: WeakKeyDictionary[Chain, tuple[bytes, ...]] = WeakKeyDictionary()


def _rules(table: str, operation: AddRules) -> Iterable[bytes]:
    known = _rule_bodies.get(operation.chain)
    if known is None:
        known = _rule_bodies[operation.chain] = tuple(map(_rule, AddRules(operation.chain).rules))
    place = string(1, table) + string(2, operation.chain.name)
    return [place + body for body in known[operation.start:]]


def _rule(rule: Rule) -> bytes:
    text = expressions.encode_rule_comment(rule)
    return nested(4, expressions.encode_rule(rule)) + (attribute(7, text) if text else b"")


_canonical_rules: WeakKeyDictionary[Chain, tuple[bytes, ...]] = WeakKeyDictionary()


def canonical_rules(chain: Chain) -> tuple[bytes, ...]:
    """The canonical forms of the chain's rules, wanted or observed."""
    known = _canonical_rules.get(chain)
    if known is None:
        known = _canonical_rules[chain] = tuple(
            rule.canonical if isinstance(rule, ObservedRule)
            else expressions.canonical_rule(expressions.encode_rule(rule), expressions.encode_rule_comment(rule))
            for rule in chain.rules
        )
    return known


# Sets. nft keeps what it wants to know when it lists a set in the set's userdata (enum nftnl_udata_set_types).
_KEY_BYTEORDER, _VALUE_BYTEORDER, _KEY_TYPEOF, _VALUE_TYPEOF, _VALUE_INTERVAL, SET_USERDATA_COMMENT = 0, 1, 3, 4, 6, 7
_CONCATENATION = userdata(0, (13).to_bytes(4, "little")) + userdata(1, b"")
_INVALID, _HOST, _NETWORK = 0, 1, 2  # enum byteorder
_HOST_ORDERED = {"mark", "ifname"}


def type_number(types: tuple[Datatype, ...]) -> int:
    """nft's number for a concatenation: six bits for each datatype."""
    number = 0
    for datatype in types:
        number = number << 6 | datatype.number
    return number


def type_size(types: tuple[Datatype, ...]) -> int:
    """The octets of a key or value; whole registers in a concatenation."""
    return types[0].size if len(types) == 1 else sum(map(register_size, types))


def is_verdict_map(item: Set) -> bool:
    return bool(item.value_type) and item.value_type[0].name == "verdict"


def set_flags(item: Set) -> int:
    """The NFT_SET_* flags."""
    flags = SET_INTERVAL if item.interval else 0
    flags |= SET_CONCAT if item.interval and len(item.key_type) > 1 else 0
    flags |= SET_MAP if item.value_type else 0
    flags |= SET_EVAL if item.dynamic else 0
    return flags | (SET_TIMEOUT if item.timeout or item.dynamic else 0)


def set_shape(item: Set) -> tuple[int | str, ...]:
    """All of a set but its name and elements, in a form that is equal for a wanted and an observed set alike."""
    types = type_number(item.key_type), type_number(item.value_type)
    return set_flags(item), *types, item.timeout, item.comment, item.limit


def _set(table: str, item: Set) -> bytes:
    if item.interval and any(datatype is MARK for datatype in item.key_type):
        raise ValueError(f"set {item.name}: marks are in host order and have no intervals")
    parts = [
        string(1, table), string(2, item.name), u32(3, set_flags(item)),
        u32(4, type_number(item.key_type)), u32(5, type_size(item.key_type)),
    ]
    if item.value_type:
        size = 0 if is_verdict_map(item) else type_size(item.value_type)
        parts += [u32(6, type_number(item.value_type)), u32(7, size)]
    # The kernel wants a number for use within the batch; names serve us, and it may be the same for all.
    parts.append(u32(10, 1))
    description = [u32(1, item.limit)] if item.limit else []
    if item.interval and len(item.key_type) > 1:
        fields = [nested(1, u32(1, register_size(datatype))) for datatype in item.key_type]
        description.append(nested(2, *fields))
    if description:
        parts.append(nested(9, *description))
    if item.timeout:
        parts.append(u64(11, item.timeout * 1000))
    parts.append(attribute(13, _set_userdata(item)))
    return b"".join(parts)


def _set_userdata(item: Set) -> bytes:
    parts = [userdata(_KEY_BYTEORDER, _byteorder(item.key_type))]
    if item.value_type:
        parts.append(userdata(_VALUE_BYTEORDER, _byteorder(item.value_type)))
    if len(item.key_type) > 1:
        parts.append(userdata(_KEY_TYPEOF, _CONCATENATION))
    if len(item.value_type) > 1:
        parts.append(userdata(_VALUE_TYPEOF, _CONCATENATION))
    if item.value_type:
        parts.append(userdata(_VALUE_INTERVAL, bytes(4)))
    if item.comment:
        parts.append(userdata(SET_USERDATA_COMMENT, comment(item.comment)))
    return b"".join(parts)


def _byteorder(types: tuple[Datatype, ...]) -> bytes:
    if len(types) > 1 or types[0].name == "verdict":
        order = _INVALID
    else:
        order = _HOST if types[0].name in _HOST_ORDERED else _NETWORK
    return order.to_bytes(4, "little")


_element_lists: WeakKeyDictionary[Set, tuple[bytes, ...]] = WeakKeyDictionary()


def _added_elements(table: str, operation: AddElements) -> Iterable[bytes]:
    if operation.some is None:
        lists = _element_lists.get(operation.set)
        if lists is None:
            lists = _element_lists[operation.set] = tuple(_lists(operation.set, operation.set.elements))
    else:
        lists = tuple(_lists(operation.set, operation.some))
    place = string(LISTED_TABLE, table) + string(LISTED_SET, operation.set.name)
    return [place + elements for elements in lists]


def _lists(item: Set, some: Mapping[Key, MapValue | None]) -> Iterable[bytes]:
    return (nested(ELEMENTS, chunk) for chunk in elements.encode(item, some))


def _deleted_elements(table: str, operation: DeleteElements) -> Iterable[bytes]:
    place = string(LISTED_TABLE, table) + string(LISTED_SET, operation.set.name)
    return [place + nested(ELEMENTS, chunk) for chunk in elements.encode_keys(operation.set, operation.keys)]


def canonical_elements(item: Set) -> Mapping[Key, MapValue | None]:
    """The set's elements, keys written in the canonical way."""
    if not item.interval:
        return item.elements
    return {canonical_key(item.key_type, key): value for key, value in item.elements.items()}


def describe(family: str, table: str, message: Message, offset: int | None) -> str:
    """The nft line of what the message asks for. `offset` is where, in the message's payload, the kernel saw a fault;
    it tells which of many elements is meant."""
    operation = message.operation
    if isinstance(operation, AddElements | DeleteElements):
        verb = "add" if isinstance(operation, AddElements) else "delete"
        element = _element_text(operation.set, message.payload, offset)
        return f"{verb} element {family} {table} {operation.set.name} {{ {element} }}"
    lines = list(nft_text.lines(family, table, operation))
    return lines[message.part]


def _element_text(item: Set, payload: bytes, offset: int | None) -> str:
    for kind, start, end in spans(payload, 4, len(payload)):
        if kind == ELEMENTS:
            listed = list(spans(payload, start, end))
            for _, first, last in listed:
                if offset is None or first - 4 <= offset < last:
                    key = elements.decode_key(item, payload[first:last])
                    rest = ", .." if offset is None and len(listed) > 1 else ""
                    return nft_text.key_text(item.key_type, key) + rest
    return ".."
