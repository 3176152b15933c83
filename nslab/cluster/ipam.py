"""Addresses, ports and numbers: given out once, sticky as long as the holder exists, and not reused at once.

Every pool is walked round: the next value given is the first free one after the last given (the cursor, which
outlives its holders), and one that was held until this very moment comes last of all: a freed address rests as long
as it can. A connection to a dead Pod thus ends in silence or a reset, not in a stranger.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from nslab.api.objects import NodeSpec
from nslab.cluster.ipv4 import Range, parse_range, to_int, to_text
from nslab.errors import CapacityError

NODE_PORTS = (30000, 32767)
MAX_SERVICE_NUMBER = 2**20 - 1
KUBE_DNS = "kube-system/kube-dns"
KUBERNETES = "default/kubernetes"


class Request(NamedTuple):
    """What a holder asks for: `asked` is the value it must have, None for any; `where` is its place in the files."""

    holder: str
    asked: int | None = None
    where: str = ""


class Pool:
    """The values `first` to `last` less `reserved`; a walk that has no cursor yet begins at `start`.

    `name` and `remedy` are for the error: "nodeRange 10.128.0.0/29", "widen spec.vpc.nodeRange". `addresses` says
    that values are shown as IPv4 addresses.
    """

    def __init__(
        self, name: str, first: int, last: int, *, remedy: str, start: int | None = None, cursor: int | None = None,
        reserved: Iterable[int] = (), addresses: bool = True,
    ) -> None:
        self.name = name
        self.first = first
        self.last = last
        self.remedy = remedy
        self.reserved = frozenset(reserved)
        self.holders: dict[int, str] = {}
        self.cursor = cursor
        self._addresses = addresses
        self._next = cursor + 1 if cursor is not None else start if start is not None else first

    def show(self, value: int) -> str:
        return to_text(value) if self._addresses else str(value)

    def grant(self, requests: Iterable[Request], leases: Mapping[str, int]) -> dict[str, int]:
        """The value of every request's holder, in the requests' order.

        Those that hold a lease keep it, then those that ask for a value get it, then the rest get the next free one.
        Raises CapacityError where an asked value is taken, reserved or outside, or nothing is left.
        """
        wanted = list(requests)
        granted: dict[str, int] = {}
        for holder, asked, _ in wanted:
            lease = leases.get(holder)
            if lease is not None and asked in (None, lease) and self._free(lease):
                self.holders[lease] = holder
                granted[holder] = lease
        for holder, asked, where in wanted:
            if asked is not None and holder not in granted:
                self._claim(asked, holder, where)
                granted[holder] = asked
        resting = set(leases.values())
        return {
            holder: granted[holder] if holder in granted else self._walk(holder, where, resting)
            for holder, _, where in wanted
        }

    def _free(self, value: int) -> bool:
        return self.first <= value <= self.last and value not in self.holders and value not in self.reserved

    def _claim(self, value: int, holder: str, where: str) -> None:
        if self._free(value):
            self.holders[value] = holder
            return
        if value in self.holders:
            problem = f"is held by {self.holders[value]}"
        elif value in self.reserved:
            problem = f"is reserved in {self.name}"
        else:
            problem = f"is outside {self.name}"
        raise CapacityError(
            f"{holder} asks for {self.show(value)}, which {problem}",
            hint=f"choose a free one between {self.show(self.first)} and {self.show(self.last)}", where=where,
        )

    def _walk(self, holder: str, where: str, resting: set[int]) -> int:
        """The next free value; one of `resting` only where nothing else is left."""
        value = self._find(resting)
        if value is None:
            value = self._find(frozenset())
        if value is None:
            raise CapacityError(f"{self.name} has nothing left for {holder}", hint=self.remedy, where=where)
        self.holders[value] = holder
        self.cursor = value
        self._next = value + 1
        return value

    def _find(self, resting: Collection[int]) -> int | None:
        value = self._next
        for _ in range(self.last - self.first + 2):
            if not self.first <= value <= self.last:
                value = self.first
            if value not in self.holders and value not in self.reserved and value not in resting:
                return value
            value += 1
        return None


def node_pool(cidr: str, cursor: int | None) -> Pool:
    """The subnet's primary range: the VPC keeps the first two and the last two addresses (network, gateway,
    second-to-last, broadcast; cloud.google.com/vpc/docs/subnets#unusable-ip-addresses-in-every-subnet)."""
    whole = parse_range(cidr)
    return Pool(
        f"nodeRange {cidr}", whole.first + 2, whole.last - 2, remedy="widen spec.vpc.nodeRange", cursor=cursor
    )


def internet_pool(cidr: str, cursor: int | None) -> Pool:
    """The clients' range on the internet: the first usable address is the gateway, clients begin at the tenth."""
    whole = parse_range(cidr)
    return Pool(
        f"the internet's range {cidr}", whole.first + 2, whole.last - 1, remedy="remove a client of network internet",
        start=whole.first + 10, cursor=cursor,
    )


def external_pool(cidr: str, cursor: int | None) -> Pool:
    """Public VIPs; the walk begins at the tenth address, which leaves the low ones to those who choose."""
    whole = parse_range(cidr)
    return Pool(
        f"externalRange {cidr}", whole.first + 1, whole.last - 1, remedy="widen spec.vpc.externalRange",
        start=whole.first + 10, cursor=cursor,
    )


def service_addresses(cidr: str) -> dict[str, int]:
    """The two Services with an address of their own: the API's has the first usable one, the DNS's the tenth
    (kubeadm GetDNSIP)."""
    first = parse_range(cidr).first
    return {KUBERNETES: first + 1, KUBE_DNS: first + 10}


def service_pool(cidr: str, cursor: int | None, reserved: Iterable[int]) -> Pool:
    """ClusterIPs. The walk begins above the band kept for those who choose their address (KEP-3070: a sixteenth of
    the range, 16 to 256 addresses)."""
    whole = parse_range(cidr)
    band = min(max(16, (whole.last - whole.first + 1) // 16), 256)
    return Pool(
        f"serviceRange {cidr}", whole.first + 1, whole.last - 1, remedy="widen spec.vpc.serviceRange",
        start=whole.first + band + 1, cursor=cursor, reserved=reserved,
    )


def node_port_pool(cursor: int | None) -> Pool:
    """NodePorts; as with ClusterIPs the walk begins above a band for chosen ones (KEP-3668: 86 ports)."""
    return Pool(
        f"the NodePort range {NODE_PORTS[0]}-{NODE_PORTS[1]}", *NODE_PORTS, remedy="use fewer Services of type "
        "NodePort or LoadBalancer, or set allocateLoadBalancerNodePorts: false", start=NODE_PORTS[0] + 86,
        cursor=cursor, addresses=False,
    )


def number_pool(cursor: int | None) -> Pool:
    """The identities of Service ports in the rules."""
    return Pool(
        f"the numbers of Service ports (1-{MAX_SERVICE_NUMBER})", 1, MAX_SERVICE_NUMBER,
        remedy="use fewer Service ports", cursor=cursor, addresses=False,
    )


def pod_pool(node: str, cidr: str, cursor: int | None) -> Pool:
    """A node's Pod range: the first usable address is the gateway (cbr0), Pods follow."""
    whole = parse_range(cidr)
    return Pool(
        f"Pod range {cidr} of node {node}", whole.first + 2, whole.last - 1,
        remedy="add nodes to spec.nodes, or raise spec.cluster.maxPodsPerNode", cursor=cursor,
    )


def pod_prefix(max_pods_per_node: int) -> int:
    """The prefix length of a node's Pod range: twice as many addresses as Pods, rounded up to a power of two
    (cloud.google.com/kubernetes-engine/docs/how-to/flexible-pod-cidr: 8 gives /28, 110 gives /24)."""
    return 31 - (max(max_pods_per_node, 8) - 1).bit_length()


def pod_ranges(
    nodes: Iterable[NodeSpec], pod_range: str, prefix: int, leases: Mapping[str, str], places: Mapping[str, str]
) -> dict[str, str]:
    """The Pod range of every node: its lease, or the podCIDR asked for, or the first block of `pod_range` with
    `prefix` that overlaps nothing. `places` are the nodes' places in the files.

    Raises CapacityError where a podCIDR leaves `pod_range` or overlaps another node's, or no block is left.
    """
    wanted = list(nodes)
    whole = parse_range(pod_range)
    granted: dict[str, Range] = {}
    for node in wanted:
        if node.pod_cidr:
            granted[node.name] = _asked_block(node, whole, granted, places.get(node.name, ""))
    for node in wanted:
        lease = leases.get(node.name)
        if node.name in granted or lease is None:
            continue
        block = parse_range(lease)
        inside = block.prefix == prefix and block.first in whole and block.last in whole
        if inside and not any(block.overlaps(other) for other in granted.values()):
            granted[node.name] = block
    blocks = _free_blocks(whole, prefix, granted)
    for node in wanted:
        if node.name not in granted:
            try:
                granted[node.name] = next(blocks)
            except StopIteration:
                raise CapacityError(
                    f"podRange {pod_range} has no /{prefix} left for node {node.name}",
                    hint="widen spec.vpc.podRange, or lower spec.cluster.maxPodsPerNode",
                    where=places.get(node.name, ""),
                ) from None
    return {node.name: str(granted[node.name]) for node in wanted}


def _asked_block(node: NodeSpec, whole: Range, granted: Mapping[str, Range], where: str) -> Range:
    block = parse_range(node.pod_cidr)
    if block.first not in whole or block.last not in whole:
        raise CapacityError(
            f"Node {node.name}: podCIDR {block} is outside podRange {whole}",
            hint=f"choose one inside {whole}", where=where,
        )
    for name, other in granted.items():
        if block.overlaps(other):
            raise CapacityError(
                f"Node {node.name}: podCIDR {block} overlaps {other} of node {name}", hint="choose another podCIDR",
                where=where,
            )
    return block


def _free_blocks(whole: Range, prefix: int, granted: Mapping[str, Range]) -> Iterator[Range]:
    """Blocks of `whole` that overlap nothing granted, lowest first."""
    size = 1 << 32 - prefix
    taken = sorted(granted.values())
    position = 0
    for first in range(whole.first, whole.last - size + 2, size):
        block = Range(first, first + size - 1, prefix)
        while position < len(taken) and taken[position].last < first:
            position += 1
        if position == len(taken) or not block.overlaps(taken[position]):
            yield block


def addresses(leases: Mapping[str, str]) -> dict[str, int]:
    """Address leases as integers."""
    return {holder: to_int(address) for holder, address in leases.items()}


def cursor(cursors: Mapping[str, str], name: str) -> int | None:
    """The last value given from the pool `name`, None where there is none yet."""
    text = cursors.get(name)
    if text is None:
        return None
    return to_int(text) if "." in text else int(text)


def remember(cursors: dict[str, str], name: str, pool: Pool) -> None:
    """Note in `cursors` how far the walk through the pool has come."""
    if pool.cursor is not None:
        cursors[name] = pool.show(pool.cursor)
