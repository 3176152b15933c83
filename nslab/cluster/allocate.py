"""Objects and leases become a Cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from nslab.api.objects import Manifest, Object, VpcSpec
from nslab.cluster import containers, hosts, ipam, scheduling, services, workloads
from nslab.cluster.endpoints import EndpointSource, Label, LabelIndex, Places, written
from nslab.cluster.faults import faults, possible
from nslab.cluster.ipv4 import parse_range, to_int, to_text
from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster, Container, ContainerPort, Endpoint, Leases, Node, Pod, Service
from nslab.cluster.naming import object_uid
from nslab.cluster.workloads import PendingPod, Template

_Target = tuple[int, str]


def allocate(
    manifest: Manifest, leases: Leases, ready: Mapping[str, bool] | None = None, memo: Memo | None = None
) -> Cluster:
    """The Cluster of these objects: the same for the same objects and leases.

    What holds a lease keeps it; leases that no object holds any more are given up. `ready` maps Pod keys to
    readiness: a Pod missing there is ready unless a readiness or startup probe has yet to say so. Nodes, Pods and
    Services that are what they were the last time with this `memo` are the same objects.
    Raises CapacityError where a range, a node or an asked-for address has no room.
    """
    memo = memo or Memo()
    lab, objects = manifest.lab, manifest.objects
    service_objects = tuple(item for item in objects if item.kind == "Service")
    cursors = dict(leases.cursors)
    asked = memo.row("requests", [(item,) for item in service_objects], services.requests)
    given = hosts.addresses(lab, [each for one in asked for each in one.internal], leases, cursors)
    nodes = hosts.nodes(lab, objects, given, leases.pod_ranges, memo)
    clients = hosts.clients(lab, given)
    grants = _service_grants(lab.vpc, asked, given, leases, cursors, memo)

    pending = tuple(workloads.expand(objects, nodes.values(), scheduling.admits, memo))
    places = scheduling.place(pending, nodes, lab.cluster.max_pods_per_node, leases.pod_nodes)
    selected = _selected(pending, service_objects, memo)
    inferred, warnings = _infer_ports(pending, service_objects, selected)
    broken = faults(objects)
    ready = possible(ready or {}, broken)
    pods, pod_ips = _pods(manifest, pending, places, nodes, inferred, ready, leases, cursors, memo)
    return Cluster(
        lab, objects, nodes, dict(zip([pod.key for pod in pending], pods, strict=True)),
        _services(objects, service_objects, pods, selected, nodes, asked, grants, memo), clients,
        Leases(
            {node.name: node.ip for node in nodes.values()},
            {node.name: node.pod_range for node in nodes.values()},
            dict(zip([pod.lease for pod in pending], places, strict=True)),
            pod_ips, dict(grants.cluster_ips), dict(grants.node_ports), dict(grants.load_balancer_ips),
            {client.name: client.ip for client in clients.values()}, dict(grants.numbers), cursors,
        ),
        manifest.warnings + warnings,
        broken,
    )


def _selected(
    pending: Sequence[PendingPod], service_objects: tuple[Object, ...], memo: Memo
) -> Mapping[str, Sequence[int]]:
    """The positions of the Pods that each Service selects."""
    selectors = memo.row("selector", [(item,) for item in service_objects], _selector)
    index = memo.one("labels", (pending,), lambda: LabelIndex((pod.namespace, pod.labels) for pod in pending))
    return memo.one("selected", (selectors, index), lambda: {
        key: index.selected(labels) for key, labels in selectors
    })


def _selector(item: Object) -> tuple[str, tuple[Label, ...]]:
    """The key of a Service, and the labels that it wants of Pods; none select nothing."""
    selector = item.body["spec"].get("selector") or {}
    return services.key(item), tuple((item.namespace, *label) for label in selector.items())


def _services(
    objects: Iterable[Object], service_objects: Iterable[Object], pods: tuple[Pod, ...],
    selected: Mapping[str, Sequence[int]], nodes: Mapping[str, Node], asked: Sequence[services.Requests],
    grants: services.Grants, memo: Memo,
) -> dict[str, Service]:
    by_hand = written(objects)
    zones = {name: node.zone for name, node in nodes.items()}
    addresses = memo.row("own addresses", [(pod,) for pod in pods], _own_address) if by_hand else ()
    around = memo.one("places", (zones, addresses), lambda: Places(zones, dict(filter(None, addresses))))
    zoned = memo.one("zones", (zones,), lambda: Places(zones, {}))  # Pods that are selected bring their addresses
    given = memo.one("given", (asked, grants), lambda: [*map(grants.of, asked)])
    behind = memo.one("behind", (selected, pods), lambda: [
        tuple(map(pods.__getitem__, positions)) for positions in selected.values()
    ])
    together = zip(selected, service_objects, given, behind, strict=True)
    causes = [
        (item, granted, those, by_hand.get(key, ()), around if key in by_hand else zoned)
        for key, item, granted, those in together
    ]

    def build(item: Object, _: object, those: Iterable[Pod], hand_made: Iterable[Object], around: Places) -> Service:
        return services.build(item, grants, EndpointSource(item, those, hand_made, around))

    return dict(zip(selected, memo.row("services", causes, build), strict=True))


def _own_address(pod: Pod) -> tuple[str, str] | None:
    """A Pod's address, if it is nobody else's, and its key."""
    return None if pod.host_network else (pod.ip, pod.key)


def with_readiness(cluster: Cluster, ready: Mapping[str, bool]) -> Cluster:
    """The same Cluster with the readiness of the Pods in `ready` (Pod key to Ready condition), and with it the
    endpoints of the Services that select them. Keys that no Pod has are ignored; leases, names and order stay.
    A Pod that a fault keeps from being ready stays unready whatever `ready` says.
    This is the hot path of one endpoint's change: only what the changed Pods stand behind is touched.

    The very same object comes back where nothing differs.
    """
    ready = possible(ready, cluster.faults)
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
    def with_conditions(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        return tuple(
            replace(
                endpoint, serving=changed[endpoint.pod],
                ready=(changed[endpoint.pod] and not endpoint.terminating) or service.publish_not_ready,
            ) if endpoint.pod in changed else endpoint
            for endpoint in endpoints
        )

    ports = tuple(replace(port, endpoints=with_conditions(port.endpoints)) for port in service.ports)
    return replace(service, ports=ports, addresses=with_conditions(service.addresses))


def _pods(
    manifest: Manifest, pending: Sequence[PendingPod], places: Sequence[str], nodes: Mapping[str, Node],
    inferred: Mapping[int, Sequence[_Target]], ready: Mapping[str, bool], leases: Leases, cursors: dict[str, str],
    memo: Memo,
) -> tuple[tuple[Pod, ...], dict[str, str]]:
    """The Pods in order, and the address of each that has its own, by Pod key + "#" + uid."""
    holders = memo.row(
        "holders", [(pod, nodes[place]) for pod, place in zip(pending, places, strict=True)],
        lambda pod, node: f"{pod.key}#{_uid(pod, node)}",
    )
    ips = _pod_ips(pending, places, holders, nodes, leases, cursors, memo)
    told = tuple(item for item in manifest.objects if item.kind in ("ConfigMap", "Secret"))
    values = memo.one("values", told, lambda: containers.contents(told))
    causes = [
        (
            pod, nodes[place], ips.get(holder), tuple(inferred.get(position, ())),
            values if pod.template.dynamic else {}, ready.get(pod.key, not pod.template.gated),
        )
        for position, (pod, place, holder) in enumerate(zip(pending, places, holders, strict=True))
    ]
    return memo.row("placed pods", causes, _pod), ips


def _uid(pod: PendingPod, node: Node) -> str:
    """A Pod never moves: on another node, or once its address can no longer be had there, it is another Pod."""
    network = node.ip if pod.template.host_network else node.pod_range
    return pod.template.uid or object_uid(f"{pod.digest}@{node.name} {network}")


def _pod_ips(
    pending: Sequence[PendingPod], places: Sequence[str], holders: Sequence[str], nodes: Mapping[str, Node],
    leases: Leases, cursors: dict[str, str], memo: Memo,
) -> dict[str, str]:
    """The address of every Pod that has one of its own, by its holder."""
    def by_node() -> dict[str, tuple[ipam.Request, ...]]:
        found: dict[str, list[ipam.Request]] = {name: [] for name in nodes}
        for pod, place, holder in zip(pending, places, holders, strict=True):
            if not pod.template.host_network:
                found[place].append(ipam.Request(holder, None, pod.template.where))
        return {name: tuple(those) for name, those in found.items()}

    requests = memo.one("pod requests", (pending, places, holders, tuple(nodes)), by_node)
    held = leases.pod_ips
    freed = {holder: to_int(held[holder]) for holder in held.keys() - holders}

    def counting(node: Node) -> dict[str, str]:
        """The leases that count in its range: its Pods', and those that nobody has any more."""
        mine = {each.holder: held[each.holder] for each in requests[node.name] if each.holder in held}
        whole = parse_range(node.pod_range)
        return mine | {holder: held[holder] for holder, address in freed.items() if address in whole}

    causes = {
        node.name: (node.name, node.pod_range, cursors.get(node.pod_range), requests[node.name], counting(node))
        for node in nodes.values()
    }
    granted = memo.each("pod addresses", causes, lambda name: _addresses(*causes[name]))
    cursors |= {nodes[name].pod_range: cursor for name, (_, cursor) in granted.items() if cursor}
    every = tuple(ips for ips, _ in granted.values())
    return memo.one("pod ips", every, lambda: {holder: ip for ips in every for holder, ip in ips.items()})


def _addresses(
    node: str, pod_range: str, cursor: str | None, requests: Iterable[ipam.Request], held: Mapping[str, str]
) -> tuple[dict[str, str], str | None]:
    """The addresses of a node's Pods by holder, and how far the walk through its range has come."""
    pool = ipam.pod_pool(node, pod_range, to_int(cursor) if cursor else None)
    given = pool.grant(requests, ipam.addresses(held))
    return {holder: to_text(ip) for holder, ip in given.items()}, pool.show(pool.cursor) if pool.cursor else None


def _pod(
    pod: PendingPod, node: Node, ip: str | None, targets: Sequence[_Target], values: containers.Values, ready: bool
) -> Pod:
    template = pod.template
    address, uid = ip or node.ip, _uid(pod, node)
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
        bool(targets), ready, template.body, template.terminating,
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
    silent = [not pod.is_static and pod.template.silent for pod in pending]
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


def _service_grants(
    vpc: VpcSpec, asked: tuple[services.Requests, ...], given: Mapping[str, int], leases: Leases,
    cursors: dict[str, str], memo: Memo,
) -> services.Grants:
    pools = (vpc.service_range, vpc.external_range, "nodePorts", "serviceNumbers")
    walked = {name: cursors[name] for name in pools if name in cursors}
    causes = (
        vpc, asked, given, leases.cluster_ips, leases.load_balancer_ips, leases.node_ports, leases.service_numbers,
        walked,
    )
    grants, moved = memo.one("grants", causes, lambda: _grants(vpc, asked, given, leases, dict(walked)))
    cursors |= moved
    return grants


def _grants(
    vpc: VpcSpec, asked: Sequence[services.Requests], given: Mapping[str, int], leases: Leases,
    cursors: dict[str, str],
) -> tuple[services.Grants, dict[str, str]]:
    """What all Services get, and how far the walks through the pools have come."""
    fixed = ipam.service_addresses(vpc.service_range)
    present = {one.key for one in asked}
    kept = [address for service, address in fixed.items() if service not in present]
    cluster = ipam.service_pool(vpc.service_range, ipam.cursor(cursors, vpc.service_range), kept)
    wanted = [
        each if each.asked is not None else each._replace(asked=fixed.get(one.key))
        for one in asked for each in one.cluster_ip
    ]
    cluster_ips = cluster.grant(wanted, ipam.addresses(leases.cluster_ips))
    ipam.remember(cursors, vpc.service_range, cluster)

    external = ipam.external_pool(vpc.external_range, ipam.cursor(cursors, vpc.external_range))
    vips = external.grant((each for one in asked for each in one.external), ipam.addresses(leases.load_balancer_ips))
    ipam.remember(cursors, vpc.external_range, external)

    ports = ipam.node_port_pool(ipam.cursor(cursors, "nodePorts"))
    shared = [pair for one in asked for pair in one.node_ports]
    first = ports.grant((request for request, _ in shared), leases.node_ports)
    node_ports = {holder: first[request.holder] for request, holders in shared for holder in holders}
    ipam.remember(cursors, "nodePorts", ports)

    pool = ipam.number_pool(ipam.cursor(cursors, "serviceNumbers"))
    numbers = pool.grant((each for one in asked for each in one.numbers), leases.service_numbers)
    ipam.remember(cursors, "serviceNumbers", pool)
    vips |= {one.key: given[f"Service {one.key}"] for one in asked if one.internal}
    ips, external_ips = ({holder: to_text(ip) for holder, ip in some.items()} for some in (cluster_ips, vips))
    return services.Grants(ips, node_ports, external_ips, numbers), cursors
