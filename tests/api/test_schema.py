"""The kinds' table, their schemas, and the schema for editors."""

from __future__ import annotations

import subprocess
import sys

import jsonschema_rs
import pytest

from nslab.api import schema
from nslab.api.kinds import KINDS, by_name, by_word, find
from nslab.errors import FeatureError


def test_every_carried_kind_compiles() -> None:
    for kind in KINDS:
        assert (schema.kind_schema(kind) is not None) == (kind.role == "carried")


def test_every_server_rule_names_a_published_definition_and_field() -> None:
    definitions = schema._definitions()
    for name, extra in schema._own("server.json").items():
        assert set(extra.get("properties", ())) <= set(definitions[name]["properties"]), name
        assert set(extra.get("required", ())) <= set(definitions[name]["properties"]), name


def test_words_of_the_command_line() -> None:
    assert {word: kind.name for word in ("svc", "services", "Service", "deploy", "netpol", "ing", "ep", "po", "no")
            if (kind := by_word(word))} == {
        "svc": "Service", "services": "Service", "Service": "Service", "deploy": "Deployment",
        "netpol": "NetworkPolicy", "ing": "Ingress", "ep": "Endpoints", "po": "Pod", "no": "Node",
    }  # fmt: skip
    assert by_word("sprockets") is None


def test_words_and_versions_are_unambiguous() -> None:
    words = [word for kind in KINDS for word in (kind.plural, kind.singular, *kind.short_names)]
    words = [word for word in words if word not in ("endpoints",)]
    assert sorted(words) == sorted(set(words))
    rows = [(version, kind.name) for kind in KINDS for version in kind.versions]
    assert len(rows) == len(set(rows))


def test_rows_are_found() -> None:
    service = find("v1", "Service")
    assert service is not None
    assert (service.group, service.api_version, service.singular) == ("", "v1", "service")
    assert find("apps/v9", "Deployment") is not None
    assert find("v1", "Deployment") is None
    assert [kind.name for kind in by_name("Gateway")] == ["Gateway"]


def test_the_topology_schema_is_for_editors() -> None:
    topology = schema.topology_schema()
    validator = jsonschema_rs.validator_for(topology)
    lab = {"apiVersion": "nslab.dev/v1", "kind": "Lab", "metadata": {"name": "shop"}, "spec": {"nodes": 3}}
    assert validator.is_valid(lab)
    assert validator.is_valid(lab | {"spec": {"nodes": [{"name": "a", "zone": "b"}]}})
    assert not validator.is_valid(lab | {"spec": {"node": 3}})
    assert not validator.is_valid(lab | {"metadata": {"name": "My Shop"}})
    assert validator.is_valid({"apiVersion": "v1", "kind": "Service", "spec": {"anything": 1}})
    assert not validator.is_valid({"apiVersion": "v1"})
    properties = topology["$defs"]["Lab"]["properties"]["spec"]["properties"]
    assert properties["cluster"]["properties"]["mode"]["enum"] == ["VPCNative", "RoutesBased"]
    assert all("description" in part for part in properties.values())


def test_missing_schemas_are_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "find_spec", lambda name: None)
    schema._definitions.cache_clear()
    with pytest.raises(FeatureError, match="pip install 'kubernetes-validate"):
        schema._definitions()
    schema._definitions.cache_clear()


def test_importing_decode_loads_nothing_heavy() -> None:
    heavy = "jsonschema_rs", "pyroute2", "click", "rich", "kubernetes_validate"
    code = f"import sys, nslab.api.decode; print([name for name in {heavy!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
