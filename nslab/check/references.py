"""References and destinations of interface section 2, resolved against a Cluster.

A source is a netns that packets leave from; a destination is an address and port that they go to. A reference
without a namespace means the given namespace (`default`), or the one object of that name in the whole lab.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import Final

from nslab.cluster import naming
from nslab.cluster.model import Client, Cluster, Node, Pod, Service
from nslab.cluster.resolvers import resolvers
from nslab.errors import NotFoundError, UsageError
from nslab.servers.flows import Lookup

_KINDS: Final = {
    "pod": "pod", "pods": "pod", "po": "pod",
    "svc": "svc", "service": "svc", "services": "svc",
    "node": "node", "nodes": "node", "no": "node",
    "client": "client", "clients": "client",
    "netpol": "netpol", "networkpolicy": "netpol", "networkpolicies": "netpol",
    "cnp": "cnp", "clusternetworkpolicy": "cnp", "clusternetworkpolicies": "cnp",
    "anp": "anp", "adminnetworkpolicy": "anp", "adminnetworkpolicies": "anp",
    "banp": "banp", "baselineadminnetworkpolicy": "banp", "baselineadminnetworkpolicies": "banp",
    "ingress": "ingress", "ingresses": "ingress", "ing": "ingress",
    "deploy": "Deployment", "deployment": "Deployment", "deployments": "Deployment",
    "sts": "StatefulSet", "statefulset": "StatefulSet", "statefulsets": "StatefulSet",
    "ds": "DaemonSet", "daemonset": "DaemonSet", "daemonsets": "DaemonSet",
    "rs": "ReplicaSet", "replicaset": "ReplicaSet", "replicasets": "ReplicaSet",
    "rc": "ReplicationController", "job": "Job", "jobs": "Job",
}
_WORKLOADS: Final = frozenset(kind for kind in _KINDS.values() if kind[0].isupper())
_SHORT_KINDS: Final = ("pod", "svc", "deploy", "sts", "ds", "rs", "job", "netpol", "ingress", "node", "client")
_CLUSTER_SCOPED: Final = frozenset(["node", "client", "cnp", "anp", "banp"])
POLICY_KINDS: Final = {
    "netpol": "NetworkPolicy", "cnp": "ClusterNetworkPolicy", "anp": "AdminNetworkPolicy",
    "banp": "BaselineAdminNetworkPolicy",
}
"""The kinds of policies as references name them, and their names in Kubernetes."""

_OBJECT_KINDS: Final = {**POLICY_KINDS, "ingress": "Ingress"}
_BY_KEY: Final[dict[str, Callable[[Cluster], Mapping[str, object]]]] = {
    "pod": attrgetter("pods"), "svc": attrgetter("services"), "node": attrgetter("nodes"),
    "client": attrgetter("clients"),
}
_IPV4: Final = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?")
_FORMS: Final = (
    "write IP:port, [IPv6]:port, NAME:port, pod/NAME:port, svc/NAME:port, node/NAME:port, client/NAME:port or a URL"
)
_SCHEME_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Reference:
    """KIND/NAMESPACE/NAME as written, its kind in one spelling; `namespace` is empty where none is written."""

    kind: str
    namespace: str
    name: str
    text: str

    @property
    def is_pattern(self) -> bool:
        return any(character in self.text for character in "*?[")


@dataclass(frozen=True, slots=True)
class Source:
    """Where packets come from: a full reference, its netns and address. `namespace` is where bare names are looked
    up, `node` the node it is or runs on, `pod` a Pod's key; the last two are empty for a client."""

    reference: str
    netns: str
    namespace: str
    ip: str
    node: str = ""
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where packets go. `port` is 0 where none is written. `protocol` is "http" or "https" of a URL, "udp" for a port
    that only UDP serves, else empty. `host` is the host as written, a URL's authority, and `path` a URL's path and
    query. `label` is the text with full names; `service` the key of the Service that was named. With a `lookup` there
    is no `ip` until the source's resolver has found one."""

    ip: str
    port: int
    label: str
    protocol: str = ""
    host: str = ""
    path: str = ""
    service: str = ""
    lookup: Lookup | None = None


def pod_source(cluster: Cluster, pod: Pod) -> Source:
    netns = naming.pod_netns(cluster.lab.name, pod)
    return Source(f"pod/{pod.key}", netns, pod.namespace, pod.ip, pod.node, pod.key)


def node_source(cluster: Cluster, node: Node) -> Source:
    return Source(f"node/{node.name}", naming.node_netns(cluster.lab.name, node.name), "default", node.ip, node.name)


def client_source(cluster: Cluster, client: Client) -> Source:
    return Source(f"client/{client.name}", naming.client_netns(cluster.lab.name, client.name), "default", client.ip)


def parse(text: str) -> Reference:
    """`pod/NAME`, `pod/NAMESPACE/NAME`, `node/NAME` and so on; a name alone is a Pod's.

    Raises UsageError where the text is no reference.
    """
    first, *rest = text.split("/")
    kind = _KINDS.get(first.lower(), "") if rest else "pod"
    parts = rest if rest else [first]
    if not kind:
        close = get_close_matches(first.lower(), _SHORT_KINDS, 1)
        hint = f"did you mean {close[0]}/?" if close else "kinds: " + ", ".join(_SHORT_KINDS)
        raise UsageError(f"{text}: there is no kind {first!r}", hint=hint)
    if not all(parts) or len(parts) > (1 if kind in _CLUSTER_SCOPED else 2):
        form = f"{first}/NAME" if kind in _CLUSTER_SCOPED else f"{first}/NAME or {first}/NAMESPACE/NAME"
        raise UsageError(f"{text}: is no reference", hint=f"write {form}")
    return Reference(kind, parts[0] if len(parts) == 2 else "", parts[-1], text)


def keys(cluster: Cluster, reference: Reference, namespace: str = "default") -> list[str]:
    """The keys (NAMESPACE/NAME, or NAME of a node or client) of what the reference names; one unless it is a pattern.

    Raises NotFoundError with the nearest names, UsageError where a bare name is in several namespaces.
    """
    if not reference.is_pattern and reference.kind in _BY_KEY:
        name = reference.name
        exact = name if reference.kind in _CLUSTER_SCOPED else f"{reference.namespace or namespace}/{name}"
        if exact in _BY_KEY[reference.kind](cluster):  # spares a file of thousands of flows the search below
            return [exact]
    names = list(_names(cluster, reference.kind))
    if reference.kind in _CLUSTER_SCOPED:
        found = [name for name in names if fnmatchcase(name, reference.name)]
    elif reference.namespace:
        found = _matching(names, reference.namespace, reference.name)
    else:
        found = _matching(names, namespace, reference.name) or _matching(names, "*", reference.name)
    if not found:
        raise _not_found(reference, names)
    if len(found) > 1 and not reference.is_pattern:
        raise UsageError(f"{reference.text}: is in several namespaces", hint=f"one of: {', '.join(found)}")
    return found


def _names(cluster: Cluster, kind: str) -> Iterable[str]:
    if kind in _WORKLOADS:
        owned = (pod for pod in cluster.pods.values() if pod.owner[0] == kind)
        return dict.fromkeys(f"{pod.namespace}/{pod.owner[1]}" for pod in owned)
    if kind in _OBJECT_KINDS:
        wanted = _OBJECT_KINDS[kind]
        mine = (each for each in cluster.objects if each.kind == wanted)
        return [f"{each.namespace}/{each.name}".lstrip("/") for each in mine]
    return _BY_KEY[kind](cluster)


def _matching(names: Iterable[str], namespace: str, name: str) -> list[str]:
    return [
        key for key in names
        if fnmatchcase(key.partition("/")[0], namespace) and fnmatchcase(key.partition("/")[2], name)
    ]


def _not_found(reference: Reference, names: Iterable[str]) -> NotFoundError:
    prefix = reference.text.partition("/")[0] if "/" in reference.text else "pod"
    by_name: dict[str, list[str]] = {}
    for key in names:
        by_name.setdefault(key.rpartition("/")[2], []).append(key)
    close = get_close_matches(reference.name, by_name, 3)
    near = [f"{prefix}/{key}" for name in close for key in by_name[name]][:3]
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        some = [f"{prefix}/{key}" for keys in by_name.values() for key in keys][:3]
        hint = f"there are: {', '.join(some)}" if some else f"the lab has no {prefix}"
    return NotFoundError(f"{reference.text}: not found in the lab", hint=hint)


def sources(cluster: Cluster, reference: str, namespace: str = "default") -> list[Source]:
    """The netns that a reference names. A workload (`deploy/web`) is its first Pod, a pattern all that it matches.

    Raises NotFoundError, and UsageError for a malformed reference or one of a kind that sends no packets.
    """
    parsed = parse(reference)
    if parsed.kind == "svc" or parsed.kind in _OBJECT_KINDS:
        raise UsageError(
            f"{reference}: no packets come from there", hint="a source is a pod/, deploy/, node/ or client/"
        )
    found = keys(cluster, parsed, namespace)
    if parsed.kind == "node":
        return [node_source(cluster, cluster.nodes[name]) for name in found]
    if parsed.kind == "client":
        return [client_source(cluster, cluster.clients[name]) for name in found]
    if parsed.kind == "pod":
        return [pod_source(cluster, cluster.pods[key]) for key in found]
    pods = list(_pods_of(cluster, parsed.kind, found))
    return [pod_source(cluster, pod) for pod in (pods if parsed.is_pattern else pods[:1])]


def _pods_of(cluster: Cluster, kind: str, owners: Iterable[str]) -> Iterator[Pod]:
    wanted = {(key.partition("/")[0], (kind, key.partition("/")[2])) for key in owners}
    return (pod for pod in cluster.pods.values() if (pod.namespace, pod.owner) in wanted)


def destination(cluster: Cluster, text: str, source: Source) -> Destination:
    """Where `text` leads, seen from `source`. A port may be left out (icmp has none), save for a name.

    Raises NotFoundError for an unknown object, port or name, UsageError for a malformed destination.
    """
    if "://" in text:
        return _url(cluster, text, source)
    host, port = _split(text)
    if "/" in host:
        return _object(cluster, text, host, port, source)
    number = _number(text, port) if port else 0
    address = _address(cluster, host, source)
    if address:
        return Destination(address, number, text)
    return Destination("", number, text, host=text, lookup=lookup(cluster, host, source))


def _split(text: str) -> tuple[str, str]:
    """Host and port of HOST:PORT, brackets of an IPv6 address taken off."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise UsageError(f"{text}: is no destination", hint=_FORMS)
        return host, port[1:]
    if text.count(":") > 1:
        raise UsageError(f"{text}: an IPv6 address stands in brackets", hint="write [IPv6]:port")
    host, _, port = text.partition(":")
    if not host or text.endswith(":"):
        raise UsageError(f"{text}: is no destination", hint=_FORMS)
    return host, port


def _number(text: str, port: str) -> int:
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise UsageError(f"{text}: {port!r} is no port", hint="a port is a number from 1 to 65535")
    return int(port)


def _address(cluster: Cluster, host: str, source: Source) -> str:
    """The address that a literal means, or a name of the source's hosts file; empty for a name that its resolver has
    to look up."""
    if _IPV4.fullmatch(host):
        if is_ipv4(host):
            return host
        raise UsageError(f"{host}: is no IPv4 address", hint="each of its four numbers is at most 255")
    if ":" in host:
        from ipaddress import AddressValueError, IPv6Address

        try:
            return str(IPv6Address(host))
        except AddressValueError as error:
            raise UsageError(f"{host}: is no IPv6 address: {error}", hint=_FORMS) from error
    client = cluster.clients.get(source.reference.removeprefix("client/"))
    return resolvers(cluster).hosts(cluster.pods.get(source.pod), client).get(host.lower(), "")


def is_ipv4(text: str) -> bool:
    """Whether a text is an IPv4 address."""
    return _IPV4.fullmatch(text) is not None and all(int(octet) <= 255 for octet in text.split("."))


def name_of(cluster: Cluster, text: str, source: Source) -> Destination:
    """A name that is to be looked up and nothing else. Raises as `lookup` does."""
    return Destination("", 0, text, host=text, lookup=lookup(cluster, text, source))


def lookup(cluster: Cluster, name: str, source: Source) -> Lookup:
    """How the source's resolver looks a name up. Raises UsageError where it is no name, or there is no server to
    ask."""
    text = name.removesuffix(".")
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in text.split(".")):
        raise UsageError(f"{name}: is no name", hint=_FORMS)
    pod = cluster.pods.get(source.pod)
    resolver = resolvers(cluster).of(pod) if pod else resolvers(cluster).machine
    if not resolver.servers:
        raise UsageError(f"{name}: {source.reference} has no name server", hint="see its dnsPolicy and dnsConfig")
    names = tuple(each for each in resolver.attempts(name) if len(each) <= 253)
    return Lookup(names, resolver.servers)


def _url(cluster: Cluster, text: str, source: Source) -> Destination:
    scheme, _, rest = text.partition("://")
    if scheme not in _SCHEME_PORTS:
        raise UsageError(f"{text}: the scheme {scheme!r} is not known", hint="write http://.. or https://..")
    match = re.match(r"[^/?#]*", rest)
    authority = match.group() if match else ""
    if not authority:
        raise UsageError(f"{text}: names no host", hint="write http://IP[:PORT]/PATH")
    host, port = _split(authority)
    tail = rest[len(authority):].partition("#")[0]
    number = _number(text, port) if port else _SCHEME_PORTS[scheme]
    path = tail if tail.startswith("/") else f"/{tail}"
    address = _address(cluster, host, source)
    found = None if address else lookup(cluster, host, source)
    return Destination(address, number, text, scheme, authority, path, lookup=found)


def _object(cluster: Cluster, text: str, host: str, port: str, source: Source) -> Destination:
    reference = parse(host)
    if reference.is_pattern:
        raise UsageError(f"{text}: a destination is one object, not a pattern", hint="only a source may be a pattern")
    if reference.kind in _OBJECT_KINDS:
        raise UsageError(f"{text}: no packets go there", hint=_FORMS)
    key = keys(cluster, reference, source.namespace)[0]
    if reference.kind == "svc":
        return _service(cluster.services[key], text, port)
    suffix = f":{port}" if port else ""
    if reference.kind == "node":
        return Destination(cluster.nodes[key].ip, _number(text, port) if port else 0, f"node/{key}{suffix}")
    if reference.kind == "client":
        return Destination(cluster.clients[key].ip, _number(text, port) if port else 0, f"client/{key}{suffix}")
    pod = cluster.pods[key] if reference.kind == "pod" else next(_pods_of(cluster, reference.kind, [key]))
    return _pod(pod, text, port)


def _pod(pod: Pod, text: str, port: str) -> Destination:
    label = f"pod/{pod.key}:{port}" if port else f"pod/{pod.key}"
    if not port or port.isdecimal():
        return Destination(pod.ip, _number(text, port) if port else 0, label)
    named = {each.name: each for container in pod.containers for each in container.ports if each.name}
    if port not in named:
        raise NotFoundError(f"{text}: no container of the Pod has a port named {port!r}", hint=_ports(named))
    protocol = "udp" if named[port].protocol == "UDP" else ""
    return Destination(pod.ip, named[port].port, label, protocol)


def _service(service: Service, text: str, port: str) -> Destination:
    if not service.cluster_ip:
        why = "is of type ExternalName" if service.external_name else "is headless"
        raise NotFoundError(f"{text}: the Service {why} and has no ClusterIP", hint="name a pod/NAME:port behind it")
    label = f"svc/{service.key}:{port}" if port else f"svc/{service.key}"
    if not port:
        return Destination(service.cluster_ip, 0, label, service=service.key)
    found = [each for each in service.ports if port in (each.name, str(each.port))]
    if not found and port.isdecimal():
        return Destination(service.cluster_ip, _number(text, port), label, service=service.key)
    if not found:
        hint = _ports({each.name: each for each in service.ports})
        raise NotFoundError(f"{text}: the Service has no port named {port!r}", hint=hint)
    protocol = "udp" if all(each.protocol == "UDP" for each in found) else ""
    return Destination(service.cluster_ip, found[0].port, label, protocol, service=service.key)


def _ports(named: Mapping[str, object]) -> str:
    names = [name for name in named if name]
    return f"named ports: {', '.join(names)}" if names else "it has no named ports; write the number"
