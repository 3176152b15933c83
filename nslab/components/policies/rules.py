"""Network policies as the compiler takes them in: whom a selector means, and which numbers addresses and ports are.

All of a policy's words are brought to forms that can be compared and remembered. `Chosen` says which Pods, by their
labels and their namespace's. Blocks of addresses, less their exceptions, are spans of numbers. So are ports: those of
TCP, UDP and SCTP lie one after the other on one line, and at its end one number stands for all other protocols.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from nslab.api.objects import Body, Object
from nslab.cluster.ipv4 import parse_range, to_int
from nslab.cluster.model import Cluster, Node
from nslab.components.policies.spans import NOTHING, Span, Spans, merged, minus

Direction = Literal["egress", "ingress"]
Tier = Literal["Admin", "NetworkPolicy", "Baseline"]
Requirements = tuple[tuple[str, str, frozenset[str]], ...]
Name = tuple[str, str]
"""Of a port: its name and its protocol; the protocol is empty where any is meant."""

DIRECTIONS: Final[tuple[Direction, ...]] = ("egress", "ingress")
LINE: Final = {"TCP": 0, "UDP": 1 << 16, "SCTP": 2 << 16}
OTHERS: Final = 3 << 16
ALL_PORTS: Final[Spans] = ((0, OTHERS),)
ALL_ADDRESSES: Final[Span] = (0, (1 << 32) - 1)
KINDS: Final = ("NetworkPolicy", "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")

_PEERS: Final = {"ingress": "from", "egress": "to"}
_LAST: Final = 1001


class Chosen(NamedTuple):
    """Pods by labels: those that meet `pods`, in `namespace` (any, if empty), which itself meets `namespaces`."""

    namespace: str
    namespaces: Requirements
    pods: Requirements


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Its peers are `everyone`, or the Pods of `chosen` and the addresses of `blocks`. It means `ports`,
    and those that the destination declares under one of `names`. `action` is Accept, Deny or Pass."""

    tier: Tier
    action: str
    everyone: bool
    chosen: tuple[Chosen, ...]
    blocks: Spans
    ports: Spans
    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy of any kind, with its rules of the directions that it speaks of. `order` is its place in the tier."""

    reference: str
    tier: Tier
    order: tuple[int, str]
    subject: Chosen
    rules: dict[Direction, tuple[Rule, ...]]


def read(item: Object, nodes: Iterable[Node]) -> Policy:
    """The policy that an object of one of KINDS is; `nodes` are those that a peer may mean."""
    spec: Body = item.body.get("spec") or {}
    if item.kind == "NetworkPolicy":
        subject = Chosen(item.namespace, (), requirements(spec.get("podSelector")))
        return Policy(item.reference, "NetworkPolicy", (0, item.reference), subject, _additive(item, spec))
    tier: Tier = "Admin" if item.kind == "AdminNetworkPolicy" or spec.get("tier") == "Admin" else "Baseline"
    # Of equal priorities either may apply; here the one with the first name does.
    order = (spec.get("priority", _LAST), item.name)
    rules = {
        direction: tuple(_ordered(tier, rule, _PEERS[direction], nodes) for rule in spec[direction])
        for direction in DIRECTIONS if spec.get(direction)
    }
    return Policy(item.reference, tier, order, _chosen(spec["subject"]), rules)


def requirements(selector: Mapping[str, Any] | None) -> Requirements:
    """A LabelSelector, in an order of its own."""
    selector = selector or {}
    labels = [(key, "In", frozenset([value])) for key, value in (selector.get("matchLabels") or {}).items()]
    expressions = [
        (each["key"], each["operator"], frozenset(each.get("values") or ()))
        for each in selector.get("matchExpressions") or ()
    ]
    return tuple(sorted(labels + expressions, key=lambda one: (one[0], one[1], sorted(one[2]))))


def meets(wanted: Requirements, labels: Mapping[str, str]) -> bool:
    """Whether labels meet all requirements. A missing key is in no list, and so `NotIn` any."""
    for key, operator, values in wanted:
        value = labels.get(key)
        if operator == "In":
            met = value in values
        elif operator == "NotIn":
            met = value not in values
        else:
            met = (value is None) == (operator == "DoesNotExist")
        if not met:
            return False
    return True


def _additive(item: Object, spec: Body) -> dict[Direction, tuple[Rule, ...]]:
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    return {
        direction: tuple(_allowing(item.namespace, rule, _PEERS[direction]) for rule in spec.get(direction) or ())
        for direction in DIRECTIONS if direction.title() in types
    }


def _allowing(namespace: str, rule: Body, field: str) -> Rule:
    peers = rule.get(field) or ()
    chosen = []
    for peer in peers:
        if "ipBlock" not in peer:
            inside = "namespaceSelector" not in peer
            chosen.append(Chosen(
                namespace if inside else "", () if inside else requirements(peer["namespaceSelector"]),
                requirements(peer.get("podSelector")),
            ))
    blocks = merged(span for peer in peers if "ipBlock" in peer for span in _block(peer["ipBlock"]))
    ports, names = _ports(rule.get("ports"))
    return Rule("NetworkPolicy", "Accept", not peers, tuple(chosen), blocks, ports, names)


def _ports(items: Iterable[Body] | None) -> tuple[Spans, tuple[Name, ...]]:
    """Of a NetworkPolicy: the numbers, and the names."""
    if not items:
        return ALL_PORTS, ()
    named = [port for port in items if isinstance(port.get("port"), str)]
    spans = merged(_numbered(port) for port in items if port not in named)
    return spans, tuple((port["port"], port.get("protocol") or "TCP") for port in named)


def _block(block: Body) -> Spans:
    return minus(_spans([block["cidr"]]), _spans(block.get("except") or ()))


def _spans(cidrs: Iterable[str]) -> Spans:
    """The addresses of CIDRs, host bits cleared; those of IPv6 are nobody's here."""
    ranges = [parse_range(cidr) for cidr in cidrs if ":" not in cidr]
    return merged((each.first, each.last) for each in ranges)


def _numbered(port: Body) -> Span:
    """The part of the line that a NetworkPolicy's port means: no number is every number."""
    first, last = port.get("port"), port.get("endPort")
    if first is None:
        return _on_line(port.get("protocol"), 0, 65535)
    return _on_line(port.get("protocol"), first, first if last is None else last)


def _on_line(protocol: str | None, first: int, last: int) -> Span:
    start = LINE[protocol or "TCP"]
    return start + first, start + last


def _chosen(words: Body) -> Chosen:
    """The Pods that `namespaces` or `pods` of a cluster-wide policy means."""
    if "namespaces" in words:
        return Chosen("", requirements(words["namespaces"]), ())
    pods = words["pods"]
    return Chosen("", requirements(pods.get("namespaceSelector")), requirements(pods.get("podSelector")))


def _ordered(tier: Tier, rule: Body, field: str, nodes: Iterable[Node]) -> Rule:
    action = "Accept" if rule["action"] == "Allow" else rule["action"]
    peers = rule[field]
    understood = [peer for peer in peers if peer.keys() & {"namespaces", "pods", "networks", "nodes"}]
    if action != "Accept" and len(understood) < len(peers):
        # Peers such as domainNames exist for Accept only. Others fail closed: the specification wants all denied.
        return Rule(tier, "Deny", True, (), NOTHING, ALL_PORTS, ())
    chosen = tuple(_chosen(peer) for peer in understood if "namespaces" in peer or "pods" in peer)
    blocks = [span for peer in understood for span in _spans(peer.get("networks", ()))]
    for peer in understood:
        if "nodes" in peer:
            wanted = requirements(peer["nodes"])
            blocks += [(to_int(node.ip), to_int(node.ip)) for node in nodes if meets(wanted, node.labels)]
    ports, names = _protocols(rule.get("protocols") or rule.get("ports"))
    return Rule(tier, action, False, chosen, merged(blocks), ports, names)


def _protocols(items: Iterable[Body] | None) -> tuple[Spans, tuple[Name, ...]]:
    """Of v1alpha2 `protocols` or v1alpha1 `ports`."""
    if not items:
        return ALL_PORTS, ()
    spans: list[Span] = []
    names: list[Name] = []
    for words in items:
        name = words.get("destinationNamedPort") or words.get("namedPort")
        if name:
            names.append((name, ""))
            continue
        for protocol in LINE:
            if protocol.lower() in words:
                spans.append(_destination(protocol, words[protocol.lower()].get("destinationPort") or {}))
        if "portNumber" in words:
            number = words["portNumber"]
            spans.append(_on_line(number.get("protocol"), number["port"], number["port"]))
        if "portRange" in words:
            ports = words["portRange"]
            spans.append(_on_line(ports.get("protocol"), ports["start"], ports["end"]))
    return merged(spans), tuple(names)


def _destination(protocol: str, port: Body) -> Span:
    if "range" in port:
        return _on_line(protocol, port["range"]["start"], port["range"]["end"])
    first, last = (port["number"], port["number"]) if "number" in port else (0, 65535)
    return _on_line(protocol, first, last)


def namespace_labels(cluster: Cluster) -> dict[str, dict[str, str]]:
    """Of every namespace that has Pods, with the label that each has by itself."""
    given = {
        item.name: item.body.get("metadata", {}).get("labels") or {}
        for item in cluster.objects if item.kind == "Namespace"
    }
    names = dict.fromkeys(pod.namespace for pod in cluster.pods.values())
    return {name: {**given.get(name, {}), "kubernetes.io/metadata.name": name} for name in names}
