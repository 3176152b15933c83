"""The columns of kubectl's tables, kind by kind, read from Kubernetes objects as the API server's printer does.

Headings, order, abbreviations and limits are those of pkg/printers/internalversion/printers.go, so that eyes and
scripts used to kubectl find everything where it was. Nodes of a lab have no kubelet; `faults`, `routes` and
`clients` are nslab's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nslab.api import notation
from nslab.api.notation import NONE

Body = dict[str, Any]
Cell = Callable[[Body, float], str]

MAX_ENDPOINTS = 3


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and how to read its cell from an object and the present moment (Unix time); `wide` ones only show
    with `-o wide`."""

    heading: str
    cell: Cell
    wide: bool = False


def dig(body: Any, *path: str) -> Any:
    """The value at `path` of nested mappings, None where any of them is missing."""
    for key in path:
        if not isinstance(body, dict):
            return None
        body = body.get(key)
    return body


def field(*path: str, default: str = "") -> Cell:
    """A cell that is one field of the object, `default` where it is missing or empty."""
    return lambda body, now: _text(dig(body, *path), default)


def number(*path: str) -> Cell:
    """A cell that is a number, 0 where it is missing."""
    return lambda body, now: str(dig(body, *path) or 0)


def ratio(part: tuple[str, ...], whole: tuple[str, ...]) -> Cell:
    """A cell `part/whole` of two numbers."""
    return lambda body, now: f"{dig(body, *part) or 0}/{dig(body, *whole) or 0}"


def age(body: Body, now: float) -> str:
    created = dig(body, "metadata", "creationTimestamp")
    return notation.age(now - timestamp(created)) if created else "<unknown>"


def timestamp(text: str) -> float:
    """The Unix time of an RFC 3339 text."""
    return datetime.fromisoformat(text).timestamp()


def limited(items: Sequence[str], empty: str) -> str:
    """At most three items and how many more there are: `a,b,c + 2 more...`."""
    text = ",".join(items[:MAX_ENDPOINTS])
    more = len(items) - MAX_ENDPOINTS
    return f"{text} + {more} more..." if more > 0 else text or empty


def selector(body: Body, now: float) -> str:
    """A label selector as text; a ReplicationController's is a plain mapping."""
    wanted = dig(body, "spec", "selector") or {}
    if body["kind"] == "ReplicationController":
        return notation.labels(wanted)
    parts = [f"{key}={value}" for key, value in sorted((wanted.get("matchLabels") or {}).items())]
    return ",".join([*parts, *map(expression, wanted.get("matchExpressions") or [])]) or NONE


def expression(requirement: Body) -> str:
    """One of `matchExpressions` as kubectl writes it: `tier in (a,b)`, `!tier`."""
    key, operator = requirement["key"], requirement["operator"]
    values = f"({','.join(sorted(requirement.get('values') or []))})"
    return {"In": f"{key} in {values}", "NotIn": f"{key} notin {values}", "Exists": f"{key}"}.get(operator, f"!{key}")


def containers(body: Body) -> list[Body]:
    return dig(body, "spec", "template", "spec", "containers") or []


def _text(value: Any, default: str) -> str:
    return str(value) if value not in (None, "") else default


# Pods


def container_statuses(body: Body) -> list[Body]:
    return dig(body, "status", "containerStatuses") or []


def pod_ready(body: Body, now: float) -> str:
    total = len(dig(body, "spec", "containers") or [])
    return f"{sum(1 for status in container_statuses(body) if status.get('ready'))}/{total}"


def pod_status(body: Body, now: float) -> str:
    """The phase, unless a container waits or ended for a reason of its own (CrashLoopBackOff, Error)."""
    if dig(body, "metadata", "deletionTimestamp"):
        return "Terminating"
    for status in reversed(container_statuses(body)):
        state = status.get("state") or {}
        reason = dig(state, "waiting", "reason") or dig(state, "terminated", "reason")
        if reason:
            return str(reason)
    return str(dig(body, "status", "reason") or dig(body, "status", "phase") or "Unknown")


def pod_restarts(body: Body, now: float) -> str:
    statuses = container_statuses(body)
    restarts = sum(status.get("restartCount", 0) for status in statuses)
    ends = [dig(status, "lastState", "terminated", "finishedAt") for status in statuses]
    last = max((timestamp(end) for end in ends if end), default=None)
    return f"{restarts} ({notation.age(now - last)} ago)" if restarts and last is not None else str(restarts)


# Services, Endpoints and EndpointSlices


def service_external_ip(body: Body, now: float) -> str:
    spec = body.get("spec") or {}
    external = list(spec.get("externalIPs") or [])
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    if spec.get("type") != "LoadBalancer":
        return ",".join(external) or NONE
    ingress = dig(body, "status", "loadBalancer", "ingress") or []
    addresses = ",".join(sorted({entry.get("ip") or entry.get("hostname", "") for entry in ingress}))
    return ",".join(filter(None, [addresses, *external])) or "<pending>"


def service_ports(body: Body, now: float) -> str:
    ports = dig(body, "spec", "ports") or []
    return ",".join(
        f"{port['port']}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port.get('protocol', 'TCP')}"
        for port in ports
    ) or NONE


def endpoints(body: Body, now: float) -> str:
    addresses: list[str] = []
    for subset in body.get("subsets") or []:
        ips = [address["ip"] for address in subset.get("addresses") or []]
        ports = subset.get("ports") or []
        addresses += [f"{ip}:{port['port']}" for port in ports for ip in ips] if ports else ips
    return limited(addresses, NONE)


def slice_ports(body: Body, now: float) -> str:
    return limited([str(port.get("port") or "*") for port in body.get("ports") or []], "<unset>")


def slice_endpoints(body: Body, now: float) -> str:
    entries = body.get("endpoints") or []
    return limited([address for entry in entries for address in entry.get("addresses") or []], "<unset>")


# Nodes


def node_status(body: Body, now: float) -> str:
    conditions = {condition["type"]: condition["status"] for condition in dig(body, "status", "conditions") or []}
    ready = {"True": "Ready", None: "Unknown"}.get(conditions.get("Ready"), "NotReady")
    return f"{ready},SchedulingDisabled" if dig(body, "spec", "unschedulable") else ready


def node_roles(body: Body, now: float) -> str:
    mark = "node-role.kubernetes.io/"
    keys = dig(body, "metadata", "labels") or {}
    return ",".join(sorted(key.removeprefix(mark) for key in keys if key.startswith(mark))) or NONE


def node_address(kind: str) -> Cell:
    def cell(body: Body, now: float) -> str:
        addresses = dig(body, "status", "addresses") or []
        return next((str(address["address"]) for address in addresses if address["type"] == kind), NONE)

    return cell


# Jobs


def job_status(body: Body, now: float) -> str:
    conditions = dig(body, "status", "conditions") or []
    return next((str(condition["type"]) for condition in conditions if condition["status"] == "True"), "Running")


def job_completions(body: Body, now: float) -> str:
    """How many of how many; a work queue has no number of its own, only that of its workers."""
    done, whole = dig(body, "status", "succeeded") or 0, dig(body, "spec", "completions")
    workers = dig(body, "spec", "parallelism") or 0
    return f"{done}/{whole}" if whole is not None else f"{done}/1 of {workers}" if workers > 1 else f"{done}/1"


def job_duration(body: Body, now: float) -> str:
    begin, end = dig(body, "status", "startTime"), dig(body, "status", "completionTime")
    return notation.age((timestamp(end) if end else now) - timestamp(begin)) if begin else ""


def replicas_ready(*whole: str) -> Cell:
    return ratio(("status", "readyReplicas"), whole)


def _joined(values: Iterable[str]) -> str:
    return ",".join(values) or NONE


NAME = Column("NAME", field("metadata", "name"))
NAMESPACE = Column("NAMESPACE", field("metadata", "namespace"))
AGE = Column("AGE", age)
SELECTOR = Column("SELECTOR", selector, wide=True)
CONTAINERS = (
    Column("CONTAINERS", lambda body, now: _joined(entry["name"] for entry in containers(body)), wide=True),
    Column("IMAGES", lambda body, now: _joined(entry.get("image", "") for entry in containers(body)), wide=True),
)
REPLICATED = (
    NAME,
    Column("DESIRED", number("spec", "replicas")),
    Column("CURRENT", number("status", "replicas")),
    Column("READY", number("status", "readyReplicas")),
    AGE, *CONTAINERS, SELECTOR,
)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "nodes": (
        NAME,
        Column("STATUS", node_status),
        Column("ROLES", node_roles),
        AGE,
        Column("VERSION", field("status", "nodeInfo", "kubeletVersion")),
        Column("INTERNAL-IP", node_address("InternalIP"), wide=True),
        Column("EXTERNAL-IP", node_address("ExternalIP"), wide=True),
        Column("OS-IMAGE", field("status", "nodeInfo", "osImage", default="<unknown>"), wide=True),
        Column("KERNEL-VERSION", field("status", "nodeInfo", "kernelVersion", default="<unknown>"), wide=True),
        Column("CONTAINER-RUNTIME", field("status", "nodeInfo", "containerRuntimeVersion", default="<unknown>"),
               wide=True),
    ),
    "pods": (
        NAME,
        Column("READY", pod_ready),
        Column("STATUS", pod_status),
        Column("RESTARTS", pod_restarts),
        AGE,
        Column("IP", field("status", "podIP", default=NONE), wide=True),
        Column("NODE", field("spec", "nodeName", default=NONE), wide=True),
        Column("NOMINATED NODE", field("status", "nominatedNodeName", default=NONE), wide=True),
        Column("READINESS GATES", lambda body, now: NONE, wide=True),
    ),
    "services": (
        NAME,
        Column("TYPE", field("spec", "type", default="ClusterIP")),
        Column("CLUSTER-IP", field("spec", "clusterIP", default=NONE)),
        Column("EXTERNAL-IP", service_external_ip),
        Column("PORT(S)", service_ports),
        AGE,
        Column("SELECTOR", lambda body, now: notation.labels(dig(body, "spec", "selector") or {}), wide=True),
    ),
    "endpoints": (NAME, Column("ENDPOINTS", endpoints), AGE),
    "endpointslices": (
        NAME,
        Column("ADDRESSTYPE", field("addressType")),
        Column("PORTS", slice_ports),
        Column("ENDPOINTS", slice_endpoints),
        AGE,
    ),
    "deployments": (
        NAME,
        Column("READY", replicas_ready("spec", "replicas")),
        Column("UP-TO-DATE", number("status", "updatedReplicas")),
        Column("AVAILABLE", number("status", "availableReplicas")),
        AGE, *CONTAINERS, SELECTOR,
    ),
    "replicasets": REPLICATED,
    "replicationcontrollers": REPLICATED,
    "statefulsets": (NAME, Column("READY", replicas_ready("spec", "replicas")), AGE, *CONTAINERS),
    "daemonsets": (
        NAME,
        Column("DESIRED", number("status", "desiredNumberScheduled")),
        Column("CURRENT", number("status", "currentNumberScheduled")),
        Column("READY", number("status", "numberReady")),
        Column("UP-TO-DATE", number("status", "updatedNumberScheduled")),
        Column("AVAILABLE", number("status", "numberAvailable")),
        Column("NODE SELECTOR",
               lambda body, now: notation.labels(dig(body, "spec", "template", "spec", "nodeSelector") or {})),
        AGE, *CONTAINERS, SELECTOR,
    ),
    "jobs": (
        NAME,
        Column("STATUS", job_status),
        Column("COMPLETIONS", job_completions),
        Column("DURATION", job_duration),
        AGE, *CONTAINERS, SELECTOR,
    ),
    "namespaces": (NAME, Column("STATUS", field("status", "phase", default="Active")), AGE),
    "clients": (
        NAME,
        Column("NETWORK", field("spec", "network")),
        Column("IP", field("status", "ip")),
        AGE,
    ),
    "faults": (
        NAME,
        Column("TARGET", field("spec", "target")),
        Column("EFFECT", field("spec", "effect")),
        Column("VALUE", field("spec", "value")),
        AGE,
    ),
    "routes": (
        NAME,
        Column("DEST_RANGE", field("spec", "destRange")),
        Column("NEXT_HOP", field("spec", "nextHop")),
        Column("KIND", field("spec", "kind")),
    ),
}
