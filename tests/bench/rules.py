"""Rules: from objects in memory to rules in force, and from text to objects."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator

from nslab.agent.network import Network
from nslab.api.decode import decode
from nslab.cluster import naming
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Leases
from nslab.linux.netns import unshare
from nslab.linux.nftables import NftSocket
from nslab.linux.real import RealKernel
from nslab.nft.transaction import difference
from tests.bench.commands import Measurement
from tests.bench.labs import services_only


def programming() -> Iterator[Measurement]:
    """10,000 and 30,000 Services of 3 endpoints on one node."""
    for count, limit, kernel_limit in ((10_000, 1.5, 0.7), (30_000, 5.0, 5.0)):
        empty = decode(["-"], stdin=io.StringIO(services_only(0, 0)))
        manifest = decode(["-"], stdin=io.StringIO(services_only(count, 3)))
        totals, kernels = [], []
        for _ in range(3):
            network = Network(RealKernel(), "bench")
            network.converge(allocate(empty, Leases()))
            started = time.perf_counter()
            network.follow(allocate(manifest, Leases()))
            totals.append(time.perf_counter() - started)
            kernels.append(_kernel_time(network))
            network.converge(None)
        yield f"{count:,} Services x 3 endpoints, objects to rules", min(totals), limit, "s"
        yield f"{count:,} Services x 3 endpoints, nftables alone", min(kernels), kernel_limit, "s"


def _kernel_time(network: Network) -> float:
    """kube-proxy's table once more in a netns of its own: the encoding, the sending and the kernel's answer alone."""
    assert network.reached
    table = network.reached.netns[naming.node_netns("bench", "node-1")].tables["ip", "kube-proxy"]
    transaction = difference(table, None)
    assert transaction
    elapsed: list[float] = []

    def apply() -> None:
        unshare()  # the thread's own netns, gone with it
        with NftSocket() as netlink:
            started = time.perf_counter()
            netlink.apply(transaction)
            elapsed.append(time.perf_counter() - started)

    thread = threading.Thread(target=apply)
    thread.start()
    thread.join()
    return elapsed[0]


def reading() -> Iterator[Measurement]:
    """10,000 Services' YAML to validated objects."""
    text = services_only(10_000, 3)
    times = []
    for _ in range(2):
        started = time.perf_counter()
        decode(["-"], stdin=io.StringIO(text))
        times.append(time.perf_counter() - started)
    yield "reading 10,000 Services with their EndpointSlices", min(times), 6.0, "s"
