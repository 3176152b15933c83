"""Objects and leases become a Cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from nslab.api.objects import Manifest, Object
from nslab.cluster import containers, hosts, ipam, scheduling, services, workloads
from nslab.cluster.endpoints import EndpointSource, LabelIndex
from nslab.cluster.faults import faults
from nslab.cluster.ipv4 import to_text
from nslab.cluster.model import Cluster, Container, ContainerPort, Leases, Node, Pod, Service
from nslab.cluster.naming import object_uid
from nslab.cluster.workloads import PendingPod, Template

_Target = tuple[int, str]


def allocate(manifest: Manifest, leases: Leases, ready: Mapping[str, bool] | None = None) -> Cluster:
    """The Cluster of these objects: the same for the same objects and leases.

    What holds a lease keeps it; leases that no object holds any more are given up. `ready` maps Pod keys to
    readiness: a Pod missing there is ready unless a readiness or startup probe has yet to say so.
    Raises CapacityError where a range, a node or an asked-for address has no room.
    """
    lab, objects = manifest.lab, manifest.objects
    service_objects = [item for item in objects if item.kind == "Service"]
    cursors = dict(leases.cursors)
    given = hosts.addresses(lab, service_objects, leases, cursors)
    nodes = hosts.nodes(lab, objects, given, leases.pod_ranges)
    clients = hosts.clients(lab, given)
    grants = _service_grants(manifest, service_objects, given, leases, cursors)

    pending = list(workloads.expand(objects, nodes.values(), scheduling.admits))
    places = scheduling.place(pending, nodes, lab.cluster.max_pods_per_node, leases.pod_nodes)
    index = LabelIndex(pending)
    selected = {
        services.key(item): index.select(item.namespace, item.body["spec"].get("selector") or {})
        for item in service_objects
    }
    inferred, warnings = _infer_ports(pending, service_objects, selected)
    pods, pod_ips = _pods(manifest, pending, places, nodes, inferred, ready or {}, leases, cursors)

    endpoints = EndpointSource(pods, nodes, selected, objects)
    return Cluster(
        lab, objects, nodes, {pod.key: pod for pod in pods},
        {services.key(item): services.build(item, grants, endpoints.of) for item in service_objects}, clients,
        Leases(
            {node.name: node.ip for node in nodes.values()},
            {node.name: node.pod_range for node in nodes.values()},
            {f"{pod.key}#{pod.digest}": place for pod, place in zip(pending, places, strict=True)},
            _texts(pod_ips), _texts(grants.cluster_ips), dict(grants.node_ports), _texts(grants.load_balancer_ips),
            {client.name: client.ip for client in clients.values()}, dict(grants.numbers), cursors,
        ),
        manifest.warnings + warnings,
        faults(objects),
    )


def _texts(addresses: Mapping[str, int]) -> dict[str, str]:
    return {holder: to_text(address) for holder, address in addresses.items()}


def with_readiness(cluster: Cluster, ready: Mapping[str, bool]) -> Cluster:
    """The same Cluster with the readiness of the Pods in `ready` (Pod key to Ready condition), and with it the
    endpoints of the Services that select them. Keys that no Pod has are ignored; leases, names and order stay.
    This is the hot path of one endpoint's change: only what the changed Pods stand behind is touched.

    The very same object comes back where nothing differs.
    """
    changed = {
        key: state for key, state in ready.items() if key in cluster.pods and cluster.pods[key].ready != state
    }
    if not changed:
        return cluster
    pods = dict(cluster.pods)
    for key, state in changed.items():
        pods[key] = replace(pods[key], ready=state)
    behind = dict(cluster.services)
    touched = {service: None for key in changed for service in cluster.services_by_pod.get(key, ())}
    for key in touched:
        behind[key] = _with_endpoints(behind[key], changed)
    after = replace(cluster, pods=pods, services=behind)
    # Which Services select which Pods does not depend on readiness: the index is carried over.
    after.__dict__["services_by_pod"] = cluster.services_by_pod
    return after


def _with_endpoints(service: Service, changed: Mapping[str, bool]) -> Service:
    ports = []
    for port in service.ports:
        endpoints = tuple(
            replace(
                endpoint, serving=changed[endpoint.pod],
                ready=(changed[endpoint.pod] and not endpoint.terminating) or service.publish_not_ready,
            ) if endpoint.pod in changed else endpoint
            for endpoint in port.endpoints
        )
        ports.append(replace(port, endpoints=endpoints))
    return replace(service, ports=tuple(ports))


def _pods(
    manifest: Manifest, pending: Sequence[PendingPod], places: Sequence[str], nodes: Mapping[str, Node],
    inferred: Mapping[int, Sequence[_Target]], ready: Mapping[str, bool], leases: Leases, cursors: dict[str, str],
) -> tuple[list[Pod], dict[str, int]]:
    """The Pods in order, and the address of each that has its own, by Pod key + "#" + uid."""
    uids = [_uid(pod, nodes[place]) for pod, place in zip(pending, places, strict=True)]
    ips = _pod_ips(pending, places, uids, nodes, leases, cursors)
    values = containers.contents(manifest.objects)
    pods = [
        _pod(pod, nodes[place], uid, ips.get(f"{pod.key}#{uid}"), inferred.get(position), values, ready)
        for position, (pod, place, uid) in enumerate(zip(pending, places, uids, strict=True))
    ]
    return pods, ips


def _uid(pod: PendingPod, node: Node) -> str:
    """A Pod never moves: on another node, or once its address can no longer be had there, it is another Pod."""
    network = node.ip if pod.template.host_network else node.pod_range
    return pod.template.uid or object_uid(f"{pod.digest}@{node.name} {network}")


def _pod_ips(
    pending: Sequence[PendingPod], places: Sequence[str], uids: Sequence[str], nodes: Mapping[str, Node],
    leases: Leases, cursors: dict[str, str],
) -> dict[str, int]:
    """The address of every Pod that has one of its own, by Pod key + "#" + uid."""
    requests: dict[str, list[ipam.Request]] = {name: [] for name in nodes}
    for pod, place, uid in zip(pending, places, uids, strict=True):
        if not pod.template.host_network:
            requests[place].append(ipam.Request(f"{pod.key}#{uid}", None, pod.template.where))
    held = ipam.addresses(leases.pod_ips)
    given: dict[str, int] = {}
    for node in nodes.values():
        pool = ipam.pod_pool(node.name, node.pod_range, ipam.cursor(cursors, node.pod_range))
        given |= pool.grant(requests[node.name], held)
        ipam.remember(cursors, node.pod_range, pool)
    return given


def _pod(
    pod: PendingPod, node: Node, uid: str, ip: int | None, targets: Sequence[_Target] | None,
    values: containers.Values, ready: Mapping[str, bool],
) -> Pod:
    template = pod.template
    address = node.ip if ip is None else to_text(ip)
    parts = template.containers
    if template.dynamic:
        fields = containers.PodFields(
            pod.name, pod.namespace, uid, node.name, address, node.ip,
            template.spec.get("serviceAccountName") or "default", pod.labels,
            template.metadata.get("annotations") or {},
        )
        bodies = containers.running(template.spec)
        parts = tuple(
            containers.resolve(part, body, fields, values) for part, body in zip(parts, bodies, strict=True)
        )
    if targets:
        parts = _listening(parts, targets)
    return Pod(
        pod.namespace, pod.name, uid, address, node.name, pod.labels, parts, template.host_network, pod.owner,
        bool(targets), ready.get(pod.key, not template.gated), template.body, template.terminating,
    )


def _listening(parts: tuple[Container, ...], targets: Sequence[_Target]) -> tuple[Container, ...]:
    """The containers, the first of the responder's with the inferred ports."""
    ports = tuple(ContainerPort(port, protocol) for port, protocol in targets)
    chosen = next(part for part in parts if part.image != containers.HOST_IMAGE)
    return tuple(replace(part, ports=ports) if part is chosen else part for part in parts)


def _infer_ports(
    pending: Sequence[PendingPod], service_objects: Iterable[Object], selected: Mapping[str, Sequence[int]]
) -> tuple[dict[int, list[_Target]], tuple[str, ...]]:
    """For each Pod (by position) that declares no port the target ports of the Services that select it, and a
    warning for each workload that this concerns."""
    inferred: dict[int, list[_Target]] = {}
    silent = [not pod.is_static and _is_silent(pod.template) for pod in pending]
    if not any(silent):
        return inferred, ()
    for item in service_objects:
        for port in item.body["spec"].get("ports") or ():
            target = port.get("targetPort", port["port"])
            if not isinstance(target, int):
                continue
            for position in selected[services.key(item)]:
                targets = inferred.setdefault(position, []) if silent[position] else None
                if targets is not None and (target, port.get("protocol", "TCP")) not in targets:
                    targets.append((target, port.get("protocol", "TCP")))
    told: dict[Template, str] = {}
    for position, targets in inferred.items():
        owner = pending[position].template.owner
        text = ", ".join(f"{port}/{protocol}" for port, protocol in targets)
        place = f"{owner.where}: " if owner.where else ""
        told[pending[position].template] = (
            f"{place}{owner.reference}: no container declares a port; it listens on {text}, the target ports of the "
            "Services that select it"
        )
    return inferred, tuple(told.values())


def _is_silent(template: Template) -> bool:
    """Whether no container declares a port and the responder serves one of them."""
    parts = template.containers
    return not any(part.ports for part in parts) and any(part.image != containers.HOST_IMAGE for part in parts)


def _service_grants(
    manifest: Manifest, items: Sequence[Object], given: Mapping[str, int], leases: Leases, cursors: dict[str, str]
) -> services.Grants:
    vpc = manifest.lab.vpc
    fixed = ipam.service_addresses(vpc.service_range)
    present = {services.key(item) for item in items}
    kept = [address for service, address in fixed.items() if service not in present]
    cluster = ipam.service_pool(vpc.service_range, ipam.cursor(cursors, vpc.service_range), kept)
    cluster_ips = cluster.grant(services.cluster_ip_requests(items, fixed), ipam.addresses(leases.cluster_ips))
    ipam.remember(cursors, vpc.service_range, cluster)

    external = ipam.external_pool(vpc.external_range, ipam.cursor(cursors, vpc.external_range))
    vips = external.grant(
        services.load_balancer_requests(items, "external"), ipam.addresses(leases.load_balancer_ips)
    )
    ipam.remember(cursors, vpc.external_range, external)

    ports = ipam.node_port_pool(ipam.cursor(cursors, "nodePorts"))
    shared = list(services.node_port_requests(items))
    first = ports.grant((request for request, _ in shared), leases.node_ports)
    node_ports = {holder: first[request.holder] for request, holders in shared for holder in holders}
    ipam.remember(cursors, "nodePorts", ports)

    pool = ipam.number_pool(ipam.cursor(cursors, "serviceNumbers"))
    numbers = pool.grant(services.number_requests(items), leases.service_numbers)
    ipam.remember(cursors, "serviceNumbers", pool)
    internal = services.load_balancer_requests(items, "internal")
    vips |= {request.holder: given[f"Service {request.holder}"] for request in internal}
    return services.Grants(cluster_ips, node_ports, vips, numbers)
