"""The whole wish: what all components together want of the kernel."""

from __future__ import annotations

from nslab.cluster.model import Cluster
from nslab.components import cni, ip_masq, kube_proxy, network_policy, pod_files, vpc
from nslab.components.faults import broken
from nslab.netstate.model import NetState, join


def desired(cluster: Cluster, *, netem: bool = False) -> NetState:
    """The NetState of a Cluster, its faults included. `netem` says whether the kernel can lose packets by that.
    Raises ManifestError where a component cannot read an object that is its own."""
    components = (
        vpc.desired, cni.desired, kube_proxy.desired, ip_masq.desired, network_policy.desired, pod_files.desired,
    )
    return broken(join(cluster.lab.name, (component(cluster) for component in components)), cluster, netem)
