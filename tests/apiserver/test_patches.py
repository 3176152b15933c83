"""JSON Patch, merge patch and strategic merge patch."""

from __future__ import annotations

import json

import pytest

from nslab.api.kinds import find
from nslab.api.schema import kind_schema
from nslab.apiserver.errors import BadRequest, Invalid
from nslab.apiserver.rest.patches import json_patch, merge_patch
from nslab.apiserver.rest.strategic import StrategicMerge


@pytest.mark.parametrize(("target", "patch", "result"), [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": "foo"}, "bar", "bar"),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
])  # fmt: skip
def test_merge_patch_does_what_rfc_7386_shows(target, patch, result):
    before = json.dumps(target)
    assert merge_patch(target, patch) == result
    assert json.dumps(target) == before


@pytest.mark.parametrize(("target", "operation", "result"), [
    ({"a": 1}, {"op": "add", "path": "/b", "value": [2]}, {"a": 1, "b": [2]}),
    ({"a": [1, 3]}, {"op": "add", "path": "/a/1", "value": 2}, {"a": [1, 2, 3]}),
    ({"a": [1]}, {"op": "add", "path": "/a/-", "value": 2}, {"a": [1, 2]}),
    ({"a": [1, 2]}, {"op": "remove", "path": "/a/0"}, {"a": [2]}),
    ({"a/b": {"~c": 1}}, {"op": "replace", "path": "/a~1b/~0c", "value": 2}, {"a/b": {"~c": 2}}),
    ({"a": {"b": 1}, "c": 2}, {"op": "move", "from": "/a/b", "path": "/c"}, {"a": {}, "c": 1}),
    ({"a": {"b": 1}}, {"op": "copy", "from": "/a", "path": "/c"}, {"a": {"b": 1}, "c": {"b": 1}}),
    ({"a": {"b": 1}}, {"op": "test", "path": "/a", "value": {"b": 1}}, {"a": {"b": 1}}),
    ({"a": 1}, {"op": "replace", "path": "", "value": {"b": 2}}, {"b": 2}),
])  # fmt: skip
def test_json_patch_does_what_rfc_6902_says(target, operation, result):
    before = json.dumps(target)
    assert json_patch(target, [operation]) == result
    assert json.dumps(target) == before


@pytest.mark.parametrize("operation", [
    {"op": "remove", "path": "/nothing"},
    {"op": "remove", "path": "/list/2"},
    {"op": "add", "path": "/list/3", "value": 1},
    {"op": "add", "path": "/list/01", "value": 1},
    {"op": "add", "path": "/list/x", "value": 1},
    {"op": "add", "path": "/text/x", "value": 1},
    {"op": "add", "path": "no-slash", "value": 1},
    {"op": "add", "path": "/new"},
    {"op": "copy", "path": "/new"},
    {"op": "move", "path": "/map/inner", "from": "/map"},
    {"op": "test", "path": "/text", "value": "other"},
    {"op": "test", "path": "/one", "value": True},
])
def test_what_cannot_be_done_is_invalid(operation):
    with pytest.raises(Invalid, match="the server rejected our request"):
        json_patch({"list": [1, 2], "text": "x", "map": {"inner": 1}, "one": 1}, [operation])


@pytest.mark.parametrize("patch", [{}, [1], [{"op": "burn", "path": "/a"}], [{"op": "remove"}], [{}] * 10_001])
def test_what_is_no_json_patch_is_a_bad_request(patch):
    with pytest.raises(BadRequest):
        json_patch({}, patch)


DEPLOYMENT = StrategicMerge(kind_schema(find("apps/v1", "Deployment")).schema)
SERVICE = StrategicMerge(kind_schema(find("v1", "Service")).schema)


def deployment(*containers, **spec):
    return {"spec": {"template": {"spec": {"containers": list(containers), **spec}}}}


A, B, C = ({"name": name, "image": name} for name in "abc")


@pytest.mark.parametrize(("target", "patch", "result"), [
    (deployment(A, B), deployment({"name": "b", "image": "new"}), deployment(A, {"name": "b", "image": "new"})),
    (deployment(A), deployment(B), deployment(A, B)),
    (deployment(A, B), deployment({"name": "a", "$patch": "delete"}), deployment(B)),
    (deployment(A, B), deployment(C, {"$patch": "replace"}), deployment(C)),
    (deployment(A), {"spec": {"template": {"spec": {"$patch": "replace", "x": 1}}}},
     {"spec": {"template": {"spec": {"x": 1}}}}),
    (deployment(A), {"spec": {"template": {"$patch": "delete"}}}, {"spec": {"template": {}}}),
    (deployment(A, B, C), {"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}], "containers": [],
    }}}}, deployment(C, A, B)),
    (deployment({**A, "args": ["x"]}), deployment({"name": "a", "args": ["y"]}), deployment({**A, "args": ["y"]})),
    (deployment({**A, "env": [{"name": "X", "value": "1"}]}),
     deployment({"name": "a", "env": [{"name": "Y", "value": "2"}]}),
     deployment({**A, "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]})),
    ({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}},
     {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
     {"spec": {"strategy": {"type": "Recreate"}}}),
    ({"metadata": {"finalizers": ["a", "b"], "labels": {"x": "1", "y": "2"}}},
     {"metadata": {"finalizers": ["c", "a"], "$deleteFromPrimitiveList/finalizers": ["b"], "labels": {"x": None}}},
     {"metadata": {"finalizers": ["a", "c"], "labels": {"y": "2"}}}),
])  # fmt: skip
def test_strategic_merge(target, patch, result):
    before = json.dumps(target)
    assert DEPLOYMENT.merge(target, patch) == result
    assert json.dumps(target) == before


def test_service_ports_are_merged_by_port():
    target = {"spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 443}]}}
    patch = {"spec": {"ports": [{"port": 80, "name": "http"}]}}
    merged = [{"port": 80, "nodePort": 30080, "name": "http"}, {"port": 443}]
    assert SERVICE.merge(target, patch) == {"spec": {"ports": merged}}


def test_without_a_schema_lists_are_replaced():
    assert StrategicMerge({}).merge({"a": [1], "b": {"c": 1}}, {"a": [2], "b": {"d": 2}}) == {
        "a": [2], "b": {"c": 1, "d": 2},
    }  # fmt: skip


@pytest.mark.parametrize("patch", [
    [], "text", {"$patch": "burn"}, {"spec": {"$retainKeys": "x"}}, deployment({"image": "without a name"}),
    deployment("text"),
])  # fmt: skip
def test_what_is_no_strategic_merge_patch_is_a_bad_request(patch):
    with pytest.raises(BadRequest):
        DEPLOYMENT.merge(deployment(A), patch)
