"""Defaults are those that the API server sets."""

from __future__ import annotations

import io
from typing import Any

import pytest

from nslab.api.decode import decode
from nslab.api.objects import Body


def body(text: str) -> Body:
    return decode(["-"], stdin=io.StringIO(text)).objects[0].body


def service(spec: str) -> Any:
    return body(f"apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {spec}")["spec"]


def test_a_cluster_ip_service() -> None:
    assert service("{ports: [{port: 80, name: a}, {port: 81, name: b, targetPort: x, protocol: UDP}]}") == {
        "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80, "name": "a", "protocol": "TCP", "targetPort": 80},
                  {"port": 81, "name": "b", "protocol": "UDP", "targetPort": "x"}],
    }  # fmt: skip


def test_a_load_balancer_service() -> None:
    spec = service("{type: LoadBalancer, sessionAffinity: ClientIP, clusterIP: 10.12.0.9, ports: [{port: 80}]}")
    assert spec["externalTrafficPolicy"] == "Cluster"
    assert spec["allocateLoadBalancerNodePorts"] is True
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    assert spec["clusterIPs"] == ["10.12.0.9"]


def test_an_external_name_service() -> None:
    spec = service("{type: ExternalName, externalName: a.example.com}")
    assert spec == {"type": "ExternalName", "externalName": "a.example.com", "sessionAffinity": "None"}


def test_a_deployment() -> None:
    thing = body(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  selector: {matchLabels: {a: b}}\n"
        "  template: {metadata: {labels: {a: b}}, spec: {containers: ["
        "{name: c, image: c, ports: [{containerPort: 80}],"
        " readinessProbe: {httpGet: {port: 80}}}]}}"
    )
    assert thing["metadata"] == {"name": "d", "namespace": "default"}
    assert thing["spec"]["replicas"] == 1
    rolling = {"maxSurge": "25%", "maxUnavailable": "25%"}
    assert thing["spec"]["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
    assert (thing["spec"]["revisionHistoryLimit"], thing["spec"]["progressDeadlineSeconds"]) == (10, 600)
    spec = thing["spec"]["template"]["spec"]
    assert (spec["dnsPolicy"], spec["restartPolicy"]) == ("ClusterFirst", "Always")
    assert spec["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert spec["containers"][0]["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip


def test_an_old_deployment_is_read_as_the_current_one() -> None:
    thing = body(
        "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: d}\nspec:\n"
        "  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: c}]}}"
    )
    assert thing["apiVersion"] == "apps/v1"
    assert thing["spec"]["selector"] == {"matchLabels": {"a": "b"}}


def test_a_replication_controller_selects_its_template() -> None:
    thing = body(
        "apiVersion: v1\nkind: ReplicationController\nmetadata: {name: d}\nspec:\n"
        "  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: c}]}}"
    )
    assert thing["spec"]["selector"] == {"a": "b"}


def test_a_host_network_pod_has_its_ports_on_the_host() -> None:
    thing = body(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
        "spec: {hostNetwork: true, containers: [{name: c, image: c, ports: [{containerPort: 80}]}]}"
    )
    assert thing["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]


def test_a_stateful_set_and_a_job() -> None:
    template = "template: {metadata: {labels: {a: b}}, spec: {restartPolicy: %s, containers: [{name: c, image: c}]}}"
    stateful = body(
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: s}\n"
        "spec: {serviceName: s, selector: {matchLabels: {a: b}}, " + template % "Always" + "}"
    )
    assert stateful["spec"]["podManagementPolicy"] == "OrderedReady"
    job = body("apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {" + template % "Never" + "}")
    assert (job["spec"]["parallelism"], job["spec"]["completions"]) == (1, 1)
    job = body(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {parallelism: 3, " + template % "Never" + "}"
    )
    assert "completions" not in job["spec"]


def test_network_policy_types() -> None:
    head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: "
    assert body(head + "{podSelector: {}}")["spec"]["policyTypes"] == ["Ingress"]
    spec = body(head + "{podSelector: {}, egress: [{ports: [{port: 53}]}]}")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == [{"ports": [{"port": 53, "protocol": "TCP"}]}]


def test_endpoints_and_slices() -> None:
    thing = body("apiVersion: v1\nkind: Endpoints\nmetadata: {name: e}\nsubsets: [{ports: [{port: 80}]}]")
    assert thing["subsets"] == [{"ports": [{"port": 80, "protocol": "TCP"}]}]
    thing = body(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: e}\naddressType: IPv4\n"
        "endpoints: []\nports: [{port: 80}]"
    )
    assert thing["ports"] == [{"port": 80, "protocol": "TCP", "name": ""}]


def test_a_secret_and_a_namespace() -> None:
    thing = body("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: hi}")
    assert (thing["type"], thing["data"]) == ("Opaque", {"a": "aGk="})
    assert "stringData" not in thing
    thing = body("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}")
    assert thing["metadata"] == {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}}


def test_a_namespace_on_a_cluster_scoped_object_is_dropped() -> None:
    thing = body("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, namespace: x}")
    assert "namespace" not in thing["metadata"]


@pytest.mark.parametrize(("kind", "strategy", "expected"), [
    ("DaemonSet", "", {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
    ("DaemonSet", "updateStrategy: {type: OnDelete}", {"type": "OnDelete"}),
    ("StatefulSet", "", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
    ("StatefulSet", "updateStrategy: {rollingUpdate: {partition: 2}}",
     {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}),
])  # fmt: skip
def test_update_strategies(kind: str, strategy: str, expected: Body) -> None:
    thing = body(
        f"apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: x}}\nspec:\n  selector: {{matchLabels: {{a: b}}}}\n"
        f"  {strategy}\n  template: {{metadata: {{labels: {{a: b}}}}, spec: {{containers: [{{name: c, image: c}}]}}}}"
    )
    assert thing["spec"]["updateStrategy"] == expected
