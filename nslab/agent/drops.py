"""What a lab's nodes drop by policy, for those who send packets and want to know."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from nslab.cluster import naming
from nslab.cluster.model import Cluster
from nslab.components.network_policy import TABLE
from nslab.components.policies.chains import DROPS_KEPT, drops_set
from nslab.linux.drops import Drops


def drops_of(cluster: Cluster) -> AbstractContextManager[Drops | None]:
    """The drops of all nodes; None where no policies are enforced."""
    if not cluster.lab.cluster.network_policy:
        return nullcontext()
    nodes = [naming.node_netns(cluster.lab.name, node) for node in cluster.nodes]
    return Drops(nodes, TABLE, drops_set(), DROPS_KEPT)
