"""The REST API round a store: a Request in, a Response or a WatchStream out
(https://kubernetes.io/docs/reference/using-api/api-concepts/).

Every request is answered at once and as a whole; what a watch or a followed log sends later, the server takes from
the answer. Requests of one Store are answered one after the other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from nslab.api.objects import Body
from nslab.api.schema import kind_schema
from nslab.apiserver import metadata as meta
from nslab.apiserver.errors import (
    BadRequest,
    Forbidden,
    MethodNotAllowed,
    StatusError,
    UnsupportedMediaType,
    details,
    not_found,
)
from nslab.apiserver.events import Predicate, encode
from nslab.apiserver.rest.discovery import discover
from nslab.apiserver.rest.eviction import spend_budget
from nslab.apiserver.rest.messages import JSON, TEXT, Request, Response, answered, decode, refused
from nslab.apiserver.rest.patches import json_patch, merge_patch
from nslab.apiserver.rest.queries import page, predicate
from nslab.apiserver.rest.resources import Resource, Route, route
from nslab.apiserver.rest.reviews import review
from nslab.apiserver.rest.strategic import StrategicMerge
from nslab.apiserver.rest.subresources import Logs, log_options, scale_of, scaled
from nslab.apiserver.rest.tables import partial, table
from nslab.apiserver.rest.watching import EncodeObject, WatchStream
from nslab.apiserver.shelves import Record
from nslab.apiserver.store import Store

if TYPE_CHECKING:
    from nslab.apiserver.rest.admission import FieldValidation

log = logging.getLogger(__name__)

Admit = Callable[[Body, Body | None], Body]
"""The lab's own say about an object that is to be stored, beside the version that it replaces: it returns the object,
perhaps with what it was given (a ClusterIP), or raises StatusError."""

PERMANENT: Final = frozenset(["default", "kube-system", "kube-public", "kube-node-lease"])
"""Namespaces that every cluster has, and that nobody deletes."""

_TOLD_AT_THE_END: Final = frozenset([
    "Pod", "Service", "ServiceAccount", "PersistentVolume", "PersistentVolumeClaim", "PodTemplate", "ResourceQuota",
])  # fmt: skip
"""Kinds of which a deletion is answered with the object as it was, not with a Status; clients' types rely on it."""

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"


def _no_logs(pod: Body, options: object) -> bytes:
    raise StatusError("this server has no logs")


@dataclass(frozen=True)
class Api:
    """The API of one store. `address` is the host:port that discovery tells; `clock` gives Unix seconds."""

    store: Store
    logs: Logs = _no_logs
    admit: Admit = lambda body, old: body
    address: str = "127.0.0.1"
    clock: Callable[[], float] = time.time

    def answer(self, request: Request) -> Response | WatchStream:
        """The answer to a request; whatever is wrong with it becomes a Status."""
        try:
            found = discover(request, self.address) if request.method == "GET" else None
            if request.method == "POST":
                found = review(request)
            return found or self._routed(request, route(request.path))
        except StatusError as error:
            return refused(error)
        except Exception as error:  # a defect: the client is told, the server lives on
            log.exception("%s %s failed", request.method, request.path)
            return refused(StatusError(f"Internal error occurred: {error!r}"))

    def _routed(self, request: Request, to: Route) -> Response | WatchStream:
        if to.subresource:
            return self._subresource(request, to)
        match request.method, bool(to.name):
            case "GET", _ if request.flag("watch"):
                return self._watch(request, to)
            case "GET", False:
                return self._list(request, to)
            case "GET", True:
                return self._one(request, to, self._record(to))
            case "POST", False:
                return self._create(request, to)
            case "PUT", True:
                return self._replace(request, to, request.object())
            case "PATCH", True:
                return self._replace(request, to, self._patched(request, to, self._record(to).json))
            case "DELETE", True:
                return self._delete(request, to)
            case "DELETE", False:
                return self._delete_collection(request, to)
        raise MethodNotAllowed("the server does not allow this method on the requested resource")

    # Reading

    def _record(self, to: Route) -> Record:
        record = self.store.record(to.resource.kind.name, to.namespace or "", to.name)
        if record is None:
            raise not_found(to.resource.kind.name, to.name)
        return record

    def _selected(self, request: Request, to: Route) -> list[Record]:
        matches = predicate(request, to.resource.kind.name, to.namespace, to.name)
        records = self.store.records(to.resource.kind.name, to.namespace)
        if not any(request.query.get(name) for name in ("labelSelector", "fieldSelector")) and not to.name:
            return records
        return [record for record in records if matches(record.body)]

    def _list(self, request: Request, to: Route) -> Response:
        records, rest = page(request, self._selected(request, to))
        metadata: Body = {"resourceVersion": str(self.store.revision), **rest}
        form = request.accepted()
        if form == "Table":
            return answered(self._table(request, to.resource, records, metadata))
        if form != JSON:
            items = [partial(record.body) for record in records]
            kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
            return answered({"kind": kind, "apiVersion": version, "metadata": metadata, "items": items})
        return answered(_listed(to.resource, records, metadata))

    def _one(self, request: Request, to: Route, record: Record) -> Response:
        return answered(self._encoder(request, to.resource)(record))

    def _encoder(self, request: Request, resource: Resource) -> EncodeObject:
        """How the client wants each object to be written."""
        form = request.accepted()
        if form == "Table":
            return lambda record: encode(
                self._table(request, resource, [record], {"resourceVersion": _version(record.body)})
            )
        if form != JSON:
            return lambda record: encode(partial(record.body))
        return lambda record: _versioned(record, resource)

    def _table(self, request: Request, resource: Resource, records: list[Record], metadata: Body) -> Body:
        bodies = [record.body for record in records if "uid" in record.body["metadata"]]  # a bookmark is no row
        include = request.query.get("includeObject", "")
        return table(resource.kind.plural, bodies, metadata, now=self.clock(), include=include)

    def _watch(self, request: Request, to: Route) -> WatchStream:
        kind = to.resource.kind.name
        matches: Predicate = predicate(request, kind, to.namespace, to.name)
        encoder = self._encoder(request, to.resource)
        since = request.number("resourceVersion") or 0
        initial = not since or request.flag("sendInitialEvents")
        watcher = self.store.watch(kind, matches, since=self.store.revision if initial else since)
        stream = WatchStream(
            self.store, kind, watcher, encoder,
            bookmarks=request.flag("allowWatchBookmarks"), seconds=request.number("timeoutSeconds"),
        )  # fmt: skip
        if initial:
            announced = stream.bookmark(initial=True) if request.flag("sendInitialEvents") else b""
            records = self.store.records(kind, to.namespace)
            stream.begin_with((record for record in records if matches(record.body)), announced)
        return stream

    # Writing

    def _create(self, request: Request, to: Route) -> Response:
        from nslab.apiserver.rest.admission import admitted  # the rules of objects take long to import

        if to.namespace is None:
            raise MethodNotAllowed("an object is created in a namespace")
        resource, body = to.resource, request.object()
        name = _checked(body, resource, to.namespace).get("name", "")
        if resource.namespaced:
            self._check_namespace(resource, to.namespace, name)
        if "status" in resource.subresources:
            body.pop("status", None)
        body, warnings = admitted(resource, body, None, _validation(request))
        body = self.admit(body, None)
        with self.store.rehearsal(_rehearsed(request)):
            made = self.store.create(resource.kind.name, body)
        return answered(_versioned(Record(made, encode(made)), resource), 201, warnings)

    def _check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        found = self.store.get("Namespace", "", namespace)
        if found is None:
            raise not_found("Namespace", namespace)
        if "deletionTimestamp" in found["metadata"]:
            text = f"unable to create new content in namespace {namespace} because it is being terminated"
            about = details(resource.kind.name, name)
            raise Forbidden(f'{resource.kind.plural} "{name}" is forbidden: {text}', details=about)

    def _replace(self, request: Request, to: Route, body: Any) -> Response:
        """Store `body` in the place of the object, or of its status."""
        from nslab.apiserver.rest.admission import admitted, admitted_status

        resource, old = to.resource, self._record(to).body
        metadata = _checked(body, resource, to.namespace)
        if metadata.setdefault("name", to.name) != to.name:
            text = f"the name of the object ({metadata['name']}) does not match the name on the URL ({to.name})"
            raise BadRequest(text)
        status = to.subresource == "status"
        warnings: tuple[str, ...] = ()
        meta.check_version(resource.kind.name, old, metadata)  # before the rules: a stale object may break them
        if status:
            body = admitted_status(resource, body)
        else:
            body, warnings = admitted(resource, body, old, _validation(request))
            body = self.admit(body, old)
        with self.store.rehearsal(_rehearsed(request)):
            stored = self.store.update(resource.kind.name, body, status=status)
        return answered(_versioned(Record(stored, encode(stored)), resource), 200, warnings)

    def _patched(self, request: Request, to: Route, current: bytes) -> Any:
        """A fresh copy of an object with the request's patch in it."""
        target, patch = decode(current), decode(request.body)
        match request.media_type:
            case media if media == JSON_PATCH:
                return json_patch(target, patch)
            case media if media == MERGE_PATCH:
                return merge_patch(target, patch)
            case media if media == STRATEGIC_PATCH:
                schema = kind_schema(to.resource.kind) if to.subresource != "scale" else None
                return StrategicMerge(schema.schema if schema else {}).merge(target, patch)
        accepted = ", ".join((JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH))
        raise UnsupportedMediaType(
            f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )

    def _delete(self, request: Request, to: Route) -> Response:
        resource = to.resource
        options = _delete_options(request)
        left = self._deleted(resource, self._record(to).body, options)
        if isinstance(left, Record):
            return answered(_versioned(left, resource))
        return answered({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": left})

    def _delete_collection(self, request: Request, to: Route) -> Response:
        options = _delete_options(request)
        records = self._selected(request, to)
        for record in records:
            self._deleted(to.resource, record.body, options)
        return answered(_listed(to.resource, records, {}))

    def _deleted(self, resource: Resource, body: Body, options: Body) -> Record | Body:
        """Delete an object: what is left of it, or the details of what is gone."""
        kind, metadata = resource.kind.name, body["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        if kind == "Namespace" and name in PERMANENT:
            text = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
            raise Forbidden(text, details=details(kind, name))
        if self.store.get(kind, namespace, name) is not None:  # of a collection, one may have taken another along
            with self.store.rehearsal(options["dryRun"]):
                self.store.delete(
                    kind, namespace, name, grace=options.get("gracePeriodSeconds"),
                    propagation=options["propagationPolicy"], preconditions=options.get("preconditions"),
                )  # fmt: skip
        left = self.store.record(kind, namespace, name)
        if left is None and kind in _TOLD_AT_THE_END:
            left = Record(body, encode(body))
        return left if left and not options["dryRun"] else details(kind, name, uid=metadata["uid"])

    # Subresources

    def _subresource(self, request: Request, to: Route) -> Response:
        record = self._record(to)
        if to.subresource == "log" and request.method == "GET":
            text = self.logs(record.body, log_options(request, record.body, self.clock()))
            return Response(200, text, TEXT)
        if to.subresource == "eviction" and request.method == "POST":
            return self._evict(request, to, record.body)
        if to.subresource == "scale":
            return self._scale(request, to, record.body)
        match request.method:
            case "GET":
                return self._one(request, to, record)
            case "PUT":
                return self._replace(request, to, request.object())
            case "PATCH":
                return self._replace(request, to, self._patched(request, to, record.json))
        raise MethodNotAllowed("the server does not allow this method on the requested resource")

    def _evict(self, request: Request, to: Route, pod: Body) -> Response:
        """Delete a Pod if its PodDisruptionBudget has one to spare."""
        eviction = request.object()
        options = _checked_options(eviction.get("deleteOptions") or {})
        options["dryRun"] = options["dryRun"] or _rehearsed(request)
        with self.store.rehearsal(options["dryRun"]):
            spend_budget(self.store, pod)
        self._deleted(to.resource, pod, options)
        return answered({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201)

    def _scale(self, request: Request, to: Route, body: Body) -> Response:
        scale = scale_of(body)
        if request.method == "GET":
            return answered(scale)
        if request.method not in ("PUT", "PATCH"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        wanted = request.object() if request.method == "PUT" else self._patched(request, to, encode(scale))
        if not isinstance(wanted, dict):
            raise BadRequest("a Scale is a JSON object")
        with self.store.rehearsal(_rehearsed(request)):
            stored = self.store.update(to.resource.kind.name, scaled(body, wanted))
        return answered(scale_of(stored))


def _version(body: Body) -> str:
    return str(body["metadata"]["resourceVersion"])


def _versioned(record: Record, resource: Resource) -> bytes:
    """An object's JSON in the apiVersion that was asked for."""
    if record.body["apiVersion"] == resource.api_version:
        return record.json
    return encode({**record.body, "apiVersion": resource.api_version})


def _listed(resource: Resource, records: list[Record], metadata: Body) -> bytes:
    """A List of objects, put together from the JSON that they have."""
    head = {"kind": f"{resource.kind.name}List", "apiVersion": resource.api_version, "metadata": metadata}
    return b'%b,"items":[%b]}' % (encode(head)[:-1], b",".join(_versioned(record, resource) for record in records))


def _validation(request: Request) -> FieldValidation:
    wanted = request.query.get("fieldValidation") or "Warn"
    if wanted not in ("Ignore", "Warn", "Strict"):
        raise BadRequest(f'invalid parameter fieldValidation: "{wanted}" is none of Ignore, Warn, Strict')
    return cast("FieldValidation", wanted)


def _rehearsed(request: Request) -> bool:
    """Whether nothing is to be stored."""
    wanted = request.query.get("dryRun", "")
    if wanted not in ("", "All"):
        raise BadRequest(f'invalid parameter dryRun: "{wanted}" is not All')
    return bool(wanted)


def _checked(body: Any, resource: Resource, namespace: str | None) -> Body:
    """The metadata of a given object, once it is of the kind and namespace of the path. Raises BadRequest."""
    if not isinstance(body, dict):
        raise BadRequest("the object provided is unrecognized: it is no JSON object")
    kind, api_version = body.get("kind", resource.kind.name), body.get("apiVersion", resource.api_version)
    if (api_version, kind) != (resource.api_version, resource.kind.name):
        wanted = f"{resource.api_version}, Kind={resource.kind.name}"
        text = f"the API version in the data ({api_version}, Kind={kind}) does not match the expected API version"
        raise BadRequest(f"{text} ({wanted})")
    metadata = body.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise BadRequest("the metadata of the object is no JSON object")
    if resource.namespaced and metadata.setdefault("namespace", namespace) != namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    return metadata


def _delete_options(request: Request) -> Body:
    """The DeleteOptions of a request's body and parameters, as `_checked_options` returns them."""
    options = request.object() if request.body else {}
    seconds, policy = request.number("gracePeriodSeconds"), request.query.get("propagationPolicy")
    given = {"gracePeriodSeconds": seconds, "propagationPolicy": policy or None}
    options |= {name: value for name, value in given.items() if value is not None}
    checked = _checked_options(options)
    return {**checked, "dryRun": _rehearsed(request) or checked["dryRun"]}


def _checked_options(given: Any) -> Body:
    """DeleteOptions with a propagationPolicy, and with `dryRun` as a boolean. Raises BadRequest."""
    if not isinstance(given, dict):
        raise BadRequest("the DeleteOptions are no JSON object")
    options = {key: value for key, value in given.items() if value is not None}
    policy = "Orphan" if options.get("orphanDependents") else options.get("propagationPolicy", "Background")
    if policy not in ("Background", "Foreground", "Orphan"):
        raise BadRequest(f'invalid propagationPolicy: "{policy}" is none of Background, Foreground, Orphan')
    grace, preconditions = options.get("gracePeriodSeconds", 0), options.get("preconditions", {})
    if not isinstance(grace, int) or grace < 0 or not isinstance(preconditions, dict):
        raise BadRequest("the DeleteOptions have a gracePeriodSeconds or preconditions of the wrong type")
    return {**options, "propagationPolicy": policy, "dryRun": options.get("dryRun") == ["All"]}
