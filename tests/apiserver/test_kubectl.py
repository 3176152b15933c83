"""A stock kubectl against a served store."""

from __future__ import annotations

import json
import re

import pytest

from tests.apiserver.objects import changed
from tests.apiserver.serving import serving
from tests.kubectl import needs_kubectl
from tests.published import MANIFESTS, needs_manifests

pytestmark = needs_kubectl

DEPLOYMENT = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app", "image": "app:1", "ports": [{"containerPort": 80}]},
                                    {"name": "side", "image": "side:1"}]},
        },
    },
}  # fmt: skip
SERVICE = {
    "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
}  # fmt: skip
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "labels": {"app": "one"}},
       "spec": {"nodeName": "n1", "containers": [{"name": "app", "image": "app"}]}}  # fmt: skip
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {}}


@pytest.fixture
def served(tmp_path):
    with serving(tmp_path) as running:
        yield running


def applied(served, *bodies):
    listed = {"apiVersion": "v1", "kind": "List", "items": bodies}
    return served.kubectl("apply", "-f", "-", stdin=json.dumps(listed))


def test_apply_creates_then_changes_nothing_then_only_what_differs(served):
    assert applied(served, DEPLOYMENT, SERVICE) == "deployment.apps/web created\nservice/web created\n"
    before = served.store.revision
    assert applied(served, DEPLOYMENT, SERVICE) == "deployment.apps/web unchanged\nservice/web unchanged\n"
    assert served.store.revision == before
    containers = [{"name": "app", "image": "app:2", "ports": [{"containerPort": 80}]}]  # the other one is dropped
    template = {**DEPLOYMENT["spec"]["template"], "spec": {"containers": containers}}
    changed_one = changed(DEPLOYMENT, spec={**DEPLOYMENT["spec"], "template": template})
    assert applied(served, changed_one) == "deployment.apps/web configured\n"
    stored = served.store.get("Deployment", "default", "web")
    found = stored["spec"]["template"]["spec"]["containers"]
    assert [(item["name"], item["image"]) for item in found] == [("app", "app:2")]
    assert stored["metadata"]["generation"] == 2


def test_the_columns_of_get(served):
    applied(served, DEPLOYMENT, SERVICE, POD)
    assert re.fullmatch(r"NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nweb +0/2 +0 +0 +\d+s\n",
                        served.kubectl("get", "deploy"))
    wide = served.kubectl("get", "deploy", "-o", "wide").splitlines()
    assert wide[0].split()[-3:] == ["CONTAINERS", "IMAGES", "SELECTOR"]
    assert wide[1].split()[-3:] == ["app,side", "app:1,side:1", "app=web"]
    everything = served.kubectl("get", "all", "-A")
    assert [line.split()[1] for line in everything.splitlines() if line.startswith("default")] == [
        "pod/one", "service/web", "deployment.apps/web",
    ]
    assert "one" in served.kubectl("get", "pods", "-l", "app=one")
    assert served.kubectl("get", "pods", "-l", "app notin (one)") == ""
    assert served.kubectl("get", "pods", "-o", "name", "--field-selector", "spec.nodeName=n1") == "pod/one\n"
    assert json.loads(served.kubectl("get", "pod", "one", "-o", "json"))["spec"]["nodeName"] == "n1"
    assert served.kubectl("get", "svc", "web", "-o", "yaml").startswith("apiVersion: v1\n")
    assert served.kubectl("get", "pods", "--show-labels").splitlines()[1].endswith("app=one")


def test_get_follows_with_w(served):
    applied(served, NODE)
    process = served.start("get", "nodes", "-w", "--output-watch-events")
    assert process.stdout.readline().split()[0] == "EVENT"
    assert process.stdout.readline().split()[:2] == ["ADDED", "n1"]
    served.call(lambda: served.store.update("Node", {**NODE, "spec": {"unschedulable": True}}))
    assert process.stdout.readline().split()[:3] == ["MODIFIED", "n1", "Unknown,SchedulingDisabled"]
    served.call(lambda: served.store.delete("Node", "", "n1"))
    assert process.stdout.readline().split()[:2] == ["DELETED", "n1"]
    process.terminate()
    process.communicate()


def test_wait_sees_a_status_that_is_written(served):
    applied(served, POD)
    process = served.start("wait", "--for=condition=Ready", "pod/one", "--timeout=60s")
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}

    def ready():
        pod = served.store.get("Pod", "default", "one")
        served.store.update("Pod", {**pod, "status": status}, status=True)

    served.call(ready)
    assert process.communicate()[0] == "pod/one condition met\n"


def test_describe(served):
    applied(served, DEPLOYMENT, SERVICE, POD, NODE)
    event = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"}, "type": "Normal",
        "reason": "Started", "message": "it runs", "count": 1, "lastTimestamp": "2023-11-14T22:13:20Z",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "one",
                           "uid": served.store.get("Pod", "default", "one")["metadata"]["uid"]},
    }  # fmt: skip
    served.call(lambda: served.store.create("Event", event))
    assert re.search(r"Selector: +app=web", served.kubectl("describe", "deploy", "web"))
    assert re.search(r"Port: +<unset> +80/TCP", served.kubectl("describe", "svc/web"))
    assert re.search(r"Started .* it runs", served.kubectl("describe", "pod", "one"))
    assert re.search(r"default +one ", served.kubectl("describe", "node", "n1"))
    assert re.search(r"Normal +Started +pod/one +it runs", served.kubectl("get", "events"))


def test_create_and_delete(served):
    assert served.kubectl("create", "-f", "-", stdin=json.dumps(POD)) == "pod/one created\n"
    assert 'pods "one" already exists' in served.kubectl("create", "-f", "-", stdin=json.dumps(POD), code=1)
    assert served.kubectl("delete", "pod", "one", "--force", "--grace-period=0").startswith('pod "one" ')
    assert 'pods "one" not found' in served.kubectl("delete", "pod", "one", code=1)
    assert served.kubectl("run", "two", "--image=nginx") == "pod/two created\n"
    assert 'pod "two"' in served.kubectl("delete", "pods", "--all")
    assert served.store.list("Pod") == []


def test_create_by_words(served):
    """Newer kubectls send these in protobuf."""
    for words in (
        "namespace shop", "configmap c --from-literal=a=b", "secret generic s --from-literal=a=b", "sa account",
        "deployment d --image=nginx --replicas=0", "service clusterip svc --tcp=80:8080", "job j --image=x",
    ):
        assert served.kubectl("create", *words.split()).endswith(" created\n")
    get = served.store.get
    assert get("ConfigMap", "default", "c")["data"] == {"a": "b"}
    assert get("Secret", "default", "s")["data"] == {"a": "Yg=="}
    assert get("Service", "default", "svc")["spec"]["ports"][0]["targetPort"] == 8080
    spec = get("Deployment", "default", "d")["spec"]
    assert (spec["replicas"], spec["template"]["spec"]["containers"][0]["image"]) == (0, "nginx")
    assert 'namespace "shop"' in served.kubectl("delete", "ns", "shop")


def test_scale_label_annotate_and_cordon(served):
    applied(served, DEPLOYMENT, NODE)
    assert served.kubectl("scale", "deploy/web", "--replicas=5") == "deployment.apps/web scaled\n"
    served.kubectl("scale", "deploy/web", "--current-replicas=1", "--replicas=2", code=1)
    assert served.kubectl("label", "deploy", "web", "tier=front") == "deployment.apps/web labeled\n"
    assert served.kubectl("annotate", "deploy", "web", "why=that").startswith("deployment.apps/web annotate")
    stored = served.store.get("Deployment", "default", "web")
    assert stored["spec"]["replicas"] == 5
    assert stored["metadata"]["labels"]["tier"] == "front"
    assert stored["metadata"]["annotations"]["why"] == "that"
    served.kubectl("label", "deploy", "web", "tier-")
    assert "tier" not in served.store.get("Deployment", "default", "web")["metadata"]["labels"]
    assert served.kubectl("cordon", "n1") == "node/n1 cordoned\n"
    assert served.store.get("Node", "", "n1")["spec"]["unschedulable"] is True
    assert served.kubectl("uncordon", "n1") == "node/n1 uncordoned\n"


@pytest.mark.parametrize(("kind", "patch"), [
    ("json", [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "new"}]),
    ("merge", {"spec": {"template": {"spec": {"containers": [
        {"name": "app", "image": "new"}, {"name": "side", "image": "new"},
    ]}}}}),
    ("strategic", {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "new"}]}}}}),
])  # fmt: skip
def test_patches(served, kind, patch):
    applied(served, DEPLOYMENT)
    assert "patched" in served.kubectl("patch", "deploy", "web", "--type", kind, "-p", json.dumps(patch))
    containers = served.store.get("Deployment", "default", "web")["spec"]["template"]["spec"]["containers"]
    assert [item["name"] for item in containers] == ["app", "side"]
    assert containers[0]["image"] == "new"
    assert ("ports" in containers[0]) == (kind != "merge")


def test_a_bad_object_is_refused_with_its_fields(served):
    bad = {**SERVICE, "spec": {"ports": [{"port": 0}, {"name": "B"}]}}
    text = served.kubectl("apply", "-f", "-", stdin=json.dumps(bad), code=1)
    assert 'The Service "web" is invalid:' in text
    assert "spec.ports[0].port: Invalid value: 0 is below 1" in text
    assert "spec.ports[1].port: Required value" in text
    unknown = {"apiVersion": "x.example/v1", "kind": "Y", "metadata": {"name": "z"}}
    assert 'no matches for kind "Y"' in served.kubectl("apply", "-f", "-", stdin=json.dumps(unknown), code=1)


def test_logs(served):
    applied(served, POD)
    assert served.kubectl("logs", "one", "--tail=3") == "one app 3\nsecond line\n"
    assert served.kubectl("logs", "-f", "one").splitlines()[1] == "second line"


def test_what_the_server_has(served):
    words = served.kubectl("api-resources", "--no-headers")
    assert re.search(r"^deployments +deploy +apps/v1 +true +Deployment$", words, re.MULTILINE)
    assert "+nslab-" in served.kubectl("version")
    assert "networking.k8s.io/v1\n" in served.kubectl("api-versions")


@needs_manifests
@pytest.mark.parametrize("folder", ["online-boutique/release/kubernetes-manifests.yaml", "voting-app",
                                    "guestbook/web/guestbook/all-in-one/guestbook-all-in-one.yaml"])
def test_published_applications_are_applied_twice(served, folder):
    path = str(MANIFESTS / folder)
    lines = served.kubectl("apply", "-R", "-f", path).splitlines()
    assert lines
    assert all(line.endswith(" created") for line in lines)
    again = served.kubectl("apply", "-R", "-f", path).splitlines()
    assert len(again) == len(lines)
    assert all(line.endswith(" unchanged") for line in again)
