"""What a cluster brings along beside the user's objects: its DNS.

The objects are those of kubernetes/cluster/addons/dns (kube-dns and nodelocaldns), as far as they say anything to a
network. They are applied like a file's own. What the user writes wins: their Service kube-system/kube-dns is the one
that Pods ask, and where they bring Pods for it there are no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nslab import __version__
from nslab.api.defaults import set_defaults
from nslab.api.kinds import find
from nslab.api.objects import COREDNS, Body, LabSpec, Manifest, Object
from nslab.cluster import coredns
from nslab.cluster.dns_config import dns_config
from nslab.cluster.model import ADDON, Cluster, ContainerPort, Pod

NAMESPACE = "kube-system"
DNS_NAME = "kube-dns"
NODE_LOCAL_NAME = "node-local-dns"
NODE_LOCAL_IP = "169.254.20.10"
"""Where every node's cache listens: the address of kubernetes/cluster/addons/dns/nodelocaldns."""
REPLICAS = 2

_APP = "k8s-app"
_PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))


def with_addons(manifest: Manifest) -> Manifest:
    """The manifest with the objects of cluster DNS that it wants and does not bring itself."""
    dns = manifest.lab.dns
    found: list[Body] = []
    if dns.engine != "none":
        found += _kube_dns(manifest)
        if dns.engine == COREDNS:
            others = dns_config(manifest.objects)
            found += [coredns.config(manifest.lab, others), *coredns.api_objects(manifest.lab)]
        if dns.node_local and not any(_serves(item, NODE_LOCAL_NAME) for item in manifest.objects):
            found.append(_node_local())
    written = {(item.kind, item.namespace, item.name) for item in manifest.objects}
    added = tuple(
        item for item in (_object(body, manifest.lab.where) for body in found)
        if (item.kind, item.namespace, item.name) not in written
    )
    return replace(manifest, objects=(*manifest.objects, *added)) if added else manifest


def _kube_dns(manifest: Manifest) -> Iterator[Body]:
    """The Service, which the user's replaces; and Pods behind it, where nothing of the user's is meant to be."""
    services = (item for item in manifest.objects if _is(item, "Service", DNS_NAME))
    service = next(services, None)
    selector = (service.body["spec"].get("selector") or {}) if service else {_APP: DNS_NAME}
    if service is None:
        yield _service()
    if selector == {_APP: DNS_NAME} and not any(_serves(item, DNS_NAME) for item in manifest.objects):
        yield _deployment(manifest.lab)


def _is(item: Object, kind: str, name: str) -> bool:
    return (item.kind, item.namespace, item.name) == (kind, NAMESPACE, name)


def _serves(item: Object, app: str) -> bool:
    """Whether an object gives Pods that the Service of this name selects."""
    if item.namespace != NAMESPACE or item.kind == "Service":
        return False
    template = item.body if item.kind == "Pod" else (item.body.get("spec") or {}).get("template") or {}
    return ((template.get("metadata") or {}).get("labels") or {}).get(_APP) == app


def _object(body: Body, where: str) -> Object:
    kind = find(body["apiVersion"], body["kind"])
    assert kind is not None
    set_defaults(kind, body)
    metadata = body["metadata"]
    return Object(body["apiVersion"], body["kind"], metadata["namespace"], metadata["name"], body, where)


def _service() -> Body:
    return {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": DNS_NAME, "namespace": NAMESPACE,
            "labels": {_APP: DNS_NAME, "kubernetes.io/name": "KubeDNS", **ADDON},
        },
        "spec": {
            "selector": {_APP: DNS_NAME},
            "ports": [{"name": name, "port": 53, "protocol": protocol} for name, protocol in _PORTS],
        },
    }


def _deployment(lab: LabSpec) -> Body:
    replicas = min(REPLICAS, len(lab.nodes))
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "10%", "maxUnavailable": 0}}
    spec = {"replicas": replicas, "strategy": strategy}
    container = coredns.container(lab) if lab.dns.engine == COREDNS else _played(DNS_NAME, "kubedns")
    return _workload("Deployment", DNS_NAME, container, spec, {"priorityClassName": "system-cluster-critical"})


def _node_local() -> Body:
    spec = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}}
    more = {"priorityClassName": "system-node-critical", "hostNetwork": True}
    return _workload("DaemonSet", NODE_LOCAL_NAME, _played(NODE_LOCAL_NAME, "node-cache"), spec, more)


def _played(name: str, container: str) -> Body:
    """A container that the responder plays."""
    return {"name": container, "image": f"nslab/{name}:{__version__}"}


def _workload(kind: str, name: str, container: Body, spec: Body, more: Body) -> Body:
    labels = {_APP: name, **ADDON}
    ports = [{"name": port, "containerPort": 53, "protocol": protocol} for port, protocol in _PORTS]
    pod = {
        **more,
        "tolerations": [{"operator": "Exists"}],  # a lab without a node that takes everybody still has its DNS
        "containers": [{**container, "ports": [*ports, *container.get("ports", ())]}],
        "dnsPolicy": "Default",
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {**spec, "selector": {"matchLabels": {_APP: name}}, "template": template},
    }


def is_dns_port(pod: Pod, port: ContainerPort) -> bool:
    """Whether a port of a container that nslab plays is a name server's: of a Pod of kube-dns, CoreDNS or NodeLocal
    DNSCache, whoever's manifest it is, those whose names begin with dns."""
    is_server = pod.namespace == NAMESPACE and pod.labels.get(_APP) in (DNS_NAME, NODE_LOCAL_NAME)
    return is_server and port.name.startswith("dns")


def is_node_local(pod: Pod) -> bool:
    """Whether a Pod is a node's cache."""
    return pod.namespace == NAMESPACE and pod.labels.get(_APP) == NODE_LOCAL_NAME and pod.host_network


def node_local(cluster: Cluster) -> frozenset[str]:
    """The nodes, by name, that have a cache."""
    return frozenset(pod.node for pod in cluster.pods.values() if is_node_local(pod) and not pod.terminating)
