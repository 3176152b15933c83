"""The API without sockets: what each request is answered with."""

from __future__ import annotations

import json

import pytest

from nslab.api.kinds import KINDS
from nslab.apiserver.api import Api
from nslab.apiserver.rest.messages import Request, Response
from nslab.apiserver.rest.resources import RESOURCES
from nslab.apiserver.rest.watching import WatchStream
from tests.apiserver.objects import NOON, changed, config_map, namespace, pod, scene

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


class Client:
    """Requests of one API, answered as (code, JSON)."""

    def __init__(self, **options):
        self.scene = scene(window=options.pop("window", 4096))
        self.store = self.scene.store
        self.store.create("Namespace", namespace("default"))
        self.api = Api(self.store, clock=lambda: NOON + 65, **options)

    def raw(self, method, path, body=None, query=None, **headers):
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.answer(Request(method, path, query or {}, named, sent))

    def __call__(self, method, path, body=None, query=None, **headers):
        answer = self.raw(method, path, body, query, **headers)
        assert isinstance(answer, Response)
        assert isinstance(answer.body, bytes)
        return answer.code, json.loads(answer.body)


def service(name="web", **spec):
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def deployment(name="web", replicas=1):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "x", "image": "y"}]}}
    selector = {"matchLabels": {"a": "b"}}
    return {"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": selector, "template": template}}


def test_an_object_lives():
    client = Client()
    code, made = client("POST", MAPS, config_map("a", x="1"))
    assert (code, made["kind"], made["data"]) == (201, "ConfigMap", {"x": "1"})
    assert client("GET", f"{MAPS}/a") == (200, made)
    code, listed = client("GET", "/api/v1/configmaps")
    assert (listed["kind"], listed["items"]) == ("ConfigMapList", [made])
    assert listed["metadata"]["resourceVersion"] == "2"
    code, put = client("PUT", f"{MAPS}/a", changed(made, data={"x": "2"}))
    assert (code, put["metadata"]["resourceVersion"]) == (200, "3")
    assert client("PUT", f"{MAPS}/a", made)[0] == 409
    code, status = client("DELETE", f"{MAPS}/a")
    assert (code, status["status"], status["details"]["name"]) == (200, "Success", "a")
    assert client("GET", f"{MAPS}/a")[0] == 404


@pytest.mark.parametrize("path", [
    "/nothing", "/api/v2/pods", "/api/v1/nothing", "/apis/apps/v1/pods", "/api/v1/namespaces/default/nodes",
    "/api/v1/pods/a", f"{PODS}/a/nothing", f"{PODS}/a/b/c", f"{PODS}//log", "/apis/apps", "/apis/none/v1",
])  # fmt: skip
def test_unknown_paths_are_not_found(path):
    client = Client()
    code, status = client("GET" if path != "/apis/apps" else "POST", path)
    assert (code, status["kind"], status["reason"]) == (404, "Status", "NotFound")


@pytest.mark.parametrize(("method", "path"), [
    ("POST", f"{MAPS}/a"), ("PUT", MAPS), ("PATCH", MAPS), ("OPTIONS", MAPS), ("POST", "/api/v1/configmaps"),
    ("POST", f"{PODS}/p/log"), ("DELETE", f"{PODS}/p/status"), ("DELETE", f"{DEPLOYMENTS}/d/scale"),
])  # fmt: skip
def test_verbs_that_a_path_does_not_have(method, path):
    client = Client()
    client.store.create("Pod", pod("p"))
    client("POST", DEPLOYMENTS, deployment("d"))
    assert client(method, path, config_map("a"))[1]["reason"] == "MethodNotAllowed"


@pytest.mark.parametrize("body", [
    b"", b"{", b"\xff", b"null", b"[]", b'"text"', b'{"metadata": 1}', b'{"a": NaN}', b"[" * 100_000,
    b'{"a":' * 300 + b"1" + b"}" * 300, b'{"kind": "Pod"}', b'{"apiVersion": "v2"}',
    b'{"metadata": {"namespace": "other", "name": "a"}}',
])  # fmt: skip
def test_broken_bodies_are_bad_requests(body):
    code, status = Client()("POST", MAPS, body)
    assert (code, status["reason"]) == (400, "BadRequest")


def test_other_media_types():
    client = Client()
    protobuf = "application/vnd.kubernetes.protobuf"
    assert client("POST", MAPS, config_map("a"), content_type="application/yaml")[0] == 415
    assert client("POST", MAPS, config_map("a"), content_type="application/json; charset=utf-8")[0] == 201
    assert client("GET", MAPS, accept=f"{protobuf},application/json")[0] == 200
    assert client("GET", MAPS, accept=protobuf)[0] == 406
    assert client("PATCH", f"{MAPS}/a", {}, content_type="application/apply-patch+yaml")[0] == 415


def test_an_invalid_policy_is_refused_with_the_servers_words_and_place():
    client = Client()
    block = {"cidr": "10.0.0.1/8", "except": ["11.0.0.0/8"]}
    peers = [{"ipBlock": block}, {}, {"ipBlock": {"cidr": "::/0"}, "podSelector": {}}]
    spec = {"podSelector": {}, "ingress": [{"from": peers, "ports": [{"endPort": 80}, {"port": 90, "endPort": 80}]}]}
    body = {"metadata": {"name": "p"}, "spec": spec}
    code, status = client("POST", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", body)
    assert (code, status["reason"], status["details"]["kind"]) == (422, "Invalid", "NetworkPolicy")
    assert [(cause["field"], cause["reason"]) for cause in status["details"]["causes"]] == [
        ("spec.ingress[0].ports[0].endPort", "FieldValueInvalid"),
        ("spec.ingress[0].ports[1].endPort", "FieldValueInvalid"),
        ("spec.ingress[0].from[0].ipBlock.cidr", "FieldValueInvalid"),
        ("spec.ingress[0].from[0].ipBlock.except[0]", "FieldValueInvalid"),
        ("spec.ingress[0].from[1]", "FieldValueRequired"),
        ("spec.ingress[0].from[2]", "FieldValueForbidden"),
    ]
    assert status["details"]["causes"][1]["message"] == "Invalid value: 80: must be greater than or equal to `port`"


def test_bad_objects_are_invalid_with_their_fields():
    client = Client()
    code, status = client("POST", SERVICES, service("Web", ports=[{"port": 70000}, {"name": "x"}]))
    assert (code, status["reason"], status["details"]["kind"]) == (422, "Invalid", "Service")
    fields = [(cause["field"], cause["reason"]) for cause in status["details"]["causes"]]
    assert ("spec.ports[0].port", "FieldValueInvalid") in fields
    assert ("spec.ports[1].port", "FieldValueRequired") in fields
    code, status = client("POST", SERVICES, service("Web"))
    assert [cause["field"] for cause in status["details"]["causes"]] == ["metadata.name"]
    assert client("POST", SERVICES, {"metadata": {"labels": {"a": 1}, "name": "a"}, "spec": {}})[0] == 422
    crd = "/apis/networking.gke.io/v1/namespaces/default/managedcertificates"
    assert client("POST", crd, {"metadata": {"name": "a"}, "spec": {"domains": "x"}})[0] == 422
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    assert client("POST", accounts, {"metadata": {"name": "a", "labels": {"x": 1}}})[0] == 422
    assert client("POST", accounts, {"metadata": {}})[0] == 422


def test_unknown_fields_by_field_validation():
    client = Client()
    body = service("web", typo=1)
    code, status = client("POST", SERVICES, body, {"fieldValidation": "Strict"})
    assert code == 400
    assert status["message"].endswith('strict decoding error: unknown field "spec.typo"')
    answer = client.raw("POST", SERVICES, body)
    assert answer.headers == (("Warning", '299 - "unknown field \\"spec.typo\\""'),)
    assert "typo" not in json.loads(answer.body)["spec"]
    assert client.raw("POST", SERVICES, service("two", typo=1), {"fieldValidation": "Ignore"}).headers == ()
    assert client("POST", SERVICES, body, {"fieldValidation": "Maybe"})[0] == 400


def test_defaults_are_set_and_nulls_are_absent():
    client = Client()
    made = client("POST", SERVICES, service("web", type=None))[1]
    assert made["spec"]["type"] == "ClusterIP"
    assert made["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert client("POST", PODS, {**pod("p"), "status": {"phase": "Running"}})[1]["status"]["phase"] == "Pending"


def test_a_dry_run_stores_nothing():
    client = Client()
    dry = {"dryRun": "All"}
    before = client.store.revision
    code, made = client("POST", MAPS, config_map("a"), dry)
    assert (code, bool(made["metadata"]["uid"])) == (201, True)
    client("POST", MAPS, config_map("b", x="1"))
    assert client("PATCH", f"{MAPS}/b", {"data": {"x": "2"}}, dry,
                  content_type="application/merge-patch+json")[1]["data"] == {"x": "2"}
    assert client("DELETE", f"{MAPS}/b", None, dry)[1]["status"] == "Success"
    assert client("DELETE", f"{MAPS}/b", {"dryRun": ["All"]})[1]["status"] == "Success"
    assert client("GET", f"{MAPS}/b")[1]["data"] == {"x": "1"}
    assert client.store.revision == before + 1
    assert [told[0] for told in client.scene.told()] == ["ADDED", "ADDED"]
    assert client("POST", MAPS, config_map("a"), {"dryRun": "Some"})[0] == 400


def test_fields_that_never_change():
    client = Client()
    made = client("POST", DEPLOYMENTS, deployment())[1]
    made["spec"]["selector"] = {"matchLabels": {"other": "x"}}
    made["spec"]["template"]["metadata"]["labels"] = {"other": "x"}
    code, status = client("PUT", f"{DEPLOYMENTS}/web", made)
    assert (code, status["details"]["causes"][0]["field"]) == (422, "spec.selector")
    client("POST", PODS, pod("p"))
    json_patch = "application/json-patch+json"
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "new"}]
    assert client("PATCH", f"{PODS}/p", image, content_type=json_patch)[0] == 200
    name = [{"op": "replace", "path": "/spec/containers/0/name", "value": "new"}]
    assert client("PATCH", f"{PODS}/p", name, content_type=json_patch)[0] == 422
    rename = [{"op": "replace", "path": "/metadata/name", "value": "new"}]
    assert client("PATCH", f"{PODS}/p", rename, content_type=json_patch)[0] == 400
    client("POST", MAPS, {**config_map("fixed", a="1"), "immutable": True})
    assert client("PUT", f"{MAPS}/fixed", config_map("fixed", a="2"))[0] == 422


def test_a_replaced_service_keeps_what_it_was_given():
    client = Client()
    client("POST", SERVICES, service(type="NodePort", clusterIP="10.0.0.9", ports=[{"port": 80, "nodePort": 30080}]))
    kept = client("PUT", f"{SERVICES}/web", service(type="NodePort"))[1]["spec"]
    assert (kept["clusterIP"], kept["ports"][0]["nodePort"]) == ("10.0.0.9", 30080)
    assert client("PUT", f"{SERVICES}/web", service(clusterIP="10.0.0.10"))[0] == 422
    external = service(type="ExternalName", externalName="a.example")
    assert "clusterIP" not in client("PUT", f"{SERVICES}/web", external)[1]["spec"]


def test_status_and_wish_are_written_apart():
    client = Client()
    made = client("POST", DEPLOYMENTS, deployment())[1]
    both = changed(made, status={"replicas": 3}, spec={**made["spec"], "replicas": 9})
    code, stored = client("PUT", f"{DEPLOYMENTS}/web/status", both)
    assert (code, stored["status"], stored["spec"]["replicas"]) == (200, {"replicas": 3}, 1)
    patch = {"status": {"replicas": 4}, "spec": {"replicas": 2}}
    merge = "application/merge-patch+json"
    stored = client("PATCH", f"{DEPLOYMENTS}/web", patch, content_type=merge)[1]
    assert (stored["status"], stored["spec"]["replicas"]) == ({"replicas": 3}, 2)
    assert client("GET", f"{DEPLOYMENTS}/web/status") == (200, stored)
    assert client("PATCH", f"{DEPLOYMENTS}/web/status", {"status": {"replicas": "x"}}, content_type=merge)[0] == 422


def test_scale():
    client = Client()
    client("POST", DEPLOYMENTS, deployment(replicas=3))
    path = f"{DEPLOYMENTS}/web/scale"
    code, scale = client("GET", path)
    assert (code, scale["spec"], scale["status"]["selector"]) == (200, {"replicas": 3}, "a=b")
    assert client("PUT", path, changed(scale, spec={"replicas": 5}))[1]["spec"] == {"replicas": 5}
    assert client("PUT", path, changed(scale, spec={"replicas": 6}))[0] == 409
    merge = "application/merge-patch+json"
    assert client("PATCH", path, {"spec": {"replicas": 0}}, content_type=merge)[1]["spec"] == {"replicas": 0}
    assert client("PATCH", path, {"spec": {"replicas": -1}}, content_type=merge)[0] == 422
    assert client("PATCH", path, {"spec": {"replicas": True}}, content_type=merge)[0] == 422
    assert client("GET", f"{DEPLOYMENTS}/none/scale")[0] == 404


def test_logs_are_asked_of_whoever_has_them():
    asked = []

    def logs(body, options):
        asked.append((body["metadata"]["name"], options))
        return b"line\n"

    client = Client(logs=logs)
    two = pod("two")
    two["spec"]["containers"].append({"name": "side", "image": "x"})
    client.store.create("Pod", two)
    query = {"container": "side", "tailLines": "3", "sinceSeconds": "5", "follow": "true"}
    assert client.raw("GET", f"{PODS}/two/log", None, query).body == b"line\n"
    name, options = asked[0]
    assert (name, options.container, options.tail, options.since) == ("two", "side", 3, NOON + 60)
    assert (options.follow, options.previous) == (True, False)
    assert "choose one of: [app side]" in client("GET", f"{PODS}/two/log")[1]["message"]
    assert client("GET", f"{PODS}/two/log", None, {"container": "x"})[0] == 400
    assert client("GET", f"{PODS}/two/log", None, {"container": "app", "tailLines": "x"})[0] == 400
    assert Client()("GET", f"{PODS}/two/log")[0] == 404


def names(listed):
    return [item["metadata"]["name"] for item in listed[1]["items"]]


def test_selectors():
    client = Client()
    client.store.create("Pod", pod("a", node="n1", labels={"x": "1"}))
    client.store.create("Pod", pod("b", node="n2", labels={"x": "2"}))
    client.store.create("Pod", pod("c", labels={}))
    for query, found in (
        ({"labelSelector": "x in (1,3)"}, ["a"]),
        ({"labelSelector": "!x"}, ["c"]),
        ({"fieldSelector": "spec.nodeName=n2"}, ["b"]),
        ({"fieldSelector": "spec.nodeName!=n2,status.phase==Pending"}, ["a", "c"]),
        ({"fieldSelector": "metadata.name=c", "labelSelector": "x"}, []),
    ):
        assert names(client("GET", PODS, None, query)) == found
    for query in ({"labelSelector": "x in"}, {"fieldSelector": "spec.other=1"}, {"fieldSelector": "metadata.name"}):
        assert client("GET", PODS, None, query)[0] == 400


def test_pages():
    client = Client()
    for name in "abcde":
        client.store.create("ConfigMap", config_map(name))
    first = client("GET", MAPS, None, {"limit": "2"})
    assert (names(first), first[1]["metadata"]["remainingItemCount"]) == (["a", "b"], 3)
    client.store.delete("ConfigMap", "default", "c")
    second = client("GET", MAPS, None, {"limit": "2", "continue": first[1]["metadata"]["continue"]})
    assert (names(second), "continue" in second[1]["metadata"]) == (["d", "e"], False)
    assert client("GET", MAPS, None, {"continue": "x"})[0] == 400
    assert client("GET", MAPS, None, {"limit": "-1"})[0] == 400


def test_tables():
    client = Client()
    client.store.create("Pod", pod("a"))
    table = client("GET", PODS, accept=TABLE)[1]
    assert table["kind"] == "Table"
    headings = [column["name"] for column in table["columnDefinitions"]]
    assert headings[:5] == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert table["rows"][0]["cells"][:5] == ["a", "0/1", "Pending", "0", "65s"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    whole = client("GET", f"{PODS}/a", None, {"includeObject": "Object"}, accept=TABLE)[1]
    assert "spec" in whole["rows"][0]["object"]
    assert "object" not in client("GET", PODS, None, {"includeObject": "None"}, accept=TABLE)[1]["rows"][0]
    partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    assert "spec" not in client("GET", PODS, accept=partial)[1]["items"][0]


@pytest.mark.parametrize("resource", [one for table in RESOURCES.values() for one in table.values()],
                         ids=lambda one: f"{one.api_version}/{one.kind.plural}")  # fmt: skip
def test_every_kind_is_listed_as_a_table_even_if_its_objects_are_bare(resource):
    client = Client()
    client.store.create(resource.kind.name, {"metadata": {"name": "bare"}})
    path = f"{resource.base}/{resource.kind.plural}"
    code, table = client("GET", path, accept=TABLE)
    assert code == 200
    assert len(table["rows"][-1]["cells"]) == len(table["columnDefinitions"])
    assert client("GET", path)[1]["items"][0]["apiVersion"] == resource.api_version


def test_namespaces():
    client = Client()
    assert client("POST", MAPS.replace("default", "none"), config_map("a", "none"))[0] == 404
    client("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    client.store.create("Pod", pod("p", "shop", node="n1"))
    code, left = client("DELETE", "/api/v1/namespaces/shop")
    assert (code, left["status"]["phase"]) == (200, "Terminating")
    code, status = client("POST", MAPS.replace("default", "shop"), config_map("a", "shop"))
    assert (code, status["reason"]) == (403, "Forbidden")
    assert client("DELETE", "/api/v1/namespaces/default")[0] == 403


def test_delete_options():
    client = Client()
    client.store.create("Pod", pod("p", node="n1"))
    options = {"gracePeriodSeconds": 3, "preconditions": {"uid": "other"}}
    assert client("DELETE", f"{PODS}/p", options)[0] == 409
    code, left = client("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 3})
    assert (code, left["metadata"]["deletionGracePeriodSeconds"]) == (200, 3)
    assert client("DELETE", f"{PODS}/p", None, {"gracePeriodSeconds": "0"})[1]["kind"] == "Pod"
    assert client("GET", f"{PODS}/p")[0] == 404
    client.store.create("Pod", pod("q"))
    for bad in ({"propagationPolicy": "Up"}, {"gracePeriodSeconds": -1}, {"gracePeriodSeconds": "x"}, []):
        assert client("DELETE", f"{PODS}/q", bad)[0] == 400


def test_a_collection_is_deleted_by_selector():
    client = Client()
    for name in "abc":
        client.store.create("Pod", pod(name, labels={"keep": str(name == "b")}))
    deleted = client("DELETE", PODS, None, {"labelSelector": "keep!=True"})
    assert names(deleted) == ["a", "c"]
    assert [body["metadata"]["name"] for body in client.store.list("Pod")] == ["b"]


def lines(stream):
    return [json.loads(line) for line in stream.take().splitlines()]


def test_a_watch_begins_with_what_is_there():
    client = Client()
    client.store.create("Pod", pod("a"))
    stream = client.raw("GET", PODS, None, {"watch": "true", "fieldSelector": "metadata.name=a"})
    assert isinstance(stream, WatchStream)
    client.store.create("Pod", pod("b"))
    client.store.delete("Pod", "default", "a")
    assert [(line["type"], line["object"]["metadata"]["name"]) for line in lines(stream)] == [
        ("ADDED", "a"), ("DELETED", "a"),
    ]  # fmt: skip
    stream.close()
    client.store.create("Pod", pod("a"))
    assert lines(stream) == []


def test_a_watch_with_tables_and_bookmarks():
    client = Client()
    since = {"watch": "1", "resourceVersion": "1", "allowWatchBookmarks": "true", "timeoutSeconds": "7"}
    stream = client.raw("GET", PODS, None, since, accept=TABLE)
    client.store.create("Pod", pod("a"))
    assert [line["object"]["rows"][0]["cells"][0] for line in lines(stream)] == ["a"]
    bookmark = json.loads(stream.bookmark())
    assert (bookmark["type"], bookmark["object"]["rows"]) == ("BOOKMARK", [])
    assert bookmark["object"]["metadata"]["resourceVersion"] == "2"
    assert (stream.bookmarks, stream.seconds) == (True, 7)
    initial = {"watch": "1", "sendInitialEvents": "true", "allowWatchBookmarks": "true"}
    told = lines(client.raw("GET", PODS, None, initial))
    assert [line["type"] for line in told] == ["ADDED", "BOOKMARK"]
    assert told[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_watch_from_too_long_ago_is_gone():
    client = Client(window=2)
    for name in "abcd":
        client.store.create("Pod", pod(name))
    code, status = client("GET", PODS, None, {"watch": "1", "resourceVersion": "1"})
    assert (code, status["reason"]) == (410, "Expired")
    assert client("GET", PODS, None, {"watch": "1", "resourceVersion": "x"})[0] == 400


def test_a_defect_is_an_internal_error(caplog):
    client = Client(admit=lambda body, old: 1 / 0)
    assert client("POST", MAPS, config_map("a"))[0] == 500
    assert "POST" in caplog.text


def test_the_lab_may_give_and_refuse():
    def admit(body, old):
        return {**body, "data": {"given": "yes" if old is None else "again"}}

    client = Client(admit=admit)
    made = client("POST", MAPS, config_map("a"))[1]
    assert made["data"] == {"given": "yes"}
    assert client("PUT", f"{MAPS}/a", made)[1]["data"] == {"given": "again"}


def test_discovery():
    client = Client()
    assert client.raw("GET", "/readyz").body == b"ok"
    assert client("GET", "/api")[1]["versions"] == ["v1"]
    groups = {group["name"]: group for group in client("GET", "/apis")[1]["groups"]}
    assert groups["autoscaling"]["preferredVersion"]["version"] == "v2"
    assert client("GET", "/apis/apps")[1]["preferredVersion"]["groupVersion"] == "apps/v1"
    found = {row["name"]: row for row in client("GET", "/apis/apps/v1")[1]["resources"]}
    assert found["deployments"]["shortNames"] == ["deploy"]
    assert found["deployments/scale"]["kind"] == "Scale"
    assert client("GET", "/version")[1]["major"] == "1"
    assert client("GET", "/openapi/v2", accept="application/json")[1]["swagger"] == "2.0"
    assert client.raw("GET", "/openapi/v2", accept="application/com.github.proto-openapi").body == b""
    for path in client("GET", "/openapi/v3")[1]["paths"]:
        assert client("GET", f"/openapi/v3/{path}")[0] == 200
    served = {kind.name for kind in KINDS} - {one.kind.name for table in RESOURCES.values() for one in table.values()}
    assert served == set()
    assert "/apis/apps/v1" in client("GET", "/")[1]["paths"]


@pytest.mark.parametrize(("group", "plural", "field", "value"), [
    ("authorization.k8s.io", "selfsubjectaccessreviews", "allowed", True),
    ("authorization.k8s.io", "subjectaccessreviews", "allowed", True),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "incomplete", False),
    ("authentication.k8s.io", "selfsubjectreviews", "userInfo",
     {"username": "nslab", "groups": ["system:masters", "system:authenticated"]}),
])  # fmt: skip
def test_reviews_are_answered_and_not_stored(group, plural, field, value):
    client = Client()
    revision = client.store.revision
    spec = {"resourceAttributes": {"verb": "create", "resource": "pods"}}
    code, made = client("POST", f"/apis/{group}/v1/{plural}", {"spec": spec})
    assert (code, made["spec"], made["status"][field]) == (201, spec, value)
    sent = {"content_type": "application/vnd.kubernetes.protobuf"}
    code, made = client("POST", f"/apis/{group}/v1/{plural}", b"k8s\0", **sent)
    assert (code, made["status"][field]) == (201, value)
    assert client("POST", f"/apis/{group}/v1/{plural}", b"{")[0] == 400
    assert client("GET", f"/apis/{group}/v1/{plural}")[0] == 404
    assert plural in [row["name"] for row in client("GET", f"/apis/{group}/v1")[1]["resources"]]
    assert client.store.revision == revision


def test_volume_claims_say_that_they_wait():
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    assert Client()("POST", claims, {"metadata": {"name": "disk"}, "spec": {}})[1]["status"] == {"phase": "Pending"}


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "ExternalName"])
def test_a_service_of_another_type_loses_what_that_has_no_place_for(kind):
    client = Client()
    given = {"clusterIP": "10.12.0.9", "type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    ports = [{"port": 80, "nodePort": 30080}]
    client("POST", SERVICES, service(**given, ports=ports, healthCheckNodePort=30099))
    patch = {"spec": {"type": kind, **({"externalName": "a.b"} if kind == "ExternalName" else {})}}
    merge = {"content_type": "application/merge-patch+json"}
    code, changed = client("PATCH", f"{SERVICES}/web", patch, **merge)
    spec = changed["spec"]
    assert (code, spec["type"]) == (200, kind)
    assert spec["ports"][0].get("nodePort") == (30080 if kind == "NodePort" else None)
    assert spec.get("externalTrafficPolicy") == ("Local" if kind == "NodePort" else None)
    assert spec.get("clusterIP") == (None if kind == "ExternalName" else "10.12.0.9")
    assert not {"healthCheckNodePort", "allocateLoadBalancerNodePorts"} & spec.keys()
    if kind == "ClusterIP":  # what its user asks for is no remnant
        asked = {"spec": {"ports": [{"port": 80, "nodePort": 30081}]}}
        code, answer = client("PATCH", f"{SERVICES}/web", asked, **merge)
        assert (code, answer["details"]["causes"][0]["field"]) == (422, "spec.ports[0].nodePort")


def test_session_affinity_goes_with_its_settings():
    client = Client()
    merge = {"content_type": "application/merge-patch+json"}
    spec = client("POST", SERVICES, service(sessionAffinity="ClientIP"))[1]["spec"]
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    code, changed = client("PATCH", f"{SERVICES}/web", {"spec": {"sessionAffinity": None}}, **merge)
    assert (code, changed["spec"]["sessionAffinity"]) == (200, "None")
    assert "sessionAffinityConfig" not in changed["spec"]


# nslab's own kind

FAULTS = "/apis/nslab.dev/v1/faults"


def fault(name="pod.default.a.slow", **spec):
    return {"metadata": {"name": name}, "spec": {"target": "pod/default/a", "effect": "slow", "value": "1s", **spec}}


def test_a_fault_is_an_object_like_any_other():
    client = Client()
    code, made = client("POST", FAULTS, fault())
    assert (code, made["kind"], made["apiVersion"]) == (201, "Fault", "nslab.dev/v1")
    patch = {"spec": {"value": "2s"}}
    code, patched = client(
        "PATCH", f"{FAULTS}/pod.default.a.slow", patch, content_type="application/merge-patch+json"
    )
    assert (code, patched["spec"]["value"]) == (200, "2s")
    _, shown = client("GET", FAULTS, accept=TABLE)
    assert [column["name"] for column in shown["columnDefinitions"]] == ["Name", "Target", "Effect", "Value", "Age"]
    assert shown["rows"][0]["cells"] == ["pod.default.a.slow", "pod/default/a", "slow", "2s", "65s"]
    assert client("DELETE", f"{FAULTS}/pod.default.a.slow")[0] == 200


@pytest.mark.parametrize(("body", "path"), [
    (fault(value="soon"), "spec.value"),
    (fault(effect="sloow"), "spec.effect"),
    (fault(effect="dead"), "spec.effect"),
    (fault(target="pod/a"), "spec.target"),
    (fault(name="mine"), "metadata.name"),
    (fault(name="pod.default.a.crash", effect="crash"), "spec.value"),
    (fault(value=1), "spec.value"),
    ({"metadata": {"name": "pod.default.a.slow"}}, "spec"),
])  # fmt: skip
def test_a_wrong_fault_is_refused_with_its_field(body, path):
    code, status = Client()("POST", FAULTS, body)
    assert (code, status["reason"]) == (422, "Invalid")
    assert path in [cause["field"] for cause in status["details"]["causes"]]
