"""The kinds that `nslab get` shows, and where each one's objects come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from nslab.api import kinds
from nslab.errors import UsageError

if TYPE_CHECKING:
    from nslab.agent.client import Snapshot

Body = dict[str, Any]
Bodies = Callable[["Snapshot"], list[Body]]

ALL = (
    "pods", "replicationcontrollers", "services", "daemonsets", "deployments", "replicasets", "statefulsets", "jobs",
)
"""What `get all` means to kubectl (the category "all"), of the kinds that a lab has."""

POLICIES = (
    "networkpolicies", "clusternetworkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies",
)
KUBERNETES = (*ALL, "nodes", "namespaces", "endpoints", "endpointslices", "faults", *POLICIES)


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the command line names it; `group` is its API group, empty for the core and for nslab's own."""

    plural: str
    singular: str
    kind: str
    group: str = ""
    namespaced: bool = True

    @property
    def qualified(self) -> str:
        """`deployments.apps`, as messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_singular(self) -> str:
        """`deployment.apps`, as `-o name` names it."""
        return f"{self.singular}.{self.group}" if self.group else self.singular


OWN = {
    "clients": Resource("clients", "client", "Client", namespaced=False),
    "routes": Resource("routes", "route", "Route", namespaced=False),
}


def resource(word: str) -> Resource:
    """The kind that a plural, singular or short name means. Raises UsageError where `get` does not show it."""
    for own in OWN.values():
        if word.lower() in (own.plural, own.singular):
            return own
    kind = kinds.by_word(word.partition(".")[0])
    if kind is not None and kind.plural in KUBERNETES:
        return Resource(kind.plural, kind.singular, kind.name, kind.group, kind.namespaced)
    shown = sorted([*KUBERNETES, *OWN])
    if kind is not None:
        raise UsageError(f"nslab cannot show {kind.plural}", hint=f"it shows {', '.join(shown)} and all")
    near = get_close_matches(word, shown, 1)
    raise UsageError(f"there is no kind {word!r}",
                     hint=f"did you mean {near[0]}?" if near else f"kinds: {', '.join(shown)}, all")


def bodies(snapshot: Snapshot, kind: Resource) -> list[Body]:
    """All objects of the kind in the lab, as Kubernetes objects with their status."""
    from nslab.cluster.render import kubernetes_objects

    created = datetime.fromtimestamp(snapshot.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    own = {"clients": _clients, "routes": _routes}
    if kind.plural in own:
        found = own[kind.plural](snapshot)
        for body in found:
            body["metadata"].setdefault("creationTimestamp", created)
        return found
    if snapshot.bodies:
        return list(snapshot.bodies.get(kind.kind, ()))
    found = kubernetes_objects(snapshot.cluster, kind.kind, created=created)
    if kind.plural == "pods":
        _count_restarts(found, snapshot.restarts)
    return found


def _count_restarts(pods: list[Body], restarts: dict[str, int]) -> None:
    """Write each Pod's restarts, which are known for the Pod as a whole, to its first container."""
    for body in pods:
        number = restarts.get(f"{body['metadata']['namespace']}/{body['metadata']['name']}", 0)
        if number:
            body["status"]["containerStatuses"][0]["restartCount"] = number


def _clients(snapshot: Snapshot) -> list[Body]:
    return [
        _own("Client", client.name, {"network": client.network}, {"ip": client.ip})
        for client in snapshot.cluster.clients.values()
    ]


def _routes(snapshot: Snapshot) -> list[Body]:
    """What the cloud's route table shows for the cluster: in a VPC-native cluster the subnet's routes to its primary
    and secondary ranges, of which each node's Pod range is an alias range; in a routes-based one the subnet's route
    and a custom static route for each node (https://cloud.google.com/vpc/docs/routes)."""
    lab, nodes = snapshot.cluster.lab, snapshot.cluster.nodes.values()
    if lab.cluster.mode == "RoutesBased":
        static = [
            _route(f"{lab.name}-{node.name}", node.pod_range, f"node/{node.name} ({node.ip})", "static")
            for node in nodes
        ]
        return [_route(f"{lab.name}-nodes", lab.vpc.node_range, "VPC network", "subnet"), *static]
    subnet = [
        _route(f"{lab.name}-{name}", prefix, "VPC network", "subnet") for name, prefix in (
            ("nodes", lab.vpc.node_range), ("pods", lab.vpc.pod_range), ("services", lab.vpc.service_range),
        )
    ]
    alias = [
        _route(f"{lab.name}-pods-{node.name}", node.pod_range, f"node/{node.name} ({node.ip})", "alias range")
        for node in nodes
    ]
    return subnet + alias


def _route(name: str, prefix: str, next_hop: str, kind: str) -> Body:
    return _own("Route", name, {"destRange": prefix, "nextHop": next_hop, "kind": kind}, {})


def _own(kind: str, name: str, spec: Body, status: Body) -> Body:
    return {"apiVersion": "nslab.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec, "status": status}
