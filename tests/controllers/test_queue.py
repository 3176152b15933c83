"""The work queue, and what becomes of a controller's errors."""

from __future__ import annotations

from math import inf

from nslab.controllers.control_plane import ControlPlane
from nslab.controllers.queue import BASE_DELAY, MAX_DELAY, Item, WorkQueue
from tests.controllers.cluster import START, FakeCluster, service, template, workload


class SetClock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


A, B = Item("x", "default/a"), Item("x", "default/b")


def test_an_item_waits_once_and_in_its_turn() -> None:
    queue = WorkQueue(SetClock())
    for item in (A, B, A):
        queue.add(item)
    assert [queue.pop(), queue.pop(), queue.pop()] == [A, B, None]
    queue.add(A)
    assert len(queue) == 1


def test_a_delayed_item_comes_when_it_is_due() -> None:
    clock = SetClock()
    queue = WorkQueue(clock)
    assert queue.wait() == inf
    queue.add_after(A, 5)
    queue.add_after(A, 2)
    queue.add_after(A, 9)
    assert (queue.wait(), queue.pop()) == (2, None)
    clock.time += 2
    assert (queue.wait(), queue.pop(), queue.pop()) == (0, A, None)
    clock.time += 10
    assert queue.pop() is None
    assert queue.wait() == inf


def test_what_fails_is_tried_again_ever_later() -> None:
    clock = SetClock()
    queue = WorkQueue(clock)
    for attempt in range(1, 40):
        queue.failed(A, "no")
        delay = queue.wait()
        assert queue.failures[A].attempts == attempt
        assert abs(delay - min(BASE_DELAY * 2 ** (attempt - 1), MAX_DELAY)) < 1e-6
        clock.time += delay + 1e-6
        assert queue.pop() == A
    queue.succeeded(A)
    assert queue.failures == {}


def test_a_controllers_error_is_shown_and_retried(cluster: FakeCluster) -> None:
    broken = {**template("a")["spec"], "containers": [{"image": "nameless"}]}
    cluster.store.create("Pod", {"metadata": {"name": "odd"}, "spec": broken})
    cluster.create("Deployment", "web", workload("web", replicas=2))
    cluster.run()
    assert {key: failure.error for key, failure in cluster.control.failures.items()} == {
        "scheduler default/odd": "KeyError: 'name'"}
    assert len(cluster.names("web")) == 2
    cluster.time += 10
    wait = cluster.run()
    assert cluster.control.failures["scheduler default/odd"].attempts == 2
    assert 0 < wait <= 2 * BASE_DELAY
    cluster.delete("Pod", "odd")
    cluster.time += 10
    cluster.run()


def test_an_object_that_one_cannot_read_keeps_nobody_else_from_work(cluster: FakeCluster) -> None:
    cluster.store.create("Pod", {"metadata": {"name": "odd"}, "spec": {"containers": [{}], "nodeName": "node-1"}})
    cluster.create("Deployment", "web", workload("web", replicas=2))
    cluster.settle()
    assert set(cluster.control.failures) == set()
    assert len(cluster.names("web")) == 2


def test_a_budget_ends_the_work_and_the_rest_is_done_later(cluster: FakeCluster) -> None:
    ticks = iter(range(10**6))
    control = ControlPlane(cluster.store, lambda: START + next(ticks) / 1000)
    cluster.create("ReplicaSet", "web", workload("web", replicas=50))
    assert control.run(0.01) == 0.0
    while control.run(0.05) == 0.0:
        pass
    assert len(cluster.names()) == 50


def test_controllers_that_start_anew_find_their_work(cluster: FakeCluster) -> None:
    cluster.create("Service", "web", service("web"))
    cluster.create("Deployment", "web", workload("web", replicas=3))
    cluster.settle()
    before = cluster.store.revision
    again = ControlPlane(cluster.store, lambda: cluster.time, cluster.settings)
    again.run()
    assert cluster.store.revision == before
    cluster.control = again
    cluster.change("Deployment", "web", replicas=5)
    cluster.settle()
    assert len(cluster.ready_endpoints("web")) == 5


def test_events_are_kept_for_their_time() -> None:
    cluster = FakeCluster()
    cluster.create("Deployment", "web", workload("web", replicas=1))
    cluster.settle()
    assert cluster.store.list("Event")
    cluster.time += 3601
    cluster.change("Deployment", "web", replicas=2)
    cluster.settle()
    messages = {event["message"] for event in cluster.store.list("Event")}
    assert not any("from 0 to 1" in message for message in messages)
    assert any("from 1 to 2" in message for message in messages)


def test_the_same_event_again_is_counted() -> None:
    cluster = FakeCluster()
    cluster.create("Deployment", "web", workload("web", replicas=1))
    cluster.settle()
    for replicas in (2, 1, 2, 1):
        cluster.change("Deployment", "web", replicas=replicas)
        cluster.settle()
    events = [event for event in cluster.store.list("Event") if "from 1 to 2" in event["message"]]
    assert [event["count"] for event in events] == [2]
