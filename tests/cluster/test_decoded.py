"""The Cluster of files as a user writes them, read by the decoder."""

from __future__ import annotations

from pathlib import Path

from nslab.api.decode import decode
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Leases
from nslab.cluster.render import kubernetes_objects

LAB = """\
apiVersion: nslab.dev/v1
kind: Lab
metadata: {name: shop}
spec:
  nodes: [{name: node-a, zone: a}, {name: node-b, labels: {disk: ssd}}]
  clients: [{name: vm, network: vpc, address: 10.128.0.77}]
---
apiVersion: v1
kind: Node
metadata: {name: node-a}
spec: {podCIDR: 10.9.0.0/24, taints: [{key: quiet, effect: NoSchedule}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: nginx, ports: [{containerPort: 8080, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
"""


def test_a_file_becomes_a_cluster(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(LAB)
    cluster = allocate(decode([str(path)]), Leases())
    assert cluster.nodes["node-a"].pod_range == "10.9.0.0/24"
    assert cluster.nodes["node-a"].labels["topology.kubernetes.io/zone"] == "a"
    assert cluster.nodes["node-b"].labels["disk"] == "ssd"
    assert cluster.clients["vm"].ip == "10.128.0.77"
    assert [pod.node for pod in cluster.pods.values()] == ["node-b", "node-b"]
    service = cluster.services["shop/web"]
    assert service.load_balancer_ips == ("203.0.113.10",)
    assert [(endpoint.ip, endpoint.port) for endpoint in service.ports[0].endpoints] == [
        (pod.ip, 8080) for pod in cluster.pods.values()
    ]
    assert kubernetes_objects(cluster, "Deployment")[0]["status"]["readyReplicas"] == 2
