"""The nodes' kube-proxies: their work is the agent's, and so are their two ports on each node.

A kube-proxy lives where `static_pods.proxied` says that one works. One that crashed has neither ports nor a memory;
a new one begins when it is mended. All of a lab work in rounds: what a round took counts for each that took part.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from httptools import HttpParserError, HttpRequestParser

from nslab.agent.programming import Programmed
from nslab.apiserver.events import Event
from nslab.apiserver.rest.discovery import version
from nslab.cluster import naming
from nslab.cluster.model import Cluster, Node
from nslab.cluster.static_pods import proxied
from nslab.components.service_endpoints import without_local_endpoints
from nslab.errors import KernelError, NslabError
from nslab.linux.netns import entered, inode
from nslab.netstate.operations import ApplyTransaction, Batch
from nslab.servers.kube_proxy_server import HEALTH_PORT, METRICS_PORT, KubeProxy, Served

log = logging.getLogger("nslab.agent")

ADDRESSES = {HEALTH_PORT: "0.0.0.0", METRICS_PORT: "127.0.0.1"}
"""kube-proxy's healthzBindAddress and metricsBindAddress, by port."""

TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"
"""The taint of a node that is about to go (KEP-3836)."""

SERVICE_LABEL = "kubernetes.io/service-name"
BACKLOG = 64
URL_LIMIT = 4096
"""Octets of a request's target that are kept: no path is longer."""


@dataclass(slots=True)
class _Running:
    """One node's kube-proxy and what it has open, in the netns of that inode (0: it does not listen)."""

    node: str
    netns: str
    proxy: KubeProxy
    inode: int = 0
    listening: list[socket.socket] = field(default_factory=list)
    connections: set[_Connection] = field(default_factory=set)


class KubeProxies:
    """All kube-proxies of a lab; call its methods on the event loop. A port that cannot be had is tried again at each
    tick, as kube-proxy tries."""

    def __init__(self, lab: str) -> None:
        self.lab = lab
        self.running: dict[str, _Running] = {}
        self.cluster: Cluster | None = None
        self._refused: dict[tuple[str, int], str] = {}
        self._accepting: set[asyncio.Task[object]] = set()

    # --- Who works

    def set(self, cluster: Cluster) -> None:
        """Have the kube-proxies of this Cluster, and no others; its rules are in force."""
        self.cluster = cluster
        working = [*proxied(cluster)]
        for name in self.running.keys() - set(working):
            self._close(self.running.pop(name))
        for name in working:
            if name not in self.running:
                self.running[name] = _Running(name, naming.node_netns(self.lab, name), KubeProxy(time.time()))
            self.running[name].proxy.eligible = _is_eligible(cluster.nodes[name])
        self.tick()

    def tick(self) -> None:
        """Listen where one does not, and leave a netns that is no longer its node's: a socket would keep it alive."""
        for one in self.running.values():
            there = inode(one.netns)
            if one.inode and one.inode != there:
                self._close(one)
            if there and not one.inode:
                self._listen(one, there)

    # --- Their work

    def hear(self, event: Event) -> None:
        """A change in the store: every kube-proxy watches Services and EndpointSlices."""
        metadata = event.body["metadata"]
        if event.kind == "Service":
            name = metadata["name"]
        elif event.kind == "EndpointSlice" and SERVICE_LABEL in (metadata.get("labels") or {}):
            name = metadata["labels"][SERVICE_LABEL]
        else:
            return
        now = time.time()
        for one in self.running.values():
            one.proxy.queue(event.kind, f"{metadata['namespace']}/{name}", now)

    def in_force(
        self, cluster: Cluster, batch: Batch, seconds: float, followed: Iterable[Programmed], *, full: bool
    ) -> None:
        """A round of so many seconds has brought the rules of the Cluster into force by `batch`, and `followed` what
        had changed. It was `full` where the kernel was asked first."""
        self.set(cluster)
        touched = {operation.netns for operation in batch if isinstance(operation, ApplyTransaction)}
        endpoints = [
            each.milliseconds / 1000 for each in followed
            if each.kind in ("Pod", "EndpointSlice", "Endpoints") and each.what != "ADDED"
        ]
        now = time.time()
        for one in self.running.values():
            if full or one.netns in touched:
                one.proxy.measure(now, seconds, endpoints if one.netns in touched else (), full=full)

    def level(self) -> None:
        """Nothing that was heard of is left to be done."""
        now = time.time()
        for one in self.running.values():
            one.proxy.synced(now)

    def failed(self, error: NslabError) -> None:
        """A round has failed: it counts where the kernel refused, and all others wait for the next."""
        for one in self.running.values():
            one.proxy.sync_failures += isinstance(error, KernelError) and error.netns == one.netns

    # --- Their ports

    def _listen(self, one: _Running, place: int) -> None:
        opened: list[tuple[int, socket.socket]] = []
        try:
            with entered(one.netns):
                for port, address in ADDRESSES.items():
                    listening = socket.socket()
                    opened.append((port, listening))
                    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    listening.setblocking(False)
                    listening.bind((address, port))
                    listening.listen(BACKLOG)
        except OSError as error:
            for _, listening in opened:
                listening.close()
            port = opened[-1][0] if opened else 0
            if self._refused.get((one.node, port)) != str(error):
                log.warning("kube-proxy of node %s cannot listen on port %d: %s", one.node, port, error)
            self._refused[one.node, port] = str(error)
            return
        loop = asyncio.get_running_loop()
        for port, listening in opened:
            loop.add_reader(listening, self._accept, one, port, listening)
        for port in (0, *ADDRESSES):
            self._refused.pop((one.node, port), None)
        one.inode, one.listening = place, [listening for _, listening in opened]

    def _accept(self, one: _Running, port: int, listening: socket.socket) -> None:
        with suppress(OSError):  # who asked has left, or there is no file descriptor to answer with
            connection, _ = listening.accept()
            connection.setblocking(False)
            loop = asyncio.get_running_loop()
            accepting = loop.create_task(
                loop.connect_accepted_socket(lambda: _Connection(self, one, port), connection)
            )
            self._accepting.add(accepting)
            accepting.add_done_callback(self._accepting.discard)

    def _close(self, one: _Running) -> None:
        """As the ports of a process that ends: who is connected is cut off."""
        for listening in one.listening:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        for connection in [*one.connections]:
            connection.transport.abort()
        one.inode = 0
        one.listening.clear()

    def served(self, one: _Running) -> Served:
        """What its metrics tell beside its own work."""
        assert self.cluster is not None
        build = {_snake(name): str(value) for name, value in version().items()}
        process = {**_process(), "process_start_time_seconds": one.proxy.started}
        return Served(process, build, without_local_endpoints(self.cluster, one.node))


class _Connection(asyncio.Protocol):
    """Somebody who asks one of a kube-proxy's ports. The methods that begin with `on_` are called by the parser."""

    transport: asyncio.Transport

    def __init__(self, proxies: KubeProxies, one: _Running, port: int) -> None:
        self._proxies = proxies
        self._one = one
        self._port = port
        self._parser = HttpRequestParser(self)
        self._url = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._one.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._one.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError:  # an upgrade among them, which has had its answer
            self.transport.close()

    def on_message_begin(self) -> None:
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url = (self._url + url)[:URL_LIMIT]

    def on_message_complete(self) -> None:
        method, target = self._parser.get_method().decode(), self._url.decode("latin-1")
        served = self._proxies.served(self._one)
        self.transport.write(self._one.proxy.answer(self._port, method, target, time.time(), served))
        if not self._parser.should_keep_alive():
            self.transport.close()


def _is_eligible(node: Node) -> bool:
    """Whether load balancers may send new connections to the node."""
    going = any(taint.key == TO_BE_DELETED for taint in node.taints)
    return not going and "deletionTimestamp" not in (node.body.get("metadata") or {})


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _process() -> dict[str, float]:
    """The agent's: it is the process of all kube-proxies of its lab."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm", "rb") as file:
        pages = file.read().split()
    return {
        "process_cpu_seconds_total": used.ru_utime + used.ru_stime,
        "process_max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "process_open_fds": len(os.listdir("/proc/self/fd")),
        "process_resident_memory_bytes": int(pages[1]) * resource.getpagesize(),
        "process_virtual_memory_bytes": int(pages[0]) * resource.getpagesize(),
    }
