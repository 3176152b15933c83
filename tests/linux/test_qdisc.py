"""Queueing disciplines: what we send and read, as pyroute2 (with encoders and parsers of its own) understands it."""

from __future__ import annotations

from struct import pack
from subprocess import run
from typing import Any

import pytest
from pyroute2 import NetNS
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from nslab.errors import FeatureError
from nslab.linux import qdisc
from nslab.linux.features import missing_qdisc
from nslab.linux.netlink import attribute, attribute_string
from nslab.linux.real import RealKernel
from nslab.netstate.model import Qdisc
from nslab.netstate.operations import Batch, ReplaceQdisc
from tests.linux.test_conformance import POD, converge
from tests.netstate.states import TBF, Wish, state

NETEM = Qdisc("netem", rate=10_000_000, delay=50_000, loss=1250)
LOSSES = [1, 50, 1000, 1250, 3333, 9999, 10_000]
RATES = [8_000, 10_000_000, 34_000_000_000, 40_000_000_000, 100_000_000_000]


def understood(message: bytes) -> Any:
    """A request as pyroute2 reads it."""
    read = tcmsg(message)
    read.decode()
    return read


def test_netem_is_encoded_as_pyroute2_understands_it() -> None:
    read = understood(qdisc.replace_root(7, NETEM))
    assert (read["header"]["type"], read["index"], read["parent"]) == (36, 7, 0xFFFFFFFF)
    assert read.get_attr("TCA_KIND") == "netem"
    options = read.get_attr("TCA_OPTIONS")
    assert (options["delay"], options["limit"]) == (50_000_000 // 64, 10_000)
    assert options["loss"] == pytest.approx(0.125 * 0xFFFFFFFF, abs=1)
    assert (options["gap"], options["duplicate"], options["jitter"]) == (0, 0, 0)
    assert options.get_attr("TCA_NETEM_RATE")["rate"] == 1_250_000


def test_tbf_is_encoded_as_pyroute2_understands_it() -> None:
    read = understood(qdisc.replace_root(7, TBF))
    assert read.get_attr("TCA_KIND") == "tbf"
    parameters = read.get_attr("TCA_OPTIONS").get_attr("TCA_TBF_PARMS")
    assert (parameters["rate"], parameters["limit"]) == (1_250_000, 125_000 + 25_000)


def test_blackhole_needs_no_options() -> None:
    read = understood(qdisc.replace_root(7, Qdisc("blackhole")))
    assert read.get_attr("TCA_KIND") == "blackhole"
    assert read.get_attr("TCA_OPTIONS") is None


@pytest.mark.parametrize("wanted", [
    NETEM, Qdisc("netem", delay=1), Qdisc("netem", delay=60_000_000), Qdisc("blackhole"),
    *(Qdisc("netem", loss=loss) for loss in LOSSES), *(Qdisc("tbf", rate) for rate in RATES),
    *(Qdisc("netem", rate) for rate in RATES),
])
def test_what_is_sent_is_read_back(wanted: Qdisc) -> None:
    """A dump has the same header and options as the request."""
    assert qdisc.parse_root(qdisc.replace_root(7, wanted)[16:]) == (7, wanted)


def test_older_kernels_tell_the_delay_in_ticks_alone() -> None:
    body = pack("=BxxxiIII", 0, 7, 0, 0xFFFFFFFF, 0) + attribute_string(1, "netem")
    body += attribute(2, pack("=6I", 64_000_000 // 64, 1000, 0, 0, 0, 0))
    assert qdisc.parse_root(body) == (7, Qdisc("netem", delay=64_000))


@pytest.mark.parametrize("rate", RATES)
def test_pyroute2_sees_the_rate_in_the_kernel(real: RealKernel, rate: int) -> None:
    want = state(Wish(qdisc=Qdisc("tbf", rate)))
    converge(real, want)
    with NetNS(POD) as netns:
        index = netns.link_lookup(ifname="eth0")[0]
        (root,) = [one for one in netns.get_qdiscs(index=index) if one["index"] == index]
        parameters = root.get_attr("TCA_OPTIONS").get_attr("TCA_TBF_PARMS")
    assert parameters["rate"] == min(rate // 8, 0xFFFFFFFF)


def test_tc_shows_rate_and_burst_as_they_were_meant(real: RealKernel) -> None:
    converge(real, state(Wish(qdisc=TBF)))
    shown = run(["tc", "-n", POD, "qdisc", "show", "dev", "eth0"], capture_output=True, text=True, check=True).stdout
    assert "tbf" in shown
    assert "rate 10Mbit burst 25000b lat 100ms" in shown


def test_netem_is_there_or_refused_with_a_remedy(real: RealKernel) -> None:
    """Where this kernel has it, it is carried out and read back; where not, the refusal comes before anything."""
    want = state(Wish(qdisc=NETEM))
    batch = Batch(configure=(ReplaceQdisc(POD, "eth0", NETEM),))
    if real.has_qdisc("netem"):
        converge(real, want)
        assert real.observe("t", [], []).netns[POD].links["eth0"].qdisc == NETEM
        return
    with pytest.raises(FeatureError) as refused:
        real.require(batch)
    assert refused.value.exit_code == 4
    assert "netem" in str(refused.value)
    assert "modprobe sch_netem" in (refused.value.hint or "")
    missing = missing_qdisc("netem")
    assert missing is not None
    assert missing.needed_for == "nslab fail link .. --delay"


def test_what_every_lab_needs_for_faults_is_here(real: RealKernel) -> None:
    assert real.has_qdisc("blackhole")
    assert real.has_qdisc("tbf")
    real.require(Batch(configure=(ReplaceQdisc(POD, "eth0", TBF),)))


@pytest.mark.parametrize(("wanted", "line"), [
    (Qdisc("blackhole"), "blackhole"),
    (TBF, "tbf rate 10000000bit burst 25000b limit 150000b"),
    (NETEM, "netem limit 10000 delay 50000us loss 12.5% rate 10000000bit"),
    (Qdisc("netem", loss=1000), "netem limit 10000 loss 10%"),
])
def test_says_itself_as_tc_would_be_told(wanted: Qdisc, line: str) -> None:
    assert ReplaceQdisc(POD, "eth0", wanted).describe() == f"tc -n t.pod.p qdisc replace dev eth0 root {line}"
