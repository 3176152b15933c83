"""DaemonSets: a Pod on every node that fits (pkg/controller/daemon)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nslab.api.objects import Body, Object
from nslab.cluster import scheduling
from nslab.cluster.workloads import Template, daemon_template, name_suffix
from nslab.controllers.index import controllers_of, selector_of
from nslab.controllers.interface import Event
from nslab.controllers.metadata import (
    is_terminating,
    key_of,
    labels_of,
    namespace_of,
    rounded,
    split,
    status_of,
    with_annotations,
)  # fmt: skip
from nslab.controllers.nodes import node_of, scheduling_facts
from nslab.controllers.pods import CREATED, PodControl, available_in, is_finished, pods_created, soonest
from nslab.controllers.revisions import REVISION_LABEL, Revisions, revision_hash


class DaemonSetController:
    name = "daemonset-controller"

    def __init__(self, pods: PodControl) -> None:
        self._pods = pods
        self._revisions = Revisions(pods.store, pods.index)

    def keys(self, event: Event) -> Iterable[str]:
        if event.kind == "Pod":
            return controllers_of(self._pods.index, "DaemonSet", event)
        if event.kind == "DaemonSet":
            return (key_of(event.body),) if event.type != "DELETED" else ()
        if event.kind == "Node" and scheduling_facts(event.old) != scheduling_facts(event.body, event.type):
            return [key_of(body) for body in self._pods.store.list("DaemonSet")]
        return ()

    def sync(self, key: str) -> float | None:
        owner = self._pods.store.get("DaemonSet", *split(key))
        if owner is None or is_terminating(owner):
            return None
        revision = self._revisions.current(owner)
        by_node = self._by_node(owner)
        stays, wanted = self._placement(owner)
        owner = self._arrange(owner, by_node, stays, wanted)
        self._replace(owner, by_node, wanted)
        live = {_revision_name(owner, pod) for pods in by_node.values() for pod in pods}
        self._revisions.trim(owner, {revision, *live})
        return self._report(owner, by_node, wanted)

    def _by_node(self, owner: Body) -> dict[str, list[Body]]:
        by_node: dict[str, list[Body]] = {}
        for pod in self._pods.claim(owner, selector_of("DaemonSet", owner)):
            by_node.setdefault(_target(pod), []).append(pod)
        return by_node

    def _placement(self, owner: Body) -> tuple[set[str], list[str]]:
        """The nodes on which a Pod may go on, and those that shall have one: a NoSchedule taint takes none away."""
        template = _template(owner)
        stays: set[str] = set()
        wanted: list[str] = []
        for body in self._pods.store.list("Node"):
            node = node_of(body)
            if scheduling.admits(template, node):
                wanted.append(node.name)
                stays.add(node.name)
            else:
                lasting = tuple(taint for taint in node.taints if taint.effect == "NoExecute")
                if scheduling.admits(template, replace(node, taints=lasting, unschedulable=False)):
                    stays.add(node.name)
        return stays, wanted

    def _arrange(self, owner: Body, by_node: dict[str, list[Body]], stays: set[str], wanted: list[str]) -> Body:
        """Make what is missing; remove what failed, what is one too many, and what its node no longer takes."""
        for node, pods in by_node.items():
            running = [pod for pod in pods if not is_terminating(pod)]
            failed = [pod for pod in running if is_finished(pod)]
            sound = [pod for pod in running if not is_finished(pod)]
            for pod in [*failed, *(sound[1:] if node in stays else sound)]:
                self._pods.delete(owner, pod, self.name)
        missing = [node for node in wanted if node not in by_node]
        if not missing:
            return owner
        # How many were replaced: a Pod that follows another on its node gets another name.
        made = pods_created(owner)
        round_ = max(made - sum(len(pods) for pods in by_node.values()), 0)
        owner = self._pods.store.update(
            "DaemonSet", with_annotations(owner, **{CREATED: str(made + len(missing))})
        )
        for node in missing:
            self._create(owner, node, f"{node}/{round_}" if round_ else node)
        return owner

    def _create(self, owner: Body, node: str, identity: str) -> None:
        template = _template(owner)
        name = f"{owner['metadata']['name']}-{name_suffix(template, identity)}"
        labels = {**template.labels, REVISION_LABEL: revision_hash(owner["spec"]["template"])}
        body = {**template.body, "spec": {**template.spec, "affinity": _pinned(template.spec, node)}}
        self._pods.create(owner, name, body, labels=labels)
        self._pods.recorder.normal(owner, "SuccessfulCreate", f"Created pod: {name}", self.name)

    def _replace(self, owner: Body, by_node: dict[str, list[Body]], wanted: list[str]) -> None:
        """Rolling update: Pods of an old template that are not available go at once, others as maxUnavailable lets
        them (daemon/update.go)."""
        strategy = owner["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return
        allowed = rounded((strategy.get("rollingUpdate") or {}).get("maxUnavailable", 1), len(wanted), up=True)
        digest = revision_hash(owner["spec"]["template"])
        useless: list[Body] = []
        useful: list[Body] = []
        down = 0
        for node in wanted:
            pod = _first(by_node.get(node, ()))
            if pod is None or not self._is_available(owner, pod):
                down += 1
            if pod is not None and not is_terminating(pod) and labels_of(pod).get(REVISION_LABEL) != digest:
                (useful if self._is_available(owner, pod) else useless).append(pod)
        for pod in useless + useful[: max(allowed - down, 0)]:
            self._pods.delete(owner, pod, self.name)

    def _is_available(self, owner: Body, pod: Body) -> bool:
        wait = available_in(pod, owner["spec"].get("minReadySeconds", 0), self._pods.now())
        return wait == 0 and not is_terminating(pod)

    def _report(self, owner: Body, by_node: dict[str, list[Body]], wanted: list[str]) -> float | None:
        min_ready = owner["spec"].get("minReadySeconds", 0)
        digest = revision_hash(owner["spec"]["template"])
        pods = [pod for pod in (_first(by_node.get(node, ())) for node in wanted) if pod is not None]
        waits = [available_in(pod, min_ready, self._pods.now()) for pod in pods]
        available = sum(wait == 0 for wait in waits)
        counts = {
            "updatedNumberScheduled": sum(labels_of(pod).get(REVISION_LABEL) == digest for pod in pods),
            "numberAvailable": available, "numberUnavailable": len(wanted) - available,
        }
        status: Body = {
            "currentNumberScheduled": len(pods), "desiredNumberScheduled": len(wanted),
            "numberMisscheduled": sum(node not in wanted for node in by_node),
            "numberReady": sum(wait is not None for wait in waits),
            "observedGeneration": owner["metadata"].get("generation", 1),
            **{name: count for name, count in counts.items() if count},
        }
        if status != status_of(owner):
            self._pods.store.update("DaemonSet", {**owner, "status": status}, status=True)
        return soonest(*waits)


def _template(owner: Body) -> Template:
    item = Object(owner["apiVersion"], "DaemonSet", namespace_of(owner), owner["metadata"]["name"], owner)
    return Template(item, daemon_template(owner))


def _pinned(spec: Body, node: str) -> Body:
    """The Pod's affinity, the required part of its node affinity replaced by this node
    (ReplaceDaemonSetPodNodeNameNodeAffinity): the controller has seen that the node meets what was written."""
    affinity: Body = spec.get("affinity") or {}
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {**affinity, "nodeAffinity": {**(affinity.get("nodeAffinity") or {}), **required}}


def _target(pod: Body) -> str:
    """The node that a daemon Pod is bound to, or shall be."""
    bound: str = pod["spec"].get("nodeName", "")
    affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    fields = [field for term in required.get("nodeSelectorTerms") or () for field in term.get("matchFields") or ()]
    pinned = next((field["values"][0] for field in fields if field["key"] == "metadata.name"), "")
    return bound or pinned


def _first(pods: Iterable[Body]) -> Body | None:
    """The Pod that serves a node, before one that is on its way out."""
    return min(pods, key=is_terminating, default=None)


def _revision_name(owner: Body, pod: Body) -> str:
    return f"{owner['metadata']['name']}-{labels_of(pod).get(REVISION_LABEL, '')}"
