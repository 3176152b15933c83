"""kube-proxy: Services on every node, in one nftables table, by named maps.

The semantics are those of kube-proxy's nftables mode, packet for packet; the layout is not. kube-proxy writes a chain
for each Service and endpoint with an anonymous map in each, and the kernel's cost of loading these grows with their
square. Here the number of chains is constant: all that Services differ in is elements of named maps.

What happens to the first packet of a connection (conntrack repeats it for the others):

    prerouting, output
      -110  firewall-check       a load balancer address with source ranges, and the source in none of them: drop
      -100  services             daddr . protocol . port   --service-ips-->        ct mark
                                 own address, node port    --service-nodeports-->  ct mark
            external-local       externalTrafficPolicy Local: Pods and the node itself use all endpoints, others this
                                 node's
            balance              ct mark                   --service-ports-->      goto endpoints-N
            endpoints-N          a random slot of N; ct mark . slot --endpoints--> dnat to address : port
    input, forward, output: what was not translated
         0  no-endpoints-check   the Service has no endpoint: reject; a Local policy has none here: drop
            cluster-ips-check    a cluster IP, but no port of it: reject; an address that no Service has: drop
    postrouting
       100  masquerading         which translated connections must show the node's address

The ct mark is the Service port's number times four, plus the variant: 0 for all endpoints, 1 for this node's, 2 for
"from outside, policy Local", which `external-local` turns into one of the others. Maps and chains of variant 1 are
called `local-`: they differ from node to node, all others are shared objects and encoded once for the whole lab.

Affinity (ClientIP): `affinity` remembers for source . ct mark the endpoint by an identity that outlives its slot (a
hash of address and port, with the top bit set, which no slot has). `endpoints` resolves that identity too; that of an
endpoint which is gone resolves to nothing, the rule ends, and the next one draws a new endpoint.

Sources: kubernetes/pkg/proxy/nftables (README.md, proxier.go), KEP-3866; KEP-2086 for internalTrafficPolicy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, compress
from typing import NamedTuple
from zlib import crc32

from nslab.cluster.memo import Causes, Memo
from nslab.cluster.model import Cluster, Endpoint, Node, Service, ServicePort
from nslab.components.kube_proxy_chains import ALL_ENDPOINTS, LOCAL_ENDPOINTS, Balancer, Need, chains
from nslab.components.part import node_identity, owner, part
from nslab.components.prefixes import merge
from nslab.components.service_endpoints import cluster_endpoints, local_endpoints
from nslab.netstate.model import Netns, NetState
from nslab.nft.datatypes import INET_PROTO, INET_SERVICE, IPV4_ADDR, MARK, VERDICT
from nslab.nft.objects import Key, MapValue, Set, Table
from nslab.nft.statements import goto

Elements = dict[Key, MapValue | None]

ALL, LOCAL, EXTERNAL_LOCAL = 0, 1, 2
PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
FRONTEND_TYPE = (IPV4_ADDR, INET_PROTO, INET_SERVICE)
ENDPOINT_IDENTITY = 0x80000000
"""Set in every endpoint's identity: no slot has this bit."""

TABLE = ("ip", "kube-proxy")
"""Family and name of the table."""

OPT_OUT_LABELS = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")
"""A Service with one of these labels is another proxy's, or nobody's."""


def desired(cluster: Cluster, memo: Memo | None = None) -> NetState:
    """The table `ip kube-proxy` of every node."""
    memo = memo or Memo()
    everyone = [(service,) for service in cluster.services.values()]
    chosen = memo.row("kube-proxy proxied", everyone, is_proxied)
    services = tuple(compress(cluster.services.values(), chosen))
    frontends = memo.row("kube-proxy frontend", [(service,) for service in services], _frontend)
    shared = memo.one("kube-proxy frontends", frontends, lambda: tuple(_frontend_sets(frontends)))
    zones = _by_zone(cluster, services, memo)
    local = _by_node(cluster, services, memo)
    needs = frozenset[Need]().union(*(backends.needs for backends in (*zones.values(), *local.values())))
    all_chains = memo.one("kube-proxy chains", (cluster.lab.vpc, needs), lambda: chains(cluster.lab.vpc, needs))
    hairpins = _hairpins(cluster, services, memo)
    own: dict[str, Causes] = {node.name: (node.ip, hairpins[node.name]) for node in cluster.nodes.values()}
    own_sets = memo.each("kube-proxy own sets", own, lambda name: _own_sets(cluster.nodes[name], hairpins[name]))
    sets = {
        node.name: (*shared, *zones[node.zone].sets(), *local[node.name].sets(), *own_sets[node.name])
        for node in cluster.nodes.values()
    }

    def table(name: str) -> Netns:
        rules = Table(*TABLE, all_chains, sets[name], owner(cluster.lab.name))
        return part(*node_identity(cluster, cluster.nodes[name]), tables=[rules])

    netns = memo.each("kube-proxy", {name: (cluster.lab.name, all_chains, sets[name]) for name in sets}, table)
    return NetState(cluster.lab.name, {each.name: each for each in netns.values()})


def is_proxied(service: Service) -> bool:
    """Whether the Service has rules at all: headless and ExternalName Services are for DNS alone."""
    if not service.cluster_ip or service.cluster_ip == "None":
        return False
    labels = service.body.get("metadata", {}).get("labels") or {}
    return not any(label in labels for label in OPT_OUT_LABELS)


def udp_backends(cluster: Cluster) -> dict[tuple[str, int], frozenset[tuple[str, int]]]:
    """Where datagrams to each address and port of a Service may have been sent; a node port's address is empty.

    Every endpoint that serves counts, whatever the policies choose among them. What conntrack remembers of a flow to
    another one has to be forgotten.
    """
    backends: dict[tuple[str, int], frozenset[tuple[str, int]]] = {}
    datagrams = (
        service for service in cluster.services.values() if any(port.protocol == "UDP" for port in service.ports)
    )
    for service in filter(is_proxied, datagrams):
        addresses = (service.cluster_ip, *service.load_balancer_ips, *service.external_ips)
        for port in service.ports:
            if port.protocol != "UDP":
                continue
            serving = frozenset((each.ip, each.port) for each in port.endpoints if each.ready or each.serving)
            for address in addresses:
                backends.setdefault((address, port.port), serving)
            if port.node_port:
                backends["", port.node_port] = serving
    return backends


def mark(port: ServicePort, variant: int) -> int:
    """The ct mark of connections to a Service port; `variant` is ALL, LOCAL or EXTERNAL_LOCAL."""
    return port.number * 4 + variant


def internal_variant(service: Service) -> int:
    """The variant by which its cluster IP is reached."""
    return LOCAL if service.internal_traffic_policy == "Local" else ALL


def external_variant(service: Service) -> int:
    """The variant by which its node port, load balancer and external IPs are reached, before `external-local`."""
    return EXTERNAL_LOCAL if service.external_traffic_policy == "Local" else ALL


def _uses_all_endpoints(service: Service) -> bool:
    """Whether anybody is balanced over all endpoints. From outside some always are (see `external-local`)."""
    outside = service.load_balancer_ips or service.external_ips or any(port.node_port for port in service.ports)
    return internal_variant(service) == ALL or bool(outside)


@dataclass
class _Backends:
    """What `balancer` chooses from: the elements of its maps, all filled together by `add`."""

    balancer: Balancer
    service_ports: Elements = field(default_factory=dict)
    endpoints: Elements = field(default_factory=dict)
    affinity_slots: Elements = field(default_factory=dict)
    missing: Elements = field(default_factory=dict)
    needs: set[Need] = field(default_factory=set)
    made: tuple[Set, ...] = ()

    def add(self, number: int, chosen: list[Endpoint], affinity_timeout: int) -> None:
        """Balance the connections with the ct mark `number` over `chosen`, which is not empty."""
        self.needs.add((self.balancer.prefix, len(chosen), affinity_timeout))
        self.service_ports[number,] = goto(self.balancer.chain(len(chosen), affinity_timeout))
        for slot, endpoint in enumerate(chosen):
            target = (endpoint.ip, endpoint.port)
            self.endpoints[number, slot] = target
            if affinity_timeout:
                identity = ENDPOINT_IDENTITY | crc32(f"{endpoint.ip}:{endpoint.port}".encode())
                self.endpoints[number, identity] = target
                self.affinity_slots[number, slot] = (identity,)

    def include(self, other: _Backends) -> None:
        """Balance what `other` balances too."""
        self.service_ports.update(other.service_ports)
        self.endpoints.update(other.endpoints)
        self.affinity_slots.update(other.affinity_slots)
        self.missing.update(other.missing)
        self.needs |= other.needs

    def sets(self) -> tuple[Set, ...]:
        """The maps: the same objects at every call, so that nodes which share these backends share them."""
        if not self.made:
            names = self.balancer
            self.made = (
                Set(names.service_ports, (MARK,), self.service_ports, (VERDICT,)),
                Set(names.endpoints, (MARK, MARK), self.endpoints, (IPV4_ADDR, INET_SERVICE)),
                Set(names.affinity_slots, (MARK, MARK), self.affinity_slots, (MARK,)),
                Set(names.missing, (MARK,), self.missing),
            )
        return self.made


def _by_zone(cluster: Cluster, services: Sequence[Service], memo: Memo) -> dict[str, _Backends]:
    """The backends of variant 0 for each zone: one and the same for all, unless endpoints carry topology hints."""
    zones = {node.zone for node in cluster.nodes.values()}
    if not any(memo.row("kube-proxy hinted", [(service,) for service in services], _is_hinted)):
        return dict.fromkeys(zones, _all_backends(services, "", memo))
    return {zone: _all_backends(services, zone, memo) for zone in zones}


def _is_hinted(service: Service) -> bool:
    return any(endpoint.zone_hints for port in service.ports for endpoint in port.endpoints)


def _all_backends(services: Sequence[Service], zone: str, memo: Memo) -> _Backends:
    each = memo.row(f"kube-proxy backends {zone}", [(service, zone) for service in services], _service_backends)

    def together() -> _Backends:
        backends = _Backends(ALL_ENDPOINTS)
        for one in each:
            backends.include(one)
        return backends

    return memo.one(f"kube-proxy all backends {zone}", each, together)


def _service_backends(service: Service, zone: str) -> _Backends:
    backends = _Backends(ALL_ENDPOINTS)
    for port in service.ports:
        chosen = cluster_endpoints(port, zone)
        if chosen and _uses_all_endpoints(service):
            backends.add(mark(port, ALL), chosen, service.affinity_timeout)
        elif not chosen:
            backends.missing[mark(port, ALL),] = None
            backends.missing[mark(port, LOCAL),] = None
    return backends


def _by_node(cluster: Cluster, services: Iterable[Service], memo: Memo) -> dict[str, _Backends]:
    """The backends of variant 1 for each node; nodes share one object where no Service has a Local policy."""
    with_local = tuple(
        service for service in services
        if internal_variant(service) == LOCAL or external_variant(service) != ALL
    )
    return memo.one("kube-proxy local", (tuple(cluster.nodes), with_local), lambda: _local(cluster, with_local))


def _local(cluster: Cluster, with_local: Iterable[Service]) -> dict[str, _Backends]:
    if not with_local:
        return dict.fromkeys(cluster.nodes, _Backends(LOCAL_ENDPOINTS))
    by_node = {name: _Backends(LOCAL_ENDPOINTS) for name in cluster.nodes}
    for service in with_local:
        for port in service.ports:
            anywhere = bool(cluster_endpoints(port, ""))
            local = local_endpoints(port)
            for name, backends in by_node.items():
                if name in local:
                    backends.add(mark(port, LOCAL), local[name], service.affinity_timeout)
                elif anywhere:
                    backends.missing[mark(port, LOCAL),] = None
    return by_node


class _Frontend(NamedTuple):
    """What clients see of a Service: itself without its endpoints; and the ports that have some, where not everybody
    may use it."""

    service: Service
    ports: tuple[ServicePort, ...]


def _frontend(service: Service) -> _Frontend:
    bare = tuple(replace(port, endpoints=()) for port in service.ports)
    answered = tuple(
        shown for shown, port in zip(bare, service.ports, strict=True)
        if service.source_ranges and cluster_endpoints(port, "")
    )
    return _Frontend(replace(service, ports=bare, body={}), answered)


def _frontend_sets(frontends: Sequence[_Frontend]) -> Iterator[Set]:
    """What clients address: equal on every node."""
    services = [frontend.service for frontend in frontends]
    service_ips: Elements = {}
    node_ports: Elements = {}
    external_local: Elements = {}
    source_kept: Elements = {}
    for service in services:
        outside = external_variant(service)
        addresses = (*service.load_balancer_ips, *service.external_ips)
        for port in service.ports:
            protocol = PROTOCOLS[port.protocol]
            service_ips[service.cluster_ip, protocol, port.port] = (mark(port, internal_variant(service)),)
            number = (mark(port, outside),)
            for address in addresses:
                service_ips.setdefault((address, protocol, port.port), number)
            if port.node_port:
                node_ports[protocol, port.node_port] = number
            if outside == EXTERNAL_LOCAL:
                external_local[number] = None
                source_kept[mark(port, ALL),] = source_kept[mark(port, LOCAL),] = None
    yield Set("cluster-ips", (IPV4_ADDR,), {(service.cluster_ip,): None for service in services})
    yield Set("service-ips", FRONTEND_TYPE, service_ips, (MARK,))
    yield Set("service-nodeports", (INET_PROTO, INET_SERVICE), node_ports, (MARK,))
    yield Set("external-local-services", (MARK,), external_local)
    yield Set("source-kept", (MARK,), source_kept)
    yield from _firewall_sets(frontends)
    yield Set("affinity", (IPV4_ADDR, MARK), value_type=(MARK,), dynamic=True)


def _firewall_sets(frontends: Iterable[_Frontend]) -> Iterator[Set]:
    guarded: Elements = {}
    allowed: Elements = {}
    for service, answered in frontends:
        if not service.source_ranges:
            continue
        ranges = merge(service.source_ranges)
        for port in answered:  # Whoever asks for another is refused at filter priority, as by kube-proxy.
            for address in service.load_balancer_ips:
                frontend = (address, PROTOCOLS[port.protocol], port.port)
                guarded[frontend] = None
                allowed.update(((*frontend, prefix), None) for prefix in ranges)
    yield Set("firewall-ips", FRONTEND_TYPE, guarded)
    yield Set("firewall-allowed", (*FRONTEND_TYPE, IPV4_ADDR), allowed, interval=True)


def _hairpins(cluster: Cluster, services: Iterable[Service], memo: Memo) -> dict[str, Elements]:
    """Of each node, its endpoints' addresses as (source, destination) pairs of a connection to oneself."""
    placed = memo.row("kube-proxy placed", [(service,) for service in services], _placed)
    unplaced = {ip for ip, node in chain.from_iterable(placed) if not node}
    found = {ip: cluster.pods_by_ip[ip].node for ip in unplaced if ip in cluster.pods_by_ip}

    def by_node() -> dict[str, Elements]:
        hairpins: dict[str, Elements] = {name: {} for name in cluster.nodes}
        for ip, node in chain.from_iterable(placed):
            place = node or found.get(ip)
            if place in hairpins:
                hairpins[place][ip, ip] = None
        return hairpins

    return memo.one("kube-proxy hairpins", (tuple(cluster.nodes), placed, found), by_node)


def _placed(service: Service) -> tuple[tuple[str, str], ...]:
    """Where its endpoints are: addresses with nodes, which may be empty."""
    return tuple({(endpoint.ip, endpoint.node): None for port in service.ports for endpoint in port.endpoints})


def _own_sets(node: Node, hairpins: Elements) -> tuple[Set, ...]:
    return (
        Set("nodeport-ips", (IPV4_ADDR,), {(node.ip,): None}),
        Set("hairpin-connections", (IPV4_ADDR, IPV4_ADDR), hairpins),
    )
