"""`nslab describe`: all that a lab knows of one object, for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import click

from nslab.cli import columns
from nslab.cli.columns import NONE
from nslab.cli.options import complete_references, lab_option
from nslab.cluster import naming
from nslab.errors import UsageError

if TYPE_CHECKING:
    from nslab.agent.client import Snapshot
    from nslab.cluster.model import Cluster, Container, Pod, ServicePort

Field = tuple[str, str | Sequence[str]]
"""A label and its value; a sequence stands one below the other."""


@click.command(short_help="Describe one object.")
@click.argument("reference", metavar="REF", shell_complete=complete_references("pod", "svc", "node", "client"))
@lab_option
def describe(reference: str, lab: str | None) -> None:
    """Describe a Pod, Service, node, client or workload: pod/NAME, svc/NAMESPACE/NAME, node/NAME, deploy/NAME .."""
    from nslab.agent import client
    from nslab.check.references import keys, parse

    parsed = parse(reference)
    if parsed.kind in ("netpol", "ingress"):
        raise UsageError(f"{reference}: this version of nslab cannot describe that",
                         hint="it describes pod/, svc/, node/, client/ and workloads such as deploy/")
    snapshot = client.snapshot(client.pick(lab))
    texts = [render(snapshot, parsed.kind, key) for key in keys(snapshot.cluster, parsed)]
    click.echo("\n\n".join(texts), nl=False)


def render(snapshot: Snapshot, kind: str, key: str) -> str:
    """The description of one object; `kind` is a Reference's kind, `key` its NAMESPACE/NAME or NAME."""
    describers: dict[str, Callable[[Snapshot, str], list[Field]]] = {
        "pod": pod, "svc": service, "node": node, "client": client_host,
    }
    fields = describers[kind](snapshot, key) if kind in describers else workload(snapshot, kind, key)
    return layout(fields)


def layout(fields: Iterable[Field]) -> str:
    """Labels to the left, values in one column, as kubectl describe lays them out."""
    rows = []
    for label, value in fields:
        lines = [value] if isinstance(value, str) else list(value) or [NONE]
        rows += [(f"{label}:" if label and index == 0 else "", line) for index, line in enumerate(lines)]
    return columns.table([], rows, padding=2)


def pod(snapshot: Snapshot, key: str) -> list[Field]:
    cluster = snapshot.cluster
    it = cluster.pods[key]
    owner = "/".join(it.owner) if it.owner[0] else NONE
    return [
        ("Name", it.name),
        ("Namespace", it.namespace),
        ("Node", f"{it.node}/{cluster.nodes[it.node].ip}"),
        ("Labels", _labels(it.labels)),
        ("Ready", str(it.ready)),
        *_faults(cluster, f"pod/{key}"),
        ("Restarts", str(snapshot.restarts.get(key, 0))),
        ("IP", f"{it.ip} (its node's: hostNetwork)" if it.host_network else it.ip),
        ("Controlled By", owner),
        ("Netns", naming.pod_netns(cluster.lab.name, it)),
        ("Containers", [_container(it, container) for container in it.containers]),
        ("Services", [f"svc/{service}" for service in cluster.services_by_pod.get(key, ())]),
    ]


def _container(it: Pod, container: Container) -> str:
    ports = ", ".join(
        f"{port.port}/{port.protocol}{f' ({port.name})' if port.name else ''}" for port in container.ports
    )
    inferred = ", inferred from its Services" if it.inferred_ports and ports else ""
    what = f"runs {' '.join(container.command)}" if container.command else container.image
    probes = f"; probes: {', '.join(container.probes)}" if container.probes else ""
    return f"{container.name}: {what}; {f'ports {ports}{inferred}' if ports else 'no ports'}{probes}"


def service(snapshot: Snapshot, key: str) -> list[Field]:
    it = snapshot.cluster.services[key]
    affinity = f"ClientIP, {it.affinity_timeout} s" if it.affinity_timeout else "None"
    fields: list[Field] = [
        ("Name", it.name),
        ("Namespace", it.namespace),
        ("Selector", columns.labels(it.selector)),
        ("Type", it.type),
    ]
    if it.external_name:
        return [*fields, ("External Name", it.external_name)]
    fields += [
        ("IP", it.cluster_ip or "None"),
        ("External IPs", ", ".join(it.external_ips) or NONE),
        ("LoadBalancer IPs", ", ".join(it.load_balancer_ips) or NONE),
    ]
    for port in it.ports:
        fields += _service_port(port)
    return [
        *fields,
        ("Session Affinity", affinity),
        ("Internal Traffic Policy", it.internal_traffic_policy),
        ("External Traffic Policy", it.external_traffic_policy),
        ("Its rules", f"nslab rules svc/{key}"),
    ]


def _service_port(port: ServicePort) -> list[Field]:
    name = f"{port.name}  " if port.name else ""
    fields: list[Field] = [
        ("Port", f"{name}{port.port}/{port.protocol}"),
        ("TargetPort", f"{port.target_port}/{port.protocol}"),
    ]
    if port.node_port:
        fields.append(("NodePort", f"{port.node_port}/{port.protocol}"))
    return [*fields, ("Endpoints", [
        f"{endpoint.ip}:{endpoint.port}{f'  pod/{endpoint.pod}' if endpoint.pod else ''}"
        f"{f' on {endpoint.node}' if endpoint.node else ''}{'' if endpoint.ready else '  not ready'}"
        for endpoint in port.endpoints
    ])]


def node(snapshot: Snapshot, key: str) -> list[Field]:
    cluster = snapshot.cluster
    it = cluster.nodes[key]
    pods = cluster.pods_by_node[key]
    return [
        ("Name", it.name),
        ("Labels", _labels(it.labels)),
        ("Zone", it.zone or NONE),
        ("Taints", [f"{taint.key}={taint.value}:{taint.effect}" for taint in it.taints]),
        ("Unschedulable", str(it.unschedulable)),
        *_faults(cluster, f"node/{key}"),
        ("InternalIP", it.ip),
        ("PodCIDR", it.pod_range),
        ("Netns", naming.node_netns(cluster.lab.name, key)),
        ("Pods", f"{len(pods)} of {cluster.lab.cluster.max_pods_per_node}"),
        ("", [_pod_line(it) for it in pods]),
    ]


def client_host(snapshot: Snapshot, key: str) -> list[Field]:
    cluster = snapshot.cluster
    it = cluster.clients[key]
    return [
        ("Name", it.name), ("Network", it.network), ("IP", it.ip), *_faults(cluster, f"client/{key}"),
        ("Netns", naming.client_netns(cluster.lab.name, key)),
    ]


def workload(snapshot: Snapshot, kind: str, key: str) -> list[Field]:
    namespace, _, name = key.partition("/")
    pods = [
        it for it in snapshot.cluster.pods.values() if it.namespace == namespace and it.owner == (kind, name)
    ]
    return [
        ("Name", name),
        ("Namespace", namespace),
        ("Kind", kind),
        ("Pods", f"{len(pods)}, {sum(it.ready for it in pods)} ready"),
        ("", [_pod_line(it) for it in pods]),
    ]


def _faults(cluster: Cluster, target: str) -> list[Field]:
    """What of the target is broken on purpose; no line where nothing is."""
    effects = cluster.faults_of.get(target, {})
    told = [" ".join(filter(None, (effect, value))) for effect, value in effects.items()]
    return [("Faults", ", ".join(told))] if told else []


def _pod_line(it: Pod) -> str:
    return f"pod/{it.key}  {it.ip}{'' if it.ready else '  not ready'}"


def _labels(mapping: dict[str, str]) -> list[str]:
    return [f"{key}={mapping[key]}" for key in sorted(mapping)]
