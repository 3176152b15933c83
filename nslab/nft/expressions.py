"""Rules as netlink expressions (linux/netfilter/nf_tables.h), the very ones that nft(8) would send for their text.

`encode_rule` makes NFTA_RULE_EXPRESSIONS' contents. `canonical_rule` takes such contents, sent or dumped, to one form
that is equal exactly when the rules are: the kernel's dump adds defaults, counters and ids.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from nslab.nft import datatypes, values
from nslab.nft.attributes import attribute, comment, nested, string, text, u32, u64, userdata, walk
from nslab.nft.objects import Rule
from nslab.nft.statements import (
    CT_STATES,
    CT_STATUSES,
    Below,
    Compare,
    Counter,
    CtState,
    CtStatus,
    DnatToMap,
    FibLocal,
    InPrefix,
    InSet,
    Masquerade,
    Record,
    Reject,
    Remember,
    Selector,
    SetMark,
    SetMarkBits,
    SetMarkFromMap,
    Statement,
    Verdict,
    VerdictMap,
)

_VERDICT_REGISTER = 0
_FIRST = 1  # NFT_REG_1; the 16 octets from here are also the 32-bit registers 8 to 11.
_FIRST32 = 8
_EQUAL, _UNEQUAL, _LESS = 0, 1, 2
_HOST_TO_NETWORK = 1
_VERDICTS = {"drop": 0, "accept": 1, "jump": -3, "goto": -4, "return": -5}
_VERDICT_NAMES = {number & 0xFFFFFFFF: name for name, number in _VERDICTS.items()}
_META_MARK, _CT_MARK, _CT_STATE, _CT_STATUS = 3, 3, 0, 2
_LOCAL = 2  # RTN_LOCAL
_ADDRESS_TYPE = 3  # NFT_FIB_RESULT_ADDRTYPE
_FIB_FIELDS = {"saddr": 1, "daddr": 2}
_UPDATE = 1  # NFT_DYNSET_OP_UPDATE
_DNAT, _IPV4 = 1, 2
_RANDOM_FULLY = 0x10  # NF_NAT_RANGE_PROTO_RANDOM_FULLY


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(1, string(1, name), nested(2, *attributes))


def _host32(number: int) -> bytes:
    return struct.pack("=I", number)


def data(octets: bytes) -> bytes:
    """NFTA_DATA_VALUE."""
    return attribute(1, octets)


def verdict(statement: Verdict) -> bytes:
    """NFTA_DATA_VERDICT."""
    chain = (string(2, statement.chain),) if statement.chain else ()
    return nested(2, u32(1, _VERDICTS[statement.code]), *chain)


def decode_verdict(payload: bytes) -> Verdict:
    """The inverse of `verdict`, from the attribute's payload."""
    fields = dict(walk(payload))
    code = int.from_bytes(fields[1], "big")
    return Verdict(_VERDICT_NAMES.get(code, str(code)), text(fields.get(2, b"")))


def _load(selector: Selector, register: int) -> bytes:
    """The expression that reads the selector into a register."""
    arguments = selector.arguments
    if selector.kind == "payload":
        base, offset, length = arguments
        return _expression("payload", u32(1, register), u32(2, base), u32(3, offset), u32(4, length))
    if selector.kind == "ct":
        direction = (attribute(3, bytes((arguments[1],))),) if len(arguments) > 1 else ()
        return _expression("ct", u32(1, register), u32(2, arguments[0]), *direction)
    if selector.kind == "meta":
        return _expression("meta", u32(1, register), u32(2, arguments[0]))
    if selector.kind == "fib":
        return _expression("fib", u32(1, register), u32(2, arguments[0]), u32(3, arguments[1]))
    if selector.kind == "numgen":
        return _expression("numgen", u32(1, register), u32(2, arguments[0]), u32(3, 1), u32(4, 0))
    raise ValueError(f"no expression loads a selector of kind {selector.kind!r}")


def _load_all(selectors: tuple[Selector, ...]) -> bytes:
    """Read a concatenation into consecutive registers from the first on.

    The first register goes by its 16-octet name (as the kernel dumps it), and so does every other at a multiple
    of 16 octets.
    """
    loads, offset = [], 0
    for selector in selectors:
        loads.append(_load(selector, _register(offset)))
        offset += values.register_size(selector.datatype)
    return b"".join(loads)


def _register(offset: int) -> int:
    """The name of the register `offset` octets after the first."""
    return _FIRST + offset // 16 if offset % 16 == 0 else _FIRST32 + offset // 4


def _compare(octets: bytes, negate: bool) -> bytes:
    return _expression("cmp", u32(1, _FIRST), u32(2, _UNEQUAL if negate else _EQUAL), nested(3, data(octets)))


def _mask(octets: bytes, flip: bytes | None = None) -> bytes:
    return _expression(
        "bitwise", u32(1, _FIRST), u32(2, _FIRST), u32(3, len(octets)),
        nested(4, data(octets)), nested(5, data(flip or bytes(len(octets)))),
    )


def _lookup(name: str, destination: int | None = None, negate: bool = False) -> bytes:
    into = () if destination is None else (u32(3, destination),)
    return _expression("lookup", string(1, name), u32(2, _FIRST), *into, u32(5, int(negate)))


def _store_mark(target: str) -> bytes:
    if target == "meta":
        return _expression("meta", u32(2, _META_MARK), u32(3, _FIRST))
    return _expression("ct", u32(2, _CT_MARK), u32(4, _FIRST))


def _encode_compare(statement: Compare) -> bytes:
    datatype = statement.selector.datatype
    octets = values.pack_scalar(datatype, statement.value)[: datatype.size]
    return _load(statement.selector, _FIRST) + _compare(octets, statement.negate)


def _encode_below(statement: Below) -> bytes:
    """The kernel compares octets from the first on, so both numbers go into the network's order."""
    return (
        _load(statement.selector, _FIRST)
        + _expression(
            "byteorder", u32(1, _FIRST), u32(2, _FIRST), u32(3, _HOST_TO_NETWORK), u32(4, 4), u32(5, 4)
        )
        + _expression("cmp", u32(1, _FIRST), u32(2, _LESS), nested(3, data(statement.limit.to_bytes(4, "big"))))
    )


def _encode_prefix(statement: InPrefix) -> bytes:
    """Whole octets are not masked: fewer are compared, and fewer are loaded from a header."""
    selector = statement.selector
    first, last = values.prefix_bounds(statement.prefix)
    octets, length = first.to_bytes(4, "big"), 33 - (last - first + 1).bit_length()
    if length == 32:
        return _load(selector, _FIRST) + _compare(octets, statement.negate)
    if length % 8 == 0 and length:
        if selector.kind == "payload":
            base, offset, _ = selector.arguments
            selector = Selector(selector.text, selector.datatype, "payload", (base, offset, length // 8))
        return _load(selector, _FIRST) + _compare(octets[: length // 8], statement.negate)
    mask = (0xFFFFFFFF ^ (last - first)).to_bytes(4, "big")
    return _load(selector, _FIRST) + _mask(mask) + _compare(octets, statement.negate)


def _encode_bits(key: int, bits: int, negate: bool) -> bytes:
    """Whether one of `bits` of the conntrack key is (no one is, when negate) set."""
    load = _expression("ct", u32(1, _FIRST), u32(2, key))
    return load + _mask(_host32(bits)) + _compare(_host32(0), not negate)


def _encode_ct_state(statement: CtState) -> bytes:
    return _encode_bits(_CT_STATE, sum(CT_STATES[state] for state in set(statement.states)), negate=False)


def _encode_fib(statement: FibLocal) -> bytes:
    load = _expression("fib", u32(1, _FIRST), u32(2, _ADDRESS_TYPE), u32(3, _FIB_FIELDS[statement.field]))
    return load + _compare(_host32(_LOCAL), statement.negate)


def _encode_mark_bits(statement: SetMarkBits) -> bytes:
    load = Selector("", datatypes.MARK, statement.target, (_META_MARK if statement.target == "meta" else _CT_MARK,))
    return (
        _load(load, _FIRST) + _mask(_host32(statement.mask), _host32(statement.bits)) + _store_mark(statement.target)
    )


def _encode_remember(statement: Remember) -> bytes:
    size = sum(values.register_size(selector.datatype) for selector in statement.key)
    value_register = _register((size + 15) & ~15)
    return (
        _load_all(statement.key)
        + _load(statement.value, value_register)
        + _expression(
            "dynset", string(1, statement.map_name), u32(3, _UPDATE), u32(4, _FIRST), u32(5, value_register),
            u64(6, statement.timeout * 1000), u32(9, 0),
        )
    )


def _encode_record(statement: Record) -> bytes:
    return _load_all(statement.key) + _expression(
        "dynset", string(1, statement.set_name), u32(3, _UPDATE), u32(4, _FIRST), u64(6, statement.timeout * 1000),
        u32(9, 0),
    )


def _encode_dnat(statement: DnatToMap) -> bytes:
    """The map's value is an address in the first register and a port in the next."""
    return (
        _load_all(statement.selectors)
        + _lookup(statement.map_name, _FIRST)
        + _expression("nat", u32(1, _DNAT), u32(2, _IPV4), u32(3, _FIRST), u32(5, _register(4)))
    )


def _encode_verdict(statement: Verdict) -> bytes:
    return _expression("immediate", u32(1, _VERDICT_REGISTER), nested(2, verdict(statement)))


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    Compare: _encode_compare,
    Below: _encode_below,
    InPrefix: _encode_prefix,
    InSet: lambda s: _load_all(s.selectors) + _lookup(s.set_name, negate=s.negate),
    CtState: _encode_ct_state,
    CtStatus: lambda s: _encode_bits(_CT_STATUS, CT_STATUSES[s.status], s.negate),
    FibLocal: _encode_fib,
    SetMark: lambda s: _load(s.source, _FIRST) + _store_mark(s.target),
    SetMarkFromMap: lambda s: _load_all(s.selectors) + _lookup(s.map_name, _FIRST) + _store_mark(s.target),
    SetMarkBits: _encode_mark_bits,
    Remember: _encode_remember,
    Record: _encode_record,
    DnatToMap: _encode_dnat,
    Masquerade: lambda _: _expression("masq", u32(1, _RANDOM_FULLY)),
    Reject: lambda _: _expression("reject", u32(1, 0), attribute(2, b"\x03")),
    Counter: lambda _: _expression("counter", u64(1, 0), u64(2, 0)),
    Verdict: _encode_verdict,
    VerdictMap: lambda s: _load_all(s.selectors) + _lookup(s.map_name, _VERDICT_REGISTER),
}


@lru_cache(maxsize=65536)
def _encode_statement(statement: Statement) -> bytes:
    return _ENCODERS[type(statement)](statement)


def encode_rule(rule: Rule) -> bytes:
    """The contents of NFTA_RULE_EXPRESSIONS."""
    return b"".join(map(_encode_statement, rule.statements))


def encode_rule_comment(rule: Rule) -> bytes:
    """The contents of NFTA_RULE_USERDATA; empty where the rule has no comment."""
    return userdata(0, comment(rule.comment)) if rule.comment else b""


# What a dump may add, by expression and attribute: to be dropped when it has this value, or always where None.
_IGNORED: dict[str, dict[int, bytes | None]] = {
    "counter": {1: None, 2: None, 3: None},
    "lookup": {4: None, 5: bytes(4)},
    "bitwise": {6: bytes(4)},
    "dynset": {2: None, 8: None, 9: bytes(4)},
    "numgen": {4: bytes(4)},
    # The kernel repeats the minimum of a range as its maximum.
    "nat": {4: None, 6: None, 7: None},
}
# nft swaps the octets even of a one-octet protocol before it looks it up in an interval set.
_ONE_OCTET = b"\0\0\0\1"
# Attributes that hold attributes: of expressions cmp, bitwise and immediate, down to the verdict.
_NESTS = {"cmp": {3}, "bitwise": {4, 5}, "immediate": {2}}


@lru_cache(maxsize=65536)
def canonical_rule(expressions: bytes, userdata: bytes = b"") -> bytes:
    """The canonical form of a rule's NFTA_RULE_EXPRESSIONS and NFTA_RULE_USERDATA contents."""
    forms = [_canonical_expression(payload) for _, payload in walk(expressions)]
    return b"".join(forms) + attribute(0, userdata)


@lru_cache(maxsize=65536)
def _canonical_expression(payload: bytes) -> bytes:
    fields = dict(walk(payload))
    name = text(fields[1])
    if name == "byteorder" and dict(walk(fields[2])).get(4) == _ONE_OCTET:
        return b""
    ignored, nests = _IGNORED.get(name, {}), _NESTS.get(name, set())
    parts = [string(0, name)]
    for kind, value in sorted(walk(fields.get(2, b""))):
        if kind in ignored and ignored[kind] in (None, value):
            continue
        parts.append(attribute(kind, _canonical_data(value) if kind in nests else value))
    return attribute(1, b"".join(parts))


def _canonical_data(payload: bytes) -> bytes:
    return b"".join(
        attribute(kind, value if kind == 1 else _canonical_verdict(value)) for kind, value in walk(payload)
    )


def _canonical_verdict(payload: bytes) -> bytes:
    """Its code and the chain's name alone, without the chain's number within a batch."""
    return b"".join(attribute(kind, value) for kind, value in sorted(walk(payload)) if kind in (1, 2))
