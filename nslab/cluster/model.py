"""The nouns of a Cluster: an immutable snapshot that everything below (components, checks, commands) reads."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import NamedTuple

from nslab.api.objects import Body, LabSpec, Object


class Taint(NamedTuple):
    """A taint of a node; `effect` is NoSchedule, PreferNoSchedule or NoExecute."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its address in the VPC's primary range, the range of its Pods (a CIDR), labels, zone and taints. `body`
    is the Node object of the manifests, empty where there is none."""

    name: str
    ip: str
    pod_range: str
    labels: dict[str, str] = field(default_factory=dict)
    zone: str = ""
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()
    body: Body = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A port that a container listens on; `name` is empty where the manifest gives none. `protocol` is TCP, UDP or
    SCTP."""

    port: int
    protocol: str = "TCP"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """A container. `command` (with arguments) is set only for `image: host`, which runs it from the host's files;
    every other container is served by the responder. `probes` maps "readiness", "liveness" and "startup" to the
    manifest's Probe."""

    name: str
    image: str
    ports: tuple[ContainerPort, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    probes: dict[str, Body] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pod:
    """A Pod with a place and an address.

    `uid` changes when the Pod is replaced. `owner` is ("Deployment", "web") or ("", "") for a bare Pod. `ip` of a
    `host_network` Pod is its node's. `body` is what the manifests say of it, metadata and spec of the Pod or of its
    owner's template (`render.pod_object` makes the whole object of it). `ready` is its Ready condition; one that is
    `terminating` is being deleted.
    `inferred_ports` says that no container declares a port and that `containers` got them from the Services.
    """

    namespace: str
    name: str
    uid: str
    ip: str
    node: str
    labels: dict[str, str]
    containers: tuple[Container, ...]
    host_network: bool = False
    owner: tuple[str, str] = ("", "")
    inferred_ports: bool = False
    ready: bool = True
    body: Body = field(default_factory=dict)
    terminating: bool = False

    @property
    def key(self) -> str:
        """NAMESPACE/NAME, unique among the Pods of a lab."""
        return f"{self.namespace}/{self.name}"

    @property
    def is_static(self) -> bool:
        """Whether its node runs it of its own accord: nobody has asked for it, and no scheduler placed it."""
        return self.owner[0] == "Node"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address and port behind a Service port. `node` and `pod` (a Pod's key) are empty for an address that is
    no Pod of the lab. The three conditions are those of discovery.k8s.io/v1."""

    ip: str
    port: int
    node: str = ""
    pod: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zone: str = ""
    zone_hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service. `number` is its sticky identity in the rules (a lease), `node_port` 0 where it has none;
    `endpoints` are all of them, ready or not, in a stable order."""

    name: str
    protocol: str
    port: int
    target_port: int | str
    node_port: int
    number: int
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """A Service. `cluster_ip` is "" for headless and ExternalName Services. `affinity_timeout` is in seconds, 0
    without ClientIP affinity. The traffic policies are "Cluster" or "Local". `load_balancer_ips` are its VIPs."""

    namespace: str
    name: str
    type: str
    cluster_ip: str
    ports: tuple[ServicePort, ...]
    selector: dict[str, str]
    affinity_timeout: int = 0
    external_traffic_policy: str = "Cluster"
    internal_traffic_policy: str = "Cluster"
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    health_check_node_port: int = 0
    publish_not_ready: bool = False
    external_name: str = ""
    body: Body = field(default_factory=dict)

    @property
    def key(self) -> str:
        """NAMESPACE/NAME, unique among the Services of a lab."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Client:
    """A host outside the cluster; `network` is "internet" or "vpc"."""

    name: str
    network: str
    ip: str


class Fault(NamedTuple):
    """Something broken on purpose. `target` is "pod/NAMESPACE/NAME", "node/NAME" or "client/NAME"; `effect` is
    unready, crash, blackhole or slow (of a Pod), dead (of a node), down, loss, delay or rate (of the target's link).
    `value` is of the four that have one: "200ms", "10%", "50ms", "10mbit"."""

    target: str
    effect: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Leases:
    """What was given out and stays given out: sticky across every `up` of a lab, never overlapping.

    Each maps a holder to its lease. Holders: node or client name; Service key; "SERVICE:PORTNAME/PROTO" (and
    "SERVICE:healthCheckNodePort/TCP"); Pod key + "#" + uid, but for `pod_nodes` Pod key + "#" + hash of its spec,
    since the uid depends on the node. `cursors` remember, per range, the last value given, so that a freed one is
    not reused at once.
    """

    node_ips: dict[str, str] = field(default_factory=dict)
    pod_ranges: dict[str, str] = field(default_factory=dict)
    pod_nodes: dict[str, str] = field(default_factory=dict)
    pod_ips: dict[str, str] = field(default_factory=dict)
    cluster_ips: dict[str, str] = field(default_factory=dict)
    node_ports: dict[str, int] = field(default_factory=dict)
    load_balancer_ips: dict[str, str] = field(default_factory=dict)
    client_ips: dict[str, str] = field(default_factory=dict)
    service_numbers: dict[str, int] = field(default_factory=dict)
    cursors: dict[str, str] = field(default_factory=dict)

    def include(self, other: Leases) -> bool:
        """Whether all that `other` has given out is given out here too, to the same holders."""
        pairs = ((getattr(self, each.name), getattr(other, each.name)) for each in fields(self))
        return all(mine is theirs or theirs.items() <= mine.items() for mine, theirs in pairs)


@dataclass(frozen=True)
class Cluster:
    """The whole lab at one moment. Mappings are by name or key, in a stable order."""

    lab: LabSpec
    objects: tuple[Object, ...]
    nodes: dict[str, Node]
    pods: dict[str, Pod]
    services: dict[str, Service]
    clients: dict[str, Client]
    leases: Leases
    warnings: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()

    @cached_property
    def faults_of(self) -> dict[str, dict[str, str]]:
        """The values of the present effects, by target: {"pod/shop/cart": {"crash": "", "slow": "200ms"}}. Targets
        without a fault have no entry."""
        found: dict[str, dict[str, str]] = {}
        for target, effect, value in self.faults:
            found.setdefault(target, {})[effect] = value
        return found

    def broken(self, pod: Pod) -> bool:
        """Whether a fault of its own, or the death of its node, may keep a Pod from being ready."""
        return bool(self.faults) and (
            f"pod/{pod.key}" in self.faults_of or self.suffers(f"node/{pod.node}", "dead")
        )

    def suffers(self, target: str, effect: str) -> bool:
        """Whether the target ("pod/kube-system/kube-proxy-n1") has a fault of that effect ("crash")."""
        return effect in self.faults_of.get(target, {})

    @cached_property
    def asked_pods(self) -> dict[str, Pod]:
        """The Pods that somebody asked for: all but the static ones, which come with the nodes."""
        return {key: pod for key, pod in self.pods.items() if not pod.is_static}

    @cached_property
    def pods_by_ip(self) -> dict[str, Pod]:
        """Pods by address; without hostNetwork Pods, which share their node's."""
        return {pod.ip: pod for pod in self.pods.values() if not pod.host_network}

    @cached_property
    def pods_by_node(self) -> dict[str, tuple[Pod, ...]]:
        """Pods of each node, every node included."""
        by_node: dict[str, list[Pod]] = {name: [] for name in self.nodes}
        for pod in self.pods.values():
            by_node[pod.node].append(pod)
        return {name: tuple(pods) for name, pods in by_node.items()}

    @cached_property
    def services_by_pod(self) -> dict[str, tuple[str, ...]]:
        """Keys of the Services that have a Pod (by key) behind them through their selector."""
        by_pod: dict[str, dict[str, None]] = {}
        for service in self.services.values():
            for port in service.ports if service.selector else ():
                for endpoint in port.endpoints:
                    by_pod.setdefault(endpoint.pod, {})[service.key] = None
        return {pod: tuple(keys) for pod, keys in by_pod.items()}
