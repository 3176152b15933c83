"""What both kernels, the real one and the fake, must do alike."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from nslab.errors import KernelError, OwnershipError
from nslab.linux.fake import FakeKernel
from nslab.linux.kernel import Kernel
from nslab.linux.real import RealKernel
from nslab.netstate.diff import diff
from nslab.netstate.model import Address, Link, NetState, Qdisc, Route, stamp
from nslab.netstate.operations import (
    AddAddress,
    AddLink,
    AddNetns,
    Batch,
    DeleteAddress,
    DeleteLink,
    DeleteNetns,
    DeleteQdisc,
    DeleteRoute,
    Operation,
    RemoveFile,
    ReplaceQdisc,
    ReplaceRoute,
    SetLink,
    SetSysctl,
)
from tests.netstate.states import LAB, TBF, VPC, Wish, node_name, pod_name, state, wishes

NODE, POD = node_name("a"), pod_name("p")
NOTHING = NetState(LAB)


@pytest.fixture(params=["fake", "real"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    return FakeKernel() if request.param == "fake" else request.getfixturevalue("real")


def observe(kernel: Kernel, want: NetState) -> NetState:
    return kernel.observe(LAB, want.netns, want.files)


def converge(kernel: Kernel, want: NetState) -> Batch:
    batch = diff(want, observe(kernel, want))
    kernel.apply(batch)
    return batch


def assert_reached(kernel: Kernel, want: NetState) -> None:
    assert diff(want, observe(kernel, want)).describe() == ""


def do(kernel: Kernel, *operations: Operation) -> None:
    kernel.apply(Batch(configure=operations))


def refused(kernel: Kernel, *operations: Operation) -> KernelError:
    with pytest.raises(KernelError) as caught:
        do(kernel, *operations)
    return caught.value


BUSY = Wish(nodes=("a", "b"), pods=(("a", "p", "1"), ("a", "q", "1"), ("b", "r", "1")), spread=True,
            mac="02:00:00:00:00:07")


@pytest.mark.parametrize("wish", [
    Wish(), BUSY, replace(BUSY, routed=True), replace(BUSY, ports=(80, 443, 53)), replace(BUSY, down=True),
    replace(BUSY, qdisc=TBF),
])
def test_builds_what_is_wanted_and_takes_it_away(kernel: Kernel, wish: Wish) -> None:
    want = state(wish)
    converge(kernel, want)
    assert_reached(kernel, want)
    assert kernel.labs() == [LAB]
    converge(kernel, NOTHING)
    assert observe(kernel, want) == NOTHING
    assert kernel.labs() == []


def test_observes_all_that_is_the_labs_unasked(kernel: Kernel) -> None:
    want = state(Wish())
    converge(kernel, want)
    have = kernel.observe(LAB, [], [])
    assert have.netns.keys() == want.netns.keys()
    assert have.files == want.files
    assert kernel.observe("other", [], []) == NetState("other")


def test_what_is_done_already_counts_as_done(kernel: Kernel) -> None:
    want = state(replace(Wish(), table=False))
    batch = diff(want, NOTHING)
    kernel.apply(batch)
    kernel.apply(batch)
    assert_reached(kernel, want)


def test_what_is_gone_already_counts_as_done(kernel: Kernel) -> None:
    do(kernel, AddNetns(NODE, "1", LAB))
    bridge = Link("cbr0", "bridge", stamp(LAB, "cbr0"), 1460)
    do(
        kernel,
        DeleteLink(NODE, "nosuch"), DeleteAddress(NODE, Address("lo", "10.0.0.1/32")),
        DeleteRoute(NODE, Route("10.1.0.0/16", "lo")), DeleteNetns("t.nosuch"),
        RemoveFile("/etc/netns/t.nosuch/hosts"),
    )
    do(kernel, AddLink(NODE, bridge))
    do(kernel, DeleteLink(NODE, "cbr0"), DeleteLink(NODE, "cbr0"))
    do(kernel, DeleteNetns(NODE))
    do(kernel, DeleteNetns(NODE))


@pytest.mark.parametrize(("operation", "number"), [
    (AddAddress(NODE, Address("nosuch", "10.0.0.1/24")), errno.ENODEV),
    (SetLink(NODE, Link("nosuch", "veth", "nslab:t x", 1460)), errno.ENODEV),
    (AddLink(NODE, Link("v", "veth", "nslab:t v", 1460, "nosuch", peer=(POD, "eth0"), creates_peer=True),
             Link("eth0", "veth", "nslab:t eth0", 1460)), errno.ENODEV),
    (AddLink(NODE, Link("v", "veth", "nslab:t v", 1460, peer=("t.nosuch", "eth0"), creates_peer=True),
             Link("eth0", "veth", "nslab:t eth0", 1460)), errno.ENOENT),
    (AddAddress("t.nosuch", Address("lo", "10.0.0.1/24")), errno.ENOENT),
    (ReplaceRoute(NODE, Route("0.0.0.0/0", "cbr0", "10.99.0.1")), errno.ENETUNREACH),
    (ReplaceRoute(NODE, Route("0.0.0.0/0", via="10.99.0.1")), errno.ENETUNREACH),
    (ReplaceRoute(NODE, Route("10.7.0.0/16", nexthops=(("10.99.0.1", "cbr0", 1), ("10.1.0.2", "cbr0", 1)))),
     errno.ENETUNREACH),
    (ReplaceRoute(NODE, Route("10.7.0.0/16", "nosuch")), errno.ENODEV),
    (ReplaceRoute(NODE, Route("10.7.0.0/16", "cbr0", source="10.98.0.1")), errno.EINVAL),
    (SetSysctl(NODE, "ipv4/conf/nosuch/rp_filter", "0"), errno.ENOENT),
    (ReplaceQdisc(NODE, "nosuch", TBF), errno.ENODEV),
    (DeleteQdisc(NODE, "nosuch"), errno.ENODEV),
    (ReplaceRoute(NODE, Route("10.7.0.0/16", "down0")), errno.ENETDOWN),
    (AddNetns(NODE, "another", LAB), errno.EEXIST),
])
def test_a_refusal_names_operation_errno_and_netns(kernel: Kernel, operation: Operation, number: int) -> None:
    do(kernel, AddNetns(NODE, "1", LAB), AddNetns(POD, "1", LAB))
    do(kernel, AddLink(NODE, Link("cbr0", "bridge", stamp(LAB, "cbr0"), 1460)))
    do(kernel, AddLink(NODE, Link("down0", "bridge", stamp(LAB, "down0"), 1460, up=False)))
    do(kernel, AddAddress(NODE, Address("cbr0", "10.1.0.1/24")))
    error = refused(kernel, operation)
    assert (error.operation, error.errno) == (operation.describe(), number)
    assert error.netns == getattr(operation, "netns", None)


def test_an_onlink_gateway_needs_no_address(kernel: Kernel) -> None:
    do(kernel, AddNetns(NODE, "1", LAB))
    do(kernel, AddLink(NODE, Link("cbr0", "bridge", stamp(LAB, "cbr0"), 1460)))
    route = Route("0.0.0.0/0", "cbr0", "10.99.0.1", onlink=True)
    do(kernel, ReplaceRoute(NODE, route))
    assert kernel.observe(LAB, [NODE], []).netns[NODE].routes == {"0.0.0.0/0": route}


def test_a_sysctl_that_is_never_read_back_is_a_defect(kernel: Kernel) -> None:
    do(kernel, AddNetns(NODE, "1", LAB))
    with pytest.raises(ValueError, match="ipv4/tcp_syncookies is not in sysctls"):
        do(kernel, SetSysctl(NODE, "ipv4/tcp_syncookies", "0"))


def test_operations_before_the_refused_one_stay_done(kernel: Kernel) -> None:
    do(kernel, AddNetns(NODE, "1", LAB))
    good, bad = Address("lo", "10.0.0.1/32"), Address("nosuch", "10.0.0.2/32")
    refused(kernel, AddAddress(NODE, good), AddAddress(NODE, bad))
    have = kernel.observe(LAB, [], []).netns[NODE].addresses
    assert have <= {good}
    do(kernel, AddAddress(NODE, good))
    assert kernel.observe(LAB, [], []).netns[NODE].addresses == {good}


def test_another_labs_netns_is_refused(kernel: Kernel) -> None:
    do(kernel, AddNetns(NODE, "1", "other"))
    with pytest.raises(OwnershipError, match=NODE):
        observe(kernel, state(Wish()))
    with pytest.raises(OwnershipError, match=NODE):
        do(kernel, AddNetns(NODE, "1", LAB))
    assert NODE not in kernel.observe(LAB, [], []).netns
    do(kernel, DeleteNetns(NODE))


def test_another_labs_link_is_refused(kernel: Kernel) -> None:
    do(kernel, AddNetns(NODE, "1", LAB))
    theirs = Link("cbr0", "bridge", stamp("other", "cbr0"), 1460)
    do(kernel, AddLink(NODE, theirs))
    assert kernel.observe(LAB, [], []).netns[NODE].links == {}
    with pytest.raises(OwnershipError, match="cbr0"):
        do(kernel, AddLink(NODE, replace(theirs, alias=stamp(LAB, "cbr0"))))
    assert kernel.observe(LAB, [], []).netns[NODE].links == {}


DRIFTS: list[list[Operation]] = [
    [DeleteLink(NODE, "veth-p")],
    [DeleteLink(POD, "eth0")],
    [DeleteLink(NODE, "cbr0")],
    [DeleteNetns(POD)],
    [DeleteNetns(NODE)],
    [DeleteNetns(VPC), DeleteNetns(POD)],
    [DeleteRoute(POD, Route("0.0.0.0/0"))],
    [DeleteAddress(POD, Address("eth0", "10.8.1.10/24"))],
    [DeleteAddress(NODE, Address("cbr0", "10.8.1.1/24"))],
    [AddAddress(NODE, Address("cbr0", "10.8.1.77/24"))],
    [SetLink(NODE, Link("veth-p", "veth", stamp(LAB, "x"), 1300))],
    [SetSysctl(NODE, "ipv4/ip_forward", "0")],
    [SetSysctl(VPC, "ipv4/fib_multipath_hash_policy", "0")],
    [SetSysctl(VPC, "ipv4/conf/to-a/rp_filter", "1")],
    [RemoveFile("/etc/netns/t.vpc/motd")],
    [ReplaceRoute(NODE, Route("0.0.0.0/0", "cbr0"))],
    [ReplaceRoute(NODE, Route("10.77.0.0/16", kind="blackhole"))],
    [SetLink(POD, Link("eth0", "veth", stamp(LAB, "eth0"), 1460, up=False))],
    [ReplaceQdisc(POD, "eth0", TBF)],
    [ReplaceQdisc(NODE, "veth-p", Qdisc("blackhole"))],
]
BRIDGED_AND_ROUTED = [
    pytest.param(drift, routed, id=f"{number}-{type(drift[0]).__name__}-{'routed' if routed else 'bridged'}")
    for number, drift in enumerate(DRIFTS) for routed in (False, True)
    if not (routed and "cbr0" in str(drift))  # without a bridge, nothing of it can drift
]


@pytest.mark.parametrize(("drift", "routed"), BRIDGED_AND_ROUTED)
def test_drift_is_seen_and_mended(kernel: Kernel, drift: list[Operation], routed: bool) -> None:
    want = state(replace(Wish(), routed=routed))
    converge(kernel, want)
    do(kernel, *drift)
    assert len(converge(kernel, want)) > 0
    assert_reached(kernel, want)


def test_an_obsolete_first_address_does_not_take_the_wanted_one_along(kernel: Kernel) -> None:
    """With promote_secondaries 0 the kernel deletes all of a network's addresses with its first."""
    do(kernel, AddNetns(NODE, "node-a", LAB))
    do(kernel, AddLink(NODE, Link("cbr0", "bridge", stamp(LAB, "cbr0 to None"), 1460)))
    do(kernel, AddAddress(NODE, Address("cbr0", "10.8.1.77/24")), AddAddress(NODE, Address("cbr0", "10.8.1.1/24")))
    want = state(Wish())
    converge(kernel, want)
    assert_reached(kernel, want)


BROKEN = [replace(Wish(), down=True), replace(Wish(), qdisc=TBF), replace(Wish(), qdisc=Qdisc("blackhole"))]


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize("broken", BROKEN)
def test_a_link_breaks_and_is_mended(kernel: Kernel, broken: Wish, routed: bool) -> None:
    whole, broken = replace(Wish(), routed=routed), replace(broken, routed=routed)
    for before, after in ((whole, broken), (broken, whole), (whole, broken)):
        converge(kernel, state(before))
        converge(kernel, state(after))
        assert_reached(kernel, state(after))
        if before is not whole:  # and followed without a look at the kernel, it comes to the same
            kernel.apply(diff(state(before), state(after)))
            kernel.apply(diff(state(after), state(before)))
            assert_reached(kernel, state(after))


def test_mending_a_broken_link_is_seen_from_both_sides(kernel: Kernel) -> None:
    """What somebody mended by hand is broken again, where broken is what is wanted."""
    for broken, mended in (
        (replace(Wish(), down=True), SetLink(POD, Link("eth0", "veth", stamp(LAB, "eth0"), 1460))),
        (replace(Wish(), qdisc=TBF), DeleteQdisc(POD, "eth0")),
        (replace(Wish(), qdisc=TBF), ReplaceQdisc(POD, "eth0", Qdisc("tbf", 2_000_000))),
    ):
        converge(kernel, state(broken))
        do(kernel, mended)
        assert len(converge(kernel, state(broken))) > 0
        assert_reached(kernel, state(broken))


def test_a_qdisc_that_is_gone_already_counts_as_deleted(kernel: Kernel) -> None:
    converge(kernel, state(Wish()))
    do(kernel, DeleteQdisc(POD, "eth0"), DeleteQdisc(POD, "eth0"))
    assert_reached(kernel, state(Wish()))


def test_reports_progress_to_the_end_of_each_phase(kernel: Kernel) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    batch = diff(state(BUSY), NOTHING)
    kernel.apply(batch, lambda phase, done, total: seen.setdefault(phase, []).append((done, total)))
    for phase, operations in batch.phases:
        if operations:
            assert seen[phase][-1] == (len(operations), len(operations))
            assert seen[phase] == sorted(seen[phase])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=wishes(), after=wishes())
def test_the_real_kernel_goes_from_any_state_to_any_wish(real: RealKernel, before: Wish, after: Wish) -> None:
    converge(real, state(before))
    converge(real, state(after))
    assert_reached(real, state(after))
    converge(real, NOTHING)
    assert real.observe(LAB, [], []) == NOTHING
