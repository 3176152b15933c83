"""New connections all the while the Pods behind a Service change: not one fails or is reset."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kubectl import needs_kubectl
from tests.lab.live import EMPTY, PROBE, Live, connected, eventually, load, web
from tests.lab.manifests import standing

pytestmark = needs_kubectl

REPLICAS, RATE = 50, 500
CLIENT = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: client}\nspec: {containers: [{name: c, image: c}]}\n"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Three nodes whose Pods are ports of bridges, and a Pod that stays."""
    with standing(tmp_path_factory.mktemp("rollout"), "rollout", EMPTY % "rollout" + CLIENT) as lab:
        yield connected(lab)


def deployed(live: Live, text: str, service: str = "web") -> str:
    """Apply a Deployment and its Service; the ClusterIP."""
    live.apply(text)
    live.rolled_out()
    address: str = live.kubectl.json("get", "service", service)["spec"]["clusterIP"]
    return address


@pytest.mark.parametrize(
    ("more", "source"), [("", "pod.default.client"), (PROBE, "node.node-1")], ids=["from-a-pod", "probed-from-a-node"]
)
def test_a_rolling_update_loses_no_connection(live: Live, more: str, source: str) -> None:
    address = deployed(live, web(REPLICAS, "1", more=more))
    before = live.pods()
    with load(f"rollout.{source}", address, rate=RATE) as result:
        deployed(live, web(REPLICAS, "2", more=more))
        eventually(lambda: before.keys().isdisjoint(live.responders(count=100)))
    assert set(result["outcomes"]) == {"ok"}, result
    assert result["outcomes"]["ok"] > 0.8 * RATE * result["seconds"]  # it was that load indeed
    after = live.pods()
    assert len(after) == REPLICAS
    assert before.keys() & result["pods"].keys()
    assert after.keys() & result["pods"].keys()


def test_scaling_down_and_up_loses_no_connection(live: Live) -> None:
    address = deployed(live, web(REPLICAS))
    with load("rollout.pod.default.client", address, rate=RATE) as result:
        for replicas in (10, REPLICAS):
            live.kubectl("scale", "deploy/web", f"--replicas={replicas}")
            live.rolled_out()
            eventually(lambda expected=replicas: len(live.responders(count=400)) == expected)  # type: ignore[misc]
    assert set(result["outcomes"]) == {"ok"}, result
    assert len(result["pods"]) > REPLICAS
