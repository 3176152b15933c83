"""What a kubelet writes into a Pod's status, and how many Events it may write."""

from __future__ import annotations

from dataclasses import replace

from nslab.agent.objects import Draft
from nslab.api.objects import Body
from nslab.apiserver.store import Store
from nslab.cluster.model import Pod
from nslab.kubelet.container_life import NEVER, Life
from nslab.kubelet.pod_events import BURST, LONGEST, REFILL, PodEvents
from nslab.kubelet.pod_status import ContainerState, pod_status
from tests.cluster.builders import a_cluster, a_container, a_pod

NOW = 1_700_000_000.0
CLUSTER = a_cluster(
    a_pod("web", a_container(80), a_container(81, name="side")),
    a_pod("gated", readinessGates=[{"conditionType": "neg"}, {"conditionType": "other"}]),
)


def told(pod: Pod, old: Body | None = None, now: float = NOW, **states: ContainerState) -> Body:
    return pod_status(CLUSTER, pod, old or {}, states, now)


def conditions(status: Body) -> dict[str, tuple[str, str]]:
    """Status and reason of each condition by its type."""
    return {item["type"]: (item["status"], item.get("reason", "")) for item in status["conditions"]}


def ended(code: int, policy: str = NEVER) -> ContainerState:
    life = Life(policy)
    life.start(NOW)
    life.end(NOW + 1, code)
    return ContainerState(life)


WEB, GATED = CLUSTER.pods["default/web"], CLUSTER.pods["default/gated"]


def test_containers_that_run_and_are_ready() -> None:
    status = told(WEB)
    assert status["phase"] == "Running"
    assert set(conditions(status).values()) == {("True", "")}
    for item in status["containerStatuses"]:
        assert (item["started"], item["ready"], item["restartCount"]) == (True, True, 0)
        assert item["state"] == {"running": {"startedAt": "2023-11-14T22:13:20Z"}}


def test_times_and_foreign_conditions_stay() -> None:
    old = told(WEB)
    old["conditions"].append({"type": "example.com/foreign", "status": "True"})
    later = told(WEB, old, NOW + 60)
    assert later == old
    changed = told(WEB, old, NOW + 60, main=ContainerState(ready=False))
    times = {item["type"]: item.get("lastTransitionTime", "") for item in changed["conditions"]}
    assert times["Ready"] == "2023-11-14T22:14:20Z"
    assert times["PodScheduled"] == "2023-11-14T22:13:20Z"
    assert "example.com/foreign" in times


def test_one_container_that_is_not_ready_or_has_not_started() -> None:
    for state in (ContainerState(ready=False), ContainerState(started=False), ended(1, "Always")):
        status = told(WEB, side=state)
        assert conditions(status)["ContainersReady"] == conditions(status)["Ready"] == ("False", "ContainersNotReady")
        assert status["conditions"][-1]["message"] == "containers with unready status: [side]"
        assert [item["ready"] for item in status["containerStatuses"]] == [True, False]


def test_a_pod_ends_with_its_last_container() -> None:
    assert told(WEB, main=ended(0))["phase"] == "Running"
    done = told(WEB, main=ended(0), side=ended(0))
    assert (done["phase"], conditions(done)["Ready"]) == ("Succeeded", ("False", "PodCompleted"))
    failed = told(WEB, main=ended(0), side=ended(9))
    assert (failed["phase"], conditions(failed)["Ready"]) == ("Failed", ("False", "PodFailed"))
    assert told(replace(WEB, terminating=True), main=ended(0), side=ended(0))["phase"] == "Running"


def test_readiness_gates() -> None:
    status = told(GATED)
    assert conditions(status)["ContainersReady"] == ("True", "")
    assert conditions(status)["Ready"] == ("False", "ReadinessGatesNotReady")
    both = 'corresponding condition of pod readiness gate "neg" does not exist., ' + (
        'corresponding condition of pod readiness gate "other" does not exist.'
    )
    assert status["conditions"][-1]["message"] == both
    gates = [{"type": "neg", "status": "True"}, {"type": "other", "status": "False"}]
    half = told(GATED, {"conditions": gates})
    assert half["conditions"][-1]["message"] == 'the status of pod readiness gate "other" is not "True", but False'
    gates[1]["status"] = "True"
    assert conditions(told(GATED, {"conditions": gates}))["Ready"] == ("True", "")


def test_events_of_a_flapping_probe_are_counted_up_and_few() -> None:
    now = [NOW]
    store = Store(Draft(), clock=lambda: now[0])
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"}, "spec": {
        "nodeName": "node-1", "containers": [{"name": "main"}]}}  # fmt: skip
    uid = store.create("Pod", body)["metadata"]["uid"]
    events = PodEvents(store, lambda: now[0])
    for number in range(100):
        events.warning("default/web", uid, "main", "Unhealthy", f"failed {number % 2}" + "x" * 2000)
    events.warning("default/web", "another uid", "main", "Unhealthy", "of a Pod that is gone")
    written = store.list("Event")
    assert sorted(event["count"] for event in written) == [BURST // 2, BURST - BURST // 2]
    assert {len(event["message"]) for event in written} == {LONGEST}
    now[0] += REFILL
    for _ in range(5):
        events.normal("default/web", uid, "main", "Started", "Started container main")
    assert [event["count"] for event in store.list("Event") if event["reason"] == "Started"] == [1]
