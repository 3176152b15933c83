"""Manifests that people run on real clusters, unchanged: each comes up, is checked with packets, and goes away.

All labs stand side by side while the first one's probes wait out their initial delays, so that none waits alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab.running import Json, RunningLab, nslab
from tests.published import MANIFESTS, needs_manifests

pytestmark = needs_manifests

BOUTIQUE = "online-boutique/release/kubernetes-manifests.yaml"

LABS: dict[str, tuple[str, ...]] = {
    "boutique": (BOUTIQUE,),
    "guestbook": ("guestbook/web/guestbook/all-in-one/guestbook-all-in-one.yaml",),
    "guestbook-go": ("guestbook/web/guestbook-go",),
    "voting": ("voting-app/k8s-specifications",),
    "fanout": tuple(
        f"gke-samples/networking/load-balancing/{name}.yaml" for name in (
            "web-deployment", "web-service", "web-deployment-v2", "web-service-v2", "basic-ingress", "fanout-ingress",
        )
    ),
    "grpc": tuple(f"gke-samples/networking/grpc-gke-nlb-tutorial/{name}-grpc" for name in ("echo", "reverse")),
    "gke-guestbook": ("gke-samples/quickstarts/guestbook/all-in-one/guestbook-all-in-one.yaml",),
    "hello": (
        "gke-samples/quickstarts/hello-app/manifests/helloweb-deployment.yaml",
        "gke-samples/quickstarts/hello-app/manifests/helloweb-service-load-balancer.yaml",
    ),
    "whereami": ("gke-samples/quickstarts/whereami/k8s",),
    "monolith": ("gke-samples/quickstarts/monolith-to-microservices/containerized/kubernetes_manifest.yaml",),
    "multi-ilb": ("gke-networking-recipes/services/multi-cluster/ilb/app.yaml",),
    "multi-basic": ("gke-networking-recipes/services/multi-cluster/mcs-basic",),
    "external-lb": ("gke-networking-recipes/services/single-cluster/external-lb-service",),
    "internal-lb": ("gke-networking-recipes/services/single-cluster/internal-lb-service",),
    "headless": ("gke-networking-recipes/service-directory/headless-service",),
    "node-port": ("gke-networking-recipes/service-directory/nodeport-service",),
}


@pytest.fixture(scope="module")
def standing() -> Iterator[None]:
    """Every lab, brought up without waiting for its Pods; all gone at the end."""
    try:
        for name, files in LABS.items():
            nslab("up", *(str(MANIFESTS / file) for file in files), "--lab", name, "--wait", "0")
        yield
    finally:
        nslab("down", "--all")


@pytest.mark.parametrize("name", tuple(reversed(LABS)))
def test_a_real_manifest_comes_up_is_checked_and_goes_away(standing: None, name: str) -> None:
    files = [str(MANIFESTS / file) for file in LABS[name]]
    lab = RunningLab(name, MANIFESTS / LABS[name][0])
    ready = json.loads(nslab("up", *files, "--lab", name, "--wait", "60s", "-o", "json").stdout)
    assert (ready["ready"], ready["not_ready"], ready["created"]) == (True, [], False)
    every_service_answers_another_pod(lab)
    report = lab.json("check")
    assert (report["failed"], bool(report["passed"])) == (0, True)
    lab.nslab("down")
    assert lab.netns() == []
    assert name not in nslab("ls", "-o", "name").stdout.split()


def every_service_answers_another_pod(lab: RunningLab) -> None:
    """Send packets to each port of each Service that has a ClusterIP, by its address and by its name, from a Pod that
    is not behind it, and find that one of its own endpoints answers."""
    pods = {f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in items(lab, "pods")}
    behind = {
        key(entry): {
            f"{address['targetRef']['namespace']}/{address['targetRef']['name']}"
            for subset in entry.get("subsets") or [] for address in subset["addresses"]
        }
        for entry in items(lab, "endpoints")
    }
    flows: list[Json] = []
    expected: list[set[str]] = []
    for service in items(lab, "services"):
        if service["spec"].get("clusterIP", "None") == "None":
            continue
        endpoints = behind[key(service)]
        others = sorted(pods - endpoints) or sorted(pods)
        for port in service["spec"]["ports"]:
            flows.append({
                "from": f"pod/{others[0]}", "to": f"svc/{key(service)}:{port['port']}", "count": 3,
                "proto": port["protocol"].lower(),
            })
            expected.append(endpoints)
            namespace, name = key(service).split("/")
            askers = [pod for pod in others if not pod.startswith("kube-system/")]  # which ask no cluster DNS
            near = [pod for pod in askers if pod.startswith(f"{namespace}/")]
            if askers and namespace != "kube-system":
                short = name if near else f"{name}.{namespace}"
                flows.append({**flows[-1], "from": f"pod/{(near or askers)[0]}", "to": f"{short}:{port['port']}"})
                expected.append(endpoints)
    for answer, endpoints in zip(lab.probes(*flows) if flows else [], expected, strict=True):
        assert answer["verdict"] == "open", answer
        assert answer["responders"].keys() <= endpoints, answer


def items(lab: RunningLab, kind: str) -> list[Json]:
    found: list[Json] = lab.get(kind, "-A")["items"]
    return found


def key(body: Json) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


def test_the_boutique_is_listed_with_what_is_ignored() -> None:
    shown = nslab("validate", str(MANIFESTS / BOUTIQUE))
    assert shown.stdout == "24 objects ok\n"
    assert shown.stderr == "ignored: 11 ServiceAccounts\n"
