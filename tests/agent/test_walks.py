"""A walk from what was made before ends where one from nothing ends, whatever has changed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from io import StringIO

import pytest

from nslab.agent.objects import NETWORK, Objects, manifest
from nslab.api.decode import decode
from nslab.api.objects import Body, LabSpec
from nslab.cluster.allocate import allocate, with_readiness
from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster, Leases
from nslab.components.desired import desired
from nslab.kubelet.nodes import register, wishes
from nslab.netstate.diff import diff
from nslab.netstate.model import NetState
from nslab.nft.text import table_text

TOPOLOGY = """
apiVersion: nslab.dev/v1
kind: Lab
metadata: {name: walks}
spec: {nodes: [{name: a, zone: east}, {name: b, zone: west}, {name: c}], cluster: {networkPolicy: %s}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, tier: front}}
    spec:
      containers:
        - {name: c, image: i, ports: [{containerPort: 8080, name: http}, {containerPort: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Pod
metadata: {name: quiet, labels: {app: quiet}}
spec: {containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: front}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  loadBalancerSourceRanges: [198.51.100.0/25]
  selector: {app: web, tier: front}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: quiet}
spec: {selector: {app: quiet}, ports: [{port: 80, targetPort: 8081}]}
---
apiVersion: v1
kind: Service
metadata: {name: written}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: written, labels: {kubernetes.io/service-name: written}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.8.0.2]}, {addresses: [10.9.9.9], nodeName: b}]
"""


class Walk:
    """One lab's objects, and what a walk with memos has made of them."""

    def __init__(self, seed: int, policy: str) -> None:
        self.random = random.Random(seed)
        given = decode(["-"], stdin=StringIO(TOPOLOGY % policy))
        allotted = allocate(given, Leases())
        self.lab: LabSpec = given.lab
        self.objects = Objects("walks")
        self.objects.apply(wishes(given, allotted), ())
        register(self.objects.store, allotted)
        self.objects.start(self.lab.cluster, lambda: None)
        self.objects.presume()
        self.leases, self.ready = allotted.leases, dict[str, bool]()
        self.memo, self.network = Memo(), Memo()

    def fresh(self) -> Cluster:
        """The Cluster without any memory."""
        bodies = {kind: self.objects.store.by_age(kind) for kind in NETWORK}
        found = manifest(self.lab, bodies, self.objects.places)
        return allocate(found, self.leases, self.ready)

    def remembered(self) -> Cluster:
        return self.objects.cluster(self.lab, self.leases, self.ready)

    def step(self) -> None:
        changes: list[Callable[[], object]] = [
            self.relabel, self.kill, self.rewrite, self.edit, self.scale, self.unready, self.cordon, self.tell,
            self.retype, self.come_and_go,
        ]
        self.random.choice(changes)()
        if self.random.random() < 0.7:
            self.objects.controllers.run()

    def one(self, kind: str) -> Body:
        return self.random.choice(self.objects.store.list(kind, "default"))

    def relabel(self) -> None:
        pod = self.one("Pod")
        labels = {**pod["metadata"]["labels"], "app": self.random.choice(["web", "quiet", "aside"])}
        self.objects.store.update("Pod", {**pod, "metadata": {**pod["metadata"], "labels": labels}})

    def kill(self) -> None:
        name = self.one("Pod")["metadata"]["name"]
        self.objects.store.delete("Pod", "default", name, grace=self.random.choice([0, 9]))

    def rewrite(self) -> None:
        slice_ = self.objects.store.get("EndpointSlice", "default", "written")
        assert slice_
        kept = [{"addresses": [f"10.8.0.{number}"]} for number in range(2, self.random.randrange(2, 6))]
        self.objects.store.update("EndpointSlice", {**slice_, "endpoints": kept})

    def edit(self) -> None:
        service = self.one("Service")
        spec = {**service["spec"], "sessionAffinity": self.random.choice(["None", "ClientIP"])}
        self.objects.store.update("Service", {**service, "spec": spec})

    def retype(self) -> None:
        service = self.one("Service")
        kind = self.random.choice(["ClusterIP", "NodePort", "LoadBalancer"])
        internal = {"networking.gke.io/load-balancer-type": self.random.choice(["Internal", ""])}
        spec = {**service["spec"], "type": kind}
        metadata = {**service["metadata"], "annotations": internal}
        self.objects.store.update("Service", {**service, "metadata": metadata, "spec": spec})

    def come_and_go(self) -> None:
        if self.objects.store.get("Service", "default", "passing"):
            self.objects.store.delete("Service", "default", "passing")
            return
        selector = {"app": self.random.choice(["web", "aside"])}
        spec = {"type": "NodePort", "selector": selector, "ports": [{"port": 80, "protocol": "TCP"}]}
        self.objects.store.create("Service", {"metadata": {"name": "passing", "namespace": "default"}, "spec": spec})

    def scale(self) -> None:
        web = self.objects.store.get("Deployment", "default", "web")
        assert web
        spec = {**web["spec"], "replicas": self.random.randrange(1, 9)}
        self.objects.store.update("Deployment", {**web, "spec": spec})

    def unready(self) -> None:
        metadata = self.one("Pod")["metadata"]
        self.ready[f"default/{metadata['name']}"] = self.random.random() < 0.5

    def cordon(self) -> None:
        node = self.random.choice(self.objects.store.list("Node"))
        spec = {**node["spec"], "unschedulable": not node["spec"].get("unschedulable")}
        self.objects.store.update("Node", {**node, "spec": spec})

    def tell(self) -> None:
        """What changes nothing for the network."""
        pod = self.one("Pod")
        status = {**(pod.get("status") or {}), "message": str(self.random.random())}
        self.objects.store.update("Pod", {**pod, "status": status}, status=True)


def shown(state: NetState) -> object:
    """A state in values that compare by content. The elements of a set have no order."""
    return {
        name: (replace(netns, tables={}), {key: lines(table_text(table)) for key, table in netns.tables.items()})
        for name, netns in state.netns.items()
    }, state.files


def lines(text: str) -> list[str]:
    return sorted(text.splitlines())


@pytest.mark.parametrize("policy", ["false", "true"])
@pytest.mark.parametrize("seed", range(4))
def test_a_walk_that_remembers_ends_where_one_that_does_not_ends(seed: int, policy: str) -> None:
    walk = Walk(seed, policy)
    reached = NetState("walks")
    for _ in range(25):
        walk.step()
        cluster = walk.remembered()
        assert cluster == walk.fresh()
        want, anew = desired(cluster, walk.network), desired(cluster)
        assert shown(want) == shown(anew)
        assert lines(diff(want, reached).describe()) == lines(diff(anew, reached).describe())
        walk.leases, reached = cluster.leases, want


def test_what_did_not_change_is_the_same_object() -> None:
    walk = Walk(1, "false")
    walk.objects.controllers.run()
    before = walk.remembered()
    walk.leases = before.leases
    wanted = desired(before, walk.network)
    key = next(key for key in before.pods if key.startswith("default/web"))
    walk.ready[key] = False
    after = walk.remembered()
    changed = {name for name, pod in after.pods.items() if pod is not before.pods[name]}
    services = {name for name, service in after.services.items() if service is not before.services[name]}
    assert (changed, services) == ({key}, {"default/web", "default/front"})
    same = desired(with_readiness(before, {key: False}), walk.network)
    others = {name for name, netns in same.netns.items() if netns is not wanted.netns[name]}
    assert others == {f"walks.node.{name}" for name in "abc"}
    assert same.files is wanted.files


def test_a_memo_forgets_what_it_was_not_asked_for() -> None:
    memo, made = Memo(), list[str]()

    def make(key: str) -> object:
        made.append(key)
        return object()

    first = memo.each("here", {"a": (1,), "b": (1,)}, make)
    second = memo.each("here", {"b": (1,), "c": (1,)}, make)
    assert second["b"] is first["b"]
    assert memo.each("here", {"a": (1,)}, make)["a"] is not first["a"]
    assert made == ["a", "b", "c", "a"]
    only = memo.one("there", (1, "x"), object)
    assert memo.one("there", (1, "x"), object) is only
    assert memo.one("there", (2, "x"), object) is not only


@pytest.mark.parametrize("seed", range(4))
def test_a_row_makes_what_was_not_there_and_keeps_the_rest(seed: int) -> None:
    chance, memo = random.Random(seed), Memo()
    firsts = [(number,) for number in range(12)]
    causes = [(first, 0) for first in firsts]
    held: dict[tuple[tuple[int], int], object] = {}
    for _ in range(40):
        made: list[tuple[tuple[int], int]] = []

        def make(first: tuple[int], second: int, made: list[tuple[tuple[int], int]] = made) -> object:
            made.append((first, second))
            return object()

        results = memo.row("here", causes, make)
        assert made == [cause for cause in causes if cause not in held]
        assert all(held.get(cause, result) is result for cause, result in zip(causes, results, strict=True))
        assert memo.row("here", list(causes), make) is results
        held = dict(zip(causes, results, strict=True))
        causes = [(first, chance.choice([second, second, second, 1])) for first, second in causes]
        if chance.random() < 0.5:
            causes.pop(chance.randrange(len(causes)))
        if chance.random() < 0.6:
            missing = [first for first in firsts if first not in {each for each, _ in causes}] or [firsts[0]]
            causes.insert(chance.randrange(len(causes) + 1), (missing[0], chance.randrange(2)))
        causes = list(dict(causes).items())
        if not causes or chance.random() < 0.1:
            chance.shuffle(causes)
