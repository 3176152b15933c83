"""Every Pod finds its node: what may not run there is filtered, what remains is spread.

Filters are those of kube-scheduler that a network lab can tell apart: node name, selector and required affinity,
taints, cordon, host ports, required anti-affinity, and the number of Pods. A Pod that has a place keeps it, as no
scheduler moves a running Pod; only a NoExecute taint or the end of its node takes it away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from nslab.api.objects import Body
from nslab.cluster.model import Node, Taint
from nslab.cluster.selectors import matches, satisfies
from nslab.cluster.workloads import PendingPod, Template
from nslab.errors import CapacityError

UNSCHEDULABLE = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
HOSTNAME = "kubernetes.io/hostname"


def admits(template: Template, node: Node) -> bool:
    """Whether a DaemonSet has a Pod on this node."""
    return not _refusal(template, node)


def place(
    pods: Iterable[PendingPod], nodes: Mapping[str, Node], max_pods: int, leases: Mapping[str, str]
) -> list[str]:
    """The node of every Pod, in the Pods' order. `leases` map a Pod's key + "#" + digest to the node it has.

    Raises CapacityError for the first Pod that fits nowhere, with the count of nodes for each reason.
    """
    wanted = list(pods)
    bound = [pod.node if pod.template.uid or pod.is_static else "" for pod in wanted]
    if nodes.keys() >= set(bound):  # whoever did it: that stands, and there is nothing to choose
        return bound
    board = Board(wanted, nodes, dict.fromkeys(nodes, max_pods))
    placed: dict[int, str] = {}
    for index, pod in enumerate(wanted):
        if bound[index] in nodes:
            placed[index] = pod.node
            board.put(pod, pod.node)
            continue
        lease = leases.get(pod.lease, "")
        if not pod.node and lease in nodes and board.keeps(pod, nodes[lease]):
            placed[index] = lease
            board.put(pod, lease)
    # Those that cannot choose come before those that can.
    for chooses in (False, True):
        for index, pod in enumerate(wanted):
            if index not in placed and bool(not pod.node) is chooses:
                placed[index] = board.choose(pod)
                board.put(pod, placed[index])
    return [placed[index] for index in range(len(wanted))]


_NONE: Counter[str] = Counter()


class Board:
    """Who is placed where so far, on nodes by name. `max_pods` is how many Pods each of them takes. `pods` are those
    whose anti-affinity counts from the beginning: each term has to see every Pod that is placed."""

    def __init__(self, pods: Iterable[PendingPod], nodes: Mapping[str, Node], max_pods: Mapping[str, int]) -> None:
        self.nodes = nodes
        self.max_pods = max_pods
        self.total: Counter[str] = Counter()
        self.owned: dict[tuple[str, str, str], Counter[str]] = {}
        self.host_ports: dict[str, Counter[tuple[str, int]]] = {name: Counter() for name in nodes}
        self.terms: dict[Template, list[_AntiAffinity]] = {}
        self.refusals: dict[Template, dict[str, str]] = {}
        for template in {pod.template: None for pod in pods}:
            self.learn(template, ())

    def learn(self, template: Template, placed: Iterable[tuple[PendingPod, str]]) -> None:
        """Take up the anti-affinity of a template, if it is new, with those who are placed already."""
        required = _required_anti_affinity(template)
        if not required or template in self.terms:
            return
        self.terms[template] = [_AntiAffinity(term, template.owner.namespace) for term in required]
        for pod, node in placed:
            for term in self.terms[template]:
                term.note(pod, self.nodes[node], template is pod.template, 1)

    def put(self, pod: PendingPod, node: str) -> None:
        self._note(pod, node, 1)

    def take(self, pod: PendingPod, node: str) -> None:
        """The inverse of `put`."""
        self._note(pod, node, -1)

    def _note(self, pod: PendingPod, node: str, count: int) -> None:
        if not pod.is_static:  # they come on top of maxPodsPerNode: what fits without them fits with them
            self.total[node] += count
        self.owned.setdefault((pod.namespace, *pod.owner), Counter())[node] += count
        for port in pod.template.host_ports:
            self.host_ports[node][port] += count
        for template, terms in self.terms.items():
            for term in terms:
                term.note(pod, self.nodes[node], template is pod.template, count)

    def keeps(self, pod: PendingPod, node: Node) -> bool:
        """Whether a Pod that runs on `node` may stay: affinities and NoSchedule are ignored during execution."""
        spec = pod.template.spec
        evicted = any(taint.effect == "NoExecute" and not tolerates(spec, taint) for taint in node.taints)
        return not evicted and not self._crowded(pod, node.name)

    def choose(self, pod: PendingPod) -> str:
        """Like `find`. Raises CapacityError where there is none."""
        found = self.find(pod)
        if not found:
            raise CapacityError(
                f"Pod {pod.key} fits on no node: {self.reasons(pod)}",
                hint="add nodes to spec.nodes, label or untaint one, or ask for less", where=pod.template.where,
            )
        return found

    def find(self, pod: PendingPod) -> str:
        """The node with the fewest Pods of the same owner, then with the fewest Pods, then the first; empty where the
        Pod fits nowhere."""
        refusals = self._refusals(pod.template)
        owned = self.owned.get((pod.namespace, *pod.owner), _NONE)
        best, best_rank = "", (0, 0)
        for name, node in self.nodes.items():
            if (pod.node and pod.node != name) or refusals[name] or self._crowded(pod, name):
                continue
            rank = (owned.get(name, 0), self.total[name])
            if (not best or rank < best_rank) and not self._repelled(pod, node):
                best, best_rank = name, rank
        return best

    def _refusals(self, template: Template) -> dict[str, str]:
        found = self.refusals.get(template)
        if found is None:
            found = {name: _refusal(template, node) for name, node in self.nodes.items()}
            self.refusals[template] = found
        return found

    def _crowded(self, pod: PendingPod, node: str) -> str:
        if self.total[node] >= self.max_pods[node]:
            return "Too many pods"
        taken = self.host_ports[node]
        if any(taken[port] > 0 for port in pod.template.host_ports):
            return "node(s) didn't have free ports for the requested pod ports"
        return ""

    def _repelled(self, pod: PendingPod, node: Node) -> bool:
        return any(
            term.repels(pod, node, template is pod.template)
            for template, terms in self.terms.items() for term in terms
        )

    def reasons(self, pod: PendingPod) -> str:
        """Why a Pod fits on no node, in kube-scheduler's words and order (framework FitError)."""
        if not self.nodes:
            return "no nodes available to schedule pods"
        reasons: Counter[str] = Counter()
        for name in self.nodes:
            if pod.node and pod.node != name:
                reasons["node(s) didn't match the requested node name"] += 1
                continue
            refusal = self._refusals(pod.template)[name] or self._crowded(pod, name)
            reasons[refusal or "node(s) didn't match pod anti-affinity rules"] += 1
        detail = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
        return f"0/{len(self.nodes)} nodes are available: {detail}."


class _AntiAffinity:
    """A required anti-affinity term: where the Pods it selects are, and where the Pods that have it are."""

    def __init__(self, term: Body, namespace: str) -> None:
        self.selector: dict[str, Any] | None = term.get("labelSelector")
        self.topology: str = term.get("topologyKey", HOSTNAME)
        self.namespaces = frozenset(term.get("namespaces") or (namespace,))
        self.selected: Counter[str] = Counter()
        self.holders: Counter[str] = Counter()

    def note(self, pod: PendingPod, node: Node, holds: bool, count: int) -> None:
        domain = node.labels.get(self.topology)
        if domain is None:
            return
        if self._selects(pod):
            self.selected[domain] += count
        if holds:
            self.holders[domain] += count

    def repels(self, pod: PendingPod, node: Node, holds: bool) -> bool:
        """Both ways: a Pod that has the term avoids those it selects, and those it selects avoid the Pod."""
        domain = node.labels.get(self.topology)
        if domain is None:
            return False
        return (holds and self.selected[domain] > 0) or (self.holders[domain] > 0 and self._selects(pod))

    def _selects(self, pod: PendingPod) -> bool:
        return pod.namespace in self.namespaces and matches(self.selector, pod.labels)


def _required_anti_affinity(template: Template) -> list[Body]:
    affinity = (template.spec.get("affinity") or {}).get("podAntiAffinity") or {}
    return affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or []


def _refusal(template: Template, node: Node) -> str:
    """Why no Pod of the template may be scheduled on the node, whatever else runs there; empty if one may."""
    spec = template.spec
    selector: dict[str, str] = spec.get("nodeSelector") or {}
    if any(node.labels.get(key) != value for key, value in selector.items()) or not _near(spec, node):
        return "node(s) didn't match Pod's node affinity/selector"
    # The kubelet, not the scheduler, takes a Pod that names its node: only NoExecute keeps it away.
    effects = ("NoExecute",) if spec.get("nodeName") else ("NoSchedule", "NoExecute")
    taints = (UNSCHEDULABLE, *node.taints) if node.unschedulable else node.taints
    for taint in taints:
        if taint.effect in effects and not tolerates(spec, taint):
            text = f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
            return "node(s) were unschedulable" if taint is UNSCHEDULABLE else text
    return ""


def _near(spec: Body, node: Node) -> bool:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(
        satisfies(term.get("matchExpressions") or (), node.labels)
        and satisfies(term.get("matchFields") or (), {"metadata.name": node.name})
        for term in required["nodeSelectorTerms"]
        if term.get("matchExpressions") or term.get("matchFields")
    )


def tolerates(spec: Body, taint: Taint) -> bool:
    """Whether a Pod of this spec tolerates the taint, for however long."""
    return toleration_of(spec, taint) is not None


def toleration_of(spec: Body, taint: Taint) -> Body | None:
    """The first toleration of a Pod's spec that matches the taint."""
    for toleration in spec.get("tolerations") or ():
        if (
            toleration.get("effect", "") in ("", taint.effect)
            and toleration.get("key", "") in ("", taint.key)
            and (toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.value)
        ):
            found: Body = toleration
            return found
    return None
