"""Faults as a Cluster knows them."""

from __future__ import annotations

from nslab.agent.listeners import listeners
from nslab.api.objects import Object
from nslab.cluster.allocate import with_readiness
from nslab.cluster.faults import dead_nodes
from nslab.cluster.model import Cluster, Fault
from nslab.cluster.render import kubernetes_objects
from tests.cluster.builders import a_cluster, a_container, a_pod, a_service, an_object


def a_fault(target: str, effect: str, **value: str) -> Object:
    return an_object("Fault", f"{target}.{effect}".replace("/", "."),
                     {"target": target, "effect": effect, **value}, namespace="")


def ready_endpoints(cluster: Cluster) -> list[str]:
    (port,) = cluster.services["default/web"].ports
    return [endpoint.pod for endpoint in port.endpoints if endpoint.ready]


PROBED = a_container(80, readinessProbe={"tcpSocket": {"port": 80}})
PODS = (a_service("web", "web"), a_pod("a", labels={"app": "web"}), a_pod("b", PROBED, labels={"app": "web"}))


def test_what_is_broken_is_known_by_target_and_effect() -> None:
    cluster = a_cluster(
        *PODS, a_fault("pod/default/a", "slow", value="200ms"), a_fault("pod/default/a", "crash"),
        a_fault("node/node-2", "dead"),
    )
    assert cluster.faults == (
        Fault("node/node-2", "dead"), Fault("pod/default/a", "crash"), Fault("pod/default/a", "slow", "200ms"),
    )
    assert cluster.faults_of["pod/default/a"] == {"crash": "", "slow": "200ms"}
    assert cluster.suffers("pod/default/a", "crash")
    assert not cluster.suffers("pod/default/a", "unready")
    assert not cluster.suffers("pod/default/b", "crash")
    assert dead_nodes(cluster.faults) == {"node-2"}


def test_the_order_of_fault_objects_means_nothing() -> None:
    faults = [a_fault("pod/default/a", "crash"), a_fault("node/node-2", "dead"), a_fault("node/node-1", "down")]
    assert a_cluster(*PODS, *faults).faults == a_cluster(*PODS, *reversed(faults)).faults


def test_a_pod_may_be_broken_by_its_nodes_death() -> None:
    cluster = a_cluster(*PODS, a_fault("node/node-1", "dead"))
    assert {key: cluster.broken(pod) for key, pod in cluster.pods.items()} == {
        key: pod.node == "node-1" for key, pod in cluster.pods.items()
    }
    assert not a_cluster(*PODS).broken(cluster.pods["default/a"])


def test_no_probe_makes_an_unready_pod_ready() -> None:
    for effect in ("unready", "crash"):
        cluster = a_cluster(*PODS, a_fault("pod/default/b", effect), ready={"default/a": True, "default/b": True})
        assert ready_endpoints(cluster) == ["default/a"]
        assert with_readiness(cluster, {"default/a": True, "default/b": True}) is cluster
        changed = with_readiness(cluster, {"default/a": False, "default/b": True})
        assert ready_endpoints(changed) == []


def test_other_effects_leave_readiness_to_the_probes() -> None:
    for effect in ("blackhole", "down", "slow"):
        cluster = a_cluster(*PODS, a_fault("pod/default/b", effect, value="1s"), ready={"default/b": True})
        assert ready_endpoints(cluster) == ["default/a", "default/b"]


def test_a_slow_pod_listens_with_its_delay() -> None:
    cluster = a_cluster(*PODS, a_fault("pod/default/b", "slow", value="200ms"))
    delays = {one.identity.pod: one.delay for one in listeners(cluster) if one.identity.pod}
    assert delays == {"a": 0, "b": 200_000}


def test_a_crashed_pods_containers_wait_to_be_started() -> None:
    cluster = a_cluster(*PODS, a_fault("pod/default/a", "crash"))
    for created in ("", "2026-01-01T00:00:00Z"):
        broken, whole = kubernetes_objects(cluster, "Pod", created=created)[:2]
        (status,) = broken["status"]["containerStatuses"]
        assert (status["ready"], status["started"]) == (False, False)
        assert status["state"] == {"waiting": {"reason": "CrashLoopBackOff"}}
        assert "running" in whole["status"]["containerStatuses"][0]["state"]


def test_an_unready_pods_containers_are_not_ready() -> None:
    cluster = a_cluster(*PODS, a_fault("pod/default/a", "unready"))
    broken = kubernetes_objects(cluster, "Pod")[0]["status"]
    assert [condition["status"] for condition in broken["conditions"] if condition["type"] == "Ready"] == ["False"]
    assert not broken["containerStatuses"][0]["ready"]
    assert "running" in broken["containerStatuses"][0]["state"]
