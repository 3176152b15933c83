"""What is remembered, for how long, and how it ages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nslab.dns import records, wire
from nslab.dns.cache import LONGEST, LONGEST_DENIAL, SIZE, Cache
from nslab.dns.wire import Record, Reply

NAME = wire.encode_name("www.example.com")
ADDRESS = Record(NAME, wire.A, 20, b"\1\2\3\4")
SOA = Record(NAME, wire.SOA, 300, records.soa(NAME, NAME, 1, 3))
FOUND = Reply(answer=(ADDRESS,), authoritative=True)


def test_an_answer_ages_until_its_records_do_not_count_any_more() -> None:
    cache = Cache()
    cache.put(NAME, wire.A, FOUND, 100.0)
    assert cache.get(NAME, wire.A, 100.5) == replace(FOUND, authoritative=False)
    later = cache.get(NAME, wire.A, 112.0)
    assert later is not None
    assert later.answer == (replace(ADDRESS, ttl=8),)
    assert cache.get(NAME, wire.AAAA, 100.0) is None
    assert cache.get(NAME, wire.A, 120.0) is None
    assert len(cache) == 0


@pytest.mark.parametrize(("reply", "seconds"), [
    (Reply(answer=(replace(ADDRESS, ttl=9999),)), LONGEST),
    (Reply(answer=(ADDRESS, replace(ADDRESS, ttl=2))), 2),
    (Reply(answer=(replace(ADDRESS, ttl=0),)), 0),
    (Reply(wire.NXDOMAIN, authority=(SOA,)), 3),
    (Reply(authority=(SOA,)), 3),
    (Reply(wire.NXDOMAIN, authority=(replace(SOA, data=records.soa(NAME, NAME, 1, 999)),)), LONGEST_DENIAL),
    (Reply(wire.NXDOMAIN, (replace(ADDRESS, ttl=1),), (SOA,)), 1),
    (Reply(wire.NXDOMAIN), 0),
    (Reply(), 0),
    (Reply(wire.SERVFAIL, (ADDRESS,)), 0),
])
def test_how_long(reply: Reply, seconds: int) -> None:
    cache = Cache()
    cache.put(NAME, wire.A, reply, 0.0)
    assert (cache.get(NAME, wire.A, seconds - 0.001) is not None) is (seconds > 0)
    assert cache.get(NAME, wire.A, float(seconds)) is None


def test_the_oldest_makes_room() -> None:
    cache = Cache()
    for number in range(SIZE + 1):
        cache.put(b"%d" % number, wire.A, FOUND, 0.0)
    assert len(cache) == SIZE
    assert cache.get(b"0", wire.A, 0.0) is None
    assert cache.get(b"1", wire.A, 0.0) is not None
