"""What the rules cost a packet: connect latency against the number of Services, throughput against no Service."""

from __future__ import annotations

import io
import os
import socket
import statistics
import threading
import time
from collections.abc import Iterator

from nslab.agent.network import Network
from nslab.api.decode import decode
from nslab.cluster import naming
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Cluster, Leases
from nslab.linux.netns import entered
from nslab.linux.real import RealKernel
from tests.bench.commands import Measurement
from tests.bench.labs import services_only, topology

CONNECTS = 3000
SECONDS = 1.5


def _network(text: str) -> tuple[Network, Cluster]:
    cluster = allocate(decode(["-"], stdin=io.StringIO(text)), Leases())
    network = Network(RealKernel(), cluster.lab.name)
    network.converge(cluster)
    return network, cluster


def listen(netns: str, port: int) -> socket.socket:
    with entered(netns):
        return socket.create_server(("0.0.0.0", port), backlog=1024)


def median_connect(netns: str, address: str, port: int) -> float:
    """The median time of a TCP connect in microseconds. The other side accepts when it comes to it: the handshake
    is the kernel's alone."""
    times = []
    with entered(netns):
        for _ in range(CONNECTS):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                started = time.perf_counter_ns()
                client.connect((address, port))
                times.append(time.perf_counter_ns() - started)
    return statistics.median(times) / 1000


def latency() -> Iterator[Measurement]:
    """Connect latency to a ClusterIP with 30,000 Services against one with one, by turns."""
    one = topology("one", nodes=2, services=1, endpoints=2)
    many = (
        topology("many", nodes=2, services=1, endpoints=2).replace(
            "spec: {nodes: 2}", "spec: {nodes: 2, vpc: {serviceRange: 10.64.0.0/16}}"
        )
        + "---\n" + services_only(30_000, 3).replace("app-", "more-").split("---\n", 1)[1]
    )
    labs = [_network(one), _network(many)]
    medians: list[list[float]] = [[], []]
    listening = [
        listen(naming.pod_netns(cluster.lab.name, pod), 8080)
        for _, cluster in labs for pod in cluster.pods.values()
    ]
    for sock in listening:
        threading.Thread(target=accept_all, args=(sock,), daemon=True).start()
    for _ in range(5):
        for medians_of, (_, cluster) in zip(medians, labs, strict=True):
            pod = next(iter(cluster.pods.values()))
            address = cluster.services["default/app-0"].cluster_ip
            medians_of.append(median_connect(naming.pod_netns(cluster.lab.name, pod), address, 80))
    for sock in listening:
        sock.close()
    for network, _ in labs:
        network.converge(None)
    few, all_of_them = min(medians[0]), min(medians[1])
    yield f"connect, 1 Service {few:.1f} us, 30,000 {all_of_them:.1f} us", all_of_them / few, 1.05, "x"


def accept_all(listening: socket.socket) -> None:
    while True:
        try:
            listening.accept()[0].close()
        except OSError:
            return


def throughput() -> Iterator[Measurement]:
    """Octets a second from a Pod to a ClusterIP whose Pod is on another node, against straight to that Pod."""
    network, cluster = _network(topology("through", nodes=2, services=1, endpoints=1) + "---\n" + _client_pod())
    server = next(pod for pod in cluster.pods.values() if pod.name.startswith("app-0"))
    client = next(pod for pod in cluster.pods.values() if pod.node != server.node)
    listening = listen(naming.pod_netns("through", server), 8080)
    source = naming.pod_netns("through", client)
    direct, service_rate = [], []
    for _ in range(4):
        direct.append(rate(source, server.ip, 8080, listening))
        service_rate.append(rate(source, cluster.services["default/app-0"].cluster_ip, 80, listening))
    listening.close()
    network.converge(None)
    best_direct, best_service = max(direct), max(service_rate)
    yield (
        f"Pod to Pod {best_direct / 2**30:.2f} GiB/s, as a multiple of Pod to ClusterIP", best_direct / best_service,
        1 / 0.95, "x",
    )


def _client_pod() -> str:
    return (
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: client}\nspec:\n"
        "  selector: {matchLabels: {app: client}}\n  template:\n    metadata: {labels: {app: client}}\n"
        "    spec: {containers: [{name: client, image: client, ports: [{containerPort: 9999}]}]}\n"
    )


def rate(netns: str, address: str, port: int, listening: socket.socket) -> float:
    """Octets a second that a receiving process took from one TCP connection."""
    with entered(netns):
        sender = socket.create_connection((address, port))
    receiver, _ = listening.accept()
    child = os.fork()
    if child == 0:
        receiver.close()
        payload = bytes(1 << 18)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            sender.sendall(payload)
        os._exit(0)
    sender.close()
    buffer = bytearray(1 << 20)
    received = 0
    started = time.perf_counter()
    while count := receiver.recv_into(buffer):
        received += count
    elapsed = time.perf_counter() - started
    receiver.close()
    os.waitpid(child, 0)
    return received / elapsed
