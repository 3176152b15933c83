"""The nine Pods in the kernel: their network follows a Cluster, their ports answer, matrices are tried by packets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from nslab.agent.listeners import listeners
from nslab.agent.network import Network
from nslab.cluster import naming
from nslab.cluster.model import Cluster
from nslab.components.network_policy import TABLE
from nslab.components.policies.chains import DROPS_KEPT, drops_set
from nslab.linux.drops import Drops
from nslab.linux.real import RealKernel
from nslab.servers import flows
from nslab.servers.prober import probe
from nslab.servers.responder_client import ResponderClient, start_responder
from tests.policies.world import FLOWS, Flow

TIMEOUT = 3.0
"""Seconds for an attempt that nobody answers and of which the kernel says nothing."""


class Stage:
    """A lab in the kernel, and what its rules drop."""

    def __init__(self, cluster: Cluster, responder: ResponderClient) -> None:
        self.network = Network(RealKernel(), cluster.lab.name)
        self.responder = responder
        self.follow(cluster)
        nodes = [naming.node_netns(cluster.lab.name, node) for node in cluster.nodes]
        self.drops = Drops(nodes, TABLE, drops_set(), DROPS_KEPT)
        self.responder.set(listeners(cluster))

    def follow(self, cluster: Cluster) -> None:
        """Make the kernel's rules those of another Cluster with the same Pods."""
        self.cluster = cluster
        self.network.follow(cluster)

    def try_all(self, wanted: frozenset[Flow] = FLOWS) -> dict[Flow, flows.FlowResult]:
        """Each flow once, all at once."""
        pods = self.cluster.pods
        asked = [
            flows.Flow(
                str(flow), naming.pod_netns(self.cluster.lab.name, pods[flow.source]), flow.protocol.lower(),
                pods[flow.destination].ip, flow.port, timeout=TIMEOUT,
            )
            for flow in sorted(wanted)
        ]
        return dict(zip(sorted(wanted), probe(asked, drops=self.drops), strict=True))

    def close(self) -> None:
        self.drops.close()
        self.network.converge(None)


@contextmanager
def staged(cluster: Cluster) -> Iterator[Stage]:
    """The Cluster, built and served; taken away at the end."""
    with TemporaryDirectory() as folder:
        socket = str(Path(folder) / "responder.sock")
        start_responder(socket, "stage", str(Path(folder) / "responder.log"))
        responder = ResponderClient(socket)
        stage = Stage(cluster, responder)
        try:
            yield stage
        finally:
            stage.close()
            responder.stop()
