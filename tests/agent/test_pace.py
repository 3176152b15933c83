"""When the next tick may begin."""

from __future__ import annotations

from nslab.agent.pace import LONGEST, SHARE, STEADY, Pace


def test_a_single_change_waits_for_nothing() -> None:
    pace = Pace()
    for time in range(10):
        pace.ticked(float(time), time + 0.5, time // 2)  # a request every other tick
    assert pace.rested == 0.0


def test_a_stream_of_requests_is_heard_for_longer_than_a_tick_takes() -> None:
    pace = Pace()
    for time in range(STEADY):
        assert pace.rested == 0.0
        pace.ticked(float(time), time + 0.125, time + 1)
    assert pace.rested == STEADY - 1 + 0.125 + SHARE * 0.125
    pace.ticked(10.0, 14.0, 100)
    assert pace.rested == 14.0 + LONGEST  # the network does not wait for ever
    pace.ticked(20.0, 21.0, 100)
    assert pace.rested == 14.0 + LONGEST
