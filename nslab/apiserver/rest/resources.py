"""The resources of the API: which kind is served under which path, in which versions, with which subresources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from nslab.api.kinds import KINDS, Kind
from nslab.apiserver.errors import NotFound

VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

SCALABLE: Final = frozenset(["Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"])
"""Kinds with the subresource `scale`."""

_WITHOUT_STATUS: Final = frozenset([
    "Secret", "ConfigMap", "Endpoints", "EndpointSlice", "NetworkPolicy", "IngressClass", "Event", "ServiceAccount",
    "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Lease", "PriorityClass", "StorageClass",
    "Fault",
])  # fmt: skip

_ALL: Final = frozenset([
    "Pod", "ReplicationController", "Service", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet", "Job",
    "CronJob", "HorizontalPodAutoscaler",
])  # fmt: skip
"""The category that `kubectl get all` means."""

_CURRENT: Final = {"HorizontalPodAutoscaler": ("autoscaling/v2", "autoscaling/v1")}
"""Versions of kinds whose bodies are not read, where a cluster serves others than the table of kinds names."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as one group and version (`api_version`) serves it."""

    kind: Kind
    api_version: str

    @property
    def base(self) -> str:
        """The path of its group and version: `/api/v1`, `/apis/apps/v1`."""
        return group_version_path(self.api_version)

    @property
    def namespaced(self) -> bool:
        return self.kind.namespaced

    @property
    def subresources(self) -> tuple[str, ...]:
        name = self.kind.name
        status = () if name in _WITHOUT_STATUS else ("status",)
        extra = {"Pod": ("log", "eviction"), "Namespace": ("finalize",)}.get(name, ())
        return (*status, *extra, *(("scale",) if name in SCALABLE else ()))

    @property
    def categories(self) -> tuple[str, ...]:
        return ("all",) if self.kind.name in _ALL else ()


@dataclass(frozen=True, slots=True)
class Route:
    """What a path means. `namespace` is None for all namespaces and empty for a cluster-scoped kind; `name` is empty
    for a collection."""

    resource: Resource
    namespace: str | None
    name: str = ""
    subresource: str = ""


def group_version_path(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _versions(kind: Kind) -> tuple[str, ...]:
    """The versions to serve: of a published kind the one that today's clusters serve, of the others all."""
    return _CURRENT.get(kind.name) or (kind.versions[:1] if kind.definition else kind.versions)


def _table() -> dict[str, dict[str, Resource]]:
    table: dict[str, dict[str, Resource]] = {}
    for kind in KINDS:
        for version in _versions(kind):
            table.setdefault(version, {})[kind.plural] = Resource(kind, version)
    return table


RESOURCES: Final = _table()
"""By apiVersion, then by plural."""


def route(path: str) -> Route:
    """What the path of an object or a collection means. Raises NotFound where it leads nowhere."""
    root, *parts = [unquote(part) for part in path.strip("/").split("/")]
    if root == "api" and parts:
        version, parts = parts[0], parts[1:]
    elif root == "apis" and len(parts) > 1:
        version, parts = "/".join(parts[:2]), parts[2:]
    else:
        raise _nowhere()
    found = _in_group(RESOURCES.get(version, {}), parts)
    if found is None:
        raise _nowhere()
    return found


def _in_group(resources: dict[str, Resource], parts: list[str]) -> Route | None:
    namespace: str | None = None
    if len(parts) > 2 and parts[0] == "namespaces" and parts[2] in resources:
        namespace, parts = parts[1], parts[2:]
    resource = resources.get(parts[0]) if parts and all(parts) and len(parts) <= 3 else None
    if resource is None or (namespace is not None) > resource.namespaced:
        return None
    name, subresource = [*parts[1:], "", ""][:2]
    if name and resource.namespaced and namespace is None:
        return None
    if subresource and subresource not in resource.subresources:
        return None
    return Route(resource, namespace if resource.namespaced else "", name, subresource)


def _nowhere() -> NotFound:
    return NotFound("the server could not find the requested resource", details={})
