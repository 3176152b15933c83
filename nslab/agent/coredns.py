"""The files that CoreDNS finds in its lab's directory: its Corefile, and how to reach the API."""

from __future__ import annotations

from pathlib import Path

from nslab.api.objects import COREDNS
from nslab.apiserver.access import access, kubeconfig
from nslab.cluster.coredns import API_PORT, CONFIG_NAME, api_names, directory
from nslab.cluster.ipam import KUBERNETES
from nslab.cluster.model import Cluster
from nslab.linux.lab_files import Paths, write_atomically


def configure(paths: Paths, cluster: Cluster) -> None:
    """Write what ConfigMap kube-system/coredns has for a Corefile, where that is another: CoreDNS's own `reload` sees
    it. And, once, a kubeconfig with the API's address as the cluster's Pods know it."""
    service = cluster.services.get(KUBERNETES)
    if cluster.lab.dns.engine != COREDNS or service is None:
        return
    place = Path(directory(cluster.lab.name))
    config = next((
        item.body.get("data") or {} for item in cluster.objects
        if (item.kind, item.namespace, item.name) == ("ConfigMap", "kube-system", CONFIG_NAME)
    ), {})
    _write(place / "Corefile", config.get("Corefile", ""))
    granted = access(paths.root, api_names(cluster.lab))
    _write(place / "kubeconfig", kubeconfig(cluster.lab.name, f"{service.cluster_ip}:{API_PORT}", granted))


def _write(path: Path, content: str) -> None:
    if not path.exists() or path.read_text() != content:
        write_atomically(path, content)
