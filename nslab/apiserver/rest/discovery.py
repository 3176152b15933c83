"""What a client asks before its first request: groups, versions, resources, the server's version, OpenAPI.

The OpenAPI documents say as little as makes kubectl content: the third version declares the parameters `dryRun` and
`fieldValidation`, from which kubectl concludes that the server validates; the second is empty, so that an older
kubectl validates nothing itself and takes merge keys from its own types.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from nslab import __version__
from nslab.api.objects import Body
from nslab.apiserver.rest.messages import JSON, TEXT, Request, Response, answered
from nslab.apiserver.rest.resources import RESOURCES, SCALABLE, VERBS, Resource, group_version_path
from nslab.apiserver.rest.reviews import REVIEWS

KUBERNETES: Final = ("1", "33")
"""The Kubernetes release whose API this is like."""

_OPENAPI_2_PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_CIDRS: Final = {"clientCIDR": "0.0.0.0/0"}


def discover(request: Request, address: str) -> Response | None:
    """The answer to a request for discovery or health, None where the path is none of these. `address` is the
    host:port that clients of the network reach."""
    path = request.path.rstrip("/") or "/"
    if path in ("/healthz", "/readyz", "/livez"):
        return Response(200, b"ok", TEXT)
    if path == "/openapi/v2":
        return _openapi_2(request)
    if path == "/api":
        cidr = {**_CIDRS, "serverAddress": address}
        return answered({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [cidr]})
    document = _documents().get(path)
    return answered(document()) if document else None


@cache
def _documents() -> dict[str, Callable[[], Any]]:
    """By path, the documents that never change."""
    found: dict[str, Callable[[], Any]] = {
        "/": lambda: {"paths": sorted([*_documents(), "/api", "/healthz", "/livez", "/openapi/v2", "/readyz"])},
        "/version": version,
        "/apis": lambda: {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in _groups()]},
        "/openapi/v3": _openapi_3,
    }
    for name in _groups():
        found[f"/apis/{name}"] = lambda name=name: {"apiVersion": "v1", **_group(name)}  # type: ignore[misc]
    for api_version in (*RESOURCES, *REVIEWS):
        path = group_version_path(api_version)
        found[path] = lambda of=api_version: _resources(of)  # type: ignore[misc]
        found[f"/openapi/v3{path}"] = lambda of=api_version: _openapi_3_group(of)  # type: ignore[misc]
    return found


def version() -> Body:
    major, minor = KUBERNETES
    return {
        "major": major, "minor": minor, "gitVersion": f"v{major}.{minor}.0+nslab-{__version__}", "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "2025-01-01T00:00:00Z", "goVersion": "", "compiler": "",
        "platform": "linux/amd64",
    }  # fmt: skip


@cache
def _groups() -> dict[str, list[str]]:
    """The versions of each named group, the preferred one first."""
    groups: dict[str, list[str]] = {}
    for api_version in (*RESOURCES, *REVIEWS):
        group, slash, _ = api_version.rpartition("/")
        if slash:
            groups.setdefault(group, []).append(api_version)
    return groups


def _group(name: str) -> Body:
    versions = [{"groupVersion": item, "version": item.rpartition("/")[2]} for item in _groups()[name]]
    return {"kind": "APIGroup", "name": name, "versions": versions, "preferredVersion": versions[0]}


def _resources(api_version: str) -> Body:
    rows = [row for resource in RESOURCES.get(api_version, {}).values() for row in _rows(resource)]
    for plural, kind in REVIEWS.get(api_version, {}).items():
        names = {"name": plural, "singularName": kind.lower(), "namespaced": False, "kind": kind}
        rows.append({**names, "verbs": ["create"]})
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": rows}


def _rows(resource: Resource) -> list[Body]:
    kind = resource.kind
    row: Body = {
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.name,
        "verbs": list(VERBS),
    }  # fmt: skip
    if kind.short_names:
        row["shortNames"] = list(kind.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    return [row, *(_subresource(resource, name) for name in resource.subresources)]


def _subresource(resource: Resource, name: str) -> Body:
    kind = resource.kind
    row: Body = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
    if name == "eviction":
        return {**row, "group": "policy", "version": "v1", "kind": "Eviction", "verbs": ["create"]}
    if name == "scale" and kind.name in SCALABLE:
        row |= {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    else:
        row["kind"] = kind.name
    return {**row, "verbs": ["get"] if name == "log" else ["get", "patch", "update"]}


def _openapi_2(request: Request) -> Response:
    if JSON in request.headers.get("accept", JSON):
        return answered({"swagger": "2.0", "info": {"title": "nslab", "version": __version__}, "paths": {}})
    return Response(200, b"", _OPENAPI_2_PROTOBUF)


def _openapi_3() -> Body:
    paths = (group_version_path(api_version).lstrip("/") for api_version in RESOURCES)
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={__version__}"} for path in paths}}


def _openapi_3_group(api_version: str) -> Body:
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string"}} for name in ("dryRun", "fieldValidation")
    ]
    paths = {}
    group, _, number = api_version.rpartition("/")
    for resource in RESOURCES.get(api_version, {}).values():
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        gvk = {"group": group, "version": number, "kind": resource.kind.name}
        patch = {"parameters": parameters, "responses": {}, "x-kubernetes-group-version-kind": gvk}
        paths[f"{resource.base}{scope}/{resource.kind.plural}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "nslab", "version": __version__}, "paths": paths}
