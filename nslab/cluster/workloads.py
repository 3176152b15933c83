"""Workloads become Pods: Deployments, ReplicaSets, StatefulSets, DaemonSets and Jobs, with the names they would have.

Names and identities are hashes of owner, template and ordinal: the same file gives the same Pods, three of five
replicas are the three there were, and a changed template gives new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from json import dumps

from nslab.api.objects import Body, Object
from nslab.cluster import containers
from nslab.cluster.memo import Memo
from nslab.cluster.model import Container, Node

# rand.SafeEncodeString of apimachinery: neither vowels nor digits that look like them, so no words.
_SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
HASH_LABEL = "pod-template-hash"
_KINDS = ("Pod", "Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Job")


class Template:
    """What all Pods of one workload share. `digest` identifies it; `where` is the place of its object."""

    def __init__(self, owner: Object, body: Body) -> None:
        self.owner = owner
        self.body = body
        self.metadata: Body = body.get("metadata") or {}
        self.spec: Body = body["spec"]
        self.where = owner.where
        # A Pod that an API server has stored has an identity of its own, which no other Pod ever gets.
        self.uid: str = self.metadata.get("uid", "") if owner.kind == "Pod" else ""
        self.terminating = "deletionTimestamp" in self.metadata
        # A bare Pod's labels can be changed in place; every other change of a template replaces its Pods.
        identity = self.spec if owner.kind == "Pod" else [self.metadata, self.spec]
        self.digest = self.uid or sha256(dumps(identity, sort_keys=True).encode()).hexdigest()
        self.containers: tuple[Container, ...] = containers.parse(self.spec)
        self.host_network = bool(self.spec.get("hostNetwork"))
        self.dynamic = any(containers.is_dynamic(item) for item in containers.running(self.spec))
        # The responder serves one of its containers, and none says on which port.
        self.silent = not any(part.ports for part in self.containers) and any(
            part.image != containers.HOST_IMAGE for part in self.containers
        )
        self.gated = any("readiness" in item.probes or "startup" in item.probes for item in self.containers)

    @property
    def labels(self) -> dict[str, str]:
        return self.metadata.get("labels") or {}

    @cached_property
    def host_ports(self) -> frozenset[tuple[str, int]]:
        """(protocol, port) that a Pod takes on its node."""
        return frozenset(
            (port.get("protocol", "TCP"), port["containerPort"] if self.host_network else port["hostPort"])
            for body in containers.running(self.spec)
            for port in body.get("ports") or ()
            if self.host_network or port.get("hostPort")
        )


@dataclass(frozen=True, slots=True)
class PendingPod:
    """A Pod that has no node yet. `node` is set where nothing else will do: nodeName, or a DaemonSet's. `key` is
    NAMESPACE/NAME, and `lease` what it holds its node by."""

    namespace: str
    name: str
    digest: str
    labels: dict[str, str]
    template: Template
    owner: tuple[str, str]
    node: str = ""
    key: str = field(init=False)
    lease: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.namespace}/{self.name}")
        object.__setattr__(self, "lease", f"{self.key}#{self.digest}")

    @property
    def is_static(self) -> bool:
        """Whether its node runs it of its own accord (`static_pods`)."""
        return self.owner[0] == "Node"


def safe_hash(text: str, length: int) -> str:
    """`length` characters of Kubernetes' alphabet for generated names, drawn from the hash of `text`."""
    digest = sha256(text.encode()).digest()
    return "".join(_SAFE_ALPHABET[octet % 27] for octet in digest[:length])


def expand(
    objects: Sequence[Object], nodes: Iterable[Node], admits: Callable[[Template, Node], bool], memo: Memo
) -> Iterator[PendingPod]:
    """The Pods of all workloads among `objects`, in the objects' order and then by ordinal. `admits` says whether a
    DaemonSet's Pod may run on a node. CronJobs give none: nothing runs until its time comes."""
    everywhere = tuple(nodes)
    pods = iter(memo.row("pods", [(item,) for item in objects if item.kind == "Pod"], _bare))
    for item in objects:
        if item.kind not in _KINDS:
            continue
        if item.kind == "Pod":
            yield next(pods)
        elif item.kind == "DaemonSet":
            yield from _daemons(Template(item, daemon_template(item.body)), everywhere, admits)
        else:
            yield from _replicas(item)


def _bare(item: Object) -> PendingPod:
    template = Template(item, item.body)
    node = template.spec.get("nodeName", "")
    return _pod(template, item.name, template.labels, controller(template.metadata), node)


def replicas(item: Object) -> int:
    """How many Pods a workload asks for. A Job's run side by side: none of them ever completes."""
    spec = item.body["spec"]
    if item.kind == "Job":
        parallelism = spec.get("parallelism", 1)
        return int(min(parallelism, spec.get("completions", parallelism)))
    return int(spec.get("replicas", 1))


def replica_set_name(template: Template) -> tuple[str, str]:
    """The name of the ReplicaSet of a Deployment's template, and the pod-template-hash in it."""
    revision = safe_hash(template.digest, 10)
    return f"{template.owner.name}-{revision}", revision


def name_suffix(template: Template, which: int | str) -> str:
    """The end of a Pod's name, by the ordinal or the node that tells it from the others of its template."""
    owner = template.owner
    return safe_hash(f"{owner.kind}/{owner.namespace}/{owner.name}/{template.digest}/{which}", 5)


def _replicas(item: Object) -> Iterator[PendingPod]:
    template = Template(item, _template(item))
    owner = (item.kind, item.name)
    first = int((item.body["spec"].get("ordinals") or {}).get("start", 0))
    prefix, labels = item.name, template.labels
    if item.kind == "Deployment":
        prefix, revision = replica_set_name(template)
        labels = {**template.labels, HASH_LABEL: revision}
    elif item.kind == "Job":
        labels = {**template.labels, "batch.kubernetes.io/job-name": item.name, "job-name": item.name}
    for ordinal in range(replicas(item)):
        if item.kind == "StatefulSet":
            name = f"{item.name}-{first + ordinal}"
            labels = {**template.labels, **stateful_labels(name, first + ordinal)}
            yield _pod(template, name, labels, owner)
        else:
            yield _pod(template, f"{prefix}-{name_suffix(template, ordinal)}", labels, owner)


def _template(item: Object) -> Body:
    """The Pod template; a StatefulSet's Pods have its Service as subdomain."""
    body: Body = item.body["spec"]["template"]
    service = item.body["spec"].get("serviceName")
    if item.kind != "StatefulSet" or not service:
        return body
    return {**body, "spec": {**body["spec"], "subdomain": service}}


def controller(metadata: Body) -> tuple[str, str]:
    """Kind and name of the workload of a stored Pod: a Deployment's Pods are controlled by its ReplicaSet, whose name
    is its own and the hash."""
    owners = metadata.get("ownerReferences") or ()
    kind, name = next(((owner["kind"], owner["name"]) for owner in owners if owner.get("controller")), ("", ""))
    revision = (metadata.get("labels") or {}).get(HASH_LABEL)
    if kind == "ReplicaSet" and revision and name.endswith(f"-{revision}"):
        return "Deployment", name.removesuffix(f"-{revision}")
    return kind, name


def stateful_labels(name: str, ordinal: int) -> dict[str, str]:
    """The labels of a StatefulSet's Pod beside those of its template."""
    return {"statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": str(ordinal)}


def _daemons(
    template: Template, nodes: tuple[Node, ...], admits: Callable[[Template, Node], bool]
) -> Iterator[PendingPod]:
    owner = (template.owner.kind, template.owner.name)
    for node in nodes:
        if admits(template, node):
            name = f"{template.owner.name}-{name_suffix(template, node.name)}"
            yield _pod(template, name, template.labels, owner, node.name)


def daemon_template(daemon_set: Body) -> Body:
    """A DaemonSet's Pods tolerate what the DaemonSet controller lets them tolerate, a cordoned node among it."""
    body: Body = daemon_set["spec"]["template"]
    spec = body["spec"]
    keys = ["not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"]
    keys += ["network-unavailable"] if spec.get("hostNetwork") else []
    extra = [{"key": f"node.kubernetes.io/{key}", "operator": "Exists"} for key in keys]
    return {**body, "spec": {**spec, "tolerations": [*(spec.get("tolerations") or ()), *extra]}}


def _pod(
    template: Template, name: str, labels: dict[str, str], owner: tuple[str, str], node: str = ""
) -> PendingPod:
    digest = sha256(f"{template.digest}/{owner[0]}/{owner[1]}/{name}".encode()).hexdigest()[:16]
    return PendingPod(template.owner.namespace, name, digest, labels, template, owner, node)
