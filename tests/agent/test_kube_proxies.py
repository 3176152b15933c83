"""What the agent tells the nodes' kube-proxies; nowhere here is a namespace in which one could listen."""

from __future__ import annotations

from dataclasses import replace

from nslab.agent.kube_proxies import KubeProxies
from nslab.agent.programming import Programmed
from nslab.api.objects import Body, LabSpec, Manifest, NodeSpec, Object
from nslab.apiserver.store import Store
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Cluster, Fault, Leases
from nslab.cluster.static_pods import with_static_pods
from nslab.errors import KernelError, NslabError
from nslab.netstate.operations import ApplyTransaction, Batch
from nslab.nft.transaction import Transaction
from tests.cluster.builders import a_node

LAB = LabSpec("lab", nodes=(NodeSpec("n1"), NodeSpec("n10")))
CRASH = Fault("pod/kube-system/kube-proxy-n1", "crash")
ENDPOINT = Programmed(0.0, "Pod", "a/web-1", "not ready", 4.0, 2, 1)


def a_cluster(*objects: Object, faults: tuple[Fault, ...] = ()) -> Cluster:
    return replace(allocate(with_static_pods(Manifest(LAB, objects)), Leases()), faults=faults)


def touching(*nodes: str) -> Batch:
    transactions = tuple(ApplyTransaction(f"lab.node.{name}", Transaction("ip", "kube-proxy", ())) for name in nodes)
    return Batch(configure=transactions)


def working(*objects: Object) -> KubeProxies:
    proxies = KubeProxies("lab")
    proxies.set(a_cluster(*objects))
    return proxies


def counts(proxies: KubeProxies) -> dict[str, tuple[int, int, int]]:
    """Of each node the syncs, the full ones among them, and the endpoints that were measured."""
    every = {name: one.proxy for name, one in proxies.running.items()}
    return {name: (one.both.count, one.full.count, one.programming.count) for name, one in every.items()}


def test_a_round_counts_for_those_whose_rules_it_changed_and_a_full_one_for_all() -> None:
    proxies = working()
    proxies.in_force(a_cluster(), touching("n10"), 0.1, [ENDPOINT], full=False)
    assert counts(proxies) == {"n1": (0, 0, 0), "n10": (1, 0, 1)}
    proxies.in_force(a_cluster(), touching("n1"), 0.1, [replace(ENDPOINT, what="ADDED")], full=True)
    assert counts(proxies) == {"n1": (1, 1, 0), "n10": (2, 1, 1)}


def test_one_that_crashed_takes_no_part_and_remembers_nothing() -> None:
    proxies = working()
    proxies.in_force(a_cluster(), touching("n1"), 0.1, (), full=True)
    proxies.in_force(a_cluster(faults=(CRASH,)), touching("n1", "n10"), 0.1, (), full=False)
    assert counts(proxies) == {"n10": (2, 1, 0)}
    proxies.in_force(a_cluster(), touching("n1"), 0.1, (), full=False)
    assert counts(proxies) == {"n1": (1, 0, 0), "n10": (2, 1, 0)}


def test_they_hear_of_services_and_their_slices_alone() -> None:
    proxies, store = working(), Store(None, new_uid=iter(map(str, range(9))).__next__)
    store.subscribe(proxies.hear)

    def store_one(kind: str, name: str, **fields: Body) -> None:
        store.create(kind, {"metadata": {"name": name, "namespace": "a", **fields.pop("metadata", {})}, **fields})

    store_one("Service", "web", spec={})
    store_one("EndpointSlice", "web-1", metadata={"labels": {"kubernetes.io/service-name": "web"}})
    store_one("EndpointSlice", "of-nobody")
    store_one("Pod", "web-1", spec={})
    for one in proxies.running.values():
        assert (one.proxy.service_changes, one.proxy.endpoint_changes) == (1, 1)
        assert (one.proxy.services_pending, one.proxy.endpoints_pending) == ({"a/web"}, {"a/web"})
    proxies.level()
    assert not any(one.proxy.services_pending | one.proxy.endpoints_pending for one in proxies.running.values())


def test_a_refusal_counts_on_the_node_that_it_befell() -> None:
    proxies = working()
    proxies.failed(KernelError("add element ..", 28, "lab.node.n10"))
    proxies.failed(NslabError("something else"))
    assert {name: one.proxy.sync_failures for name, one in proxies.running.items()} == {"n1": 0, "n10": 1}


def test_a_node_with_the_autoscalers_taint_or_being_deleted_is_not_eligible() -> None:
    tainted = a_node("n1", taints=[{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}])
    deleted = a_node("n10")
    deleted.body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    proxies = working(tainted, deleted)
    assert not any(one.proxy.eligible for one in proxies.running.values())
    proxies.set(a_cluster())
    assert all(one.proxy.eligible for one in proxies.running.values())
