"""What needs no kernel: values, text, and what cannot be written."""

from __future__ import annotations

import struct

import pytest

from nslab.linux.nftables import _without_last_chains
from nslab.nft import statements as s
from nslab.nft import wire
from nslab.nft.attributes import MAXIMUM_LENGTH
from nslab.nft.datatypes import (
    ETHER_ADDR,
    IFNAME,
    INET_PROTO,
    INET_SERVICE,
    IPV4_ADDR,
    MARK,
    VERDICT,
    Datatype,
    Value,
)
from nslab.nft.elements import RepeatedElementError, decode, encode
from nslab.nft.objects import Chain, Key, ObservedRule, Rule, Set, Table
from nslab.nft.operations import AddChain, AddElements, AddRules, DeleteChain
from nslab.nft.text import rule_text, table_text
from nslab.nft.transaction import Transaction, difference
from nslab.nft.values import canonical_key, pack_scalar, unpack_scalar


@pytest.mark.parametrize(("datatype", "value", "octets"), [
    (IPV4_ADDR, "10.8.0.4", b"\x0a\x08\x00\x04"),
    (INET_SERVICE, 443, b"\x01\xbb\0\0"),
    (INET_PROTO, "udp", b"\x11\0\0\0"),
    (INET_PROTO, 47, b"\x2f\0\0\0"),
    (MARK, 7, struct.pack("=I", 7)),
    (IFNAME, "eth0", b"eth0" + bytes(12)),
    (ETHER_ADDR, "02:00:00:00:00:01", b"\x02\0\0\0\0\x01\0\0"),
])
def test_values_are_registers(datatype: Datatype, value: str | int, octets: bytes) -> None:
    assert pack_scalar(datatype, value) == octets
    assert unpack_scalar(datatype, octets) == value


@pytest.mark.parametrize(("datatype", "value"), [
    (IPV4_ADDR, "10.8.0"), (IPV4_ADDR, "pod"), (IPV4_ADDR, 7), (MARK, "x"), (INET_SERVICE, "http"),
])
def test_values_of_another_type_are_refused(datatype: Datatype, value: str | int) -> None:
    with pytest.raises(ValueError, match=r"."):
        pack_scalar(datatype, value)


def test_only_known_datatypes_are_read() -> None:
    with pytest.raises(ValueError, match="no set key"):
        unpack_scalar(Datatype("icmp_type", 14, 1), b"\0\0\0\0")


@pytest.mark.parametrize(("written", "canonical"), [
    ("10.8.0.4/32", "10.8.0.4"),
    (("10.8.0.0", "10.8.0.255"), "10.8.0.0/24"),
    ("10.8.0.9/24", "10.8.0.0/24"),
    (("10.8.0.1", "10.8.0.2"), ("10.8.0.1", "10.8.0.2")),
    (("0.0.0.0", "255.255.255.255"), "0.0.0.0/0"),
])
def test_ranges_are_written_in_one_way(written: Value, canonical: Value) -> None:
    assert canonical_key((IPV4_ADDR,), (written,)) == (canonical,)


@pytest.mark.parametrize("key", [("10.0.0.1",), ("10.0.0.1", 80, 1), ()])
def test_keys_of_another_length_are_refused(key: Key) -> None:
    with pytest.raises(ValueError, match=r"is no ipv4_addr \. inet_service"):
        encode(Set("s", (IPV4_ADDR, INET_SERVICE)), {key: None})


def test_marks_have_no_intervals() -> None:
    with pytest.raises(ValueError, match="host order"):
        list(difference(Table("ip", "t", sets=(Set("s", (MARK,), interval=True),)), None).messages())  # type: ignore[union-attr]


def test_elements_fill_attributes_to_the_limit() -> None:
    elements: dict[Key, None] = {(number,): None for number in range(10_000)}
    item = Set("s", (MARK,), elements)
    chunks = encode(item, elements)
    size = len(chunks[0]) // (len(chunks[0]) // 16)
    assert all(len(chunk) + 4 <= MAXIMUM_LENGTH for chunk in chunks)
    assert all(len(chunk) + 4 + size > MAXIMUM_LENGTH for chunk in chunks[:-1])
    assert decode(item, chunks) == elements


def test_a_repeated_element_spoils_a_dump() -> None:
    item = Set("s", (MARK,), {(1,): None})
    (chunk,) = encode(item, item.elements)
    with pytest.raises(RepeatedElementError):
        decode(item, [chunk, chunk])


def test_elements_of_unlike_sizes_are_read() -> None:
    item = Set("m", (MARK,), {(1,): s.DROP, (2,): s.jump("a-chain"), (3,): s.goto("b")}, (VERDICT,))
    assert decode(item, encode(item, item.elements)) == item.elements


def test_what_is_shared_is_encoded_once() -> None:
    item = Set("s", (MARK,), {(1,): None})
    first, second = (list(wire.encode_operation("ip", name, AddElements(item))) for name in ("one", "two"))
    assert first[0].payload[-16:] == second[0].payload[-16:]
    assert wire._element_lists[item] is wire._element_lists[item]
    chain = Chain("c", (Rule((s.DROP,)), Rule((s.ACCEPT,))))
    assert len(list(wire.encode_operation("ip", "one", AddRules(chain, 1)))) == 1
    assert wire.canonical_rules(chain) is wire.canonical_rules(chain)


def test_observed_rules_are_never_written() -> None:
    with pytest.raises(TypeError, match="chain c holds observed rules"):
        _ = AddRules(Chain("c", (ObservedRule(b"", 1),))).rules


def test_unknown_selectors_are_refused() -> None:
    odd = s.Selector("odd", MARK, "odd", ())
    with pytest.raises(ValueError, match="'odd'"):
        wire.canonical_rules(Chain("c", (Rule((s.Compare(odd, 1),)),)))


@pytest.mark.parametrize("comment", ['a "quoted" word', "two\nlines"])
def test_what_nft_cannot_quote_is_refused(comment: str) -> None:
    with pytest.raises(ValueError, match="nft cannot write"):
        rule_text(Rule((s.DROP,), comment))


def test_text_is_one_operation_a_line() -> None:
    item = Set("m", (IPV4_ADDR, INET_SERVICE), {("10.8.0.4", (1, 9)): s.goto("c")}, (VERDICT,), interval=True)
    rule = Rule((s.Compare(s.META_IIFNAME, "eth0"), s.DROP), "why")
    table = Table("ip", "t", (Chain("c", (rule,)),), (item,), "nslab:x")
    assert table_text(table).splitlines() == [
        'add table ip t { comment "nslab:x"; }',
        "add chain ip t c",
        "add map ip t m { type ipv4_addr . inet_service : verdict; flags interval; }",
        "add element ip t m { 10.8.0.4 . 1-9 : goto c }",
        'add rule ip t c iifname "eth0" drop comment "why"',
    ]


def test_chains_that_go_last_can_go_apart() -> None:
    """Linux before 6.2 asks for it (see NftSocket.apply)."""
    steps = (DeleteChain("a"), AddChain(Chain("b")), DeleteChain("c"), DeleteChain("d"))
    rest, chains = _without_last_chains(Transaction("ip", "t", steps))
    assert (rest.operations, chains.operations) == (steps[:2], steps[2:])
    assert rest
    assert len(chains) == 2
