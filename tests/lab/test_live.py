"""A running lab changed from outside, by a stock kubectl and by nslab itself; packets tell what came of it."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nslab.agent.api_client import ApiClient
from nslab.api.kinds import Kind, by_name
from nslab.linux.lab_files import Paths
from nslab.linux.locks import lock_holder
from tests.kubectl import needs_kubectl
from tests.lab.conftest import LabFactory
from tests.lab.live import EMPTY, PROBE, Live, connected, eventually, web
from tests.lab.running import Json

pytestmark = needs_kubectl


@pytest.fixture
def live(lab: LabFactory) -> Callable[..., Live]:
    """Bring up a lab, and have kubectl talk to it: `live("name", text)`."""

    def bring_up(name: str, text: str = "") -> Live:
        return connected(lab(name, text or EMPTY % name))

    return bring_up


def test_what_kubectl_applies_answers_and_what_it_deletes_is_gone(live: Callable[..., Live]) -> None:
    running = live("applied")
    running.apply(web())
    running.rolled_out()
    assert running.responders() == set(running.pods())
    assert len(running.pods()) == 3
    assert len([name for name in running.lab.netns() if ".pod.default." in name]) == 3
    running.kubectl("delete", "deployment/web", "service/web")
    eventually(lambda: not [name for name in running.lab.netns() if ".pod.default." in name])
    assert running.lab.json("status")["drift"] == []


def test_a_scaled_deployment_answers_from_every_pod(live: Callable[..., Live]) -> None:
    running = live("scaled")
    running.apply(web(2))
    running.rolled_out()
    few = set(running.pods())
    running.kubectl("scale", "deployment/web", "--replicas=6")
    running.rolled_out()
    assert few < set(running.pods()) == running.responders(count=200)
    running.kubectl("scale", "deployment/web", "--replicas=1")
    eventually(lambda: len(running.pods()) == 1)
    eventually(lambda: running.responders() == set(running.pods()))


def test_a_relabelled_pod_leaves_its_service_and_is_replaced(live: Callable[..., Live]) -> None:
    running = live("relabelled")
    running.apply(web(2))
    running.rolled_out()
    name = next(iter(running.pods()))
    running.kubectl("label", "pod", name, "app=other", "--overwrite")
    eventually(lambda: len(running.pods()) == 2 and running.responders(count=100) == set(running.pods()))
    assert name not in running.pods()
    assert running.lab.probe("node/node-1", f"pod/{name}:80")["verdict"] == "open"


def test_a_deleted_pod_leaves_its_service_before_it_goes(live: Callable[..., Live]) -> None:
    running = live("deleted")
    running.apply(web(3))
    running.rolled_out()
    name = next(iter(running.pods()))
    running.kubectl("delete", "pod", name, "--wait=false")
    eventually(lambda: name not in running.responders(count=100))
    eventually(lambda: not any(netns.endswith(name) for netns in running.lab.netns()))
    running.rolled_out()
    assert len(running.responders(count=100)) == 3


def test_a_cordoned_node_takes_no_new_pods(live: Callable[..., Live]) -> None:
    running = live("cordoned")
    running.kubectl("cordon", "node-2")
    running.apply(web(6))
    running.rolled_out()
    assert {pod["spec"]["nodeName"] for pod in running.pods().values()} == {"node-1", "node-3"}
    running.kubectl("uncordon", "node-2")
    running.kubectl("scale", "deployment/web", "--replicas=9")
    running.rolled_out()
    assert "node-2" in {pod["spec"]["nodeName"] for pod in running.pods().values()}


def test_a_killed_agent_forgets_nothing_that_it_acknowledged(live: Callable[..., Live]) -> None:
    running = live("killed")
    running.apply(web(1))
    random.seed(7)
    for number in range(4):
        replicas = number % 3 + 2
        running.apply(web(replicas))
        running.apply(web(1, name=f"more-{number}"))
        time.sleep(random.uniform(0.0, 0.2))  # any moment of what follows from it
        os.kill(running.agent(), signal.SIGKILL)
        running.lab.nslab("label", "node", "node-1", f"round={number}", "--overwrite")  # starts another agent
        eventually(lambda expected=replicas: len(running.pods()) == expected)  # type: ignore[misc]
    names = {f"more-{number}" for number in range(4)} | {"web"}
    deployed = json.loads(running.kubectl("get", "deployments", "-o", "json"))["items"]
    assert {item["metadata"]["name"] for item in deployed} == names
    running.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=20s")
    for name in sorted(names):
        assert running.responders(f"svc/{name}:80") == set(running.pods(f"app={name}"))
    eventually(lambda: running.lab.json("status")["drift"] == [])


def test_up_again_leaves_kubectls_objects_alone(live: Callable[..., Live]) -> None:
    text = (EMPTY % "shared") + "---\n" + web(2)
    running = live("shared", text)
    running.apply(web(2, name="mine"))
    running.rolled_out("mine")
    again = json.loads(running.lab.up(text, "-o", "json").stdout)
    assert (again["operations"], again["changed"]) == (0, [])
    assert running.responders("svc/mine:80") == set(running.pods("app=mine"))
    running.kubectl("scale", "deployment/web", "--replicas=4")
    running.lab.up(text)
    assert len(running.pods()) == 2  # the file says so
    running.lab.up(EMPTY % "shared")
    assert not running.pods()
    assert len(running.pods("app=mine")) == 2


def test_commands_return_once_the_change_is_in_force(live: Callable[..., Live], tmp_path: Path) -> None:
    running = live("commands")
    file = tmp_path / "web.yaml"
    file.write_text(web(2))
    assert running.lab.nslab("apply", "-f", str(file)).stdout == "deployment.apps/web created\nservice/web created\n"
    assert len(running.responders()) == 2
    again = running.lab.nslab("apply", "-f", str(file)).stdout
    assert again == "deployment.apps/web unchanged\nservice/web unchanged\n"
    running.lab.nslab("scale", "deploy/web", "--replicas", "5")
    assert len(running.responders(count=150)) == 5
    running.lab.nslab("delete", "-f", str(file))
    assert not [name for name in running.lab.netns() if ".pod.default." in name]
    reasons = [json.loads(line)["reason"] for line in running.lab.nslab("events", "-o", "json").stdout.splitlines()]
    assert {"Scheduled", "SuccessfulCreate", "ScalingReplicaSet"} <= set(reasons)
    assert running.lab.nslab("delete", "deploy/web", code=6).stderr.startswith("error: ")


def test_a_controllers_error_is_shown_and_tried_again(live: Callable[..., Live]) -> None:
    running = live("retried")
    taken = {"metadata": {"name": "db-0"}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    running.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", **taken}))
    template = {"metadata": {"labels": {"app": "db"}}, "spec": taken["spec"]}
    spec = {"serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec}
    running.apply(json.dumps(body))
    eventually(lambda: "default/db" in str(running.lab.json("status")["failures"]))
    ((what, error),) = running.lab.json("status")["failures"].items()
    assert what == "statefulset-controller default/db"
    assert 'pods "db-0" already exists' in error
    assert error in running.lab.nslab("status").stdout
    running.kubectl("delete", "pod", "db-0")
    running.kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    assert running.lab.json("status")["failures"] == {}


PROBED = web(2, more=PROBE)


@pytest.mark.parametrize("delay", [0.0, 0.5, 0.7])
def test_an_agent_killed_as_a_new_labs_objects_come_to_be(lab: LabFactory, delay: float) -> None:
    """`up` answers when the network stands; the objects are stored a moment later."""
    text = (EMPTY % "born") + "---\n" + PROBED
    running = lab("born", text)
    before = running.netns()
    pid = lock_holder(str(Paths("born").lock))
    assert pid is not None
    time.sleep(delay)  # from within the quiet before that moment to after it
    os.kill(pid, signal.SIGKILL)
    again = connected(running)
    assert len(again.pods()) == 2
    assert running.netns() == before
    assert again.responders() == set(again.pods())
    assert json.loads(running.up(text, "-o", "json").stdout)["changed"] == []
    assert running.json("status")["drift"] == []


def test_asked_at_once_a_new_lab_has_all_its_objects(lab: LabFactory) -> None:
    running = connected(lab("asked", (EMPTY % "asked") + "---\n" + PROBED))
    assert len(running.pods()) == 2
    again = json.loads(running.lab.up(running.lab.file.read_text(), "-o", "json").stdout)
    assert (again["operations"], again["changed"]) == (0, [])
    assert Paths("asked").agent_log.read_text() == ""
    assert running.responders() == set(running.pods())


def test_kubectl_is_refused_by_a_dead_agent_and_finds_the_next_one_where_it_was(lab: LabFactory) -> None:
    running = connected(lab("revived", (EMPTY % "revived") + "---\n" + web(2)))
    assert len(running.pods()) == 2
    os.kill(running.agent(), signal.SIGKILL)
    eventually(lambda: lock_holder(str(Paths("revived").lock)) is None)
    assert "refused" in running.kubectl("get", "pods", code=1)
    standing = {name.partition(".pod.default.")[2] for name in running.lab.netns() if ".pod.default." in name}
    assert running.responders() == standing  # packets need no agent
    assert running.lab.nslab("kubeconfig").stdout == running.kubectl.config.read_text()
    assert running.responders() == set(running.pods())


def test_apply_begins_again_where_somebody_else_was_faster(
    lab: LabFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab("faster", (EMPTY % "faster") + "---\n" + web(1))
    api, kind = ApiClient("faster"), by_name("Service")[0]
    get, meddlers = api.get, ["first", "second"]

    def overtaken(kind: Kind, namespace: str, name: str) -> Json:
        read = get(kind, namespace, name)
        if meddlers:
            api.patch(kind, namespace, name, {"metadata": {"labels": {meddlers.pop(): "was-here"}}})
        return read

    monkeypatch.setattr(api, "get", overtaken)
    metadata, port = {"name": "web", "labels": {"tier": "front"}}, {"port": 80, "name": "http"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [port]}}
    assert api.apply(kind, service) == "configured"
    stored = get(kind, "default", "web")
    assert stored["metadata"]["labels"] == {"tier": "front", "first": "was-here", "second": "was-here"}
    assert stored["spec"]["ports"][0]["name"] == "http"
