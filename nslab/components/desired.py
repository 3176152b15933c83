"""The whole wish: what all components together want of the kernel."""

from __future__ import annotations

from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster
from nslab.components import cni, ip_masq, kube_proxy, network_policy, node_local_dns, pod_files, vpc
from nslab.components.faults import broken
from nslab.netstate.model import NetState, joined, pieces


def desired(cluster: Cluster, memo: Memo | None = None, *, netem: bool = False) -> NetState:
    """The NetState of a Cluster, its faults included. `netem` says whether the kernel can lose packets by that.
    What is wanted as it was the last time with this `memo` is the same object.
    Raises ManifestError where a component cannot read an object that is its own."""
    memo = memo or Memo()
    components = (vpc, cni, kube_proxy, ip_masq, network_policy, node_local_dns, pod_files)
    wanted, files = pieces(component.desired(cluster, memo) for component in components)
    shared = {name: those for name, those in wanted.items() if len(those) > 1}
    netns = {name: those[0] for name, those in wanted.items()}
    netns |= memo.each("netns", shared, lambda name: joined(shared[name]))
    return broken(NetState(cluster.lab.name, netns, files), cluster, netem)
