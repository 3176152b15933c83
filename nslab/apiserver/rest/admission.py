"""Whether an object may be stored, and with which defaults: shape, rules of its kind, fields that never change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from nslab.api import semantics
from nslab.api.defaults import set_defaults
from nslab.api.findings import Entry, Findings, Step, dotted
from nslab.api.kinds import Kind, find
from nslab.api.objects import Body, Object
from nslab.api.schema import KindSchema, kind_schema
from nslab.api.shape import misfits, without
from nslab.api.yaml_reader import Place, Text
from nslab.apiserver.errors import BadRequest, invalid
from nslab.apiserver.rest.resources import Resource

FieldValidation = Literal["Ignore", "Warn", "Strict"]

_IMMUTABLE: Final = {
    "Deployment": ("selector",),
    "ReplicaSet": ("selector",),
    "DaemonSet": ("selector",),
    "StatefulSet": ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"),
    "Job": ("selector", "completionMode", "template"),
}
"""Fields of `spec` that stay as they were created (pkg/apis/apps/validation, pkg/apis/batch/validation)."""

_REASONS: Final = {
    "Required value: ": "FieldValueRequired", "Forbidden: ": "FieldValueForbidden",
    "Unsupported value: ": "FieldValueNotSupported", "Duplicate value: ": "FieldValueDuplicate",
}
"""What the message of a fault begins with that is not about a wrong value, and the reason that it means."""

_MUTABLE_OF_POD: Final = frozenset(["tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds"])


class _Fields(Place):
    """Places in a body that has no text: a place is its field's path."""

    def __init__(self, body: Body) -> None:
        super().__init__(Text("", "", 0))
        self._body = body

    def at(self, path: Sequence[Step] = (), *, key: bool = False) -> str:
        return dotted(path)

    def written(self, path: Sequence[Step]) -> str:
        node: Any = self._body
        for step in path:
            node = node[step]
        return str(node)


class _Causes(Findings):
    """Faults as the causes of a Status."""

    def __init__(self) -> None:
        super().__init__()
        self.causes: list[Body] = []

    def fault(self, entry: Entry, path: Sequence[Step], message: str, *, key: bool = False) -> None:
        self.causes.append(_cause(path, message))


def _cause(path: Sequence[Step], message: str) -> Body:
    if message == "is required and missing":
        return {"reason": "FieldValueRequired", "message": "Required value", "field": dotted(path)}
    for words, reason in _REASONS.items():
        if message.startswith(words):
            return {"reason": reason, "message": message, "field": dotted(path)}
    return {"reason": "FieldValueInvalid", "message": f"Invalid value: {message}", "field": dotted(path)}


def admitted(
    resource: Resource, body: Body, old: Body | None, validation: FieldValidation = "Warn"
) -> tuple[Body, tuple[str, ...]]:
    """The object to store, with its defaults, and warnings for the client. `old` is the version that it replaces.

    A field that is not known is refused (Strict), left out with a warning (Warn) or left out (Ignore). Raises
    BadRequest for such a refusal, Invalid for an object that breaks rules.
    """
    kind = resource.kind
    body = _without_nulls(body)
    body.update(apiVersion=resource.api_version, kind=kind.name)
    warnings = _shaped(kind, body, validation)
    if kind.name == "Service":
        spec = body.setdefault("spec", {})
        if spec.get("sessionAffinity", "None") == "None":
            spec.pop("sessionAffinityConfig", None)  # core/v1 defaults.go
        if old is not None:
            _drop_dependent(spec, old.get("spec", {}))
            _keep_allocated(spec, old.get("spec", {}))
    if kind.role == "carried":
        set_defaults(kind, body)
    _check_rules(kind, body)
    if old is not None:
        _check_unchanged(kind.name, body, old)
    return body, warnings


def admitted_status(resource: Resource, body: Body) -> Body:
    """An object of which only the status is to be stored. Raises Invalid where that is misshapen."""
    body = _without_nulls(body)
    _shaped(resource.kind, body, "Ignore")
    return body


def _without_nulls(value: Any) -> Any:
    """A copy in which no mapping has a null: an absent field and null are the same to the API."""
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value


def _shaped(kind: Kind, body: Body, validation: FieldValidation) -> tuple[str, ...]:
    """Hold a body against its schema and cut unknown fields out of it, in place; the warnings that this gives."""
    schema = kind_schema(kind)
    judged = body
    if schema is None:  # a kind without a schema of its own has metadata at least
        schema, judged = _metadata_schema(), {"metadata": body.setdefault("metadata", {})}
    found = misfits(schema, judged, _Fields(judged))
    unknown = [misfit.path for misfit in found if misfit.key]
    wrong = [misfit for misfit in found if not misfit.key]
    if unknown and validation == "Strict":
        told = ", ".join(f'unknown field "{dotted(path)}"' for path in unknown)
        text = f'{kind.name} in version "{body["apiVersion"]}" cannot be handled as a {kind.name}: '
        raise BadRequest(f"{text}strict decoding error: {told}")
    if wrong:
        causes = [_cause(misfit.path, misfit.message) for misfit in wrong]
        raise invalid(kind.name, _name(body), causes)
    for path in unknown:
        without(judged, path)
    return tuple(f'unknown field "{dotted(path)}"' for path in unknown) if validation == "Warn" else ()


def _metadata_schema() -> KindSchema:
    """A schema in which only metadata is looked at."""
    plain = find("v1", "ConfigMap")
    schema = kind_schema(plain) if plain else None
    assert schema is not None  # a ConfigMap is published
    return schema


def _name(body: Body) -> str:
    metadata = body.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def _check_rules(kind: Kind, body: Body) -> None:
    judged, metadata = body, body.setdefault("metadata", {})
    if "name" not in metadata and "generateName" in metadata:
        judged = {**body, "metadata": {**metadata, "name": f"{metadata['generateName']}00000"}}
    reference = Object(body["apiVersion"], kind.name, metadata.get("namespace", ""), _name(judged), judged)
    entry = Entry(reference, _Fields(judged))
    causes = _Causes()
    semantics.check_metadata(kind, entry, causes)
    semantics.check_alone(entry, causes)
    if causes.causes:
        raise invalid(kind.name, _name(body), causes.causes)


def _drop_dependent(new: Body, old: Body) -> None:
    """Take out of a Service's spec what its new type has no place for, where it only is as the old type had it
    (pkg/registry/core/service, dropTypeDependentFields)."""
    kind = new.get("type", "ClusterIP")
    exposed = kind in ("NodePort", "LoadBalancer")
    dropped = []
    if not exposed:
        numbers = {port.get("nodePort") for port in old.get("ports", ())}
        for port in new.get("ports", ()):
            if port.get("nodePort") in numbers:
                port.pop("nodePort", None)
        dropped += [] if new.get("externalIPs") else ["externalTrafficPolicy"]
    if kind != "LoadBalancer":
        dropped += ["allocateLoadBalancerNodePorts", "loadBalancerClass"]
    if kind != "LoadBalancer" or new.get("externalTrafficPolicy") != "Local":
        dropped.append("healthCheckNodePort")
    if kind == "ExternalName":
        dropped += ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]
    for field in dropped:
        if field in new and new[field] == old.get(field):
            del new[field]


def _keep_allocated(new_spec: Body, old_spec: Body) -> None:
    """A Service that is replaced without naming its address and node ports keeps those it has, unless its new type
    has none (pkg/registry/core/service, patchAllocatedValues)."""
    kind = new_spec.get("type", "ClusterIP")
    if kind == "ExternalName" or old_spec.get("type") == "ExternalName":
        return
    for field in ("clusterIP", "clusterIPs"):
        if old_spec.get(field) and not new_spec.get(field):
            new_spec[field] = old_spec[field]
    if kind not in ("NodePort", "LoadBalancer"):
        return
    ports = {(port["port"], port.get("protocol", "TCP")): port.get("nodePort") for port in old_spec.get("ports", ())}
    for port in new_spec.get("ports", ()):
        given = ports.get((port.get("port"), port.get("protocol", "TCP")))
        if given and not port.get("nodePort"):
            port["nodePort"] = given


def _check_unchanged(kind: str, body: Body, old: Body) -> None:
    new_spec, old_spec = body.get("spec", {}), old.get("spec", {})
    causes: list[Body] = []
    for field in _IMMUTABLE.get(kind, ()):
        if new_spec.get(field) != old_spec.get(field):
            causes.append(_cause(("spec", field), "field is immutable"))
    if kind == "Pod" and _fixed(new_spec) != _fixed(old_spec):
        text = "pod updates may not change fields other than the image of a container and tolerations"
        causes.append({"reason": "FieldValueForbidden", "message": f"Forbidden: {text}", "field": "spec"})
    if kind == "Service" and "ExternalName" not in (new_spec.get("type"), old_spec.get("type")):
        address = old_spec.get("clusterIP")
        if address and new_spec.get("clusterIP") != address:
            causes.append(_cause(("spec", "clusterIPs", 0), "may not change once set"))
    if kind in ("ConfigMap", "Secret") and old.get("immutable"):
        fields = ("immutable", "data", "binaryData")
        if any(body.get(field) != old.get(field) for field in fields):
            text = "Forbidden: field is immutable when `immutable` is set"
            causes.append({"reason": "FieldValueForbidden", "message": text, "field": "data"})
    if causes:
        raise invalid(kind, _name(body), causes)


def _fixed(spec: Body) -> Body:
    """What of a Pod's spec never changes."""
    fixed = {key: value for key, value in spec.items() if key not in _MUTABLE_OF_POD}
    for field in ("containers", "initContainers"):
        if field in fixed:
            fixed[field] = [{**container, "image": ""} for container in fixed[field]]
    return fixed


