"""The defaults that the API server writes into objects (k8s.io/kubernetes pkg/apis/*/v1/defaults.go), as far as the
network or a reader of `-o yaml` depends on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from nslab.api.kinds import Kind
from nslab.api.objects import Body

WORKLOADS: Final = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Job")
"""Kinds that make Pods from `spec.template`."""

_ROLLING_UPDATE: Final[dict[str, Body]] = {
    "Deployment": {"maxSurge": "25%", "maxUnavailable": "25%"},
    "DaemonSet": {"maxSurge": 0, "maxUnavailable": 1},
    "StatefulSet": {"partition": 0},
}
"""The defaults of a rolling update's parameters."""

_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")


def set_defaults(kind: Kind, body: Body) -> None:
    """Fill in, in place, the defaults of an object whose fields have the right types."""
    if body["apiVersion"] in kind.versions[1:]:
        body["apiVersion"] = kind.api_version
    metadata = body.setdefault("metadata", {})
    if kind.namespaced:
        metadata.setdefault("namespace", "default")
    special = _DEFAULTS.get(kind.name)
    if special:
        special(body)
    if kind.name in WORKLOADS:
        _workload(kind.name, body.setdefault("spec", {}))


def containers_of(pod_spec: Body) -> Iterator[tuple[str, int, Body]]:
    """(field, index, container) of every container of a Pod's spec that stays: plain ones, and sidecars, which are
    init containers with `restartPolicy: Always` (KEP-753)."""
    for index, container in enumerate(pod_spec.get("containers", ())):
        yield "containers", index, container
    for index, container in enumerate(pod_spec.get("initContainers", ())):
        if container.get("restartPolicy") == "Always":
            yield "initContainers", index, container


def _namespace(body: Body) -> None:
    labels = body["metadata"].setdefault("labels", {})
    labels.setdefault("kubernetes.io/metadata.name", body["metadata"].get("name", ""))


def _pod(body: Body) -> None:
    _pod_spec(body.setdefault("spec", {}))


def _pod_spec(spec: Body) -> None:
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("enableServiceLinks", True)
    host_network = spec.get("hostNetwork", False)
    for field in ("initContainers", "containers"):
        for container in spec.get(field, ()):
            for port in container.get("ports", ()):
                port.setdefault("protocol", "TCP")
                if host_network and "containerPort" in port:
                    port.setdefault("hostPort", port["containerPort"])
            for name in _PROBES:
                if name in container:
                    _probe(container[name])


def _probe(probe: Body) -> None:
    probe.setdefault("timeoutSeconds", 1)
    probe.setdefault("periodSeconds", 10)
    probe.setdefault("successThreshold", 1)
    probe.setdefault("failureThreshold", 3)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("path", "/")
        probe["httpGet"].setdefault("scheme", "HTTP")


def _workload(kind: str, spec: Body) -> None:
    if kind not in ("DaemonSet", "Job"):
        spec.setdefault("replicas", 1)
    if kind in ("Deployment", "StatefulSet", "DaemonSet"):
        _rollout(kind, spec)
    if kind == "Job":
        if "parallelism" not in spec:
            spec.setdefault("completions", 1)
        spec.setdefault("parallelism", 1)
        spec.setdefault("completionMode", "NonIndexed")
        spec.setdefault("backoffLimit", 6)
        spec.setdefault("suspend", False)
    if kind == "StatefulSet":
        spec.setdefault("podManagementPolicy", "OrderedReady")
    template = spec.get("template")
    if template is None:
        return
    template.setdefault("metadata", {})
    _pod_spec(template.setdefault("spec", {}))
    labels = template["metadata"].get("labels")
    if kind == "ReplicationController" and labels:
        spec.setdefault("selector", dict(labels))


def _rollout(kind: str, spec: Body) -> None:
    """How a changed template reaches the Pods: `kubectl rollout` looks at it."""
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("strategy" if kind == "Deployment" else "updateStrategy", {})
    rolls = strategy.setdefault("type", "RollingUpdate") == "RollingUpdate"
    if kind == "Deployment":
        spec.setdefault("progressDeadlineSeconds", 600)
    if rolls:
        strategy["rollingUpdate"] = _ROLLING_UPDATE[kind] | (strategy.get("rollingUpdate") or {})


def retired_selector(body: Body) -> None:
    """Fill in the selector of a workload of an apiVersion that took it from the Pod template (extensions/v1beta1)."""
    spec = body.get("spec", {})
    labels = spec.get("template", {}).get("metadata", {}).get("labels")
    if labels:
        spec.setdefault("selector", {"matchLabels": dict(labels)})


def _service(body: Body) -> None:
    spec = body.setdefault("spec", {})
    kind = spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP":
        client_ip = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client_ip.setdefault("timeoutSeconds", 10800)
    for port in spec.get("ports", ()):
        port.setdefault("protocol", "TCP")
        if "port" in port:
            port.setdefault("targetPort", port["port"])
    if kind == "ExternalName":
        return
    spec.setdefault("internalTrafficPolicy", "Cluster")
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if kind in ("NodePort", "LoadBalancer") or spec.get("externalIPs"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if spec.get("clusterIP"):
        spec.setdefault("clusterIPs", [spec["clusterIP"]])


def _endpoints(body: Body) -> None:
    for subset in body.get("subsets", ()):
        for port in subset.get("ports", ()):
            port.setdefault("protocol", "TCP")


def _endpoint_slice(body: Body) -> None:
    for port in body.get("ports", ()):
        port.setdefault("protocol", "TCP")
        port.setdefault("name", "")


def _network_policy(body: Body) -> None:
    spec = body.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    spec.setdefault("policyTypes", ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction, ()):
            for port in rule.get("ports", ()):
                port.setdefault("protocol", "TCP")


def _secret(body: Body) -> None:
    """`stringData` is write-only: it ends in `data`, encoded (core/v1 Secret)."""
    from base64 import b64encode

    body.setdefault("type", "Opaque")
    plain = body.pop("stringData", {})
    if plain:
        data = body.setdefault("data", {})
        data.update({key: b64encode(value.encode()).decode() for key, value in plain.items()})


_DEFAULTS: Final[dict[str, Callable[[Body], Any]]] = {
    "Namespace": _namespace,
    "Pod": _pod,
    "Service": _service,
    "Endpoints": _endpoints,
    "EndpointSlice": _endpoint_slice,
    "NetworkPolicy": _network_policy,
    "Secret": _secret,
}
