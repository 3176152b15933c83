"""What the kernel's dumps say, as the nouns that wishes are written in.

Every function takes the attributes of one dumped message, that is its payload after the nfgenmsg header.
"""

from __future__ import annotations

from nslab.nft import datatypes
from nslab.nft.attributes import number, parse, parse_userdata, text
from nslab.nft.datatypes import Datatype
from nslab.nft.expressions import canonical_rule
from nslab.nft.objects import Chain, Hook, ObservedRule, Set
from nslab.nft.wire import FAMILIES, HOOKS, POLICIES, SET_EVAL, SET_INTERVAL, SET_USERDATA_COMMENT

FAMILY_NAMES = {number: name for name, number in FAMILIES.items()}
_HOOK_NAMES = {number: name for name, number in HOOKS.items()}
_POLICY_NAMES = {number: name for name, number in POLICIES.items()}
_ANONYMOUS = 0x1  # NFT_SET_ANONYMOUS
_DATATYPES = {
    datatype.number: datatype for datatype in vars(datatypes).values() if isinstance(datatype, Datatype)
}


def decode_table(payload: bytes) -> tuple[str, str]:
    """A table's name and comment."""
    fields = parse(payload)
    return text(fields[1]), _comment(fields.get(6, b""))


def decode_chain(payload: bytes) -> tuple[str, Chain]:
    """The table's name, and the chain without its rules."""
    fields = parse(payload)
    hook = None
    if 4 in fields:
        place = parse(fields[4])
        priority = int.from_bytes(place[2], "big", signed=True)
        hook_number, policy = number(place[1]), number(fields.get(5, b"\1"))
        hook = Hook(text(fields[7]), _HOOK_NAMES.get(hook_number, str(hook_number)), priority, _POLICY_NAMES[policy])
    return text(fields[1]), Chain(text(fields[3]), hook=hook, comment=_comment(fields.get(12, b"")))


def decode_rule(payload: bytes) -> tuple[str, ObservedRule]:
    """The chain's name, and the rule."""
    fields = parse(payload)
    return text(fields[2]), ObservedRule(canonical_rule(fields.get(4, b""), fields.get(7, b"")), number(fields[3]))


def decode_set(payload: bytes) -> Set | None:
    """The set without its elements; None for the anonymous set of a rule."""
    fields = parse(payload)
    flags = number(fields.get(3, b""))
    if flags & _ANONYMOUS:
        return None
    return Set(
        text(fields[2]),
        _types(number(fields[4]), number(fields[5])),
        value_type=_types(number(fields[6]), number(fields[7])) if 6 in fields else (),
        interval=bool(flags & SET_INTERVAL),
        dynamic=bool(flags & SET_EVAL),
        timeout=number(fields.get(11, b"")) // 1000,
        comment=_comment(fields.get(13, b""), SET_USERDATA_COMMENT),
        size=number(parse(fields.get(9, b"")).get(1, b"")),
    )


def is_readable(item: Set) -> bool:
    """Whether the elements are of datatypes that this package knows. Nothing that nslab makes is otherwise."""
    return all(_DATATYPES.get(datatype.number) is datatype for datatype in (*item.key_type, *item.value_type))


def _types(type_number: int, size: int) -> tuple[Datatype, ...]:
    if type_number == datatypes.VERDICT.number:
        return (datatypes.VERDICT,)
    numbers: list[int] = []
    while type_number:
        numbers.insert(0, type_number & 0x3F)
        type_number >>= 6
    return tuple(_DATATYPES.get(number) or Datatype(f"type {number}", number, size) for number in numbers)


def _comment(userdata: bytes, kind: int = 0) -> str:
    return text(parse_userdata(userdata).get(kind, b""))
