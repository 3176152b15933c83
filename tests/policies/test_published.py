"""Published policies, applied to the workloads that they are written for: packets find what their texts promise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nslab.api.decode import decode
from nslab.check.policies.decision import Evaluator
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Cluster, Leases
from tests.policies.stage import Stage, staged
from tests.policies.test_packets import tried
from tests.policies.world import LAB, Flow, Spec, matching
from tests.published import MANIFESTS, needs_manifests

pytestmark = needs_manifests

RECIPES = MANIFESTS / "network-policy-recipes"
BOUTIQUE = MANIFESTS / "online-boutique"
NAMESPACES = {
    "default": {}, "prod": {"purpose": "production"}, "dev": {"purpose": "testing"},
    "ops": {"team": "operations"}, "kube-system": {},
}
PODS: dict[str, dict[str, str]] = {
    "default/web": {"app": "web"}, "default/apiserver": {"app": "apiserver"},
    "default/store-api": {"app": "bookstore", "role": "api"}, "default/store-db": {"app": "bookstore", "role": "db"},
    "default/store-search": {"app": "bookstore", "role": "search"},
    "default/inventory": {"app": "inventory", "role": "web"}, "default/foo": {"app": "foo"},
    "default/monitor": {"role": "monitoring", "type": "monitoring"},
    "prod/client": {}, "dev/client": {}, "ops/monitor": {"type": "monitoring"}, "ops/client": {},
    "kube-system/kube-dns": {"k8s-app": "kube-dns"},
}
PORTS = ((53, "UDP"), (53, "TCP"), (80, "TCP"), (5000, "TCP"))
FLOWS = frozenset(
    Flow(one, other, *port) for one in PODS for other in PODS if one != other for port in PORTS
)


@dataclass(frozen=True)
class Recipe:
    """A file, and what its text promises to be blocked, but for what stays open."""

    file: str
    blocked: tuple[str, ...]
    unblocked: tuple[str, ...] = ()

    @property
    def flows(self) -> frozenset[Flow]:
        return matching(self.blocked, FLOWS) - matching(self.unblocked, FLOWS)


TOLD = (
    Recipe("01-deny-all-traffic-to-an-application.block1", ("* > default/web",)),
    Recipe("02-limit-traffic-to-an-application.block1", ("* > default/store-api",),
           ("default/store-* > default/store-api",)),
    Recipe("02a-allow-all-traffic-to-an-application.block1", ()),
    Recipe("03-deny-all-non-whitelisted-traffic-in-the-namespace.block1", ("* > default/*",)),
    Recipe("04-deny-traffic-from-other-namespaces.block1", ("* > default/*",), ("default/* > default/*",)),
    Recipe("05-allow-traffic-from-all-namespaces.block1", ()),
    Recipe("06-allow-traffic-from-a-namespace.block1", ("* > default/web",), ("prod/* > default/web",)),
    Recipe("07-allow-traffic-from-some-pods-in-another-namespace.block1", ("* > default/web",),
           ("ops/monitor > default/web",)),
    Recipe("08-allow-external-traffic.block1", ()),
    Recipe("09-allow-traffic-only-to-a-port.block1", ("* > default/apiserver",),
           ("default/monitor > default/apiserver 5000",)),
    Recipe("10-allowing-traffic-with-multiple-selectors.block1", ("* > default/store-db",), (
        "default/store-search > default/store-db", "default/store-api > default/store-db",
        "default/inventory > default/store-db")),
    Recipe("11-deny-egress-traffic-from-an-application.block1", ("default/foo > *",)),
    Recipe("11-deny-egress-traffic-from-an-application.block2", ("default/foo > *",),
           ("default/foo > kube-system/kube-dns 53",)),
    Recipe("12-deny-all-non-whitelisted-traffic-from-the-namespace.block1", ("default/* > *",)),
    Recipe("14-deny-external-egress-traffic.block1", ("default/foo > *",),
           ("default/foo > kube-system/kube-dns 53",)),
)


def world() -> Iterator[Spec]:
    for name, labels in NAMESPACES.items():
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    ports = [{"containerPort": port, "protocol": protocol} for port, protocol in PORTS]
    for number, (key, labels) in enumerate(PODS.items()):
        namespace, name = key.split("/")
        yield {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"nodeName": f"node-{number % 2 + 1}",
                     "containers": [{"name": "c", "image": "i", "ports": ports}]},
        }


def lab_of(text: str, *files: Path) -> Cluster:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "lab.yaml"
        path.write_text(text)
        return allocate(decode([str(path), *map(str, files)]), Leases())


def recipes(*files: Path) -> Cluster:
    return lab_of(LAB % "recipes" + "---\n".join(json.dumps(body) + "\n" for body in world()), *files)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(recipes()) as built:
        yield built


@pytest.mark.parametrize("recipe", TOLD, ids=lambda recipe: recipe.file)
def test_recipe(stage: Stage, recipe: Recipe) -> None:
    stage.follow(recipes(RECIPES / f"{recipe.file}.yaml"))
    tried(stage, FLOWS, recipe.flows)


CALLERS = {
    ("adservice", 9555): {"frontend"}, ("cartservice", 7070): {"frontend", "checkoutservice"},
    ("checkoutservice", 5050): {"frontend"}, ("currencyservice", 7000): {"frontend", "checkoutservice"},
    ("emailservice", 8080): {"checkoutservice"}, ("paymentservice", 50051): {"checkoutservice"},
    ("productcatalogservice", 3550): {"frontend", "checkoutservice", "recommendationservice"},
    ("recommendationservice", 8080): {"frontend"}, ("redis-cart", 6379): {"cartservice"},
    ("shippingservice", 50051): {"frontend", "checkoutservice"},
}
"""Who may call whom, as the policies of Online Boutique say; its frontend lets everybody in."""


def test_online_boutique() -> None:
    policies = sorted((BOUTIQUE / "kustomize/components/network-policies").glob("network-policy-*.yaml"))
    assert len(policies) == 13
    lab = lab_of(LAB % "boutique", BOUTIQUE / "release/kubernetes-manifests.yaml", *policies)
    app = {key: pod.labels["app"] for key, pod in lab.pods.items()}
    flows = frozenset(
        Flow(one, key, port.port, port.protocol)
        for key, pod in lab.pods.items() for container in pod.containers for port in container.ports
        for one in lab.pods if one != key
    )
    blocked = frozenset(
        flow for flow in flows
        if app[flow.destination] != "frontend"
        and app[flow.source] not in CALLERS.get((app[flow.destination], flow.port), ())
    )
    evaluator, ips = Evaluator(lab), {key: pod.ip for key, pod in lab.pods.items()}
    assert blocked == {
        flow for flow in flows
        if not evaluator.decide(ips[flow.source], ips[flow.destination], flow.port, flow.protocol).allowed
    }
    with staged(lab) as boutique:
        tried(boutique, flows, blocked)
