"""NodeLocal DNSCache: the address that a node's cache has in its node, on the loopback.

Pods reach it by their default route, which leads to the node; on a cluster a dummy link holds it, which the kernel
here may lack.
"""

from __future__ import annotations

from nslab.cluster.addons import NODE_LOCAL_IP, node_local
from nslab.cluster.model import Cluster
from nslab.components.part import node_identity, part
from nslab.netstate.model import Address, NetState


def desired(cluster: Cluster) -> NetState:
    """The address, on every node that has a cache."""
    address = Address("lo", f"{NODE_LOCAL_IP}/32")
    nodes = (node_identity(cluster, cluster.nodes[name]) for name in sorted(node_local(cluster)))
    return NetState(cluster.lab.name, {name: part(name, uid, addresses=[address]) for name, uid in nodes})
