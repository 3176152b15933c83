"""What a user types to kubectl against a running lab, with every kubectl there is; packets tell what came of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubectl import KUBECTLS, needs_kubectl
from tests.lab.live import EMPTY, PROBE, Kubectl, Live, connected, eventually, web
from tests.lab.manifests import standing
from tests.lab.running import RunningLab, nslab

pytestmark = needs_kubectl

KINDS = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: db, ports: [{containerPort: 5432}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: front}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: log}
spec:
  selector: {matchLabels: {app: log}}
  template: {metadata: {labels: {app: log}}, spec: {containers: [{name: log, image: log}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: sum}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: sum, image: sum}]}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  rules:
  - host: shop.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {word: sesame}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""

WIDE = {
    "pod": "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES",
    "service": "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR",
    "endpoints": "NAME ENDPOINTS AGE",
    "endpointslice.discovery.k8s.io": "NAME ADDRESSTYPE PORTS ENDPOINTS AGE",
    "deployment.apps": "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR",
    "replicaset.apps": "NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR",
    "statefulset.apps": "NAME READY AGE CONTAINERS IMAGES",
    "daemonset.apps":
        "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE CONTAINERS IMAGES SELECTOR",
    "job.batch": "NAME STATUS COMPLETIONS DURATION AGE CONTAINERS IMAGES SELECTOR",
    "ingress.networking.k8s.io": "NAME CLASS HOSTS ADDRESS PORTS AGE",
    "networkpolicy.networking.k8s.io": "NAME POD-SELECTOR AGE",
    "configmap": "NAME DATA AGE",
    "secret": "NAME TYPE DATA AGE",
    "serviceaccount": "NAME SECRETS AGE",
    "persistentvolumeclaim": "NAME STATUS VOLUME CAPACITY ACCESS MODES STORAGECLASS AGE",
    "event": "LAST SEEN TYPE REASON OBJECT SUBOBJECT SOURCE MESSAGE FIRST SEEN COUNT NAME",
    "namespace": "NAME STATUS AGE",
    "node":
        "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME",
    "lease.coordination.k8s.io": "NAME HOLDER AGE",
}
"""The headings of `get -o wide`, as pkg/printers/internalversion prints them."""

OF_YESTERDAY = {"cronjobs.batch", "poddisruptionbudgets.policy", "endpointslices.discovery.k8s.io"}

BROKEN = re.compile(r"panic|%!|goroutine|9223372036854775808|[Ff]ailed to|unmarshal|<invalid>")
"""What no answer of kubectl has in it when it could make sense of what the server told."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """One lab for all tests here: each works in a namespace of its own."""
    with standing(tmp_path_factory.mktemp("lab"), "kubectl", EMPTY % "kubectl") as running:
        yield running


@pytest.fixture(scope="module", params=KUBECTLS, ids=lambda path: f"kubectl{KUBECTLS.index(path)}")
def cluster(lab: RunningLab, request: pytest.FixtureRequest) -> Live:
    return connected(lab, request.param)


@contextmanager
def within(cluster: Live, name: str) -> Iterator[Live]:
    """kubectl in a namespace of its own."""
    kubectl = cluster.kubectl
    kubectl("create", "namespace", name)
    yield Live(cluster.lab, Kubectl(kubectl.program, kubectl.config, name))
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def live(cluster: Live, request: pytest.FixtureRequest) -> Iterator[Live]:
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_")).strip("-")[:60]
    with within(cluster, name) as running:
        yield running


@pytest.fixture(scope="module")
def filled(cluster: Live) -> Iterator[Live]:
    """A namespace with an object of each kind, and all Pods ready."""
    with within(cluster, f"filled-{KUBECTLS.index(cluster.kubectl.program)}") as running:
        running.apply(web(2, more=PROBE) + "---" + KINDS)
        running.rolled_out()
        running.kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
        running.kubectl("rollout", "status", "daemonset/log", "--timeout=60s")
        yield running


def answering(live: Live, name: str = "web", count: int = 40) -> set[str]:
    """The Pods that answer behind a Service of the namespace."""
    return live.responders(f"svc/{live.kubectl.namespace}/{name}:80", count)


def test_every_kind_is_shown_as_on_a_cluster(filled: Live) -> None:
    kubectl = filled.kubectl
    sections = kubectl("get", ",".join(WIDE), "-A", "-o", "wide").strip().split("\n\n")
    headings = [" ".join(section.splitlines()[0].split()).removeprefix("NAMESPACE ") for section in sections]
    assert dict(zip(WIDE, headings, strict=True)) == WIDE
    every = kubectl("api-resources", "--verbs=list", "-o", "name").split()
    assert not BROKEN.search(kubectl("get", ",".join(every), "-A"))


def test_every_kind_is_had_in_every_form(filled: Live) -> None:
    """Wide, as YAML and JSON, followed, and described, but for those that Debian's kubectl describes in versions that
    no cluster of today has."""
    kubectl = filled.kubectl
    kinds = dict(map(_resource, kubectl("api-resources", "--verbs=list,watch", "--no-headers").splitlines()))
    everything = ("get", ",".join(kinds.values()), "-A")
    for form in ("wide", "yaml"):
        assert not BROKEN.search(kubectl(*everything, "-o", form))
    found: dict[str, set[str]] = {}
    for item in kubectl.json(*everything)["items"]:
        found.setdefault(kinds[item["apiVersion"], item["kind"]], set()).add(item["metadata"]["name"])
    assert len(found) >= len(WIDE)
    assert not BROKEN.search(kubectl("describe", ",".join(sorted(found.keys() - OF_YESTERDAY)), "-A"))
    for resource, names in found.items():
        with kubectl.following("get", resource, "-A", "-w", "-o", "name") as lines:
            assert next(lines).strip().partition("/")[2] in names, resource


def _resource(row: str) -> tuple[tuple[str, str], str]:
    """(apiVersion, kind) and the full name of a row of `kubectl api-resources`."""
    name, *_, version, _, kind = row.split()
    group, slash, _ = version.partition("/")
    return (version, kind), f"{name}.{group}" if slash else name


def test_every_form_has_the_same_objects(filled: Live) -> None:
    kubectl = filled.kubectl
    here = ("get", ",".join(sorted(WIDE.keys() - {"event", "namespace", "node"})))
    items = kubectl.json(*here)["items"]
    names = [item["metadata"]["name"] for item in items]
    assert [item["metadata"]["name"] for item in yaml.safe_load(kubectl(*here, "-o", "yaml"))["items"]] == names
    for form in ("wide", "name"):
        rows = [line.split()[0] for line in kubectl(*here, "-o", form, "--no-headers").splitlines() if line]
        assert [row.rpartition("/")[2] for row in rows] == names
    web = [item["metadata"]["name"] for item in items if item["metadata"].get("labels", {}).get("app") == "web"]
    chosen = kubectl(*here, "-l", "app=web", "-o", "name").split()
    assert [row.partition("/")[2] for row in chosen] == web != []


def test_output_forms_selectors_and_pages(filled: Live) -> None:
    kubectl = filled.kubectl
    pods = kubectl.json("get", "pods")["items"]
    names = [pod["metadata"]["name"] for pod in pods]
    for options in ((), ("--chunk-size=2",)):
        assert kubectl("get", "pods", "-o", "name", *options).split() == [f"pod/{name}" for name in names]
    assert f"  name: {names[0]}\n" in kubectl("get", "pod", names[0], "-o", "yaml")
    address = "jsonpath={.items[*].status.podIP}"
    assert kubectl("get", "pods", "-o", address).split() == [pod["status"]["podIP"] for pod in pods]
    node = pods[0]["spec"]["nodeName"]
    here = kubectl("get", "pods", "--field-selector", f"spec.nodeName={node},status.phase=Running", "-o", "name")
    assert here.split() == [f"pod/{pod['metadata']['name']}" for pod in pods if pod["spec"]["nodeName"] == node]
    assert kubectl("get", "pods", "-l", "app in (db)", "-o", "name").split() == ["pod/db-0", "pod/db-1"]
    assert kubectl("get", "pods", "-l", "app notin (db)", "-L", "version").splitlines()[0].endswith("VERSION")
    assert kubectl("get", "all", "-l", "app=nobody", "-o", "name") == ""


def test_describe_finds_all_it_looks_for(filled: Live) -> None:
    kubectl = filled.kubectl
    told = kubectl("describe", "pod,svc,deploy,rs,sts,ds,job,ing,netpol,cm,secret,sa,pvc,ep")
    assert not BROKEN.search(told)
    slices = kubectl.json("get", "endpoints", "web")["subsets"]
    first, second = (f"{address['ip']}:80" for address in slices[0]["addresses"])
    both = f"({first},{second}|{second},{first})"
    for expected in (
        rf"Endpoints: +{both}", r"StrategyType: +RollingUpdate",
        r"RollingUpdateStrategy: +25% max unavailable, 25% max surge",
        r"NewReplicaSet: +web-\S+ \(2/2 replicas created\)",
        r"ScalingReplicaSet .* Scaled up replica set", r"Scheduled .* Successfully assigned", r"Ready +True",
        r"Readiness: +http-get http://:80/healthz delay=0s timeout=1s period=1s #success=1 #failure=3",
        r"LoadBalancer Ingress: +203\.0\.113\.", r"Selector: +(batch.kubernetes.io/)?controller-uid=",
        r"2 Running / 0 Waiting / 0 Succeeded / 0 Failed", rf"web:80 \({both}\)",
        r"From:\n +PodSelector: app=web",
        r"word: +6 bytes", r"Controlled By: +StatefulSet/db", r"Status: +Pending",
    ):
        assert re.search(expected, told), expected
    node = kubectl("describe", "node", "node-1")
    assert not BROKEN.search(node)
    for expected in (
        r"HolderIdentity: +node-1", rf"{kubectl.namespace} +log-", r"PodCIDR: +10\.8\.0\.0/24", r"cpu +0 \(0%\)",
    ):
        assert re.search(expected, node), expected


def test_create_by_words(live: Live) -> None:
    kubectl = live.kubectl
    for words in (
        "deployment web --image=web --port=80",
        "service clusterip one --tcp=80", "service nodeport two --tcp=80:8080",
        "service loadbalancer three --tcp=80", "service externalname four --external-name=example.com",
        "configmap settings --from-literal=a=b", "secret generic word --from-literal=a=b", "serviceaccount robot",
        "job sum --image=sum", "ingress shop --rule=shop.example/=web:80", "quota few --hard=pods=9",
        "role reader --verb=get --resource=pods",
    ):
        assert kubectl("create", *words.split()).endswith(" created\n"), words
    assert kubectl("run", "bare", "--image=web", "--port=80", "--expose").count(" created\n") == 2
    assert kubectl("expose", "deployment", "web") == "service/web exposed\n"
    live.rolled_out()
    kubectl("wait", "--for=condition=Ready", "pod", "bare", "--timeout=60s")
    assert answering(live, "bare", 5) == {"bare"}
    assert answering(live) == set(live.pods())
    assert "already exists" in kubectl("create", "configmap", "settings", code=1)
    assert 'pod "bare" deleted' in kubectl("delete", "pod", "bare", "--grace-period=1")
    assert kubectl("get", "pod", "bare", "--ignore-not-found") == ""


def test_a_deployments_life(live: Live) -> None:
    kubectl = live.kubectl
    live.apply(web(2))
    available = kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=60s")
    assert available == "deployment.apps/web condition met\n"
    assert kubectl("set", "image", "deploy/web", "web=web:2") == "deployment.apps/web image updated\n"
    live.rolled_out()
    assert kubectl("rollout", "history", "deploy/web").split()[-4:] == ["1", "<none>", "2", "<none>"]
    assert "web:1" in kubectl("rollout", "history", "deploy/web", "--revision=1")
    assert kubectl("rollout", "undo", "deploy/web") == "deployment.apps/web rolled back\n"
    live.rolled_out()
    kubectl("rollout", "restart", "deploy/web")
    kubectl("scale", "deploy/web", "--replicas=3")
    live.rolled_out()
    assert {pod["spec"]["containers"][0]["image"] for pod in live.pods().values()} == {"web:1"}
    eventually(lambda: answering(live, count=60) == set(live.pods()))
    assert len(live.pods()) == 3
    told = kubectl("scale", "deploy/web", "--current-replicas=9", "--replicas=1", code=1)
    assert "Expected replicas to be 9" in told
    gone = next(iter(live.pods()))
    kubectl("delete", "pod", gone, "--wait=false")
    assert kubectl("wait", "--for=delete", f"pod/{gone}", "--timeout=60s") == f"pod/{gone} condition met\n"


def test_labels_annotations_and_patches(live: Live) -> None:
    kubectl = live.kubectl
    live.apply(web(1))
    assert kubectl("label", "deploy", "web", "tier=front") == "deployment.apps/web labeled\n"
    assert "already has a value" in kubectl("label", "deploy", "web", "tier=back", code=1)
    kubectl("label", "deploy", "web", "tier=back", "--overwrite")
    kubectl("annotate", "deploy", "web", "why=that")
    image = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "new"}]}}}}
    operation = [{"op": "replace", "path": "/spec/replicas", "value": 3}]
    kubectl("patch", "deploy", "web", "-p", json.dumps(image))
    kubectl("patch", "deploy", "web", "--type=merge", "-p", '{"metadata":{"labels":{"merged":"yes"}}}')
    kubectl("patch", "deploy", "web", "--type=json", "-p", json.dumps(operation))
    live.rolled_out()
    stored = kubectl.json("get", "deploy", "web")
    assert stored["metadata"]["labels"] == {"tier": "back", "merged": "yes"}
    assert stored["metadata"]["annotations"]["why"] == "that"
    container = stored["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["ports"], stored["spec"]["replicas"]) == (
        "new", [{"containerPort": 80, "protocol": "TCP"}], 3,
    )
    assert answering(live) == set(live.pods())


def test_get_follows_what_happens(live: Live) -> None:
    kubectl = live.kubectl
    seen = []
    with kubectl.following("get", "pods", "-w", "--output-watch-events") as lines:
        live.apply(web(1))
        live.rolled_out()
        for line in lines:  # Pending, perhaps with an address, then ready
            seen.append(line.split())
            if seen[-1][2:4] == ["1/1", "Running"]:
                break
        kubectl("delete", "deploy", "web")
        while seen[-1][0] != "DELETED":
            seen.append(next(lines).split())
    assert seen[0] == ["EVENT", "NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert seen[1][0] == "ADDED"
    assert {row[0] for row in seen[2:-1]} == {"MODIFIED"}
    assert "Terminating" in {row[3] for row in seen[1:]}


def test_logs(live: Live) -> None:
    kubectl = live.kubectl
    command = ["sh", "-c", "echo one; echo two; while sleep 0.1; do echo more; done"]
    containers = [{"name": "talk", "image": "host", "command": command}, {"name": "mute", "image": "x"}]
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "talker", "labels": {"app": "talker"}},
        "spec": {"containers": containers},
    }
    live.apply(json.dumps(pod))
    kubectl("wait", "--for=condition=Ready", "pod/talker", "--timeout=60s")
    eventually(lambda: kubectl("logs", "talker", "-c", "talk").startswith("one\ntwo\nmore\n"))
    assert len(kubectl("logs", "talker", "-c", "talk", "--tail=2").splitlines()) == 2
    with kubectl.following("logs", "-f", "talker", "-c", "talk") as lines:
        assert [next(lines) for _ in range(5)] == ["one\n", "two\n", "more\n", "more\n", "more\n"]
    assert kubectl("logs", "-l", "app=talker", "-c", "mute") == ""
    assert "container nobody is not valid for pod talker" in kubectl("logs", "talker", "-c", "nobody", code=1)


def test_a_drained_node_loses_its_pods_as_budgets_allow(live: Live) -> None:
    kubectl = live.kubectl
    live.apply(web(4) + "---" + KINDS)
    live.rolled_out()
    budget = {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }
    live.apply(json.dumps(budget))
    try:
        assert "cannot delete DaemonSet-managed Pods" in kubectl("drain", "node-2", code=1)
        told = kubectl("drain", "node-2", "--ignore-daemonsets", "--timeout=60s")
        assert re.search(r"pod/web-\S+ evicted", told)
        assert "node-2" not in {pod["spec"]["nodeName"] for pod in live.pods().values()}
        live.rolled_out()
        assert len(answering(live)) == 4
        assert "node-2   Ready,SchedulingDisabled" in kubectl("get", "nodes")
    finally:
        kubectl("uncordon", "node-2")
    kubectl("patch", "pdb", "web", "--type=merge", "-p", '{"spec":{"minAvailable":4}}')
    name = next(iter(live.pods()))
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{name}/eviction"
    told = kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction), code=1)
    assert "(TooManyRequests): Cannot evict pod as it would violate the pod's disruption budget." in told
    kubectl("taint", "node", "node-2", "only=db:NoSchedule")
    kubectl("scale", "deploy/web", "--replicas=6")
    live.rolled_out()
    kubectl("taint", "node", "node-2", "only-")
    assert "node-2" not in {pod["spec"]["nodeName"] for pod in live.pods().values()}


def test_what_the_server_is_and_has(cluster: Live) -> None:
    kubectl = cluster.kubectl
    assert "+nslab-" in kubectl("version")
    assert "is running at" in kubectl("cluster-info")
    assert {"v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1"} <= set(kubectl("api-versions").split())
    assert re.search(r"^deployments +deploy +apps/v1 +true +Deployment$", kubectl("api-resources"), re.MULTILINE)
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert re.search(r"^\*\.\* .*\[\*\]$", kubectl("auth", "can-i", "--list"), re.MULTILINE)


def _written(kind: str, name: str, *, api_version: str = "v1", **fields: Any) -> str:
    return json.dumps({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields})


APPLY, CREATE = ("apply", "-f", "-"), ("create", "-f", "-")
BAD: list[tuple[tuple[str, ...], str, str]] = [
    (APPLY, _written("Service", "bad", spec={"ports": [{"port": 99999}]}),
     r'The Service "bad" is invalid: spec.ports\[0\].port: Invalid value: '),
    (CREATE, _written("Deployment", "bad", api_version="apps/v1", spec={"replicas": []}),
     "spec.replicas: Invalid value: "),
    (CREATE, _written("Service", "bad", spec={"clusterIP": "10.12.0.10", "ports": [{"port": 1}]}),
     "spec.clusterIPs: Invalid value: .*: failed to allocate IP 10.12.0.10: provided IP is already allocated"),
    (APPLY, _written("Y", "bad", api_version="x.example/v1"), r'no matches for kind "Y" in version "x.example/v1"'),
    (APPLY, _written("Deployment", "bad", api_version="apps/v9"),
     'no matches for kind "Deployment" in version "apps/v9"'),
    (APPLY, "{broken", r"error (converting YAML to JSON|parsing STDIN)"),
    (CREATE, _written("ConfigMap", "bad", data={"a": "x" * (4 << 20)}), "Request entity too large"),
    (("patch", "cm", "here", "-p", "{broken"), "", "BadRequest|unable to parse"),
    (("patch", "cm", "here", "--type=merge", "-p", '{"data":3}'), "", "data: Invalid value: "),
    (("patch", "cm", "here", "--type=json", "-p", '[{"op":"remove","path":"/data/none"}]'), "",
     "The request is invalid"),
    (("delete", "pod", "nobody"), "", r'Error from server \(NotFound\): pods "nobody" not found'),
    (("get", "unicorns"), "", 'the server doesn\'t have a resource type "unicorns"'),
]  # fmt: skip
"""What is typed, what comes on stdin, and what kubectl says."""


def test_bad_input_is_answered_as_on_a_cluster(live: Live) -> None:
    kubectl = live.kubectl
    kubectl("create", "configmap", "here")
    before = kubectl.json("get", "all,cm")["items"]
    for arguments, stdin, answer in BAD:
        told = kubectl(*arguments, stdin=stdin, code=1)
        assert re.search(answer, told), told
    assert kubectl.json("get", "all,cm")["items"] == before


def test_another_user_is_not_let_in(cluster: Live, tmp_path: Path) -> None:
    config = json.loads(cluster.kubectl.config.read_text())
    config["users"][0]["user"]["token"] = "guessed"
    forged = tmp_path / "config"
    forged.write_text(json.dumps(config))
    told = Kubectl(cluster.kubectl.program, forged)("get", "pods", code=1)
    assert "You must be logged in to the server" in told


def test_a_kubeconfig_asked_for_again_is_the_same(cluster: Live) -> None:
    again = nslab("--lab", "kubectl", "kubeconfig").stdout
    assert again == cluster.kubectl.config.read_text()
