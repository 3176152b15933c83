"""EndpointSlices and Endpoints as kube-proxy and kubectl find them."""

from __future__ import annotations

from typing import Any

from tests.controllers.cluster import FakeCluster, service, template, workload


def conditions(cluster: FakeCluster, name: str) -> list[tuple[bool, bool, bool]]:
    return sorted(
        (item["conditions"]["ready"], item["conditions"]["serving"], item["conditions"]["terminating"])
        for item in cluster.endpoints(name)
    )


def slices(cluster: FakeCluster, name: str = "web") -> list[Any]:
    return cluster.store.list("EndpointSlice", "default", {"matchLabels": {"kubernetes.io/service-name": name}})


def test_a_slice_says_who_stands_behind_a_service(cluster: FakeCluster) -> None:
    cluster.create("Service", "web", service("web"))
    cluster.run()
    empty = slices(cluster)
    assert [(body["endpoints"], body["ports"]) for body in empty] == [([], [])]
    cluster.create("Deployment", "web", workload("web", replicas=1))
    cluster.settle()
    (body,) = slices(cluster)
    assert body["metadata"]["name"] == empty[0]["metadata"]["name"]
    assert body["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]
    pod = cluster.pods()[0]
    assert body["endpoints"] == [{
        "addresses": [pod["status"]["podIP"]], "nodeName": pod["spec"]["nodeName"],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {"kind": "Pod", "namespace": "default", "name": pod["metadata"]["name"],
                      "uid": pod["metadata"]["uid"]},
    }]
    assert cluster.get("Endpoints", "web")["subsets"] == [{
        "addresses": [{"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"],
                       "targetRef": body["endpoints"][0]["targetRef"]}],
        "ports": [{"port": 80, "protocol": "TCP"}],
    }]


def test_a_pod_leaves_at_once_and_terminates_before_it_goes(cluster: FakeCluster) -> None:
    cluster.shutdown = 30.0
    cluster.create("Service", "web", service("web"))
    cluster.create("Deployment", "web", workload("web", replicas=2))
    cluster.settle()
    cluster.delete("Pod", cluster.names()[0])
    cluster.run()
    assert (False, True, True) in conditions(cluster, "web")
    assert len(cluster.ready_endpoints("web")) == 1
    assert len(cluster.get("Endpoints", "web")["subsets"][0]["addresses"]) == 1
    cluster.settle()
    assert conditions(cluster, "web") == [(True, True, False)] * 2


def test_readiness_moves_a_pod_in_and_out(cluster: FakeCluster) -> None:
    cluster.create("Service", "web", service("web"))
    cluster.create("Service", "all", service("web", publishNotReadyAddresses=True, clusterIP="None"))
    cluster.create("Deployment", "web", workload("web", replicas=2))
    cluster.settle()
    cluster.set_ready(cluster.pods()[0], False)
    cluster.run()
    assert conditions(cluster, "web") == [(False, False, False), (True, True, False)]
    assert conditions(cluster, "all") == [(True, False, False), (True, True, False)]
    assert "service.kubernetes.io/headless" in slices(cluster, "all")[0]["metadata"]["labels"]
    subset = cluster.get("Endpoints", "web")["subsets"][0]
    assert (len(subset["addresses"]), len(subset["notReadyAddresses"])) == (1, 1)
    assert len(cluster.get("Endpoints", "all")["subsets"][0]["addresses"]) == 2
    cluster.set_ready(cluster.pods()[0], True)
    cluster.run()
    assert conditions(cluster, "web") == [(True, True, False)] * 2


def test_a_pod_that_ended_or_was_relabelled_is_out(cluster: FakeCluster) -> None:
    cluster.create("Service", "web", service("web"))
    for name in ("a", "b", "c"):
        cluster.create("Pod", name, template("web")["spec"], metadata={"labels": {"app": "web"}})
    cluster.settle()
    assert cluster.ready_endpoints("web") == {"a", "b", "c"}
    cluster.end("a")
    pod = cluster.get("Pod", "b")
    cluster.store.update("Pod", {**pod, "metadata": {**pod["metadata"], "labels": {"app": "other"}}})
    cluster.run()
    assert cluster.ready_endpoints("web") == {"c"}
    cluster.change("Service", "web", selector={"app": "other"})
    cluster.run()
    assert cluster.ready_endpoints("web") == {"b"}


def test_a_named_port_may_be_another_number_on_another_pod(cluster: FakeCluster) -> None:
    cluster.create("Service", "web", service("web"))
    for number in (80, 81):
        container = {"name": "main", "image": "x", "ports": [{"containerPort": number, "name": "http"}]}
        cluster.create("Pod", f"p{number}", {"containers": [container]}, metadata={"labels": {"app": "web"}})
    silent = {"containers": [{"name": "main", "image": "x"}]}
    cluster.create("Pod", "none", silent, metadata={"labels": {"app": "web"}})
    cluster.settle()
    found = sorted(
        ([port["port"] for port in body["ports"]], [item["targetRef"]["name"] for item in body["endpoints"]])
        for body in slices(cluster)
    )
    assert found == [([], ["none"]), ([80], ["p80"]), ([81], ["p81"])]


def test_a_change_rewrites_only_the_slice_it_is_in() -> None:
    cluster = FakeCluster(3, startup=0.0)
    cluster.create("Service", "web", service("web"))
    cluster.create("ReplicaSet", "web", workload("web", replicas=250))
    cluster.settle()
    before = {body["metadata"]["name"]: body for body in slices(cluster)}
    assert sorted(len(body["endpoints"]) for body in before.values()) == [50, 100, 100]
    cluster.set_ready(cluster.pods()[0], False)
    cluster.run()
    after = {body["metadata"]["name"]: body for body in slices(cluster)}
    assert sum(before[name] is not after[name] for name in before) == 1
    cluster.change("ReplicaSet", "web", replicas=0)
    cluster.settle()
    assert [body["endpoints"] for body in slices(cluster)] == [[]]


def test_who_meddles_with_a_slice_is_corrected(cluster: FakeCluster) -> None:
    cluster.create("Service", "web", service("web"))
    cluster.create("Deployment", "web", workload("web", replicas=1))
    cluster.settle()
    (body,) = slices(cluster)
    cluster.store.delete("EndpointSlice", "default", body["metadata"]["name"])
    cluster.store.delete("Endpoints", "default", "web")
    cluster.run()
    assert len(cluster.endpoints("web")) == 1
    (body,) = slices(cluster)
    cluster.store.update("EndpointSlice", {**body, "endpoints": []})
    cluster.run()
    assert len(cluster.endpoints("web")) == 1
    assert cluster.get("Endpoints", "web")["subsets"]


def test_zones_are_hinted_where_the_service_prefers_near_ones(cluster: FakeCluster) -> None:
    cluster.create("Service", "web", service("web", trafficDistribution="PreferClose"))
    spec = {**template("web")["spec"], "nodeName": "node-1"}
    cluster.create("Pod", "a", spec, metadata={"labels": {"app": "web"}})
    cluster.settle()
    node = cluster.get("Node", "node-1")
    labels = {**node["metadata"]["labels"], "topology.kubernetes.io/zone": "europe-west3-a"}
    cluster.store.update("Node", {**node, "metadata": {**node["metadata"], "labels": labels}})
    cluster.run()
    (endpoint,) = cluster.endpoints("web")
    assert (endpoint["zone"], endpoint["hints"]) == ("europe-west3-a", {"forZones": [{"name": "europe-west3-a"}]})


def test_endpoints_of_a_user_are_mirrored(cluster: FakeCluster) -> None:
    cluster.create("Service", "db", {"ports": [{"port": 5432, "name": "sql"}]})
    subsets = [{"addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}], "notReadyAddresses": [{"ip": "192.0.2.3"}],
                "ports": [{"name": "sql", "port": 5433}]}]
    cluster.create("Endpoints", "db", subsets=subsets)
    cluster.run()
    (body,) = slices(cluster, "db")
    assert body["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"].startswith("endpointslicemirroring")
    assert {item["addresses"][0]: item["conditions"]["ready"] for item in body["endpoints"]} == {
        "192.0.2.1": True, "192.0.2.2": True, "192.0.2.3": False}
    assert body["ports"] == [{"name": "sql", "port": 5433, "protocol": "TCP"}]
    written = cluster.get("Endpoints", "db")
    labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    cluster.store.update("Endpoints", {**written, "metadata": {**written["metadata"], "labels": labels}})
    cluster.run()
    assert slices(cluster, "db") == []


def test_endpoints_have_the_hostnames_of_their_pods(cluster: FakeCluster) -> None:
    """Those of the Service's own subdomain; a StatefulSet's Pods have them."""
    cluster.create("Service", "web", {**service("web"), "clusterIP": "None"})
    cluster.create("Service", "other", {**service("web"), "clusterIP": "None"})
    cluster.create("StatefulSet", "web", workload("web", replicas=2, serviceName="web"))
    cluster.settle()
    assert sorted(item["hostname"] for item in cluster.endpoints("web")) == ["web-0", "web-1"]
    assert all("hostname" not in item for item in cluster.endpoints("other"))
    addresses = cluster.get("Endpoints", "web")["subsets"][0]["addresses"]
    assert sorted(item["hostname"] for item in addresses) == ["web-0", "web-1"]


def test_all_goes_with_the_service(cluster: FakeCluster) -> None:
    cluster.create("Service", "web", service("web"))
    cluster.create("Deployment", "web", workload("web", replicas=1))
    cluster.settle()
    cluster.delete("Service", "web")
    cluster.run()
    assert slices(cluster) == []
    assert cluster.store.list("Endpoints") == []
    assert len(cluster.pods()) == 1


def test_an_external_name_has_no_endpoints(cluster: FakeCluster) -> None:
    cluster.create("Service", "web", service("web", type="ExternalName", externalName="example.org"))
    cluster.create("Deployment", "web", workload("web", replicas=1))
    cluster.settle()
    assert slices(cluster) == []
    assert cluster.store.list("Endpoints") == []
