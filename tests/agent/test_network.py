"""A lab's way into a kernel, stopped at every operation."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from itertools import count
from pathlib import Path

import pytest

from nslab.agent.network import Network
from nslab.api.decode import decode
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Cluster, Fault, Leases
from nslab.cluster.static_pods import with_static_pods
from nslab.components.kube_proxy import TABLE
from nslab.errors import KernelError, OwnershipError
from nslab.linux.fake import FakeKernel, FakeNetns, Killed
from nslab.netstate.model import Link, NetState
from nslab.netstate.operations import AddNeighbours, ApplyTransaction
from nslab.nft.objects import Table
from tests.lab.topologies import PAIR, deployment, pod, service, topology

LAB = "unnamed"
CHANGED = topology(pod("a"), pod("c", "node-2"), service("c"), deployment("web", 2), nodes=3)


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> list[Cluster | None]:
    """Nothing, a lab, the lab changed, and nothing again."""
    wishes: list[Cluster | None] = [None]
    leases = Leases()
    for number, text in enumerate((PAIR, CHANGED)):
        file = Path(tmp_path_factory.mktemp("lab"), f"{number}.yaml")
        file.write_text(text)
        cluster = allocate(decode([str(file)]), leases)
        leases = cluster.leases
        wishes.append(cluster)
    return [*wishes, None]


def drift(kernel: FakeKernel, cluster: Cluster | None) -> str:
    return Network(kernel, LAB).plan(cluster)[1].describe()


@pytest.mark.parametrize("failure", [Killed, KernelError])
@pytest.mark.parametrize("step", [0, 1, 2], ids=["up", "change", "down"])
def test_stopped_at_any_operation_the_next_run_ends_right(
    clusters: list[Cluster | None], step: int, failure: type[BaseException]
) -> None:
    for number in count(1):
        kernel = FakeKernel()
        Network(kernel, LAB).converge(clusters[step])
        kernel.fail_at(number, failure)
        try:
            Network(kernel, LAB).converge(clusters[step + 1])
        except failure:
            stopped = True
        else:
            stopped = False
        kernel.fail_at(0)
        Network(kernel, LAB).converge(clusters[step + 1])
        assert drift(kernel, clusters[step + 1]) == ""
        Network(kernel, LAB).converge(None)
        assert (kernel.netns, kernel.files) == ({}, {})
        if not stopped:
            assert number > 10
            return


def test_a_failure_is_the_operations_and_is_not_trusted_afterwards(clusters: list[Cluster | None]) -> None:
    kernel = FakeKernel()
    network = Network(kernel, LAB)
    assert clusters[1]
    assert clusters[2]
    network.converge(clusters[1])
    kernel.fail_at(3)
    with pytest.raises(KernelError, match=r"the kernel refused `.*EIO"):
        network.follow(clusters[2])
    assert network.reached is None
    network.follow(clusters[2])
    assert drift(kernel, clusters[2]) == ""
    assert len(network.follow(clusters[2])) == 0


@pytest.mark.parametrize(("spoil", "named"), [
    (lambda kernel: kernel.netns.update({f"{LAB}.pod.default.c": FakeNetns()}), "pod.default.c exists"),
    (lambda kernel: kernel.netns[f"{LAB}.node.node-1"].links.update(
        {"cbr0": Link("cbr0", "bridge", "mine", 1500)}), "link cbr0 exists"),
    (lambda kernel: kernel.netns[f"{LAB}.node.node-1"].tables.update(
        {("ip", "kube-proxy"): Table("ip", "kube-proxy")}), "table ip kube-proxy exists"),
], ids=["netns", "link", "table"])
def test_what_is_foreign_is_refused_before_anything_is_done(
    clusters: list[Cluster | None], spoil: object, named: str
) -> None:
    kernel = FakeKernel()
    Network(kernel, LAB).converge(clusters[1])
    spoil(kernel)  # type: ignore[operator]
    before = kernel.observe(LAB, [], [])
    with pytest.raises(OwnershipError, match=named):
        Network(kernel, LAB).converge(clusters[2])
    assert kernel.observe(LAB, [], []) == before
    assert isinstance(before, NetState)


def test_a_new_pod_is_told_to_its_neighbours_and_they_are_not_told_anew() -> None:
    kernel = FakeKernel()
    network = Network(kernel, LAB)
    one, two = (
        allocate(decode(["-"], stdin=StringIO(topology(*map(pod, names), nodes=1))), Leases())
        for names in ("ab", "abc")
    )
    network.converge(one)
    told = [operation for operation in network.plan(two)[1] if isinstance(operation, AddNeighbours)]
    by_netns = {operation.netns.rpartition(".")[2]: len(operation.neighbours) for operation in told}
    assert by_netns == {"a": 1, "b": 1, "node-1": 1, "c": 4}
    assert all(
        operation.digest for operation in Network(kernel, LAB).plan(two)[1] if isinstance(operation, AddNeighbours)
    )


NODE_1, NODE_2 = f"{LAB}.node.node-1", f"{LAB}.node.node-2"


def with_proxies(text: str, *faults: Fault) -> Cluster:
    """The Cluster of a topology with its static Pods, and these faults."""
    return replace(allocate(with_static_pods(decode(["-"], stdin=StringIO(text))), Leases()), faults=faults)


def proxy_tables(kernel: FakeKernel) -> dict[str, Table | None]:
    return {name: netns.tables.get(TABLE) for name, netns in kernel.observe(LAB, (), ()).netns.items()}


@pytest.mark.parametrize("fault", [Fault("pod/kube-system/kube-proxy-node-1", "crash"), Fault("node/node-1", "dead")])
@pytest.mark.parametrize("agent", ["the same agent", "another agent"])
def test_where_kube_proxy_does_not_work_its_rules_stay(fault: Fault, agent: str) -> None:
    before, after = (topology(pod("a", "node-2"), service("a", port)) for port in (80, 81))
    kernel = FakeKernel()
    network = Network(kernel, LAB)
    network.converge(with_proxies(before))
    network.converge(with_proxies(before, fault))
    former = proxy_tables(kernel)
    if agent == "another agent":
        network = Network(kernel, LAB)
    network.follow(with_proxies(after, fault))
    now = proxy_tables(kernel)
    assert [name for name in (NODE_1, NODE_2) if former[name] != now[name]] == [NODE_2]
    assert drift(kernel, with_proxies(after, fault)) == ""  # nothing to mend: it is broken on purpose
    healing = network.follow(with_proxies(after))
    transactions = [operation for operation in healing if isinstance(operation, ApplyTransaction)]
    assert [operation.netns for operation in transactions if operation.transaction.table == TABLE[1]] == [NODE_1]
    assert drift(kernel, with_proxies(after)) == ""


def test_a_machine_made_anew_has_no_rules_until_kube_proxy_works() -> None:
    kernel = FakeKernel()
    Network(kernel, LAB).converge(with_proxies(PAIR, Fault("pod/kube-system/kube-proxy-node-1", "crash")))
    assert proxy_tables(kernel)[NODE_1] is None
    Network(kernel, LAB).converge(with_proxies(PAIR))
    assert proxy_tables(kernel)[NODE_1] is not None
