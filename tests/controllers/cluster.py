"""A cluster without a network: the store, the controllers, a clock that is set, and kubelets that obey at once or
after a while."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from itertools import count
from typing import Any

from nslab.api.defaults import set_defaults
from nslab.api.kinds import by_name
from nslab.api.objects import Body
from nslab.apiserver.store import Store
from nslab.cluster.naming import object_uid
from nslab.controllers.control_plane import ControlPlane
from nslab.controllers.interface import Settings
from nslab.controllers.metadata import condition, timestamp, with_condition

START = 1_700_000_000.0


class FakeCluster:
    """`startup` is how many seconds a Pod takes from its binding to Ready, `shutdown` how many to its end; None for
    never. Nodes in `dead` do nothing."""

    def __init__(
        self, nodes: int = 3, *, startup: float | None = 1.0, shutdown: float | None = 1.0, grace: float = 1e9
    ) -> None:
        numbers = count()
        self.time = START
        self.store = Store(clock=lambda: self.time, new_uid=lambda: object_uid(str(next(numbers))))
        self.startup, self.shutdown = startup, shutdown
        self.dead: set[str] = set()
        self._due: list[tuple[float, int, str, str]] = []
        self._order = count()
        self._addresses = count(2)
        self.settings = Settings(grace=grace, eviction=60.0)
        self.control = ControlPlane(self.store, lambda: self.time, self.settings)
        self.store.subscribe(self._watch)
        for number in range(nodes):
            self.add_node(f"node-{number + 1}")

    # --- What a user does

    def add_node(self, name: str, **spec: Any) -> None:
        self.create("Node", name, spec, metadata={"labels": {"kubernetes.io/hostname": name}})
        self.beat(name)

    def create(self, kind: str, name: str, spec: Body | None = None, **rest: Any) -> Body:
        body = written(kind, name, spec, **rest)
        return self.store.create(kind, body)

    def get(self, kind: str, name: str, namespace: str = "default") -> Body:
        body = self.store.get(kind, "" if kind == "Node" else namespace, name)
        assert body is not None, f"{kind} {name}"
        return body

    def change(self, kind: str, name: str, **spec: Any) -> None:
        body = deepcopy(self.get(kind, name))
        body["spec"] = {**body.get("spec", {}), **deepcopy(spec)}
        set_defaults(by_name(kind)[0], body)
        self.store.update(kind, body)

    def delete(self, kind: str, name: str) -> None:
        self.store.delete(kind, "" if kind == "Node" else "default", name)

    # --- Time

    def run(self) -> float:
        """Let the controllers work until they are idle, at one moment."""
        return self.control.run()

    def steps(self, limit: int = 2000) -> Iterator[None]:
        """Run, then jump to whatever comes next, until nothing does within two minutes; a stop after each moment."""
        for _ in range(limit):
            wait = self.run()
            yield
            due = min((item[0] for item in self._due), default=float("inf"))
            moment = min(due, self.time + wait)
            if moment > self.time + 120:
                return
            self.time = max(self.time, moment)
            self._act()
        raise AssertionError(f"not idle after {limit} steps: {self.control.failures}")

    def settle(self) -> None:
        for _ in self.steps():
            pass

    def wait(self, seconds: float) -> None:
        """Let this time pass, with all that happens in it, nodes alive beating."""
        end = self.time + seconds
        while self.time < end:
            wait = self.run()
            due = min((item[0] for item in self._due), default=float("inf"))
            self.time = min(max(due, self.time), self.time + max(wait, 0.5), self.time + 5, end)
            for node in self.store.list("Node"):
                self.beat(node["metadata"]["name"])
            self._act()
        self.run()

    # --- Kubelets

    def beat(self, name: str) -> None:
        """The node's heartbeat."""
        if name in self.dead:
            return
        node = self.store.get("Node", "", name)
        assert node is not None
        lease = self.store.get("Lease", "kube-node-lease", name)
        spec = {"renewTime": timestamp(self.time)}
        if lease is None:
            self.create("Lease", name, spec, metadata={"namespace": "kube-node-lease"})
        else:
            self.store.update("Lease", {**lease, "spec": spec})
        if condition(node, "Ready").get("status") != "True":
            conditions = with_condition([], {"type": "Ready", "status": "True"}, self.time)
            self.store.update("Node", {**node, "status": {**node.get("status", {}), "conditions": conditions}},
                              status=True)

    def set_ready(self, pod: Body, ready: bool, phase: str = "Running") -> None:
        """What a kubelet writes into a Pod's status."""
        status = pod.get("status", {})
        state = {"type": "Ready", "status": str(ready)}
        conditions = with_condition(status.get("conditions", ()), state, self.time)
        address = status.get("podIP") or f"10.8.{next(self._addresses) // 250}.{next(self._addresses) % 250}"
        status = {**status, "phase": phase, "podIP": address, "conditions": conditions}
        self.store.update("Pod", {**pod, "status": status}, status=True)

    def end(self, name: str, phase: str = "Succeeded") -> None:
        self.set_ready(self.get("Pod", name), False, phase)

    def _watch(self, event: Any) -> None:
        if event.kind != "Pod" or event.type == "DELETED":
            return
        pod, old = event.body, event.old or {"metadata": {}, "spec": {}}
        if not pod["spec"].get("nodeName"):
            return
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        key = f"{namespace}/{name}/{pod['metadata']['uid']}"
        if "deletionTimestamp" in pod["metadata"]:
            if "deletionTimestamp" not in old["metadata"] and self.shutdown is not None:
                self._due.append((self.time + self.shutdown, next(self._order), "finish", key))
        elif not old["spec"].get("nodeName") and self.startup is not None:
            self._due.append((self.time + self.startup, next(self._order), "start", key))

    def _act(self) -> None:
        now = [item for item in sorted(self._due) if item[0] <= self.time]
        self._due = [item for item in self._due if item[0] > self.time]
        for _, _, action, key in now:
            namespace, name, uid = key.split("/")
            pod = self.store.get("Pod", namespace, name)
            if pod is None or pod["metadata"]["uid"] != uid or pod["spec"]["nodeName"] in self.dead:
                continue
            if action == "finish":
                self.store.finish("Pod", namespace, name)
            elif "deletionTimestamp" not in pod["metadata"]:
                self.set_ready(pod, True)

    # --- What there is

    def pods(self, app: str = "") -> list[Body]:
        selector = {"matchLabels": {"app": app}} if app else None
        return self.store.list("Pod", "default", selector)

    def names(self, app: str = "") -> list[str]:
        return [pod["metadata"]["name"] for pod in self.pods(app)]

    def ready_endpoints(self, service: str) -> set[str]:
        """The names of the Pods that the slices of a Service call ready."""
        return {
            endpoint["targetRef"]["name"] for endpoint in self.endpoints(service) if endpoint["conditions"]["ready"]
        }

    def endpoints(self, service: str) -> list[Body]:
        slices = self.store.list("EndpointSlice", "default", of_service(service))
        return [endpoint for body in slices for endpoint in body["endpoints"]]


def written(kind: str, name: str, spec: Body | None = None, *, metadata: Body | None = None, **rest: Any) -> Body:
    """An object as it comes from a manifest, with the API server's defaults."""
    row = by_name(kind)[0]
    body: Body = {"apiVersion": row.api_version, "kind": kind, "metadata": {"name": name, **(metadata or {})}, **rest}
    if spec is not None:
        body["spec"] = spec
    set_defaults(row, body)
    return body


def template(app: str, image: str = "nginx", **spec: Any) -> Body:
    container = {"name": "main", "image": image, "ports": [{"containerPort": 80, "name": "http"}]}
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container], **spec}}


def workload(app: str, image: str = "nginx", **spec: Any) -> Body:
    """The spec of a workload that selects its Pods by `app`."""
    return {"selector": {"matchLabels": {"app": app}}, "template": template(app, image), **spec}


def service(app: str, **spec: Any) -> Body:
    return {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": "http"}], **spec}


def of_service(name: str) -> Body:
    """The selector of a Service's slices."""
    return {"matchLabels": {"kubernetes.io/service-name": name}}
