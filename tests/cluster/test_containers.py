from __future__ import annotations

from typing import Any

import pytest

from nslab.cluster.model import Container, ContainerPort

from .builders import a_cluster, a_container, a_deployment, a_pod, a_service, a_template, an_object


def first(*containers: dict[str, Any], **spec: Any) -> Container:
    return next(iter(a_cluster(a_pod("web", *containers, **spec)).pods.values())).containers[0]


def test_a_container_with_what_the_network_needs_of_it() -> None:
    probe = {"httpGet": {"port": 80}}
    container = first(a_container(80, 81, readinessProbe=probe, command=["ignored"], workingDir="/srv"))
    assert container == Container(
        "main", "nginx", (ContainerPort(80), ContainerPort(81)), working_dir="/srv", probes={"readiness": probe}
    )


def test_a_host_container_has_its_command_expanded() -> None:
    container = first(a_container(
        image="host", command=["run", "$(PORT)", "$(NONE)", "$$(PORT)"], args=["--name=$(NAME)"],
        env=[{"name": "PORT", "value": "80"}, {"name": "NAME", "value": "web-$(PORT)"}],
    ))
    assert container.command == ("run", "80", "$(NONE)", "$(PORT)", "--name=web-80")
    assert container.env == (("PORT", "80"), ("NAME", "web-80"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"), ("metadata.namespace", "default"), ("metadata.labels['app']", "web"),
        ("metadata.annotations['a/b']", "note"), ("spec.nodeName", "node-1"), ("spec.serviceAccountName", "default"),
        ("status.podIP", "10.8.0.2"), ("status.hostIP", "10.128.0.2"), ("metadata.labels['absent']", ""),
    ],
)
def test_the_downward_api(path: str, value: str) -> None:
    pod = a_pod("web", a_container(env=[{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}]))
    pod.body["metadata"]["annotations"] = {"a/b": "note"}
    assert a_cluster(pod).pods["default/web"].containers[0].env == (("X", value),)


def test_values_of_config_maps_and_secrets() -> None:
    env = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "config", "key": "a"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "b"}}},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "c"}}},
        {"name": "D", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "E", "value": "$(A)$(B)"},
    ]
    sources = [{"prefix": "P_", "configMapRef": {"name": "config"}}, {"secretRef": {"name": "secret"}}]
    cluster = a_cluster(
        a_pod("web", a_container(env=env, envFrom=sources)), an_object("ConfigMap", "config", data={"a": "1"}),
        an_object("Secret", "secret", data={"b": "Mg=="}),
    )
    assert dict(cluster.pods["default/web"].containers[0].env) == {
        "P_a": "1", "b": "2", "A": "1", "B": "2", "E": "12"
    }


def test_init_containers_have_completed_but_sidecars_run() -> None:
    init = [a_container(name="once"), a_container(81, name="sidecar", restartPolicy="Always")]
    pod = a_cluster(a_pod("web", initContainers=init)).pods["default/web"]
    assert [container.name for container in pod.containers] == ["sidecar", "main"]


def test_ports_that_nobody_declares_come_from_the_services() -> None:
    template = a_template("web", a_container(image="host", name="tool", command=["sleep"]), a_container())
    service = a_service("s", "web", ports=[
        {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        {"name": "again", "port": 81, "targetPort": 8080, "protocol": "TCP"},
        {"name": "dns", "port": 53, "targetPort": 53, "protocol": "UDP"},
        {"name": "named", "port": 90, "targetPort": "metrics", "protocol": "TCP"},
    ])
    cluster = a_cluster(a_deployment("web", 2, template), service)
    for pod in cluster.pods.values():
        assert pod.inferred_ports
        assert [container.ports for container in pod.containers] == [
            (), (ContainerPort(8080), ContainerPort(53, "UDP"))
        ]
    assert cluster.warnings == (
        "lab.yaml:1:1#web: Deployment default/web: no container declares a port; it listens on 8080/TCP, 53/UDP, "
        "the target ports of the Services that select it",
    )


@pytest.mark.parametrize("container", [a_container(80), a_container(image="host", command=["sleep"])])
def test_ports_are_not_inferred_where_one_is_declared_or_nothing_responds(container: dict[str, Any]) -> None:
    cluster = a_cluster(a_pod("web", container), a_service("s", "web", target=9))
    pod = cluster.pods["default/web"]
    assert not pod.inferred_ports
    assert not cluster.warnings
    assert all(port.port != 9 for part in pod.containers for port in part.ports)
