"""The Cluster as Kubernetes objects: what `kubectl get -o json` would show, status included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nslab import __version__
from nslab.api.objects import Body
from nslab.cluster import endpoint_objects, workload_objects
from nslab.cluster.model import Cluster, Node, Pod, Service
from nslab.cluster.naming import object_uid

SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")

CAPACITY = {"cpu": "2", "memory": "4026932Ki", "ephemeral-storage": "98831908Ki"}
ALLOCATABLE = {"cpu": "940m", "memory": "2885188Ki", "ephemeral-storage": "47060071478"}
"""What a node shows of a machine's resources: those of an e2-medium, GKE's default. No Pod is held to them."""


def kubernetes_objects(cluster: Cluster, kind: str, *, created: str = "") -> list[Body]:
    """All objects of a kind ("Pod"), those that controllers would make included, in the Cluster's order.

    `created` (RFC 3339) becomes their creationTimestamp and their Pods' startTime; a Cluster knows no time. Kinds
    that nobody changes come as they were written, with an identity.
    """
    made: dict[str, Callable[[Cluster], Iterator[Body]]] = {
        "Node": lambda it: (node_object(it, node) for node in it.nodes.values()),
        "Pod": lambda it: (pod_object(it, pod) for pod in it.pods.values()),
        "Service": lambda it: (service_object(service) for service in it.services.values()),
        "Endpoints": endpoint_objects.endpoints,
        "EndpointSlice": endpoint_objects.endpoint_slices,
        "ReplicaSet": workload_objects.replica_sets,
        "Namespace": _namespaces,
    }
    source = made.get(kind) or (lambda it: workload_objects.workloads(it, kind))
    return [_identified(body, created) for body in source(cluster)]


def _namespaces(cluster: Cluster) -> Iterator[Body]:
    """The written namespaces, and those that are there without being written: a new cluster's, and whatever an object
    names."""
    written = {item.name: item.body for item in cluster.objects if item.kind == "Namespace"}
    for name in dict.fromkeys([*SYSTEM_NAMESPACES, *written, *(item.namespace for item in cluster.objects)]):
        if name:
            metadata = {"name": name, "labels": {"kubernetes.io/metadata.name": name}}
            body = written.get(name, {"metadata": metadata})
            yield {**body, "apiVersion": "v1", "kind": "Namespace", "status": {"phase": "Active"}}


def pod_object(cluster: Cluster, pod: Pod) -> Body:
    """A running Pod of the Cluster."""
    template = pod.body
    written = template.get("metadata") or {}
    metadata: Body = {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "labels": dict(pod.labels)}
    if written.get("annotations"):
        metadata["annotations"] = written["annotations"]
    kind, owner = workload_objects.controller(pod)
    if kind in workload_objects.API_VERSIONS:
        reference = {
            "apiVersion": workload_objects.API_VERSIONS[kind], "kind": kind, "name": owner,
            "uid": object_uid(f"{kind}/{pod.namespace}/{owner}"), "controller": True, "blockOwnerDeletion": True,
        }
        metadata |= {"generateName": f"{owner}-", "ownerReferences": [reference]}
    elif pod.is_static:
        metadata["ownerReferences"] = written["ownerReferences"]
    spec = {**template.get("spec", {}), "nodeName": pod.node}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec,
        "status": pod_status(cluster, pod),
    }


def pod_status(cluster: Cluster, pod: Pod) -> Body:
    """The status of a running Pod, without times."""
    spec: Body = pod.body.get("spec") or {}
    host_ip = cluster.nodes[pod.node].ip
    probes = {container.name: container.probes for container in pod.containers}
    ready = "True" if pod.ready else "False"

    effects = cluster.faults_of.get(f"pod/{pod.key}", {})

    def statuses(field: str) -> list[Body]:
        return [_container_status(pod, body, probes[body["name"]], effects) for body in spec.get(field) or ()
                if body["name"] in probes]

    conditions: list[Body] = [
        {"type": "PodScheduled", "status": "True"},
        {"type": "Initialized", "status": "True"},
        {"type": "ContainersReady", "status": ready},
        {"type": "Ready", "status": ready},
    ]
    if not pod.ready:
        for condition in conditions[2:]:
            condition["reason"] = "ContainersNotReady"
    status = {
        "phase": "Running", "conditions": conditions, "hostIP": host_ip, "hostIPs": [{"ip": host_ip}],
        "podIP": pod.ip, "podIPs": [{"ip": pod.ip}], "qosClass": "BestEffort",
        "containerStatuses": statuses("containers"),
    }
    sidecars = statuses("initContainers")
    return {**status, "initContainerStatuses": sidecars} if sidecars else status


def _container_status(pod: Pod, body: Body, probes: Body, effects: Mapping[str, str]) -> Body:
    """`effects` are those of the Pod's faults."""
    gated = "readiness" in probes or "startup" in probes or "unready" in effects
    status: Body = {
        "name": body["name"], "image": body.get("image", ""), "imageID": "", "restartCount": 0, "started": True,
        "ready": pod.ready or not gated, "state": {"running": {}},
    }
    if "crash" in effects:
        status |= {"started": False, "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    return status


def node_object(cluster: Cluster, node: Node) -> Body:
    """A node of the Cluster, ready, with the addresses and the Pod range it has."""
    body = node.body
    spec: Body = {**(body.get("spec") or {}), "podCIDR": node.pod_range, "podCIDRs": [node.pod_range]}
    if node.unschedulable:
        taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        spec["taints"] = [item for item in spec.get("taints") or () if item["key"] != taint["key"]] + [taint]
    uid, version = object_uid(f"Machine/{node.name}"), f"nslab-{__version__}"
    pods = {"pods": str(cluster.lab.cluster.max_pods_per_node)}
    return {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {**(body.get("metadata") or {}), "name": node.name, "labels": dict(node.labels)},
        "spec": spec,
        "status": {
            "addresses": [{"type": "InternalIP", "address": node.ip}, {"type": "Hostname", "address": node.name}],
            "capacity": CAPACITY | pods, "allocatable": ALLOCATABLE | pods,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "nodeInfo": {  # All are required. A node's machine and boot are its own; its kernel is the host's.
                "machineID": uid, "systemUUID": uid, "bootID": uid, "kernelVersion": "", "osImage": "nslab",
                "containerRuntimeVersion": version, "kubeletVersion": version, "kubeProxyVersion": version,
                "operatingSystem": "linux", "architecture": node.labels.get("kubernetes.io/arch", ""),
            },
        },
    }


def service_object(service: Service) -> Body:
    """A Service with what it was given: ClusterIP, NodePorts, health check port and VIP."""
    body = service.body
    spec: Body = dict(body["spec"])
    if service.cluster_ip:
        spec |= {"clusterIP": service.cluster_ip, "clusterIPs": [service.cluster_ip]}
    if service.ports:
        spec["ports"] = [
            _with_node_port(written, port.node_port)
            for written, port in zip(spec["ports"], service.ports, strict=True)
        ]
    if service.health_check_node_port:
        spec["healthCheckNodePort"] = service.health_check_node_port
    balancer: dict[str, Any] = {}
    if service.load_balancer_ips:
        balancer["ingress"] = [{"ip": address, "ipMode": "VIP"} for address in service.load_balancer_ips]
    return {**body, "apiVersion": "v1", "kind": "Service", "spec": spec, "status": {"loadBalancer": balancer}}


def _with_node_port(port: Body, number: int) -> Body:
    """A port with the NodePort that it has: one that was of another type keeps none."""
    written = {key: value for key, value in port.items() if key != "nodePort"}
    return {**written, "nodePort": number} if number else written


def _identified(body: Body, created: str) -> Body:
    """With the uid, and the time if there is one, that every object of an API server has."""
    metadata = dict(body["metadata"])
    identity = f"{body['kind']}/{metadata.get('namespace', '')}/{metadata['name']}"
    metadata.setdefault("uid", object_uid(identity))
    if not created:
        return {**body, "metadata": metadata}
    metadata.setdefault("creationTimestamp", created)
    if body["kind"] != "Pod":
        return {**body, "metadata": metadata}
    status = {**body["status"], "startTime": created}
    for field in ("containerStatuses", "initContainerStatuses"):
        if field in status:
            status[field] = [
                {**item, "state": {"running": {"startedAt": created}}} if "running" in item["state"] else item
                for item in status[field]
            ]
    return {**body, "metadata": metadata, "status": status}
