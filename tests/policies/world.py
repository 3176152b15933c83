"""Nine Pods in three namespaces, the field's usual stage for policies, and cases with what each must do to it.

Every Pod serves TCP and UDP on 80 and 81 under the names serve-80-tcp to serve-81-udp. A case's steps list policies
and label changes that hold together, and the flows that are blocked: `x/* > y/a 80 TCP`, with stars, the port and the
protocol left out at will. Whatever is not blocked is open. `{x/a}` in a step is the Pod's address.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import yaml

from nslab.api.decode import decode
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Cluster, Leases

NAMESPACES = ("x", "y", "z")
NAMES = ("a", "b", "c")
PODS = tuple(f"{namespace}/{name}" for namespace in NAMESPACES for name in NAMES)
PORTS = (80, 81)
PROTOCOLS = ("TCP", "UDP")

Spec = dict[str, Any]

_KINDS = {
    "netpol": ("networking.k8s.io/v1", "NetworkPolicy"),
    "cnp": ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
    "anp": ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
    "banp": ("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy"),
}


class Flow(NamedTuple):
    """One cell of the matrix; the Pods by key."""

    source: str
    destination: str
    port: int
    protocol: str

    def __str__(self) -> str:
        return f"{self.source} > {self.destination} {self.port} {self.protocol}"


LOOPS = frozenset(Flow(key, key, port, protocol) for key in PODS for port in PORTS for protocol in PROTOCOLS)
"""Of each Pod to its own address, which nothing ever blocks."""

FLOWS = frozenset(
    Flow(source, destination, port, protocol)
    for source in PODS for destination in PODS if source != destination for port in PORTS for protocol in PROTOCOLS
)


@dataclass(frozen=True)
class Step:
    """What holds together at one moment, and the flows that must be blocked then."""

    name: str
    policies: tuple[Spec, ...]
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    blocked: tuple[str, ...] = ()
    unblocked: tuple[str, ...] = ()

    @property
    def flows(self) -> frozenset[Flow]:
        """The blocked flows, as the case states them."""
        return matching(self.blocked) - matching(self.unblocked)

    @property
    def text(self) -> str:
        """The topology file, without the Lab."""
        return _documents(_objects(self.labels)) + "---\n" + self.policies_text

    @property
    def policies_text(self) -> str:
        """The policies alone."""
        return _documents(_bodies(self.policies))


def matching(patterns: tuple[str, ...], flows: frozenset[Flow] = FLOWS) -> frozenset[Flow]:
    """Those of the flows that one of the patterns means. Raises ValueError for a pattern that means none."""
    found: set[Flow] = set()
    for pattern in patterns:
        source, destination, *rest = re.split(r"\s+(?:>\s+)?", pattern)
        meant = {
            flow for flow in flows
            if fnmatchcase(flow.source, source) and fnmatchcase(flow.destination, destination)
            and all(word in (str(flow.port), flow.protocol) for word in rest)
        }
        if not meant:
            raise ValueError(f"no flow is {pattern!r}")
        found |= meant
    return frozenset(found)


def _documents(bodies: Iterator[Spec]) -> str:
    return "---\n".join(json.dumps(body) + "\n" for body in bodies)


def _objects(labels: dict[str, dict[str, str]]) -> Iterator[Spec]:
    for namespace in NAMESPACES:
        own = labels.get(namespace, {"ns": namespace})
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": own}}
    for number, key in enumerate(PODS):
        namespace, name = key.split("/")
        yield {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels.get(key, {"pod": name})},
            "spec": {"nodeName": f"node-{number % 2 + 1}", "containers": [_container()]},
        }


def _container() -> Spec:
    ports = [
        {"containerPort": port, "protocol": protocol, "name": f"serve-{port}-{protocol.lower()}"}
        for port in PORTS for protocol in PROTOCOLS
    ]
    return {"name": "serve", "image": "agnhost", "ports": ports}


def _bodies(policies: tuple[Spec, ...]) -> Iterator[Spec]:
    for policy in policies:
        word = next(iter(policy))
        version, kind = _KINDS[word]
        namespace, _, name = str(policy[word]).rpartition("/")
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        spec = {key: value for key, value in policy.items() if key != word}
        yield {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


LAB = """
apiVersion: nslab.dev/v1
kind: Lab
metadata: {name: %s}
spec: {cluster: {networkPolicy: true}, nodes: 2}
---
"""


def topology(step: Step, lab: str = "policies") -> str:
    """The topology file of a step."""
    return LAB % lab + re.sub(r"\{([xyz]/[abc])\}", lambda match: _addresses()[match[1]], step.text)


@cache
def _addresses() -> dict[str, str]:
    """Of the Pods, which are the same in every lab that has only these."""
    return {key: pod.ip for key, pod in cluster(LAB % "any" + Step("", ()).text).pods.items()}


def cluster(text: str) -> Cluster:
    """The Cluster of a topology file with this text, without leases."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "lab.yaml"
        path.write_text(text)
        return allocate(decode([str(path)]), Leases())


def steps(file: str = "cases.yaml") -> list[Step]:
    """All steps of all cases in the order of the file."""
    found = []
    for case in yaml.safe_load((Path(__file__).parent / file).read_text()):
        name, *_ = case.values()
        for number, step in enumerate(case.get("steps") or [case]):
            found.append(Step(
                f"{name} [{number}]" if "steps" in case else name,
                tuple(step.get("policies") or case.get("policies") or ()),
                {str(key): value for key, value in (step.get("labels") or {}).items()},
                tuple(step.get("blocked") or ()), tuple(step.get("open") or ()),
            ))
    return found
