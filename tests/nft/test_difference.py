"""From any table to any other, on the kernel."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nslab.linux.nftables import NftSocket
from nslab.nft import statements as s
from nslab.nft.datatypes import IFNAME, INET_PROTO, INET_SERVICE, IPV4_ADDR, MARK, VERDICT, Datatype
from nslab.nft.objects import Chain, Hook, Key, Rule, Set, Table
from nslab.nft.transaction import Transaction, difference, steps

CHAINS = ("c0", "c1", "c2")  # A chain jumps only to later ones: the kernel refuses loops.
ADDRESSES = tuple(f"10.0.{number}.1" for number in range(4))
# Ranges that do not meet each other, as nftables asks of an interval set.
RANGES = ("10.0.0.0/24", "10.0.1.0/24", "10.0.2.7", ("10.0.2.9", "10.0.2.12"), "240.0.0.0/4", "0.0.0.0/8")
SCALARS: dict[Datatype, tuple[str | int, ...]] = {
    IPV4_ADDR: ADDRESSES, INET_PROTO: ("tcp", "udp"), INET_SERVICE: (53, 80), MARK: (1, 2, 3),
    IFNAME: ("eth0", "eth1"),
}
KEY_TYPES = ((IPV4_ADDR,), (MARK,), (IPV4_ADDR, INET_PROTO, INET_SERVICE), (IFNAME, IPV4_ADDR))
SELECTORS: dict[Datatype, s.Selector] = {
    IPV4_ADDR: s.IP_DADDR, INET_PROTO: s.META_L4PROTO, INET_SERVICE: s.TH_DPORT, MARK: s.CT_MARK,
    IFNAME: s.META_IIFNAME,
}
MATCHES: tuple[s.Statement, ...] = (
    s.Compare(s.IP_SADDR, "10.0.0.1"), s.InPrefix(s.IP_DADDR, "10.0.0.0/12"), s.CtState(("new",)),
    s.CtStatus("dnat", negate=True), s.FibLocal("daddr"), s.Counter(), s.SetMarkBits("meta", 0xFF, 0x4000),
    s.SetMark("meta", s.numgen_random(2)), s.Compare(s.META_IIFNAME, "eth0", negate=True),
)


@st.composite
def sets(draw: st.DrawFn, name: str, jumps: tuple[str, ...]) -> Set:
    key_type = draw(st.sampled_from(KEY_TYPES))
    interval = draw(st.booleans()) and key_type[0] in (IPV4_ADDR, IFNAME)
    value_type = draw(st.sampled_from([(), (MARK,), (VERDICT,), (IPV4_ADDR, INET_SERVICE)]))
    choices = [
        st.sampled_from(RANGES if interval and datatype is IPV4_ADDR else SCALARS[datatype]) for datatype in key_type
    ]
    keys: list[Key] = draw(st.lists(st.tuples(*choices), max_size=6, unique=True))
    values: st.SearchStrategy[object] = st.none()
    if value_type == (VERDICT,):
        values = st.sampled_from([s.DROP, s.ACCEPT, *map(s.goto, jumps), *map(s.jump, jumps)])
    elif value_type:
        values = st.tuples(*(st.sampled_from(SCALARS[datatype]) for datatype in value_type))
    elements = {key: draw(values) for key in keys}
    return Set(name, key_type, elements, value_type, interval)  # type: ignore[arg-type]


@st.composite
def rules(draw: st.DrawFn, jumps: tuple[str, ...], known: tuple[Set, ...], may_jump_by_map: bool) -> Rule:
    statements = draw(st.lists(st.sampled_from(MATCHES), max_size=3))
    if known and draw(st.booleans()):
        item = draw(st.sampled_from(known))
        selectors = tuple(SELECTORS[datatype] for datatype in item.key_type)
        if not item.value_type:
            statements.append(s.InSet(selectors, item.name))
        elif item.value_type == (MARK,):
            statements.append(s.SetMarkFromMap("meta", selectors, item.name))
        elif item.value_type == (VERDICT,) and may_jump_by_map:
            statements.append(s.VerdictMap(selectors, item.name))
    statements += draw(st.lists(st.sampled_from([s.DROP, s.RETURN, *map(s.jump, jumps)]), max_size=1))
    return Rule(tuple(statements) or (s.ACCEPT,), draw(st.sampled_from(["", "a comment"])))


@st.composite
def tables(draw: st.DrawFn) -> Table:
    names = tuple(name for name in CHAINS if draw(st.booleans()))
    known = tuple(draw(sets(f"s{number}", names)) for number in range(3) if draw(st.booleans()))
    chains = [
        Chain(name, tuple(draw(st.lists(rules(names[place + 1:], known, False), max_size=4))),
              comment=draw(st.sampled_from(["", "x"])))
        for place, name in enumerate(names)
    ]
    if draw(st.booleans()):
        hook = Hook("filter", draw(st.sampled_from(["input", "forward"])), draw(st.sampled_from([-5, 0])))
        chains.insert(0, Chain("base", tuple(draw(st.lists(rules(names, known, True), max_size=4))), hook))
    return Table("ip", "t", tuple(chains), known, draw(st.sampled_from(["nslab:a", "nslab:a", "nslab:b"])))


def apply(kernel: NftSocket, transaction: Transaction | None) -> None:
    if transaction:
        kernel.apply(transaction)


EXAMPLES = int(os.environ.get("NSLAB_EXAMPLES", "60"))


@pytest.fixture(scope="module")
def kernel() -> NftSocket:
    return NftSocket()


@settings(max_examples=EXAMPLES, deadline=None,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(tables(), min_size=2, max_size=3))
def test_every_table_is_reached_from_every_other(kernel: NftSocket, stations: list[Table]) -> None:
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    have: Table | None = None
    for want in stations:
        apply(kernel, difference(want, have))
        have = kernel.tables("nslab:").get(("ip", "t"))
        again = difference(want, have)
        assert again is None, again.text()
    apply(kernel, difference(None, have))
    assert kernel.tables("") == {}


@settings(max_examples=EXAMPLES, deadline=None,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(tables(), tables())
def test_steps_lead_where_the_difference_leads(kernel: NftSocket, first: Table, second: Table) -> None:
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    apply(kernel, difference(first, None))
    for step in steps(second, kernel.tables("nslab:")["ip", "t"]):
        apply(kernel, step)
    again = difference(second, kernel.tables("nslab:")["ip", "t"])
    assert again is None, again.text()


def test_what_is_new_comes_before_its_use_and_what_is_old_goes_after_it() -> None:
    def table(name: str) -> Table:
        leading = Set("pods", (IPV4_ADDR,), {("10.0.0.1",): s.goto(name)}, (VERDICT,))
        chains = (Chain("first", (Rule((s.VerdictMap((s.IP_SADDR,), "pods"),)),)), Chain(name, (Rule((s.DROP,)),)))
        return Table("ip", "t", chains, (leading,))

    texts = [step.text() for step in steps(table("new"), table("old"))]
    assert texts == [
        "add chain ip t new\nadd rule ip t new drop\n",
        "delete element ip t pods { 10.0.0.1 }\nadd element ip t pods { 10.0.0.1 : goto new }\n",
        "flush chain ip t old\ndelete chain ip t old\n",
    ]
    assert [step.text() for step in steps(table("one"), table("one"))] == []


@settings(max_examples=EXAMPLES // 3, deadline=None,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(tables(), tables())
def test_the_text_of_a_difference_does_the_same(kernel: NftSocket, first: Table, second: Table) -> None:
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    apply(kernel, difference(first, None))
    transaction = difference(second, kernel.tables("nslab:")["ip", "t"])
    if transaction:
        subprocess.run(["nft", "-f", "-"], input=transaction.text(), text=True, check=True)
    again = difference(second, kernel.tables("nslab:")["ip", "t"])
    assert again is None, again.text()


def test_sharing_is_cheap() -> None:
    """A set of one table that is the very set of another is not looked into."""

    class Untouchable(dict[Key, None]):
        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

        __hash__ = None  # type: ignore[assignment]

    item = Set("s", (MARK,), Untouchable({(1,): None}))
    assert difference(Table("ip", "t", sets=(item,)), Table("ip", "t", sets=(item,))) is None


def test_tables_of_two_names_have_no_difference() -> None:
    with pytest.raises(ValueError, match="two tables"):
        difference(Table("ip", "a"), Table("ip", "b"))
