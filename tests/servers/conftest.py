"""Namespaces round one router, and a responder process, for the tests of the servers."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nslab.linux.netns import entered
from nslab.servers.listeners import Identity, Listener
from nslab.servers.responder_client import ResponderClient, start_responder

Network = Callable[..., list[str]]
Peer = Callable[[socket.socket], None]


def ip_batch(lines: list[str], netns: str = "") -> None:
    """Run `ip -batch` on these lines, in `netns`."""
    where = ["-n", netns] if netns else []
    subprocess.run(["ip", *where, "-batch", "-"], input="\n".join(lines), text=True, check=True)


def build(count: int, prefix: str = "srv") -> list[str]:
    """Make a router `hub` and round it namespaces PREFIX0.. with addresses 10.99.X.Y. Returns their names.

    Routed, not bridged: each namespace then has one neighbour; the kernel has one table for all of them."""
    names = [f"{prefix}{number}" for number in range(count)]
    ip_batch([f"netns add {name}" for name in ["hub", *names]])
    ip_batch([f"link add v{at} netns hub type veth peer name eth0 netns {name}" for at, name in enumerate(names)])
    in_hub = ["addr add 169.254.1.1/32 dev lo", "link set lo up"]
    for at in range(count):
        in_hub += [f"link set v{at} address 02:00:00:00:00:01 up", f"route add {address(at)}/32 dev v{at}"]
    ip_batch(in_hub, "hub")
    for at, name in enumerate(names):
        lines = ["link set lo up", f"addr add {address(at)}/32 dev eth0", "link set eth0 up"]
        lines += ["neigh add 169.254.1.1 dev eth0 lladdr 02:00:00:00:00:01 nud permanent"]
        lines += ["route add 169.254.1.1/32 dev eth0", "route add default via 169.254.1.1"]
        ip_batch(lines, name)
    subprocess.run(["ip", "netns", "exec", "hub", "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
    return names


@pytest.fixture
def network() -> Iterator[Network]:
    """`build`, taken away again at the end."""
    made = ["hub"]

    def make(count: int, prefix: str = "srv") -> list[str]:
        names = build(count, prefix)
        made.extend(names)
        return names

    yield make
    ip_batch([f"netns delete {name}" for name in made])


def address(number: int) -> str:
    """The address of the numbered namespace of `network`."""
    return f"10.99.{number // 200}.{number % 200 + 1}"


def pod_listener(netns: str, number: int, port: int = 80, protocol: str = "TCP", uid: str = "") -> Listener:
    """A listener of a Pod named after its netns."""
    who = Identity(netns, "default", "node-a", address(number), "web")
    return Listener(netns, "0.0.0.0", port, protocol, who, uid)


@pytest.fixture
def responder(tmp_path: Path) -> Iterator[ResponderClient]:
    """A running responder, stopped at the end."""
    start_responder(str(tmp_path / "responder.sock"), "test", str(tmp_path / "responder.log"))
    client = ResponderClient(str(tmp_path / "responder.sock"))
    yield client
    client.stop()


@contextlib.contextmanager
def serving(netns: str, port: int, peer: Peer, kind: int = socket.SOCK_STREAM) -> Iterator[None]:
    """A thread in which `peer` gets every accepted TCP connection, or the bound UDP socket."""
    with entered(netns):
        sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", port))
    if kind == socket.SOCK_DGRAM:
        sock.settimeout(2)  # closing it would not wake the thread

    def run() -> None:
        with contextlib.suppress(OSError):
            if kind == socket.SOCK_DGRAM:
                peer(sock)
            while kind == socket.SOCK_STREAM:
                accepted, _ = sock.accept()
                with accepted:
                    peer(accepted)

    if kind == socket.SOCK_STREAM:
        sock.listen()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        if kind == socket.SOCK_STREAM:
            sock.shutdown(socket.SHUT_RDWR)
        thread.join()
        sock.close()
