"""Published manifests pass unchanged, each file alone, as a real cluster takes them."""

from __future__ import annotations

import re

import pytest

from nslab.api.decode import decode
from nslab.errors import ManifestError
from tests.published import MANIFESTS, needs_manifests

pytestmark = needs_manifests

# What a real cluster refuses too: no objects, parts of objects, placeholders to fill in, kinds of an absent CRD.
REFUSED = {
    "cloudbuild.yaml": "has no apiVersion",
    "kustomization.yaml": "is a kustomization",
    "k8s-backend-overlay-example/service-type.yaml": "spec.ports",
    "k8s-frontend-overlay-clusterip-example/service-type.yaml": "spec.ports",
    "k8s-grpc-clusterip-backend-overlay-example/service-type.yaml": "spec.ports",
    "istio-manifests.yaml": 'unknown kind "VirtualService"',
    "sctp-deployment.yaml": "is a string where an integer is wanted",
    "08-allow-external-traffic.block2.yaml": "has no apiVersion",
    "09-allow-traffic-only-to-a-port.block2.yaml": "has no apiVersion",
    "09-allow-traffic-only-to-a-port.block3.yaml": "has no apiVersion",
}
FILES = sorted(str(path.relative_to(MANIFESTS)) for path in MANIFESTS.rglob("*.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_passes(name: str) -> None:
    path = MANIFESTS / name
    reason = REFUSED.get(path.name) or REFUSED.get(f"{path.parent.name}/{path.name}")
    if reason is None:
        manifest = decode([str(path)])
        assert manifest.objects or manifest.ignored
        return
    with pytest.raises(ManifestError, match=re.escape(reason)):
        decode([str(path)])


def test_istio_passes_when_unknown_kinds_may() -> None:
    manifest = decode([str(MANIFESTS / "online-boutique/release/istio-manifests.yaml")], ignore_unknown=True)
    assert any("VirtualService" in warning for warning in manifest.warnings)


def test_a_folder_of_one_project_is_one_lab() -> None:
    manifest = decode([str(MANIFESTS / "voting-app")])
    assert manifest.lab.name == "voting-app"
    assert len(manifest.objects) == 9
    assert manifest.warnings == ()
