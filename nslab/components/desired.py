"""The whole wish: what all components together want of the kernel."""

from __future__ import annotations

from nslab.cluster.model import Cluster
from nslab.components import cni, ip_masq, kube_proxy, node_local_dns, pod_files, vpc
from nslab.netstate.model import NetState, join


def desired(cluster: Cluster) -> NetState:
    """The NetState of a Cluster. Raises ManifestError where a component cannot read an object that is its own."""
    components = (vpc, cni, kube_proxy, ip_masq, node_local_dns, pod_files)
    return join(cluster.lab.name, (component.desired(cluster) for component in components))
