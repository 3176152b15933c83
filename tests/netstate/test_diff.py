"""What diff says, operation by operation, and that it always leads to the wish (on the fake kernel)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from nslab.errors import KernelError
from nslab.linux.fake import FakeKernel, Killed
from nslab.netstate.diff import diff
from nslab.netstate.model import NetState
from nslab.netstate.operations import (
    AddAddress,
    AddLink,
    AddNeighbours,
    AddNetns,
    ApplyTransaction,
    Batch,
    DeleteAddress,
    DeleteLink,
    DeleteNetns,
    ReplaceRoute,
    SetLink,
)
from tests.netstate.states import LAB, Wish, neighbour, node_name, pod_name, state, wishes

NOTHING = NetState(LAB)


def converge(kernel: FakeKernel, want: NetState) -> Batch:
    """One `up` (or, with nothing wanted, one `down`)."""
    batch = diff(want, kernel.observe(LAB, want.netns, want.files))
    kernel.apply(batch)
    return batch


def from_to(before: Wish, after: Wish) -> Batch:
    return diff(state(after), observed(before))


def observed(wish: Wish) -> NetState:
    kernel = FakeKernel()
    converge(kernel, state(wish))
    return kernel.observe(LAB, state(wish).netns, state(wish).files)


def test_nothing_to_do_where_all_is_as_wanted() -> None:
    assert len(from_to(Wish(), Wish())) == 0


def test_down_is_the_wish_for_nothing() -> None:
    batch = diff(NOTHING, observed(Wish()))
    assert [operation.describe() for operation in batch] == [
        "rm /etc/netns/t.vpc/motd",
        "ip netns delete t.node.a",
        "ip netns delete t.pod.p",
        "ip netns delete t.vpc",
    ]


def test_plan_of_a_new_pod_touches_nothing_else() -> None:
    batch = from_to(Wish(pods=(), known=False), Wish(known=False))
    assert [operation.describe() for operation in batch] == [
        'ip netns add t.pod.p; ip -n t.pod.p link set lo up alias "nslab:t uid=1"',
        "ip -n t.node.a link add veth-p numtxqueues 1 numrxqueues 1 type veth"
        " peer name eth0 numtxqueues 1 numrxqueues 1 netns t.pod.p\n"
        "ip -n t.node.a link set veth-p mtu 1460 master cbr0 up alias \"nslab:t veth-p to ('t.pod.p', 'eth0')\"\n"
        "ip -n t.pod.p link set eth0 mtu 1460 up alias \"nslab:t eth0 to ('t.node.a', 'veth-p')\"\n"
        "bridge -n t.node.a link set dev veth-p hairpin on",
        "ip -n t.pod.p address add 10.8.1.10/24 dev eth0",
        "ip -n t.pod.p route replace 0.0.0.0/0 proto static via 10.8.1.1 dev eth0",
    ]


def test_a_removed_pod_loses_its_link_at_the_end() -> None:
    batch = from_to(Wish(), Wish(pods=()))
    assert batch.remove == (DeleteLink(node_name("a"), "veth-p"), DeleteNetns(pod_name("p")))
    assert len(batch) == 2


def test_a_replaced_pod_gets_a_new_netns_and_link() -> None:
    batch = from_to(Wish(), Wish(pods=(("a", "p", "2"),)))
    assert batch.replace == (DeleteLink(node_name("a"), "veth-p"), DeleteNetns(pod_name("p")))
    assert batch.netns == (AddNetns(pod_name("p"), "2", LAB),)
    assert [type(operation) for operation in batch.links] == [AddLink]
    assert [type(operation) for operation in batch.configure] == [AddAddress, AddNeighbours, ReplaceRoute]
    assert batch.remove == ()


def test_a_half_pair_is_made_anew() -> None:
    have = observed(Wish())
    del have.netns[pod_name("p")]
    node = have.netns[node_name("a")]
    node.links["veth-p"] = replace(node.links["veth-p"], peer=None)
    batch = diff(state(Wish()), have)
    assert batch.replace == (DeleteLink(node_name("a"), "veth-p"),)
    assert [type(operation) for operation in batch.links] == [AddLink]


def test_a_link_of_another_kind_is_replaced_with_what_hung_on_it() -> None:
    have = observed(Wish())
    node = have.netns[node_name("a")]
    node.links["cbr0"] = replace(node.links["cbr0"], kind="dummy")
    batch = diff(state(Wish()), have)
    assert batch.replace == (DeleteLink(node_name("a"), "cbr0"),)
    assert [type(operation) for operation in batch.links] == [AddLink]
    assert [type(operation) for operation in batch.configure] == [SetLink, AddAddress]


@pytest.mark.parametrize(("change", "kinds"), [
    ({"hairpin": False}, {SetLink}),
    ({"mtu": 1400}, {SetLink}),
    ({"ports": (443,)}, {ApplyTransaction}),
    ({"table": False}, {ApplyTransaction}),
    ({"gateway": 2}, {DeleteAddress, AddAddress, ReplaceRoute}),
])
def test_a_change_takes_only_operations_of_its_kind(change: dict[str, object], kinds: set[type]) -> None:
    batch = from_to(Wish(), replace(Wish(), **change))  # type: ignore[arg-type]
    assert {type(operation) for operation in batch} == kinds


def test_a_link_taken_down_is_set_up_again() -> None:
    have = observed(Wish())
    pod = have.netns[pod_name("p")]
    pod.links["eth0"] = replace(pod.links["eth0"], up=False)
    assert [type(operation) for operation in diff(state(Wish()), have)] == [SetLink, AddNeighbours, ReplaceRoute]


def test_a_peer_that_nobody_wants_is_a_defect() -> None:
    want = state(Wish())
    del want.netns[pod_name("p")]
    with pytest.raises(ValueError, match="the other end of veth-p is not wanted"):
        diff(want, NOTHING)


@settings(max_examples=300, deadline=None)
@given(wishes(), wishes())
def test_leads_from_any_state_to_any_wish_at_once(before: Wish, after: Wish) -> None:
    kernel = FakeKernel()
    converge(kernel, state(before))
    converge(kernel, state(after))
    assert converge(kernel, state(after)).describe() == ""
    converge(kernel, NOTHING)
    assert (kernel.netns, kernel.files) == ({}, {})


@settings(max_examples=100, deadline=None)
@given(wishes(), wishes())
def test_what_two_wishes_share_is_not_touched(before: Wish, after: Wish) -> None:
    batch = from_to(before, after)
    first, second = state(before), state(after)
    assert not {operation.netns for operation in batch if isinstance(operation, DeleteNetns)} & {
        name for name, netns in first.netns.items() if name in second.netns and second.netns[name].uid == netns.uid
    }


@pytest.mark.parametrize("failure", [Killed, KernelError])
@pytest.mark.parametrize("goal", ["up", "down"])
def test_a_stop_at_every_operation_is_mended_by_the_next_run(failure: type[BaseException], goal: str) -> None:
    before = Wish(nodes=("a", "b"), pods=(("a", "p", "1"), ("a", "q", "1"), ("b", "r", "1")))
    after = Wish(nodes=("a", "c"), pods=(("a", "p", "2"), ("c", "q", "1"), ("a", "s", "1")), gateway=2, mtu=1400,
                 ports=(443,), spread=True)
    total = len(from_to(before, after))
    assert total > 30
    for number in range(1, total + 1):
        kernel = FakeKernel()
        converge(kernel, state(before))
        kernel.fail_at(number, failure)
        with pytest.raises(failure):
            converge(kernel, state(after))
        kernel.fail_at(0)
        wish = state(after) if goal == "up" else NOTHING
        converge(kernel, wish)
        assert converge(kernel, wish).describe() == ""
        if goal == "down":
            assert (kernel.netns, kernel.files) == ({}, {})


TWO = Wish(pods=(("a", "p", "1"), ("a", "q", "1")))


def test_a_new_pod_is_told_to_all_of_its_node() -> None:
    told = {op.netns: op for op in from_to(Wish(), TWO) if isinstance(op, AddNeighbours)}
    assert told.keys() == {pod_name("p"), pod_name("q")}
    assert set(told[pod_name("p")].neighbours) == {neighbour(1, "p"), neighbour(1, "q")}
    assert told[pod_name("p")].digest == told[pod_name("q")].digest


def test_of_two_wishes_only_the_new_neighbour_is_told() -> None:
    told = {op.netns: op for op in diff(state(TWO), state(Wish())) if isinstance(op, AddNeighbours)}
    assert told[pod_name("p")].neighbours == (neighbour(1, "q"),)


def test_neighbours_go_with_their_link_and_come_back_with_it() -> None:
    kernel = FakeKernel()
    converge(kernel, state(TWO))
    kernel.apply(Batch(remove=(DeleteLink(pod_name("p"), "eth0"),)))
    told = [op for op in converge(kernel, state(TWO)) if isinstance(op, AddNeighbours)]
    assert [(op.netns, len(op.neighbours)) for op in told] == [(pod_name("p"), 2)]


def test_a_neighbour_says_itself() -> None:
    told = next(op for op in diff(state(Wish()), NOTHING) if isinstance(op, AddNeighbours))
    assert told.describe().splitlines() == [
        "ip -n t.pod.p neigh replace 10.8.1.10 lladdr 0a:58:0a:08:01:0a dev eth0 nud permanent",
        f'ip -n t.pod.p link set lo alias "nslab:t uid=1 neighbours={told.digest}"',
    ]
