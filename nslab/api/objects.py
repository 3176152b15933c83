"""The decoded nouns: an object as the user wrote it (plus defaults), and the Lab's specification."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]
"""A Kubernetes object as JSON: what `-o json` prints."""


@dataclass(frozen=True, slots=True)
class Object:
    """One Kubernetes object. `namespace` is empty for cluster-scoped kinds; `where` is FILE:LINE:COL of its start."""

    api_version: str
    kind: str
    namespace: str
    name: str
    body: Body
    where: str = ""

    @property
    def reference(self) -> str:
        """KIND/NAMESPACE/NAME (or KIND/NAME), as messages name an object: `Service shop/web`."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """`spec.cluster` of the Lab. `mode` is "VPCNative" or "RoutesBased"; the grace
    period is in seconds."""

    mode: str = "VPCNative"
    network_policy: bool = False
    domain: str = "cluster.local"
    max_pods_per_node: int = 110
    node_monitor_grace_period: float = 5.0


@dataclass(frozen=True, slots=True)
class VpcSpec:
    """`spec.vpc` of the Lab: its IPv4 ranges as CIDRs, and the MTU of every link in octets."""

    node_range: str = "10.128.0.0/20"
    pod_range: str = "10.8.0.0/14"
    service_range: str = "10.12.0.0/20"
    proxy_only_range: str = "10.129.0.0/23"
    external_range: str = "203.0.113.0/24"
    internet_range: str = "198.51.100.0/24"
    mtu: int = 1460


COREDNS = "coredns"


@dataclass(frozen=True, slots=True)
class DnsSpec:
    """`spec.dns` of the Lab. `engine` is "kube-dns", COREDNS or "none". `upstream` is "host" where the host's name
    servers are asked for names that the lab does not know, else empty. `coredns` is CoreDNS's program: a path, or a
    name on PATH."""

    engine: str = "kube-dns"
    upstream: str = ""
    node_local: bool = False
    coredns: str = "coredns"


Zones = dict[str, dict[str, tuple[str, ...]]]
"""`spec.internet.zones`: for each zone, by name relative to it ("@" is its own), addresses or one other name."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node as the Lab or a Node object asks for it; `pod_cidr` and `address` are empty unless asked for."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    zone: str = ""
    pod_cidr: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class ClientSpec:
    """A host outside the cluster; `network` is "internet" or "vpc", `address` empty unless asked for."""

    name: str
    network: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class LabSpec:
    """A whole Lab. `checks` are those of interface section 4 as written; `clients` has the hosts of `zones` too."""

    name: str
    cluster: ClusterSpec = ClusterSpec()
    vpc: VpcSpec = VpcSpec()
    nodes: tuple[NodeSpec, ...] = (NodeSpec("node-1"), NodeSpec("node-2"))
    clients: tuple[ClientSpec, ...] = (ClientSpec("laptop", "internet"), ClientSpec("vm", "vpc"))
    checks: tuple[Body, ...] = ()
    where: str = ""
    dns: DnsSpec = DnsSpec()
    zones: Zones = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything one `up` was given: the Lab, the objects in file order (defaults filled in), the references of
    objects that carry nothing for the network, and warnings (each FILE:LINE:COL: OBJECT: text)."""

    lab: LabSpec
    objects: tuple[Object, ...]
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


STATIC_POD_NAMESPACE = "kube-system"
STATIC_POD_LABELS = {"component": "kube-proxy", "tier": "node"}
"""Of the Pod that every node runs of its own accord, with no object that asks for it."""
