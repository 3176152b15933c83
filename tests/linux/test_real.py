"""What only a real kernel can show: leftovers of a kill, foreign things, silence, and the host left as it was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nslab.errors import KernelError, OwnershipError
from nslab.linux import netns
from nslab.linux.real import RealKernel
from nslab.netstate.diff import diff
from nslab.netstate.model import Address, Link, Netns, NetState, Route, stamp
from nslab.netstate.operations import AddAddress, AddLink, AddNetns, Batch, DeleteNetns, ReplaceRoute, WriteFile
from tests.linux.test_conformance import BUSY, NODE, NOTHING, POD, assert_reached, converge, do
from tests.netstate.states import LAB, Wish, state

REPOSITORY = Path(__file__).parents[2]


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def test_an_empty_file_left_by_a_kill_is_taken_over(real: RealKernel) -> None:
    Path(netns.path(NODE)).touch()
    assert real.observe(LAB, [], []).netns == {NODE: Netns(NODE, "")}
    converge(real, state(Wish()))
    assert_reached(real, state(Wish()))


def test_an_empty_file_left_by_a_kill_goes_with_the_lab(real: RealKernel) -> None:
    Path(netns.path(NODE)).touch()
    converge(real, NOTHING)
    assert netns.names() == []


def test_a_file_that_appears_meanwhile_is_taken_over(real: RealKernel) -> None:
    Path(netns.path(NODE)).touch()
    do(real, AddNetns(NODE, "1", LAB))
    assert real.observe(LAB, [NODE], []).netns[NODE].uid == "1"


def test_a_netns_without_a_stamp_is_refused_and_left_alone(real: RealKernel) -> None:
    ip("netns", "add", NODE)
    try:
        with pytest.raises(OwnershipError, match=f"{NODE} exists and is not lab t's") as caught:
            converge(real, state(Wish()))
        assert f"ip netns delete {NODE}" in caught.value.hint
        with pytest.raises(OwnershipError):
            do(real, AddNetns(NODE, "1", LAB))
        converge(real, NOTHING)
        assert NODE in ip("netns", "list")
        assert real.labs() == []
    finally:
        ip("netns", "delete", NODE)


def test_a_plain_file_is_refused_and_left_alone(real: RealKernel) -> None:
    path = Path(netns.path(NODE))
    path.write_text("precious")
    with pytest.raises(OwnershipError, match=f"{NODE} exists"):
        converge(real, state(Wish()))
    converge(real, NOTHING)
    assert path.read_text() == "precious"
    path.unlink()


def test_two_labs_side_by_side_do_not_meet(real: RealKernel) -> None:
    want = state(Wish())
    do(real, AddNetns("t2.vpc", "1", "t2"))
    converge(real, want)
    assert real.labs() == ["t", "t2"]
    converge(real, NOTHING)
    assert real.labs() == ["t2"]
    do(real, DeleteNetns("t2.vpc"))


def test_a_link_without_a_stamp_is_refused_and_left_alone(real: RealKernel) -> None:
    do(real, AddNetns(NODE, "1", LAB))
    ip("-n", NODE, "link", "add", "cbr0", "type", "bridge")
    with pytest.raises(OwnershipError, match="the link cbr0 exists") as caught:
        do(real, AddLink(NODE, Link("cbr0", "bridge", stamp(LAB, "cbr0"), 1460)))
    assert f"ip -n {NODE} link delete cbr0" in caught.value.hint
    assert "alias" not in ip("-n", NODE, "link", "show", "cbr0")


def test_a_pair_whose_stamps_a_kill_prevented_is_known_and_finished(real: RealKernel) -> None:
    want = state(Wish())
    converge(real, want)
    ip("-n", POD, "link", "set", "eth0", "down", "alias", "", "addrgenmode", "eui64")
    assert real.observe(LAB, want.netns, []).netns[POD].links["eth0"].alias == ""
    converge(real, want)
    assert_reached(real, want)
    assert "fe80" not in ip("-n", POD, "-6", "address")


def test_a_refusal_carries_the_kernels_own_words(real: RealKernel) -> None:
    do(real, AddNetns(NODE, "1", LAB))
    with pytest.raises(KernelError) as caught:
        do(real, ReplaceRoute(NODE, Route("0.0.0.0/0", "lo", "10.1.1.1")))
    assert str(caught.value) == (
        "netns t.node.a: the kernel refused "
        "`ip -n t.node.a route replace 0.0.0.0/0 proto static via 10.1.1.1 dev lo`: "
        "Network is unreachable (ENETUNREACH): Nexthop has invalid gateway"
    )


def test_what_others_did_in_a_netns_is_not_reported(real: RealKernel) -> None:
    want = state(Wish())
    converge(real, want)
    ip("-n", NODE, "link", "add", "theirs", "type", "bridge")
    ip("-n", NODE, "address", "add", "10.66.0.1/24", "dev", "theirs")
    ip("-n", NODE, "route", "add", "10.67.0.0/16", "dev", "cbr0")
    assert_reached(real, want)


def test_links_have_no_ipv6_address(real: RealKernel) -> None:
    converge(real, state(BUSY))
    for name in state(BUSY).netns:
        assert "fe80" not in ip("-n", name, "-6", "address")


def test_neighbours_are_permanent(real: RealKernel) -> None:
    converge(real, state(BUSY))
    shown = ip("-n", POD, "neigh", "show")
    assert "10.8.1.11 dev eth0 lladdr 0a:58:0a:08:01:0b PERMANENT" in shown
    assert len(shown.splitlines()) == 2


def test_other_programs_see_aliases_and_names(real: RealKernel) -> None:
    converge(real, state(Wish()))
    assert "alias nslab:t uid=1" in ip("-n", POD, "link", "show", "lo")
    assert sorted(line.split()[0] for line in ip("netns", "list").splitlines()) == sorted(state(Wish()).netns)


def test_a_file_that_cannot_be_written_is_named(real: RealKernel) -> None:
    with pytest.raises(KernelError, match="install -D -m 644 /dev/stdin /proc/nosuch/file"):
        do(real, WriteFile("/proc/nosuch/file", ""))


def test_a_file_that_a_kill_left_unfinished_goes(real: RealKernel) -> None:
    converge(real, state(Wish()))
    unfinished = Path("/etc/netns/t.vpc/motd.nslab")
    unfinished.write_text("hel")
    converge(real, state(Wish()))
    assert not unfinished.exists()


def test_files_go_with_the_directories_made_for_them(real: RealKernel) -> None:
    converge(real, state(Wish()))
    assert Path("/etc/netns/t.vpc/motd").read_text() == "hello\n# nslab\n"
    converge(real, NOTHING)
    assert not Path("/etc/netns").exists()


KILLED = """
import sys
from nslab.linux.real import RealKernel
from nslab.netstate.diff import diff
from tests.netstate.states import LAB, state
from tests.linux.test_conformance import BUSY
want = state(BUSY)
print("go", flush=True)
kernel = RealKernel()
kernel.apply(diff(want, kernel.observe(LAB, want.netns, want.files)))
"""


@pytest.mark.parametrize("goal", ["up", "down"])
def test_a_kill_at_any_moment_is_mended_by_the_next_run(real: RealKernel, goal: str) -> None:
    moments = random.Random(7)
    want = state(BUSY) if goal == "up" else NOTHING
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0, 0.04))  # Not to wait for anything: the moment of the kill is what varies.
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        converge(real, want)
        assert_reached(real, want)
        converge(real, NOTHING)
        assert netns.names() == []


def test_the_root_of_named_namespaces_is_put_back(tmp_path: Path) -> None:
    """In a mount namespace whose /run has no netns directory yet."""
    script = """
import os, subprocess
from nslab.linux.real import RealKernel
from nslab.netstate.operations import AddNetns, Batch, DeleteNetns
kernel = RealKernel()
before = open("/proc/self/mountinfo").read()
kernel.apply(Batch(netns=(AddNetns("t.a", "1", "t"), AddNetns("t.b", "1", "t"))))
assert subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.split() != []
kernel.apply(Batch(remove=(DeleteNetns("t.a"),)))
assert os.listdir("/run/netns") == ["t.b"]
kernel.apply(Batch(remove=(DeleteNetns("t.b"),)))
assert os.listdir("/run") == [], os.listdir("/run")
assert open("/proc/self/mountinfo").read() == before
"""
    subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs tmpfs /run && exec {sys.executable} -c '{script}'"],
        check=True, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def test_many_namespaces_need_more_files_than_usual(real: RealKernel) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    try:
        names = [f"t.pod.{number}" for number in range(80)]
        real.apply(Batch(
            netns=tuple(AddNetns(name, "1", LAB) for name in names),
            configure=tuple(AddAddress(name, Address("lo", "10.0.0.1/32")) for name in names),
        ))
        real.apply(Batch(remove=tuple(DeleteNetns(name) for name in names)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_an_empty_batch_touches_nothing(real: RealKernel) -> None:
    real.apply(diff(NetState(LAB), NetState(LAB)))
    assert netns.names() == []
