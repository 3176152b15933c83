"""Published applications by kubectl alone, and the official Python client, against running labs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import kubernetes
import pytest

from tests.kubectl import needs_kubectl
from tests.lab.conftest import LabFactory
from tests.lab.live import EMPTY, Kubectl, connected, eventually, web
from tests.lab.running import Json, RunningLab
from tests.published import MANIFESTS, needs_manifests

APPLICATIONS = {
    "boutique": "online-boutique/release/kubernetes-manifests.yaml",
    "guestbook": "guestbook/web/guestbook/all-in-one/guestbook-all-in-one.yaml",
    "voting": "voting-app/k8s-specifications",
}
"""What is applied, by the namespace that it comes to."""


@needs_kubectl
@needs_manifests
def test_published_applications_come_up_by_kubectl_alone(lab: LabFactory) -> None:
    """Each port of each Service answers a Pod that is not behind it."""
    running = connected(lab("published", EMPTY % "published"))
    for namespace, path in APPLICATIONS.items():
        running.kubectl("create", "namespace", namespace)
        kubectl = Kubectl(running.kubectl.program, running.kubectl.config, namespace)
        assert "created" in kubectl("apply", "-R", "-f", str(MANIFESTS / path))
    flows: list[Json] = []
    for namespace in APPLICATIONS:
        kubectl = Kubectl(running.kubectl.program, running.kubectl.config, namespace)
        kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=110s")
        flows += flows_between(kubectl, namespace)
    assert len(flows) >= 19
    for answer in running.lab.probes(*flows):
        assert answer["verdict"] == "open", answer
    assert running.lab.json("status")["drift"] == []


def flows_between(kubectl: Kubectl, namespace: str) -> list[Json]:
    """A flow to each port of each Service, from a Pod that is not behind it."""
    pods = {pod["metadata"]["name"] for pod in kubectl.json("get", "pods")["items"]}
    flows = []
    for service in kubectl.json("get", "endpoints")["items"]:
        name = service["metadata"]["name"]
        behind = {
            address["targetRef"]["name"] for subset in service["subsets"] for address in subset["addresses"]
        }
        source = f"pod/{namespace}/{min(pods - behind)}"
        spec = kubectl.json("get", "service", name)["spec"]
        flows += [{"from": source, "to": f"svc/{namespace}/{name}:{port['port']}"} for port in spec["ports"]]
    return flows


@pytest.fixture
def client(lab: LabFactory) -> Iterator[tuple[RunningLab, kubernetes.client.ApiClient]]:
    running = lab("python", (EMPTY % "python") + "---\n" + web(2))
    config = running.file.with_suffix(".kubeconfig")
    config.write_text(running.nslab("kubeconfig").stdout)
    api = kubernetes.config.new_client_from_config(str(config))
    yield running, api
    api.close()


def test_the_python_client_watches_what_happens(client: tuple[RunningLab, kubernetes.client.ApiClient]) -> None:
    running, api = client
    core, apps = kubernetes.client.CoreV1Api(api), kubernetes.client.AppsV1Api(api)
    pods = core.list_namespaced_pod("default", label_selector="app=web")
    seen: list[tuple[str, str]] = []
    watch = kubernetes.watch.Watch()

    def follow() -> None:
        version = pods.metadata.resource_version
        for event in watch.stream(core.list_namespaced_pod, "default", label_selector="app=web",
                                  resource_version=version, timeout_seconds=60):  # fmt: skip
            seen.append((event["type"], event["object"].metadata.name))
            if seen[-1] == ("ADDED", "last"):
                return

    thread = threading.Thread(target=follow)
    thread.start()
    assert apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 3}}).spec.replicas == 3
    eventually(lambda: apps.read_namespaced_deployment("web", "default").status.available_replicas == 3)
    gone = pods.items[0].metadata.name
    core.delete_namespaced_pod(gone, "default")
    eventually(lambda: ("DELETED", gone) in seen)
    eventually(lambda: apps.read_namespaced_deployment("web", "default").status.available_replicas == 3)
    now = {pod.metadata.name for pod in core.list_namespaced_pod("default", label_selector="app=web").items}
    before = {pod.metadata.name for pod in pods.items}
    eventually(lambda: answering(running) == {f"default/{name}" for name in now})
    spec = {"containers": [{"name": "any", "image": "any"}]}
    last = {"metadata": {"name": "last", "labels": {"app": "web"}}, "spec": spec}
    core.create_namespaced_pod("default", last)
    thread.join(60)
    assert seen[-1] == ("ADDED", "last")
    assert {name for kind, name in seen if kind == "ADDED"} >= now - before
    assert len(now) == 3
    with pytest.raises(kubernetes.client.ApiException) as caught:
        apps.patch_namespaced_deployment("web", "default", {"spec": {"replicas": "many"}})
    assert caught.value.status == 422


def answering(running: RunningLab) -> set[str]:
    return set(running.probe("node/node-1", "svc/web:80", count=60)["responders"])
