"""All controllers over one store: what changes is queued for those whom it concerns, and worked off."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from nslab.api.kinds import KINDS
from nslab.api.objects import Body
from nslab.controllers.daemon_set import DaemonSetController
from nslab.controllers.deployment import DeploymentController
from nslab.controllers.disruption import DisruptionController
from nslab.controllers.endpoint_members import EndpointMembers
from nslab.controllers.endpoint_slices import EndpointMirrorController, EndpointSliceController
from nslab.controllers.endpoints import EndpointsController
from nslab.controllers.events import Recorder
from nslab.controllers.index import Index
from nslab.controllers.interface import Clock, Controller, Event, Settings, Store
from nslab.controllers.job import JobController
from nslab.controllers.metadata import key_of
from nslab.controllers.node_lifecycle import NodeLifecycleController
from nslab.controllers.pods import PodControl
from nslab.controllers.queue import Failure, Item, WorkQueue
from nslab.controllers.replica_set import ReplicaSetController
from nslab.controllers.scheduler import Scheduler
from nslab.controllers.stateful_set import StatefulSetController


class _Present:
    """An object that is there when the controllers start, told as if it came."""

    type, old = "ADDED", None

    def __init__(self, kind: str, body: Body) -> None:
        self.kind = kind
        self.body = body


class ControlPlane:
    """kube-controller-manager and kube-scheduler in one. To be used from one thread, the store's. `hear` lets the
    kubelets speak: see NodeLifecycleController."""

    def __init__(
        self, store: Store, now: Clock, settings: Settings | None = None, hear: Callable[[], None] = lambda: None
    ) -> None:
        settings = settings or Settings()
        self._store = store
        self._now = now
        self._index = Index()
        self._queue = WorkQueue(now)
        recorder = Recorder(store, now, settings.event_ttl)
        pods = PodControl(store, self._index, recorder, now)
        members = EndpointMembers(store, self._index)
        self._lifecycle = NodeLifecycleController(store, self._index, recorder, now, settings, hear)
        # In this order each hears of a change: what the network waits for comes first.
        controllers: tuple[Controller, ...] = (
            EndpointSliceController(store, self._index, members),
            EndpointMirrorController(store, self._index),
            self._lifecycle,
            Scheduler(store, recorder, now, settings.max_pods),
            ReplicaSetController(pods),
            ReplicaSetController(pods, "ReplicationController"),
            DeploymentController(pods),
            StatefulSetController(pods),
            DaemonSetController(pods),
            JobController(pods),
            EndpointsController(store, members),
            DisruptionController(store, self._index, now),
        )
        self._controllers = {controller.name: controller for controller in controllers}
        kinds = sorted({row.name for row in KINDS}, key=lambda kind: (kind != "Node", kind))
        present = [_Present(kind, body) for kind in kinds for body in store.list(kind)]
        for item in present:
            self._index.note(item)
        for item in present:
            self._enqueue(item)
        store.subscribe(self._note)

    @property
    def failures(self) -> dict[str, Failure]:
        """What is being retried, by "CONTROLLER NAMESPACE/NAME"."""
        return {f"{item.controller} {item.key}": failure for item, failure in self._queue.failures.items()}

    def set_grace(self, grace: float) -> None:
        """Give the nodes another grace period, in seconds."""
        if self._lifecycle.grace != grace:
            self._lifecycle.grace = grace
            for node in self._store.list("Node"):
                self._queue.add(Item(self._lifecycle.name, key_of(node)))

    def run(self, budget: float = inf) -> float:
        """Work until there is nothing to do, or for `budget` seconds. Returns in how many seconds there is something
        to do though nothing changes: 0 where the budget was too small, infinity where never."""
        until = self._now() + budget
        while self._now() < until or budget == inf:
            item = self._queue.pop()
            if item is None:
                break
            self._work(item)
        return self._queue.wait()

    def _work(self, item: Item) -> None:
        try:
            delay = self._controllers[item.controller].sync(item.key)
        except Exception as error:  # whatever it is: it is shown, and tried again
            self._queue.failed(item, f"{type(error).__name__}: {error}")
            return
        self._queue.succeeded(item)
        if delay is not None:
            self._queue.add_after(item, delay)

    def _note(self, event: Event) -> None:
        self._index.note(event)
        self._enqueue(event)

    def _enqueue(self, event: Event) -> None:
        for name, controller in self._controllers.items():
            try:
                for key in controller.keys(event):
                    self._queue.add(Item(name, key))
            except Exception as error:  # an object that this controller cannot read keeps no other from hearing of it
                self._queue.failed(Item(name, key_of(event.body)), f"{type(error).__name__}: {error}")
