"""Random valid policies over the nine Pods: few labels, ports and blocks, so that they meet each other often."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.policies.world import NAMES, NAMESPACES, PODS, PROTOCOLS, Spec, Step

_LABELS = ("pod", "tier")
_VALUES = ("a", "b", "c", "front")
_BLOCKS = ("0.0.0.0/0", "10.8.0.0/14", "10.8.0.0/24", "10.8.1.0/24", "10.8.0.0/29", "10.8.1.4/30", "198.51.100.0/24")


def step(seed: int) -> Step:
    """Some policies of all kinds and random labels, the same for the same seed."""
    random = Random(seed)
    labels: dict[str, dict[str, str]] = {
        key: _some_labels(random, {"pod": key[-1]}) for key in random.sample(PODS, random.randrange(4))
    }
    labels |= {name: {"ns": random.choice(NAMESPACES)} for name in NAMESPACES if random.random() < 0.2}
    policies = [_policy(random, number) for number in range(random.randrange(1, 6))]
    if random.random() < 0.5:
        policies += [_cluster_wide(random, number) for number in range(random.randrange(1, 4))]
    return Step(f"seed {seed}", tuple(policies), labels)


def _some_labels(random: Random, base: dict[str, str]) -> dict[str, str]:
    chosen = {key: random.choice(_VALUES) for key in _LABELS if random.random() < 0.5}
    return base | chosen if random.random() < 0.7 else chosen


def _selector(random: Random) -> Spec:
    kind = random.randrange(6)
    if kind < 2:
        return {}
    if kind < 4:
        return {"matchLabels": {"pod": random.choice(NAMES)}}
    operator = random.choice(("In", "NotIn", "Exists", "DoesNotExist"))
    values = {"values": random.sample(_VALUES, random.randrange(1, 3))} if operator in ("In", "NotIn") else {}
    return {"matchExpressions": [{"key": random.choice(_LABELS), "operator": operator, **values}]}


def _namespaces(random: Random) -> Spec:
    if random.random() < 0.3:
        return {}
    if random.random() < 0.6:
        return {"matchLabels": {"ns": random.choice(NAMESPACES)}}
    return {"matchExpressions": [{"key": "ns", "operator": "NotIn", "values": random.sample(NAMESPACES, 2)}]}


def _block(random: Random) -> Spec:
    if random.random() < 0.4:
        return {"cidr": f"{{{random.choice(PODS)}}}/32"}
    cidr = random.choice(_BLOCKS[:2])
    holes = random.sample([f"{{{key}}}/32" for key in PODS], random.randrange(3))
    return {"cidr": cidr, "except": holes} if holes else {"cidr": random.choice(_BLOCKS)}


def _peer(random: Random) -> Spec:
    kind = random.randrange(5)
    if kind == 0:
        return {"ipBlock": _block(random)}
    if kind == 1:
        return {"podSelector": _selector(random)}
    if kind == 2:
        return {"namespaceSelector": _namespaces(random)}
    return {"namespaceSelector": _namespaces(random), "podSelector": _selector(random)}


def _port(random: Random) -> Spec:
    protocol = random.choice(PROTOCOLS)
    port: Spec = {"protocol": protocol} if protocol == "UDP" or random.random() < 0.5 else {}
    kind = random.randrange(4)
    if kind == 0:
        return port | {"port": f"serve-{random.choice((80, 81))}-{protocol.lower()}"}
    if kind == 1:
        first = random.randrange(79, 82)
        return port | {"port": first, "endPort": first + random.randrange(3)}
    return port | {"port": random.choice((80, 81))} if kind == 2 else port


def _some(random: Random, make: Any, limit: int) -> list[Spec]:
    return [make(random) for _ in range(random.randrange(limit))]


def _policy(random: Random, number: int) -> Spec:
    spec: Spec = {"netpol": f"{random.choice(NAMESPACES)}/p{number}", "podSelector": _selector(random)}
    if random.random() < 0.7:
        spec["policyTypes"] = random.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        if random.random() < 0.7:
            spec[direction] = [
                {peers: _some(random, _peer, 3), "ports": _some(random, _port, 3)} for _ in range(random.randrange(3))
            ]
    return spec


def _chosen(random: Random) -> Spec:
    if random.random() < 0.5:
        return {"namespaces": _namespaces(random)}
    return {"pods": {"namespaceSelector": _namespaces(random), "podSelector": _selector(random)}}


def _protocol(random: Random) -> Spec:
    protocol = random.choice(("tcp", "udp"))
    kind = random.randrange(3)
    if kind == 0:
        return {"destinationNamedPort": f"serve-{random.choice((80, 81))}-{protocol}"}
    if kind == 1:
        return {protocol: {"destinationPort": {"number": random.choice((80, 81))}}}
    first = random.randrange(79, 82)
    return {protocol: {"destinationPort": {"range": {"start": first, "end": first + random.randrange(1, 3)}}}}


def _ordered_rule(random: Random, peers: str) -> Spec:
    rule: Spec = {"action": random.choice(("Accept", "Deny", "Pass")), peers: [_chosen(random)]}
    protocols = _some(random, _protocol, 3)
    if peers == "to" and random.random() < 0.4:
        rule["to"] = [{"networks": [random.choice(_BLOCKS)]}]
        protocols = [each for each in protocols if "destinationNamedPort" not in each]
    return rule | ({"protocols": protocols} if protocols else {})


def _cluster_wide(random: Random, number: int) -> Spec:
    return {
        "cnp": f"c{number}", "tier": random.choice(("Admin", "Baseline")), "priority": random.randrange(3),
        "subject": _chosen(random),
        "ingress": [_ordered_rule(random, "from") for _ in range(random.randrange(3))],
        "egress": [_ordered_rule(random, "to") for _ in range(random.randrange(3))],
    }
