"""What rules drop, read from the sets that they write to."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from nslab.linux.drops import TICK, Drops
from nslab.linux.netns import entered
from nslab.nft.datatypes import INET_PROTO, INET_SERVICE, IPV4_ADDR
from nslab.nft.objects import Set

NETNS = "dropping"
TABLE = ("ip", "t")
ITEM = Set("drops", (IPV4_ADDR, IPV4_ADDR, INET_PROTO, INET_SERVICE, INET_SERVICE), dynamic=True)
KEPT = 5.0
RULES = """
table ip t {
  set drops { type ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service; flags dynamic,timeout; }
  chain out {
    type filter hook output priority 0
    meta l4proto udp update @drops { ip saddr . ip daddr . meta l4proto . th sport . th dport timeout 5s }
    meta l4proto udp drop
  }
}
"""


def run(*command: str, text: str = "") -> None:
    subprocess.run(command, input=text, text=True, check=True)


@pytest.fixture
def netns() -> Iterator[str]:
    run("ip", "netns", "add", NETNS)
    run("ip", "-n", NETNS, "link", "set", "lo", "up")
    yield NETNS
    run("ip", "netns", "delete", NETNS)


def test_a_drop_is_told_with_its_time_and_place(netns: str) -> None:
    run("ip", "netns", "exec", NETNS, "nft", "-f", "-", text=RULES)
    with entered(netns):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 5555))
    before = time.monotonic()
    with pytest.raises(PermissionError):
        sock.sendto(b"?", ("127.0.0.1", 7777))
    sock.close()
    with Drops([netns, "nobody"], TABLE, ITEM, KEPT) as drops:
        ((connection, drop),) = drops.recent().items()
    assert connection == ("127.0.0.1", "127.0.0.1", "udp", 5555, 7777)
    assert drop.netns == netns
    assert before - TICK < drop.time < time.monotonic()


def test_without_rules_nothing_is_dropped(netns: str) -> None:
    with Drops([netns], TABLE, ITEM, KEPT) as drops:
        assert drops.recent() == {}
        run("ip", "netns", "exec", NETNS, "nft", "-f", "-", text=RULES)
        assert drops.recent() == {}
