"""Small topologies, put together from parts."""

from __future__ import annotations


def topology(*parts: str, nodes: int = 2, clients: str = "", spec: str = "") -> str:
    """A Lab and objects. `clients` are added to the laptop; `spec` are more lines of the Lab's spec."""
    lab = f"""\
apiVersion: nslab.dev/v1
kind: Lab
metadata: {{name: unnamed}}
spec:
  nodes: {nodes}
  clients: [{{name: laptop, network: internet}}{clients}]
{spec}"""
    return "---\n".join((lab, *parts))


def pod(name: str, node: str = "node-1", labels: str = "", image: str = "web", more: str = "") -> str:
    return f"""\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}{labels}}}}}
spec:
  nodeName: {node}
  containers:
    - name: main
      image: {image}
      ports: [{{containerPort: 80}}]
{more}"""


def service(name: str, port: int = 80) -> str:
    """A ClusterIP Service of the Pods with the label app: NAME."""
    return f"""\
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{port: {port}, targetPort: 80}}]
"""


def deployment(name: str, replicas: int, labels: str = "") -> str:
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}{labels}}}}}
    spec: {{containers: [{{name: main, image: web, ports: [{{containerPort: 80}}]}}]}}
"""


PAIR = topology(pod("a"), pod("b", "node-2"), service("b"))
