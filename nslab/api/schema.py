"""JSON Schemas: the published ones of the Kubernetes objects; our own of Lab, Fault, GKE's and sig-network's kinds.

The published schemas are the data of the `kubernetes-validate` package, found without importing it. A kind's
validator is compiled on first use, from the definitions that it reaches and no others.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from nslab.api.kinds import KINDS, OWN_GROUP, Kind
from nslab.errors import FeatureError

if TYPE_CHECKING:
    import jsonschema_rs

Schema = dict[str, Any]

_SCHEMAS = FilePath(__file__).parent / "schemas"
_REF = "#/$defs/"
_BOUNDS = {"int32": 2**31, "int64": 2**63}
_ANNOTATIONS = frozenset(["description", "format", "x-kubernetes-group-version-kind"])


@dataclass(frozen=True, slots=True)
class KindSchema:
    """A kind's compiled schema, and the schema itself to look up what a field allows."""

    validator: jsonschema_rs.Validator
    schema: Schema

    def allowed_fields(self, path: list[str | int]) -> tuple[str, ...]:
        """The field names that the object at an instance path may have."""
        node = self._resolved(self.schema)
        for step in path:
            part = node.get("items", {}) if isinstance(step, int) else self._property(node, step)
            node = self._resolved(part)
        return tuple(node.get("properties", ()))

    def _property(self, node: Schema, name: str) -> Schema:
        part = node.get("properties", {}).get(name, node.get("additionalProperties"))
        return part if isinstance(part, dict) else {}

    def _resolved(self, node: Schema) -> Schema:
        while "$ref" in node:
            node = self.schema["$defs"][node["$ref"].removeprefix(_REF)]
        for alternative in node.get("anyOf", ()):
            if "array" in alternative.get("type", ()):
                return alternative  # type: ignore[no-any-return]
        return node


@cache
def kind_schema(kind: Kind) -> KindSchema | None:
    """The schema of a kind; None where the kind is not validated."""
    import jsonschema_rs

    if kind.role != "carried":
        return None
    if kind.group == OWN_GROUP:
        schema = _own(f"{kind.singular}.json")
    elif kind.definition:
        schema = _bundle(kind.definition)
    else:
        definitions = _own("policy.json" if kind.group == "policy.networking.k8s.io" else "gke.json")["$defs"]
        schema = {"$ref": _REF + kind.name, "$defs": definitions}
    return KindSchema(jsonschema_rs.validator_for(schema), schema)


def topology_schema() -> Schema:
    """The JSON Schema of one document of a topology file, for editors: Lab and Fault in full, any other object
    loosely."""
    lab = _own("lab.json")
    definitions = {name: _copied(part) for name, part in lab.pop("$defs").items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://nslab.dev/topology.schema.json",
        "title": "nslab topology",
        "description": "A Lab, a Fault, or a Kubernetes object.",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": {
            "apiVersion": {"type": "string", "examples": sorted({kind.api_version for kind in KINDS})},
            "kind": {"type": "string", "examples": [kind.name for kind in KINDS if kind.role == "carried"]},
        },
        "allOf": [
            {"if": {"properties": {"kind": {"const": name}}, "required": ["kind"]}, "then": {"$ref": _REF + name}}
            for name in ("Lab", "Fault")
        ],
        "$defs": {"Lab": _copied(lab), "Fault": _own("fault.json"), **definitions},
    }


def _copied(part: Any) -> Any:
    """A deep copy, so that callers may change what they get."""
    return json.loads(json.dumps(part))


def _own(name: str) -> Schema:
    schema: Schema = json.loads((_SCHEMAS / name).read_text())
    return schema


@cache
def _definitions() -> dict[str, Schema]:
    spec = find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        raise FeatureError(
            "the JSON Schemas of the Kubernetes objects are not installed",
            hint="pip install 'kubernetes-validate>=1.31'",
        )
    root = FilePath(spec.submodule_search_locations[0]) / "kubernetes-json-schema"
    folders = [folder for folder in root.glob("v*-local-strict") if (folder / "_definitions.json").is_file()]
    if not folders:
        raise FeatureError(f"no schemas under {root}", hint="pip install --force-reinstall kubernetes-validate")
    newest = max(folders, key=lambda folder: [int(number) for number in re.findall(r"\d+", folder.name)])
    document = json.loads((newest / "_definitions.json").read_bytes())
    definitions: dict[str, Schema] = document.get("$defs") or document["definitions"]
    return definitions


def _bundle(definition: str) -> Schema:
    """One definition with all that it reaches, and nothing else: it compiles in 2 ms where all would take 100."""
    definitions = _definitions()
    bundle: dict[str, Schema] = {}
    waiting = [definition]
    while waiting:
        name = waiting.pop()
        if name not in bundle:
            bundle[name] = _tightened(definitions[name], waiting)
    for name, extra in _own("server.json").items():
        if name in bundle:
            _constrain(bundle[name], extra)
    bundle[definition]["properties"].update(apiVersion={"type": "string"}, kind={"type": "string"})
    return {"$ref": _REF + definition, "$defs": bundle}


def _constrain(definition: Schema, extra: Schema) -> None:
    """Add to a definition what the API server's validation demands beyond the published schema (server.json)."""
    definition["required"] = sorted({*definition.get("required", ()), *extra.get("required", ())})
    for field, constraint in extra.get("properties", {}).items():
        part = definition["properties"].get(field, {})
        if "items" in constraint and "items" in part:
            part["items"] = part["items"] | constraint["items"]
            constraint = {key: value for key, value in constraint.items() if key != "items"}
        if part:
            part.update(constraint)


def _tightened(part: Any, references: list[str]) -> Any:
    """A part of a published schema without descriptions and nulls (absent fields are no longer there as null when a
    schema is asked), with the bounds of its integers; the names it refers to are appended to `references`."""
    if isinstance(part, list):
        return [_tightened(item, references) for item in part]
    if not isinstance(part, dict):
        return part
    result: Schema = {}
    for key, value in part.items():
        if key == "properties":
            result[key] = {name: _tightened(field, references) for name, field in value.items()}
        elif key == "$ref":
            name = value.rpartition("/")[2]
            references.append(name)
            result[key] = _REF + name
        elif key == "type" and isinstance(value, list):
            types = [name for name in value if name != "null"]
            result[key] = types[0] if len(types) == 1 else types
        elif key not in _ANNOTATIONS:
            result[key] = _tightened(value, references)
    bound = _BOUNDS.get(part.get("format", "")) if part.get("type") in ("integer", ["integer", "null"]) else None
    if bound:
        result |= {"minimum": -bound, "maximum": bound - 1}
    return result
