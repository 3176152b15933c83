"""Whether a policy's words fit: selectors and labels, peers and ends, ports and what a Pod declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network

from nslab.api.objects import Body
from nslab.check.policies.model import Connection, End, Policy, Rule
from nslab.cluster.model import Cluster, Pod


class Labels:
    """The labels of a lab's namespaces, which selectors ask for."""

    def __init__(self, cluster: Cluster) -> None:
        self._namespaces: dict[str, Mapping[str, str]] = {
            item.name: item.body.get("metadata", {}).get("labels") or {}
            for item in cluster.objects if item.kind == "Namespace"
        }

    def of_namespace(self, name: str) -> Mapping[str, str]:
        """With the label that the API server gives to every namespace (KEP-2161)."""
        return {**self._namespaces.get(name, {}), "kubernetes.io/metadata.name": name}


def selects(selector: Body, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector selects these labels; an empty one selects all (meta/v1 LabelSelector)."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_meets(requirement, labels) for requirement in selector.get("matchExpressions") or ())


def _meets(requirement: Body, labels: Mapping[str, str]) -> bool:
    key, values = requirement["key"], requirement.get("values") or ()
    match requirement["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def is_subject(policy: Policy, pod: Pod, labels: Labels) -> bool:
    """Whether the policy applies to a Pod, which has an address of its own."""
    if policy.namespace:
        return pod.namespace == policy.namespace and selects(policy.subject["podSelector"], pod.labels)
    return _in_pods(policy.subject, pod, labels)


def _in_pods(words: Body, pod: Pod, labels: Labels) -> bool:
    """Whether `namespaces` or `pods`, of a subject or a peer, takes in the Pod."""
    if "namespaces" in words:
        return selects(words["namespaces"], labels.of_namespace(pod.namespace))
    if "pods" in words:
        chosen = words["pods"]
        return selects(chosen.get("namespaceSelector") or {}, labels.of_namespace(pod.namespace)) and selects(
            chosen.get("podSelector") or {}, pod.labels
        )
    return False


def matches_peer(policy: Policy, rule: Rule, end: End, labels: Labels) -> bool:
    """Whether one of the rule's peers is the end; a NetworkPolicy's rule without peers takes any."""
    if rule.peers is None:
        return True
    if policy.tier == "NetworkPolicy":
        return any(_is_allowed_peer(policy, peer, end, labels) for peer in rule.peers)
    return any(_is_ordered_peer(peer, end, labels) for peer in rule.peers)


def _is_allowed_peer(policy: Policy, peer: Body, end: End, labels: Labels) -> bool:
    """A peer of a NetworkPolicy. Selectors name Pods only, never nodes nor hosts outside; a block is compared with
    the address, whoever has it."""
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        return in_network(end.ip, block["cidr"]) and not any(
            in_network(end.ip, inner) for inner in block.get("except") or ()
        )
    if end.pod is None:
        return False
    namespaces = peer.get("namespaceSelector")
    here = (
        end.pod.namespace == policy.namespace if namespaces is None
        else selects(namespaces, labels.of_namespace(end.pod.namespace))
    )
    return here and selects(peer.get("podSelector") or {}, end.pod.labels)


def _is_ordered_peer(peer: Body, end: End, labels: Labels) -> bool:
    """A peer of a cluster-wide policy. One of a kind that cannot be understood matches nothing (`fails_closed`)."""
    if "namespaces" in peer or "pods" in peer:
        return end.pod is not None and _in_pods(peer, end.pod, labels)
    if "networks" in peer:
        return any(in_network(end.ip, network) for network in peer["networks"])
    return "nodes" in peer and end.node is not None and selects(peer["nodes"], end.node.labels)


def fails_closed(rule: Rule) -> bool:
    """Whether a Deny or Pass rule of a cluster-wide policy has a peer that cannot be understood here: it then denies
    all, as the specification asks. An Accept rule matches nothing by such a peer; `domainNames` is one."""
    if rule.action == "Accept":
        return False
    known = ("namespaces", "pods", "networks", "nodes")
    return any(not any(word in peer for word in known) for peer in rule.peers or ())


@lru_cache(maxsize=4096)
def _bounds(cidr: str) -> tuple[int, int, int]:
    """Version, first and last address; host bits are cleared, as the API server's consumers must."""
    network = ip_network(cidr, strict=False)
    return network.version, int(network.network_address), int(network.broadcast_address)


def in_network(ip: str, cidr: str) -> bool:
    version, first, last = _bounds(cidr)
    address = ip_address(ip)
    return address.version == version and first <= int(address) <= last


def matches_port(policy: Policy, rule: Rule, connection: Connection) -> bool:
    """Whether the connection's protocol and port are among the rule's; without ports it takes any protocol.

    Names are those of the destination's containers, whichever end is the subject; who is no Pod has none.
    """
    if rule.ports is None:
        return True
    if policy.kind == "NetworkPolicy":
        return any(_is_allowed_port(port, connection) for port in rule.ports)
    if policy.kind == "ClusterNetworkPolicy":
        return any(_is_protocol(port, connection) for port in rule.ports)
    return any(_is_admin_port(port, connection) for port in rule.ports)


def _is_allowed_port(port: Body, connection: Connection) -> bool:
    """networking/v1 NetworkPolicyPort: protocol, port by number or name, endPort inclusive."""
    if connection.protocol != (port.get("protocol") or "TCP"):
        return False
    first = port.get("port")
    if first is None:
        return True
    if isinstance(first, str):
        return (connection.port, connection.protocol) in _named(connection.destination, first)
    last = port.get("endPort")
    return bool(first <= connection.port <= (first if last is None else last))


def _is_protocol(words: Body, connection: Connection) -> bool:
    """v1alpha2 ClusterNetworkPolicyProtocol: one of tcp, udp, sctp, or a destination port's name."""
    if "destinationNamedPort" in words:
        return (connection.port, connection.protocol) in _named(connection.destination, words["destinationNamedPort"])
    chosen = words.get(connection.protocol.lower())
    if chosen is None:
        return False
    port = chosen.get("destinationPort")
    if not port:
        return True
    if "range" in port:
        return bool(port["range"]["start"] <= connection.port <= port["range"]["end"])
    return bool(port["number"] == connection.port)


def _is_admin_port(words: Body, connection: Connection) -> bool:
    """v1alpha1 AdminNetworkPolicyPort: one of portNumber, portRange, namedPort."""
    if "namedPort" in words:
        return (connection.port, connection.protocol) in _named(connection.destination, words["namedPort"])
    port = words.get("portNumber") or words.get("portRange") or {}
    if connection.protocol != (port.get("protocol") or "TCP"):
        return False
    if "portRange" in words:
        return bool(port["start"] <= connection.port <= port["end"])
    return bool(port.get("port") == connection.port)


def _named(end: End, name: str) -> Iterator[tuple[int, str]]:
    """The (number, protocol) of the Pod's container ports of that name."""
    for container in end.pod.containers if end.pod else ():
        for port in container.ports:
            if port.name == name:
                yield port.port, port.protocol
