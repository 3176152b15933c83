"""A lab for these tests: decoded, allocated, built in the kernel, with a socket server in every Pod."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from nslab.api.decode import decode
from nslab.cluster import naming
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Cluster, Leases
from nslab.components.desired import desired
from nslab.linux.real import RealKernel
from nslab.netstate.diff import diff
from nslab.netstate.model import NetState
from nslab.netstate.operations import Batch

T = TypeVar("T")

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_IP_RECVERR = 11


def cluster_of(text: str) -> Cluster:
    """The Cluster of a topology file with this text and no leases yet."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "lab.yaml"
        path.write_text(text)
        return allocate(decode([str(path)]), Leases())


def inside(netns: str, call: Callable[[], T]) -> T:
    """Call in a thread that has entered the netns."""
    results: list[T] = []

    def run() -> None:
        fd = os.open(f"/run/netns/{netns}", os.O_RDONLY)
        assert _LIBC.setns(fd, _CLONE_NEWNET) == 0, f"setns {netns}: {os.strerror(ctypes.get_errno())}"
        os.close(fd)
        results.append(call())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results[0]


class Network:
    """A Cluster in the kernel."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.lab = cluster.lab.name
        self.kernel = RealKernel()
        self.sockets: list[socket.socket] = []
        self.state = NetState(self.lab)

    def converge(self, cluster: Cluster) -> int:
        """Make the kernel hold what the Cluster wants. Returns the number of operations that it took."""
        self.cluster = cluster
        self.state = desired(cluster)
        batch = self.plan()
        self.kernel.apply(batch)
        return len(batch)

    def plan(self) -> Batch:
        return diff(self.state, self.kernel.observe(self.lab, self.state.netns, self.state.files))

    def serve(self) -> None:
        """Answer in every Pod, on its containers' TCP and UDP ports: `POD CLIENT-IP`."""
        for pod in self.cluster.pods.values():
            for container in pod.containers:
                for port in container.ports:
                    kind = socket.SOCK_STREAM if port.protocol == "TCP" else socket.SOCK_DGRAM
                    self.listen(naming.pod_netns(self.lab, pod), pod.name, port.port, kind)

    def listen(self, netns: str, name: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
        sock = inside(netns, lambda: socket.socket(socket.AF_INET, kind))
        self.sockets.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", port))
        if kind is socket.SOCK_STREAM:
            sock.listen()
        answer = _answer_streams if kind is socket.SOCK_STREAM else _answer_datagrams
        threading.Thread(target=answer, args=(sock, name), daemon=True).start()

    def netns(self, reference: str) -> str:
        """The netns of `pod/NAMESPACE/NAME`, `node/NAME`, `client/NAME`."""
        kind, _, name = reference.partition("/")
        if kind == "pod":
            return naming.pod_netns(self.lab, self.cluster.pods[name])
        return naming.node_netns(self.lab, name) if kind == "node" else naming.client_netns(self.lab, name)

    def ask(self, source: str, address: str, *, udp: bool = False, bind: str = "", timeout: float = 2.0) -> str:
        """One exchange with `IP:PORT`: the answer, or "refused", "blocked", "unreachable"; `bind`: the source."""
        ip, _, port = address.partition(":")
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        with inside(self.netns(source), lambda: socket.socket(socket.AF_INET, kind)) as sock:
            sock.settimeout(timeout)
            if bind:
                sock.bind((bind, 0))
            try:
                sock.connect((ip, int(port)))
                if udp:
                    sock.send(b"?")
                return sock.recv(256).decode()
            except TimeoutError:
                return "blocked"
            except ConnectionRefusedError:
                return "refused"
            except OSError:
                return "unreachable"

    def exchange(self, netns: str, peer: tuple[str, int], message: bytes, kind: socket.SocketKind) -> bytes:
        """Send a message, return the answer."""
        with inside(netns, lambda: socket.socket(socket.AF_INET, kind)) as sock:
            sock.settimeout(2)
            sock.connect(peer)
            sock.send(message)
            return sock.recv(256)

    def hop(self, source: str, address: str, ttl: int) -> str:
        """Who says that a packet to `address` did not live longer than `ttl` hops, as traceroute asks."""
        with inside(self.netns(source), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            sock.sendto(b"?", (address, 33434))
            waiting = select.poll()
            waiting.register(sock, select.POLLERR)
            assert waiting.poll(2000), "no router said anything"
            _, ancillary, _, _ = sock.recvmsg(64, 256, socket.MSG_ERRQUEUE)
            # struct sock_extended_err (16 octets), then the offender's struct sockaddr_in.
            return socket.inet_ntoa(ancillary[0][2][20:24])

    def survey(self, source: str, address: str, count: int = 40, *, udp: bool = False) -> Counter[str]:
        """How often each answer came."""
        return Counter(self.ask(source, address, udp=udp) for _ in range(count))

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.state = NetState(self.lab)
        self.kernel.apply(self.plan())


@contextmanager
def raised(text: str) -> Iterator[Network]:
    """The lab of a topology file, built and served; taken away at the end."""
    network = Network(cluster_of(text))
    try:
        network.converge(network.cluster)
        network.serve()
        yield network
    finally:
        network.close()


def _answer_streams(sock: socket.socket, name: str) -> None:
    while True:
        try:
            connection, peer = sock.accept()
        except OSError:
            return
        with connection:
            connection.sendall(f"{name} {peer[0]}".encode())


def _answer_datagrams(sock: socket.socket, name: str) -> None:
    while True:
        try:
            _, peer = sock.recvfrom(65536)
        except OSError:
            return
        sock.sendto(f"{name} {peer[0]}".encode(), peer)
