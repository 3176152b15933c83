"""UDP flows to endpoints that are gone, forgotten in a thread of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from nslab.cluster import naming
from nslab.cluster.model import Cluster
from nslab.cluster.static_pods import proxied
from nslab.components.kube_proxy import udp_backends
from nslab.linux.conntrack import Address, Backends, flush_stale_udp

log = logging.getLogger("nslab.agent")


class StaleUdp:
    """Has conntrack forget them, one namespace after the other.

    The kernel keeps the flows of all namespaces in one table, and goes through all of it for each: fifteen
    milliseconds a node, for which no other change shall wait. `done` is called in that thread when nothing is left.
    """

    def __init__(self) -> None:
        self.done: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._former: dict[str, dict[Address, frozenset[Address]]] = {}
        self._now: Backends = {}
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None

    def follow(self, former: Cluster | None, cluster: Cluster) -> None:
        """Forget what the change from one Cluster to the next made stale, on nodes whose kube-proxy works. No former
        Cluster: nobody knows what has changed; nor does a kube-proxy that did not work before."""
        known = set(proxied(former)) if former else set()
        working = [*proxied(cluster)]
        went_on = [naming.node_netns(cluster.lab.name, name) for name in working if name in known]
        began = [naming.node_netns(cluster.lab.name, name) for name in working if name not in known]
        backends = udp_backends(cluster)
        if former:
            self.forget(went_on, udp_backends(former), backends)
        self.forget(began, {}, backends)

    def forget(self, netns: Iterable[str], former: Backends, now: Backends) -> None:
        """In these namespaces, the flows that `flush_stale_udp` tells of. What is asked for before the last is done
        becomes one with it: what counts is where flows may go now."""
        if former == now:
            return
        with self._lock:
            self._now = now
            for name in netns:
                self._former.setdefault(name, {}).update(dict.fromkeys(former, frozenset()))
            if self._former and self._thread is None:
                self._thread = threading.Thread(target=self._work, name="stale UDP flows", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._former:
                    self._thread = None
                    break
                name = next(iter(self._former))
                former, now = self._former.pop(name), self._now
            try:
                flush_stale_udp([name], former, now)
            except FileNotFoundError:  # the node has gone meanwhile, and its flows with it
                pass
            except OSError as error:
                log.error("forgetting UDP flows to endpoints that are gone, in %s: %s", name, error)
        self.done()
