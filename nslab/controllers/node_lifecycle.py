"""Node lifecycle: who is silent too long is dead, and its Pods serve nobody (pkg/controller/nodelifecycle)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nslab.api.objects import Body
from nslab.cluster.model import Taint
from nslab.cluster.scheduling import toleration_of
from nslab.controllers.events import Recorder
from nslab.controllers.index import Index
from nslab.controllers.interface import Clock, Event, Settings, Store
from nslab.controllers.metadata import (
    condition,
    created,
    is_terminating,
    key_of,
    seconds,
    split,
    status_of,
    timestamp,
    with_condition,
)  # fmt: skip
from nslab.controllers.nodes import taints_of
from nslab.controllers.pods import is_ready, soonest

LEASES = "kube-node-lease"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_UNKNOWN = {
    "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status.",
}  # fmt: skip
_OWN = (NOT_READY, UNREACHABLE, UNSCHEDULABLE)


class NodeLifecycleController:
    """A node's heartbeat is the newest of `renewTime` of its Lease in kube-node-lease and `lastHeartbeatTime` of its
    condition Ready, both written by its kubelet. Silence of `grace` seconds makes Ready Unknown; the kubelet alone
    makes it True.

    Before a node is declared dead, `hear` lets the kubelets speak: those of a lab share the controllers' thread, and
    had no time to while these worked long.
    """

    name = "node-lifecycle-controller"

    def __init__(
        self, store: Store, index: Index, recorder: Recorder, now: Clock, settings: Settings,
        hear: Callable[[], None],
    ) -> None:
        self._store = store
        self._index = index
        self._recorder = recorder
        self._now = now
        self._settings = settings
        self._hear = hear
        self.grace = settings.grace

    def keys(self, event: Event) -> Iterable[str]:
        if event.kind == "Node":
            return (key_of(event.body),)
        if event.kind == "Lease" and event.body["metadata"].get("namespace") == LEASES:
            # A beat on time asks for nothing: the look at the end of the grace period comes anyway.
            node = self._store.get("Node", "", event.body["metadata"]["name"])
            return (key_of(node),) if node and not _is_up(node) else ()
        if event.kind == "Pod" and event.type != "DELETED" and event.body["spec"].get("nodeName"):
            # What a dead node's kubelet said of a Pod, or who was bound there, may come late.
            name = event.body["spec"]["nodeName"]
            node = self._store.get("Node", "", name)
            return ("/" + name,) if node is None or taints_of(node) or not _is_up(node) else ()
        return ()

    def sync(self, key: str) -> float | None:
        name = key[1:]
        node = self._store.get("Node", "", name)
        if node is None:
            self._bury(name)
            return None
        silent_in = self._heartbeat(node) + self.grace - self._now()
        if silent_in <= 0 and condition(node, "Ready").get("status") != "Unknown":
            self._hear()
            node = self._store.get("Node", "", name) or node
            silent_in = self._heartbeat(node) + self.grace - self._now()
            node = self._declare_unknown(node) if silent_in <= 0 else node
        node = self._taint(node)
        if not _is_up(node):
            self._unready_pods(name)
        return soonest(max(silent_in, 0.0), self._evict(node))

    def _heartbeat(self, node: Body) -> float:
        lease = self._store.get("Lease", LEASES, node["metadata"]["name"])
        renewed = seconds((lease.get("spec") or {}).get("renewTime")) if lease else 0.0
        return max(renewed, seconds(condition(node, "Ready").get("lastHeartbeatTime")), created(node))

    def _declare_unknown(self, node: Body) -> Body:
        old = condition(node, "Ready")
        heartbeat = {"lastHeartbeatTime": old["lastHeartbeatTime"]} if "lastHeartbeatTime" in old else {}
        new = {"type": "Ready", **_UNKNOWN, **heartbeat}
        conditions = with_condition(status_of(node).get("conditions") or (), new, self._now())
        status = {**status_of(node), "conditions": conditions}
        name = node["metadata"]["name"]
        self._recorder.normal(node, "NodeNotReady", f"Node {name} status is now: NodeNotReady", self.name)
        return self._store.update("Node", {**node, "status": status}, status=True)

    def _taint(self, node: Body) -> Body:
        """The taints that say what the node's condition and cordon say."""
        wanted: list[Body] = []
        if (node.get("spec") or {}).get("unschedulable"):
            wanted.append({"key": UNSCHEDULABLE, "effect": "NoSchedule"})
        state = condition(node, "Ready").get("status")
        key = {"False": NOT_READY, "Unknown": UNREACHABLE}.get(state or "True")
        if key:
            wanted += [{"key": key, "effect": "NoSchedule"}, {"key": key, "effect": "NoExecute"}]
        taints = (node.get("spec") or {}).get("taints") or []
        kept = [taint for taint in taints if taint["key"] not in _OWN]
        known = {(taint["key"], taint["effect"]): taint for taint in taints}
        now = timestamp(self._now())
        fresh = [
            known.get((taint["key"], taint["effect"])) or {**taint, "timeAdded": now} for taint in wanted
        ]
        if [*kept, *fresh] == taints:
            return node
        spec = {**(node.get("spec") or {}), "taints": [*kept, *fresh]}
        if not spec["taints"]:
            del spec["taints"]
        return self._store.update("Node", {**node, "spec": spec})

    def _unready_pods(self, name: str) -> None:
        """The Pods of a dead node leave the endpoints: nobody there says that they are ready."""
        for pod in self._index.on_node(name):
            if is_ready(pod):
                new = {"type": "Ready", "status": "False", "reason": "NodeNotReady"}
                conditions = with_condition(status_of(pod)["conditions"], new, self._now())
                status = {**status_of(pod), "conditions": conditions}
                self._store.update("Pod", {**pod, "status": status}, status=True)
                self._recorder.warning(pod, "NodeNotReady", "Node is not ready", self.name)

    def _evict(self, node: Body) -> float | None:
        """Delete the Pods that do not tolerate a NoExecute taint, or no longer; seconds until the next is due."""
        taints = [taint for taint in taints_of(node) if taint.effect == "NoExecute"]
        if not taints:
            return None
        since = {
            (taint["key"], taint["effect"]): seconds(taint.get("timeAdded")) or self._now()
            for taint in node["spec"]["taints"]
        }
        waits: list[float] = []
        for pod in self._index.on_node(node["metadata"]["name"]):
            if is_terminating(pod):
                continue
            due = [since[taint.key, taint.effect] + self._tolerated(pod, taint) for taint in taints]
            wait = min(due) - self._now()
            if wait <= 0:
                self._store.delete("Pod", *split(key_of(pod)))
                text = f"Marking for deletion Pod {key_of(pod)}"
                self._recorder.normal(pod, "TaintManagerEviction", text, "taint-eviction-controller")
            else:
                waits.append(wait)
        return min((wait for wait in waits if wait != float("inf")), default=None)

    def _tolerated(self, pod: Body, taint: Taint) -> float:
        """For how many seconds a Pod stays beside a NoExecute taint."""
        toleration = toleration_of(pod["spec"], taint)
        if toleration is not None:
            return float(toleration.get("tolerationSeconds", "inf"))
        return self._settings.eviction if taint.key in (NOT_READY, UNREACHABLE) else 0.0

    def _bury(self, name: str) -> None:
        """The node is gone: no kubelet will confirm the end of its Pods (pkg/controller/podgc)."""
        for pod in self._index.on_node(name):
            self._store.finish("Pod", *split(key_of(pod)))


def _is_up(node: Body) -> bool:
    """Whether the node's kubelet says that it is ready, or has yet to say anything."""
    return bool(condition(node, "Ready").get("status", "True") == "True")
