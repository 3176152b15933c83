"""Static Pods: on every node, on top of all that was asked for, and in nobody's way."""

from __future__ import annotations

from dataclasses import replace

from nslab.api.objects import ClusterSpec, LabSpec, Manifest, NodeSpec, Object
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Cluster, Fault, Leases
from nslab.cluster.static_pods import mirror_pod, proxied, with_static_pods
from tests.cluster.builders import a_container, a_deployment, a_node, a_pod, a_service, an_object

NODES = (NodeSpec("n1"), NodeSpec("n2"))
MINE = an_object("Pod", "kube-proxy-n1", {"containers": [a_container(80)]}, namespace="kube-system")


def a_cluster(*objects: Object, max_pods: int = 110, faults: tuple[Fault, ...] = ()) -> Cluster:
    lab = LabSpec("lab", ClusterSpec(max_pods_per_node=max_pods), nodes=NODES)
    return replace(allocate(with_static_pods(Manifest(lab, objects)), Leases()), faults=faults)


def test_every_node_has_one_whatever_its_taints() -> None:
    tainted = a_node("n1", taints=[{"key": "a", "effect": "NoExecute"}], unschedulable=True)
    pods = a_cluster(tainted).pods
    assert {key: (pod.node, pod.host_network, pod.is_static) for key, pod in pods.items()} == {
        "kube-system/kube-proxy-n1": ("n1", True, True), "kube-system/kube-proxy-n2": ("n2", True, True),
    }


def test_they_take_no_room_and_change_no_place() -> None:
    objects = (a_deployment("web", 5), a_pod("extra"))
    with_them, without = a_cluster(*objects, max_pods=3), Manifest(LabSpec("lab", nodes=NODES), objects)
    plain = allocate(without, Leases())
    assert {key: pod.node for key, pod in with_them.asked_pods.items()} == {
        key: pod.node for key, pod in plain.pods.items()
    }
    assert len(with_them.pods) == 8


def test_a_service_may_select_them_and_has_them_listen_on_nothing() -> None:
    cluster = a_cluster(a_service("metrics", port=10249, target=10249, selector={"component": "kube-proxy"}))
    assert not cluster.services["default/metrics"].ports[0].endpoints  # of another namespace
    metrics = an_object(
        "Service", "metrics", {"selector": {"component": "kube-proxy"}, "clusterIP": "None",
                               "ports": [{"port": 10256, "targetPort": 10256, "protocol": "TCP"}]},
        namespace="kube-system",
    )  # fmt: skip
    cluster = a_cluster(metrics)
    endpoints = cluster.services["kube-system/metrics"].ports[0].endpoints
    assert [endpoint.ip for endpoint in endpoints] == [node.ip for node in cluster.nodes.values()]
    assert not any(container.ports for pod in cluster.pods.values() for container in pod.containers)
    assert cluster.warnings == ()


def test_a_users_pod_of_that_name_stands_and_breaks_no_rules() -> None:
    cluster = a_cluster(MINE, faults=(Fault("pod/kube-system/kube-proxy-n1", "crash"),))
    assert not cluster.pods["kube-system/kube-proxy-n1"].is_static
    assert [*proxied(cluster)] == ["n1", "n2"]


def test_kube_proxy_works_where_neither_it_nor_the_machine_has_a_fault() -> None:
    crash = Fault("pod/kube-system/kube-proxy-n1", "crash")
    assert [*proxied(a_cluster())] == ["n1", "n2"]
    assert [*proxied(a_cluster(faults=(crash,)))] == ["n2"]
    assert [*proxied(a_cluster(faults=(crash, Fault("node/n2", "dead"))))] == []
    assert [*proxied(a_cluster(faults=(Fault("pod/kube-system/kube-proxy-n1", "unready"),)))] == ["n1", "n2"]


def test_the_mirror_is_the_nodes() -> None:
    metadata = mirror_pod("n1", "uid-of-n1")["metadata"]
    assert metadata["ownerReferences"][0]["uid"] == "uid-of-n1"
    annotations = metadata["annotations"]
    assert annotations["kubernetes.io/config.mirror"] == annotations["kubernetes.io/config.hash"]
