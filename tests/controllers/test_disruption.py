"""PodDisruptionBudgets: what their status says, and what an eviction makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nslab.apiserver.api import Api
from nslab.apiserver.rest.messages import Request, Response
from tests.controllers.cluster import FakeCluster, template, workload

BUDGET = "PodDisruptionBudget"
EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction"}


def budget(cluster: FakeCluster, **spec: Any) -> dict[str, Any]:
    """The status of a budget of the Pods of `web`, once the controllers are done."""
    selector = {"matchLabels": {"app": "web"}}
    known = cluster.store.get(BUDGET, "default", "web")
    if known is None:
        cluster.create(BUDGET, "web", {"selector": selector, **spec})
    else:
        cluster.store.update(BUDGET, {**known, "spec": {"selector": selector, **spec}})
    cluster.settle()
    return dict(cluster.get(BUDGET, "web")["status"])


def numbers(status: dict[str, Any]) -> tuple[int, ...]:
    fields = ("expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed")
    return tuple(status[field] for field in fields)


def evict(cluster: FakeCluster, name: str, **eviction: Any) -> tuple[int, dict[str, Any]]:
    path = f"/api/v1/namespaces/default/pods/{name}/eviction"
    answer = Api(cluster.store).answer(Request("POST", path, body=json.dumps({**EVICTION, **eviction}).encode()))
    assert isinstance(answer, Response)
    assert isinstance(answer.body, bytes)
    return answer.code, json.loads(answer.body)


@pytest.mark.parametrize(("spec", "expected"), [
    ({"minAvailable": 2}, (4, 2, 4, 2)),
    ({"minAvailable": "60%"}, (4, 3, 4, 1)),
    ({"maxUnavailable": 1}, (4, 3, 4, 1)),
    ({"maxUnavailable": "30%"}, (4, 2, 4, 2)),
    ({"minAvailable": 9}, (4, 9, 4, 0)),
    ({}, (4, 1, 4, 3)),
])  # fmt: skip
def test_what_a_budget_allows(cluster: FakeCluster, spec: dict[str, Any], expected: tuple[int, ...]) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=4))
    cluster.settle()
    status = budget(cluster, **spec)
    assert numbers(status) == expected
    assert [item["status"] for item in status["conditions"]] == ["True" if expected[3] else "False"]


def test_a_budget_follows_its_pods(cluster: FakeCluster) -> None:
    assert numbers(budget(cluster, minAvailable=1)) == (0, 1, 0, 0)
    cluster.create("StatefulSet", "web", workload("web", replicas=3))
    cluster.settle()
    assert numbers(budget(cluster, minAvailable=1)) == (3, 1, 3, 2)
    cluster.set_ready(cluster.get("Pod", "web-1"), False)
    cluster.run()
    assert numbers(cluster.get(BUDGET, "web")["status"]) == (3, 1, 2, 1)
    cluster.delete("StatefulSet", "web")
    cluster.settle()
    assert numbers(cluster.get(BUDGET, "web")["status"]) == (0, 1, 0, 0)


def test_an_eviction_spends_the_budget_and_waits_for_the_next(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=3))
    cluster.settle()
    budget(cluster, maxUnavailable=1)
    first, second, _ = cluster.names("web")
    assert evict(cluster, first)[0] == 201
    assert "deletionTimestamp" in cluster.get("Pod", first)["metadata"]
    for _ in range(2):  # before and after the controller has counted again
        code, answer = evict(cluster, second)
        assert (code, answer["reason"]) == (429, "TooManyRequests")
        assert answer["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
        assert answer["details"]["causes"][0]["reason"] == "DisruptionBudget"
        cluster.run()
    cluster.settle()
    assert evict(cluster, second)[0] == 201


def test_what_no_budget_holds_up(cluster: FakeCluster) -> None:
    cluster.create("Pod", "bare", template("other")["spec"], metadata={"labels": {"app": "other"}})
    cluster.create("Deployment", "web", workload("web", replicas=2))
    cluster.settle()
    budget(cluster, minAvailable=1)
    broken = cluster.names("web")[0]
    assert evict(cluster, "bare", deleteOptions={"gracePeriodSeconds": 0})[0] == 201
    assert "bare" not in cluster.names()
    budget(cluster, minAvailable=2)
    assert evict(cluster, broken)[0] == 429
    cluster.set_ready(cluster.get("Pod", broken), False)
    budget(cluster, minAvailable=1)
    assert evict(cluster, broken)[0] == 201  # it serves nobody
    assert evict(cluster, "nobody")[0] == 404
    assert evict(cluster, cluster.names("web")[0], deleteOptions=[1])[0] == 400


def test_a_rehearsed_eviction_and_a_budget_that_nobody_has_counted_yet(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=2))
    cluster.settle()
    name = cluster.names("web")[0]
    budget(cluster, minAvailable=1)
    assert evict(cluster, name, deleteOptions={"dryRun": ["All"]})[0] == 201
    assert "deletionTimestamp" not in cluster.get("Pod", name)["metadata"]
    assert cluster.get(BUDGET, "web")["status"]["disruptionsAllowed"] == 1
    known = cluster.get(BUDGET, "web")
    cluster.store.update(BUDGET, {**known, "spec": {**known["spec"], "minAvailable": 2}})
    code, answer = evict(cluster, name)
    assert (code, "still being processed" in answer["details"]["causes"][0]["message"]) == (429, True)


def test_two_budgets_for_one_pod_are_an_error(cluster: FakeCluster) -> None:
    cluster.create("Deployment", "web", workload("web", replicas=2))
    cluster.create(BUDGET, "all", {"selector": {}, "minAvailable": 0})
    budget(cluster, minAvailable=0)
    code, answer = evict(cluster, cluster.names("web")[0])
    assert (code, "more than one PodDisruptionBudget" in answer["message"]) == (500, True)
