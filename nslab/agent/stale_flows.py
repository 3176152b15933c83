"""Forgetting UDP flows to endpoints that are gone, once rules have changed: conntrack would send them on."""

from __future__ import annotations

import logging

from nslab.cluster import naming
from nslab.cluster.model import Cluster
from nslab.cluster.static_pods import proxied
from nslab.components.kube_proxy import udp_backends
from nslab.linux.conntrack import flush_stale_udp

log = logging.getLogger("nslab.agent")


def forget(former: Cluster | None, cluster: Cluster) -> None:
    """Forget what the change from one Cluster to the next made stale, on nodes whose kube-proxy works. No former
    Cluster: nobody knows what has changed; nor does a kube-proxy that did not work before."""
    known = set(proxied(former)) if former else set()
    working = [*proxied(cluster)]
    went_on = [naming.node_netns(cluster.lab.name, name) for name in working if name in known]
    began = [naming.node_netns(cluster.lab.name, name) for name in working if name not in known]
    backends = udp_backends(cluster)
    try:
        if former:
            flush_stale_udp(went_on, udp_backends(former), backends)
        if began:
            flush_stale_udp(began, {}, backends)
    except OSError as error:
        log.error("forgetting UDP flows to endpoints that are gone: %s", error)
