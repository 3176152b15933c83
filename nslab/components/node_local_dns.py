"""NodeLocal DNSCache: the address that a node's cache has in its node, on the loopback.

Pods reach it by their default route, which leads to the node; on a cluster a dummy link holds it, which the kernel
here may lack.
"""

from __future__ import annotations

from nslab.cluster.addons import NODE_LOCAL_IP, node_local
from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster, Node
from nslab.components.part import node_identity, part
from nslab.netstate.model import Address, Netns, NetState


def desired(cluster: Cluster, memo: Memo | None = None) -> NetState:
    """The address, on every node that has a cache."""
    nodes = dict.fromkeys(sorted(node_local(cluster)), (cluster.lab.name,))
    netns = (memo or Memo()).each("node-local", nodes, lambda name: _node(cluster, cluster.nodes[name]))
    return NetState(cluster.lab.name, {each.name: each for each in netns.values()})


def _node(cluster: Cluster, node: Node) -> Netns:
    name, uid = node_identity(cluster, node)
    return part(name, uid, addresses=[Address("lo", f"{NODE_LOCAL_IP}/32")])
