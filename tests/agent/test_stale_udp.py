"""UDP flows to endpoints that are gone, forgotten beside everything else."""

from __future__ import annotations

import logging
import threading

import pytest

from nslab.agent.stale_udp import StaleUdp
from nslab.linux.conntrack import Address, flush_stale_udp
from tests.linux import test_conntrack
from tests.linux.test_conntrack import HERE, SERVICE

flows = test_conntrack.flows  # a fixture: a netns with flows to a Service and to a node port

LIVE, NONE = frozenset([(HERE, 8080)]), frozenset[Address]()
FORMER = {(SERVICE, 53): LIVE, ("", 30000): LIVE}


@pytest.fixture
def stale_udp() -> StaleUdp:
    return StaleUdp()


def finished(stale_udp: StaleUdp) -> threading.Event:
    """Set once nothing is left to forget."""
    event = threading.Event()
    stale_udp.done = event.set
    return event


def test_flows_are_forgotten_soon_and_it_says_when(flows: str, stale_udp: StaleUdp) -> None:
    event = finished(stale_udp)
    stale_udp.forget([flows], FORMER, FORMER | {(SERVICE, 53): NONE})
    assert event.wait(60)
    assert not stale_udp.busy
    assert flush_stale_udp([flows], FORMER, {}) == 1  # the other one was still there


def test_what_is_asked_for_meanwhile_is_done_as_well(flows: str, stale_udp: StaleUdp) -> None:
    """First the Service of the node port goes, then the other one."""
    event = finished(stale_udp)
    stale_udp.forget([flows], FORMER, {(SERVICE, 53): LIVE})
    stale_udp.forget([flows], {(SERVICE, 53): LIVE}, {})
    while stale_udp.busy:
        assert event.wait(60)
    assert flush_stale_udp([flows], FORMER, {}) == 0


def test_a_namespace_that_is_gone_is_none_of_its_business(
    flows: str, stale_udp: StaleUdp, caplog: pytest.LogCaptureFixture
) -> None:
    event = finished(stale_udp)
    with caplog.at_level(logging.ERROR):
        stale_udp.forget(["no-such-netns", flows], FORMER, {})
        assert event.wait(60)
    assert caplog.text == ""
    assert flush_stale_udp([flows], FORMER, {}) == 0


def test_nothing_changed_is_nothing_to_do(stale_udp: StaleUdp) -> None:
    stale_udp.forget(["no-such-netns"], FORMER, dict(FORMER))
    stale_udp.forget([], {}, FORMER)
    assert not stale_udp.busy
