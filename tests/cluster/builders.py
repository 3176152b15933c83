"""Objects as the decoder would hand them over, in one line each."""

from __future__ import annotations

from typing import Any

from nslab.api.objects import Body, ClientSpec, ClusterSpec, LabSpec, Manifest, NodeSpec, Object, VpcSpec
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Cluster, Leases


def an_object(kind: str, name: str, spec: Body | None = None, *, namespace: str = "default", **rest: Any) -> Object:
    metadata: Body = {"name": name, **rest.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    body = {"apiVersion": "v1", "kind": kind, "metadata": metadata, **rest}
    if spec is not None:
        body["spec"] = spec
    return Object("v1", kind, namespace, name, body, f"lab.yaml:1:1#{name}")


def a_container(*ports: int, name: str = "main", **fields: Any) -> Body:
    return {
        "name": name, "image": "nginx",
        "ports": [{"containerPort": port, "protocol": "TCP"} for port in ports], **fields,
    }


def a_template(app: str, *containers: Body, **spec: Any) -> Body:
    wish = {"containers": list(containers or [a_container(80)]), **spec}
    return {"metadata": {"labels": {"app": app}}, "spec": wish}


def a_workload(kind: str, name: str, replicas: int = 1, template: Body | None = None, **spec: Any) -> Object:
    wish: Body = {"template": template or a_template(name), "selector": {"matchLabels": {"app": name}}, **spec}
    if kind not in ("DaemonSet", "Job"):
        wish["replicas"] = replicas
    return an_object(kind, name, wish)


def a_deployment(name: str, replicas: int = 1, template: Body | None = None) -> Object:
    return a_workload("Deployment", name, replicas, template)


def a_pod(name: str, *containers: Body, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    return an_object(
        "Pod", name, {"containers": list(containers or [a_container(80)]), **spec},
        metadata={"labels": labels if labels is not None else {"app": name}},
    )


def a_service(name: str, app: str = "", *, port: int = 80, target: int | str = 80, **spec: Any) -> Object:
    ports = spec.pop("ports", [{"port": port, "targetPort": target, "protocol": "TCP"}])
    wish: Body = {"type": "ClusterIP", "ports": ports, **spec}
    if app:
        wish["selector"] = {"app": app}
    return an_object("Service", name, wish, metadata=spec.pop("metadata", {}))


def a_node(name: str, **spec: Any) -> Object:
    return an_object("Node", name, spec, namespace="")


def a_lab(
    nodes: int | tuple[NodeSpec, ...] = 2, *, clients: tuple[ClientSpec, ...] | None = None, max_pods: int = 110,
    **vpc: Any,
) -> LabSpec:
    specs = nodes if isinstance(nodes, tuple) else tuple(NodeSpec(f"node-{number + 1}") for number in range(nodes))
    default = LabSpec("lab")
    return LabSpec(
        "lab", ClusterSpec(max_pods_per_node=max_pods), VpcSpec(**vpc), specs,
        default.clients if clients is None else clients, where="lab.yaml:1:1",
    )


def a_cluster(
    *objects: Object, lab: LabSpec | None = None, leases: Leases | None = None, ready: dict[str, bool] | None = None
) -> Cluster:
    return allocate(Manifest(lab or a_lab(), objects), leases or Leases(), ready)
