"""What rules drop, read from the sets that they write to."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from nslab.linux.drops import TICK, Connection, Drop, Drops, Sent
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


class Recorded(Drops):
    """Drops that the test states."""

    def __init__(self, found: dict[Connection, Drop], nodes: tuple[str, ...] = ()) -> None:
        super().__init__(nodes, TABLE, ITEM, KEPT)
        self.found = found

    def recent(self) -> dict[Connection, Drop]:
        return self.found


SERVICE: Connection = ("10.8.0.2", "10.12.0.1", "tcp", 40000, 80)
BEHIND: Connection = ("10.8.0.2", "10.8.1.3", "tcp", 40000, 8080)
OTHER: Connection = ("10.8.0.2", "10.12.0.9", "tcp", 40000, 80)


def test_a_drop_behind_a_translation_is_of_whoever_has_its_port() -> None:
    drop = Drop(10.0, "node")
    assert Recorded({BEHIND: drop}).met_by([Sent(SERVICE, 9.0, "pod")]) == {SERVICE: drop}
    assert Recorded({BEHIND: drop}).met_by([Sent(SERVICE, 11.0, "pod")]) == {}, "it was dropped before"
    two = [Sent(SERVICE, 9.0, "pod"), Sent(OTHER, 9.0, "pod")]
    assert Recorded({BEHIND: drop}).met_by(two) == {}, "whose it is, nobody can tell"


def test_a_drop_is_told_once() -> None:
    """The port may be another connection's by the time that the drop is read again."""
    drops = Recorded({BEHIND: Drop(10.0, "node")})
    assert drops.met_by([Sent(BEHIND, 9.0, "pod")])
    assert drops.met_by([Sent(SERVICE, 9.5, "pod")]) == {}
    drops.found = {BEHIND: Drop(12.0, "node")}
    assert drops.met_by([Sent(SERVICE, 11.5, "pod")]), "it was dropped once more"


def test_a_node_has_only_its_own_drops(netns: str) -> None:
    """Others leave it with its address as well."""
    drops = Recorded({BEHIND: Drop(10.0, "node")}, (netns,))
    assert drops.met_by([Sent(SERVICE, 9.0, netns)]) == {}
    assert drops.met_by([Sent(BEHIND, 9.0, netns)])
    drops.close()


def test_echoes_of_one_identifier_differ_by_destination() -> None:
    one: Connection = ("10.8.0.2", "10.8.1.3", "icmp", 1, 2048)
    two: Connection = ("10.8.0.2", "10.8.1.4", "icmp", 1, 2048)
    assert Recorded({one: Drop(10.0, "node")}).met_by([Sent(two, 9.0, "pod")]) == {}
    assert Recorded({one: Drop(10.0, "node")}).met_by([Sent(one, 9.0, "pod")])
