"""UDP flows to endpoints that are gone are forgotten, and no others."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from nslab.linux import netns
from nslab.linux.conntrack import flush_stale_udp, is_stale

SERVICE, NODE = "192.0.2.1", "192.0.2.2"
HERE = "127.0.0.1"
RULES = f"""
table ip t {{
    chain out {{
        type nat hook output priority -100
        ip daddr {SERVICE} meta l4proto {{ tcp, udp }} dnat to {HERE}:8080
        ip daddr {NODE} udp dport 30000 dnat to {HERE}:8080
    }}
}}
"""


@pytest.fixture
def flows() -> Iterator[str]:
    """A netns with three flows to 127.0.0.1:8080: over UDP to a Service and to a node port, over TCP to the Service;
    and one over UDP that is no Service's."""
    name = "conntrack-test"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "-n", name, "route", "add", "default", "dev", "lo"], check=True)
    subprocess.run(["ip", "netns", "exec", name, "nft", "-f", "-"], input=RULES, text=True, check=True)
    with netns.entered(name):
        sockets = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM) * 2]
    receiver, listening, sender, caller = sockets
    try:
        receiver.bind((HERE, 8080))
        listening.bind((HERE, 8080))
        listening.listen()
        for to in ((SERVICE, 53), (NODE, 30000), (HERE, 8080)):
            sender.sendto(b"?", to)
        caller.connect((SERVICE, 53))
        yield name
    finally:
        for one in sockets:
            one.close()
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_only_flows_to_endpoints_that_are_gone_are_deleted(flows: str) -> None:
    home = os.readlink("/proc/thread-self/ns/net")
    live, none = frozenset([(HERE, 8080)]), frozenset[tuple[str, int]]()
    service, node_port = (SERVICE, 53), ("", 30000)
    both = {service: live, node_port: live}
    assert flush_stale_udp([flows], {}, both) == 0
    assert flush_stale_udp([flows], both, both | {service: frozenset([(HERE, 8081)])}) == 1
    assert flush_stale_udp([flows], both, both | {service: none}) == 0  # it is deleted already
    assert flush_stale_udp([flows], both, {service: live}) == 1  # the Service of the node port is gone
    assert flush_stale_udp([flows], {(HERE, 8080): live}, {}) == 1  # the one that nobody translated was still there
    assert os.readlink("/proc/thread-self/ns/net") == home


def test_nothing_changed_asks_no_kernel() -> None:
    backends = {(SERVICE, 53): frozenset([(HERE, 8080)])}
    assert flush_stale_udp(["no-such-netns"], backends, dict(backends)) == 0
    with pytest.raises(OSError, match="No such file"):
        flush_stale_udp(["no-such-netns"], {}, backends)


@pytest.mark.parametrize(("sent_to", "answered_by", "expected"), [
    (("10.12.0.1", 53), ("10.8.0.2", 53), False),
    (("10.12.0.1", 53), ("10.8.0.2", 54), True),  # another Service's Pod, on another port
    (("10.12.0.1", 53), ("10.12.0.1", 53), True),  # never translated
    (("10.12.0.1", 54), ("10.8.0.9", 53), False),  # no Service's address
    (("10.128.0.2", 30000), ("10.8.0.3", 53), False),
    (("10.128.0.2", 30000), ("10.8.0.2", 53), True),
])
def test_stale(sent_to: tuple[str, int], answered_by: tuple[str, int], expected: bool) -> None:
    backends = {("10.12.0.1", 53): frozenset([("10.8.0.2", 53)]), ("", 30000): frozenset([("10.8.0.3", 53)])}
    assert is_stale(sent_to, answered_by, backends) is expected
