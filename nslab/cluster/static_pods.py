"""Static Pods: what every node runs of its own accord, here kube-proxy.

A kubelet runs them from files of its node, and shows each in the API as a mirror Pod that its Node owns; who deletes
the mirror deletes a picture (https://kubernetes.io/docs/tasks/configure-pod-container/static-pod). The manifest is
GKE's (kubernetes/cluster/gce/manifests/kube-proxy.manifest) as far as it says anything to a network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from json import dumps

from nslab import __version__
from nslab.api.objects import STATIC_POD_LABELS, STATIC_POD_NAMESPACE, Body, Manifest, Object
from nslab.cluster.model import Cluster

NAMESPACE = STATIC_POD_NAMESPACE
MIRROR = "kubernetes.io/config.mirror"
"""The annotation that makes a Pod a mirror: the hash of the manifest that its kubelet has."""


def name_of(node: str) -> str:
    """The name of a node's mirror Pod."""
    return f"kube-proxy-{node}"


def mirror_pod(node: str, uid: str = "") -> Body:
    """The mirror Pod of a node's kube-proxy. `uid` is the Node's, empty where there is no such object yet."""
    spec: Body = {
        "nodeName": node,
        "hostNetwork": True,
        "priorityClassName": "system-node-critical",
        "priority": 2000001000,
        "tolerations": [
            {"operator": "Exists", "effect": "NoExecute"}, {"operator": "Exists", "effect": "NoSchedule"},
        ],
        "containers": [{
            "name": "kube-proxy", "image": f"nslab/kube-proxy:{__version__}",
            "command": ["kube-proxy", "--proxy-mode=nftables", f"--hostname-override={node}"],
        }],
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
        "schedulerName": "default-scheduler", "enableServiceLinks": True,
    }  # fmt: skip
    digest = sha256(dumps(spec, sort_keys=True).encode()).hexdigest()[:32]
    owner = {"apiVersion": "v1", "kind": "Node", "name": node, "controller": True, **({"uid": uid} if uid else {})}
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name_of(node), "namespace": NAMESPACE, "labels": dict(STATIC_POD_LABELS),
            "annotations": {
                "kubernetes.io/config.hash": digest, MIRROR: digest, "kubernetes.io/config.source": "file",
            },
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def with_static_pods(manifest: Manifest) -> Manifest:
    """The manifest with the static Pods of its nodes. Where it has a Pod of such a name, that one stands, and the
    node's kube-proxy works unseen."""
    written = {item.name for item in manifest.objects if item.kind == "Pod" and item.namespace == NAMESPACE}
    found = tuple(
        Object("v1", "Pod", NAMESPACE, name_of(node.name), mirror_pod(node.name), manifest.lab.where)
        for node in manifest.lab.nodes if name_of(node.name) not in written
    )
    return replace(manifest, objects=(*manifest.objects, *found))


def proxied(cluster: Cluster) -> Iterable[str]:
    """The nodes, by name, on which kube-proxy works: the machine lives, and the Pod has not been made to crash."""
    for name in cluster.nodes:
        pod = cluster.pods.get(f"{NAMESPACE}/{name_of(name)}")
        crashed = pod is not None and pod.is_static and cluster.suffers(f"pod/{pod.key}", "crash")
        if not crashed and not cluster.suffers(f"node/{name}", "dead"):
            yield name
