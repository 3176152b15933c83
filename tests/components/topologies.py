"""Topology texts of these tests."""

from __future__ import annotations

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {nodeName: node-1, containers: [{name: c, image: i, ports: [{containerPort: 8080},
  {containerPort: 8053, protocol: UDP}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, namespace: shop, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: c, image: i, ports: [{containerPort: 8080},
  {containerPort: 8053, protocol: UDP}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: cli-1, namespace: shop, labels: {app: cli}}
spec: {nodeName: node-1, containers: [{name: c, image: i, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: cli-3, namespace: shop, labels: {app: cli}}
spec: {nodeName: node-3, containers: [{name: c, image: i, ports: [{containerPort: 8080}]}]}
"""


def lab(name: str, **cluster: object) -> str:
    """A Lab of three nodes and a client on each network."""
    settings = ", ".join(f"{key}: {str(value).lower() if value in (True, False) else value}"
                         for key, value in cluster.items())
    return f"""
apiVersion: nslab.dev/v1
kind: Lab
metadata: {{name: {name}}}
spec:
  cluster: {{{settings}}}
  nodes: 3
  clients:
    - {{name: laptop, network: internet, address: 198.51.100.7}}
    - {{name: vm, network: vpc, address: 10.128.0.200}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: shop}}
---{PODS}"""


def service(name: str, spec: str) -> str:
    """A Service of namespace shop; `spec` is YAML flow text. Without a selector of its own it selects app=web."""
    selector = "" if "selector" in spec else "selector: {app: web}, "
    ports = "" if "ports" in spec else "ports: [{port: 80, targetPort: 8080}], "
    return f"""---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{{selector}{ports}{spec}}}
"""
