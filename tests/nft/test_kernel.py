"""What the kernel of the private namespace makes of our text and of our bytes."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from nslab.linux.nftables import NftError, NftSocket
from nslab.nft import statements as s
from nslab.nft.datatypes import INET_SERVICE, IPV4_ADDR, MARK, VERDICT
from nslab.nft.objects import Chain, Hook, Rule, Set, Table
from nslab.nft.operations import AddChain, DeleteChain, DeleteElements
from nslab.nft.text import rule_text, table_text
from nslab.nft.transaction import Transaction, difference
from tests.nft.vocabulary import SETS, TABLE


def nft(*arguments: str, text: str = "") -> str:
    return subprocess.run(["nft", *arguments], input=text, text=True, check=True, capture_output=True).stdout


@pytest.fixture
def kernel() -> Iterator[NftSocket]:
    nft("flush", "ruleset")
    with NftSocket() as socket:
        yield socket
    nft("flush", "ruleset")


def reach(kernel: NftSocket, want: Table | None, prefix: str = "nslab:") -> None:
    """Make the kernel's only table what is wanted."""
    have = next(iter(kernel.tables(prefix).values()), None)
    transaction = difference(want, have)
    if transaction:
        kernel.apply(transaction)


def observed(kernel: NftSocket, table: Table = TABLE) -> Table:
    return kernel.tables("nslab:")[table.family, table.name]


def listing() -> str:
    """The ruleset, elements sorted: the kernel keeps those of most sets in random order."""
    def in_order(match: re.Match[str]) -> str:
        return "elements = " + ", ".join(sorted(" ".join(match[1].split()).split(", ")))

    return re.sub(r"elements = {([^}]*)}", in_order, nft("list", "ruleset"))


def listed_after_text(table: Table) -> str:
    nft("-f", "-", text=table_text(table))
    by_text = listing()
    nft("flush", "ruleset")
    return by_text


def test_text_and_bytes_are_one(kernel: NftSocket) -> None:
    by_text = listed_after_text(TABLE)
    reach(kernel, TABLE)
    assert listing() == by_text


def test_what_was_sent_is_what_is_observed(kernel: NftSocket) -> None:
    reach(kernel, TABLE)
    assert difference(TABLE, observed(kernel)) is None


def test_what_nft_made_is_what_is_observed(kernel: NftSocket) -> None:
    nft("-f", "-", text=table_text(TABLE))
    transaction = difference(TABLE, observed(kernel))
    assert transaction is None, transaction.text()


@pytest.mark.parametrize("item", SETS, ids=lambda item: item.name)
def test_elements_are_added_changed_and_removed(kernel: NftSocket, item: Set) -> None:
    keys = list(item.elements)
    for kept in (keys[:1], keys, keys[1:], []):
        want = replace(TABLE, sets=tuple(
            replace(other, elements={key: item.elements[key] for key in kept}) if other is item else other
            for other in SETS
        ))
        reach(kernel, want)
        assert difference(want, observed(kernel)) is None
        assert nft("list", "set" if not item.value_type else "map", "ip", "kube-proxy", item.name)


def test_a_changed_value_is_one_element(kernel: NftSocket) -> None:
    item = Set("m", (MARK,), {(1,): (2,), (3,): (4,)}, (MARK,))
    table = Table("ip", "t", sets=(item,), comment="nslab:x")
    reach(kernel, table)
    want = replace(table, sets=(replace(item, elements={(1,): (2,), (3,): (5,)}),))
    transaction = difference(want, observed(kernel, table))
    assert transaction is not None
    assert transaction.text() == "delete element ip t m { 3 }\nadd element ip t m { 3 : 5 }\n"
    kernel.apply(transaction)
    assert difference(want, observed(kernel, table)) is None


def test_what_refers_to_a_replaced_chain_and_set_is_made_anew(kernel: NftSocket) -> None:
    reach(kernel, TABLE)
    first, *chains = TABLE.chains
    want = replace(
        TABLE,
        chains=(replace(first, comment="another"), *chains),
        sets=tuple(replace(item, comment="another") for item in SETS),
    )
    reach(kernel, want)
    assert difference(want, observed(kernel)) is None
    forward = replace(want.chains[-1], hook=Hook("filter", "input", 5))
    want = replace(want, chains=(*want.chains[:-1], forward))
    reach(kernel, want)
    assert difference(want, observed(kernel)) is None


def test_only_what_changed_in_a_chain_is_touched(kernel: NftSocket) -> None:
    rules = tuple(Rule((s.Compare(s.META_MARK, number),)) for number in range(5))
    table = Table("ip", "t", (Chain("c", rules),), comment="nslab:x")
    reach(kernel, table)
    have = observed(kernel, table)
    handle = have.chains[0].rules[2].handle  # type: ignore[union-attr]
    shorter = replace(table, chains=(Chain("c", rules[:2] + rules[3:]),))
    longer = replace(table, chains=(Chain("c", (*rules, Rule((s.DROP,)))),))
    turned = replace(table, chains=(Chain("c", rules[::-1]),))
    texts = [transaction.text() for want in (shorter, longer, turned) if (transaction := difference(want, have))]
    assert texts[0] == f"delete rule ip t c handle {handle}\n"
    assert texts[1] == "add rule ip t c drop\n"
    lines = ["flush chain ip t c", *(f"add rule ip t c {rule_text(rule)}" for rule in rules[::-1])]
    assert texts[2].splitlines() == lines
    for want in (shorter, longer, turned):
        reach(kernel, want)
        assert difference(want, observed(kernel, table)) is None


def test_nothing_wanted_deletes_the_table(kernel: NftSocket) -> None:
    reach(kernel, TABLE)
    reach(kernel, None)
    assert nft("list", "ruleset") == ""
    assert difference(None, None) is None


def test_tables_of_others_are_not_seen(kernel: NftSocket) -> None:
    nft("add", "table", "ip", "foreign")
    reach(kernel, TABLE)
    assert list(kernel.tables("nslab:vocab")) == [("ip", "kube-proxy")]
    assert kernel.tables("nslab:other") == {}


def test_elements_of_packets_are_left_alone(kernel: NftSocket) -> None:
    reach(kernel, TABLE)
    nft("add", "element", "ip", "kube-proxy", "affinity", "{ 10.0.0.1 . 7 : 1 }")
    assert difference(TABLE, observed(kernel)) is None
    assert "10.0.0.1" in nft("list", "map", "ip", "kube-proxy", "affinity")


def test_a_set_of_a_strangers_type_is_replaced(kernel: NftSocket) -> None:
    nft("-f", "-", text="""
        add table ip t { comment "nslab:x"; }
        add set ip t m { type icmp_type; }
        add element ip t m { echo-request }
        add chain ip t c
        add rule ip t c ip saddr { 10.0.0.1, 10.0.0.2 } drop
    """)
    want = Table("ip", "t", (Chain("c"),), (Set("m", (MARK,), {(1,): None}),), "nslab:x")
    reach(kernel, want)
    assert difference(want, observed(kernel, want)) is None


def test_the_generation_grows(kernel: NftSocket) -> None:
    before = kernel.generation()
    reach(kernel, TABLE)
    assert kernel.generation() == before + 1


@pytest.mark.parametrize(("table", "operation"), [
    (Table("ip", "t", (Chain("c", (Rule((s.DROP,)), Rule((s.jump("nowhere"),)))),)),
     "add rule ip t c jump nowhere"),
    (Table("ip", "t", (Chain("c", (Rule((s.InSet((s.IP_DADDR,), "nowhere"),)),)),)),
     "add rule ip t c ip daddr @nowhere"),
    (Table("ip", "t", (), (Set("m", (MARK,), {(1,): s.DROP, (2,): s.jump("nowhere")}, (VERDICT,)),)),
     "add element ip t m { 2 }"),
    (Table("ip", "t", (Chain("c", hook=Hook("nat", "forward", 0)),)),
     "add chain ip t c { type nat hook forward priority 0; policy accept; }"),
], ids=["chain", "set", "element", "hook"])
def test_a_refused_operation_is_named_and_nothing_stays(kernel: NftSocket, table: Table, operation: str) -> None:
    transaction = difference(table, None)
    assert transaction is not None
    with pytest.raises(NftError) as caught:
        kernel.apply(transaction)
    assert caught.value.operation == operation
    assert caught.value.errno
    assert operation in str(caught.value)
    assert nft("list", "ruleset") == ""
    reach(kernel, TABLE)  # The socket is as good as before.
    assert difference(TABLE, observed(kernel)) is None


@pytest.mark.parametrize("count", [1364, 1365, 1366, 1637, 1638, 1639, 1640, 4000])
@pytest.mark.parametrize("interval", [False, True])
def test_elements_around_the_limit_of_an_attribute(kernel: NftSocket, count: int, interval: bool) -> None:
    """An element here has 28 (interval: 28 with its end's 36) or 40 octets; an attribute holds 65,531."""
    addresses = [f"10.1.{number >> 7}.{2 * (number & 127)}" for number in range(count)]
    item = Set("s", (IPV4_ADDR,), {(address,): None for address in addresses}, interval=interval)
    plain = Set("m", (IPV4_ADDR, INET_SERVICE), {(address, 80): (1,) for address in addresses}, (MARK,))
    table = Table("ip", "t", (), (item, plain), "nslab:x")
    reach(kernel, table)
    have = observed(kernel, table)
    assert len(have.sets[0].elements) == len(have.sets[1].elements) == count
    assert difference(table, have) is None
    reach(kernel, replace(table, sets=(replace(item, elements={}), replace(plain, elements={}))))
    assert [len(item.elements) for item in observed(kernel, table).sets] == [0, 0]


def big_table(count: int, *, fault: bool = False) -> Table:
    addresses = {(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",): (number,) for number in range(count)}
    rules = (Rule((s.jump("nowhere"),)),) if fault else ()
    return Table("ip", "big", (Chain("c", rules),), (Set("m", (IPV4_ADDR,), addresses, (MARK,)),), "nslab:big")


def test_the_first_of_very_many_errors_is_told(kernel: NftSocket) -> None:
    rules = tuple(Rule((s.Compare(s.META_MARK, number), s.jump("nowhere"))) for number in range(5000))
    transaction = difference(Table("ip", "t", (Chain("c", rules),)), None)
    assert transaction is not None
    with pytest.raises(NftError) as caught:
        kernel.apply(transaction)
    assert caught.value.operation == "add rule ip t c meta mark 0 jump nowhere"


def test_a_busy_chain_is_named_and_deleted_apart_only_where_that_may_help(kernel: NftSocket) -> None:
    item = Set("m", (MARK,), {(1,): s.DROP}, (VERDICT,))
    table = Table("ip", "t", (Chain("busy"), Chain("c", (Rule((s.jump("busy"),)),))), (item,), "nslab:x")
    reach(kernel, table)
    busy = DeleteChain("busy")
    with pytest.raises(NftError, match="delete chain ip t busy"):
        kernel.apply(Transaction("ip", "t", (AddChain(Chain("new")), busy)))
    assert difference(table, observed(kernel, table)) is None
    with pytest.raises(NftError, match="delete chain ip t busy"):
        kernel.apply(Transaction("ip", "t", (DeleteElements(item, ((1,),)), busy)))
    assert observed(kernel, table).sets[0].elements == {}


def test_without_privilege_the_whole_transaction_is_refused() -> None:
    program = """
from nslab.linux.nftables import NftError, NftSocket
from nslab.nft.objects import Table
from nslab.nft.transaction import Transaction, difference
try:
    NftSocket().apply(difference(Table("ip", "t"), None))
except NftError as error:
    print(error.errno, error.operation)
"""
    command = ["unshare", "--user", sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout == f"{errno.EPERM} the transaction on table ip t\n"


def test_rules_that_never_stand_still_are_not_observed(kernel: NftSocket) -> None:
    """Another writer, in the same netns, adds a table after every single answer."""

    class Meddled(NftSocket):
        def generation(self) -> int:
            nft("add", "table", "ip", f"t{super().generation()}")
            return super().generation()

    nft("add", "table", "ip", "first")
    with Meddled() as socket, pytest.raises(NftError) as caught:
        socket.tables("nslab:")
    assert caught.value.errno == errno.EBUSY


class NarrowSocket(NftSocket):
    """As on a machine with a small net.core.wmem_max, for a process that may not exceed it."""

    def _reserve(self, size: int) -> int:
        return 100_000


@pytest.mark.parametrize("make", [NftSocket, NarrowSocket])
def test_a_large_transaction_in_one_part_or_many(kernel: NftSocket, make: type[NftSocket]) -> None:
    want = big_table(30_000)
    with make() as socket:
        with pytest.raises(NftError, match="jump nowhere"):
            reach(socket, big_table(30_000, fault=True))
        assert nft("list", "tables") == ""
        before = socket.generation()
        reach(socket, want)
        assert (socket.generation() > before + 1) == (make is NarrowSocket)
        assert difference(want, observed(socket, want)) is None
