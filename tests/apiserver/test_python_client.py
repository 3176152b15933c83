"""The official Python client against a served store."""

from __future__ import annotations

import threading

import kubernetes
import pytest

from tests.apiserver.objects import pod
from tests.apiserver.serving import serving


@pytest.fixture
def served(tmp_path):
    with serving(tmp_path) as running:
        yield running


@pytest.fixture
def core(served):
    client = kubernetes.config.new_client_from_config(str(served.directory / "config"))
    yield kubernetes.client.CoreV1Api(client)
    client.close()


def test_objects(core):
    made = core.create_namespaced_pod("default", pod("a", labels={"x": "y"}))
    assert made.metadata.uid
    assert [item.metadata.name for item in core.list_pod_for_all_namespaces(label_selector="x=y").items] == ["a"]
    made.metadata.labels["x"] = "z"
    assert core.replace_namespaced_pod("a", "default", made).metadata.labels == {"x": "z"}
    with pytest.raises(kubernetes.client.ApiException) as caught:
        core.replace_namespaced_pod("a", "default", made)
    assert caught.value.status == 409
    core.patch_namespaced_pod("a", "default", {"metadata": {"annotations": {"why": "that"}}})
    assert core.read_namespaced_pod("a", "default").metadata.annotations == {"why": "that"}
    assert core.read_namespaced_pod_log("a", "default", tail_lines=2).startswith("a app 2")
    core.delete_namespaced_pod("a", "default")
    with pytest.raises(kubernetes.client.ApiException) as caught:
        core.read_namespaced_pod("a", "default")
    assert caught.value.status == 404


def test_scale_of_a_deployment(core):
    apps = kubernetes.client.AppsV1Api(core.api_client)
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "x", "image": "y"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    apps.create_namespaced_deployment("default", {"metadata": {"name": "web"}, "spec": spec})
    scaled = apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 4}})
    assert scaled.spec.replicas == 4
    assert apps.read_namespaced_deployment("web", "default").spec.replicas == 4


def test_watch(served, core):
    watch = kubernetes.watch.Watch()
    seen = []

    def change() -> None:
        served.call(lambda: served.store.create("Pod", pod("b")))
        served.call(lambda: served.store.delete("Pod", "default", "a"))

    served.call(lambda: served.store.create("Pod", pod("a")))
    for event in watch.stream(core.list_namespaced_pod, "default", timeout_seconds=30):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 1:
            threading.Thread(target=change).start()
        if len(seen) == 3:
            watch.stop()
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]


def test_a_watch_from_too_long_ago_says_so(served, core):
    version = str(served.store.revision + 1000)
    with pytest.raises(kubernetes.client.ApiException) as caught:
        list(kubernetes.watch.Watch().stream(core.list_namespaced_pod, "default", resource_version=version))
    assert caught.value.status == 410
