"""What each name server of a lab knows, and whom it asks for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nslab.dns import wire
from nslab.dns.answer import Server
from nslab.dns.cluster_zone import ClusterZone
from nslab.dns.internet import InternetZones
from nslab.dns.wire import Reply

CLUSTER, NODE_LOCAL, INTERNET = "cluster", "node-local", "internet"
"""The kinds of name servers: in a kube-dns Pod, the cache of a node, and the one on the internet side."""

_REVERSE = ((b"in-addr", b"arpa"), (b"ip6", b"arpa"))


@dataclass(frozen=True, slots=True)
class Outside:
    """How names are resolved that are not the cluster's.

    `upstreams` are the servers that kube-dns asks, `stub_domains` those for the names of some domains instead;
    `cluster` is the server that the nodes' caches ask. `zones` are those of the internet side's server (see
    internet.Zones), which for other names asks `host`, the host's own servers, where there are any.
    """

    upstreams: tuple[Server, ...] = ()
    stub_domains: Mapping[str, tuple[Server, ...]] = field(default_factory=dict)
    cluster: tuple[Server, ...] = ()
    zones: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    host: tuple[Server, ...] = ()


def encode_outside(outside: Outside) -> dict[str, Any]:
    """As JSON values."""
    return asdict(outside)


def decode_outside(value: Mapping[str, Any]) -> Outside:
    """The inverse of `encode_outside`. Raises KeyError, TypeError or ValueError where a value is not of that form."""
    return Outside(
        _servers(value["upstreams"]), {name: _servers(each) for name, each in value["stub_domains"].items()},
        _servers(value["cluster"]), value["zones"], _servers(value["host"]),
    )


def _servers(rows: Sequence[Sequence[Any]]) -> tuple[Server, ...]:
    return tuple(Server(str(ip), int(port), bool(tcp)) for ip, port, tcp in rows)


class _Forwarding:
    """Servers for names outside the cluster, by their longest suffix."""

    def __init__(self, outside: Outside) -> None:
        self._upstreams = outside.upstreams
        self._stubs = {
            wire.labels_of(wire.encode_name(domain.lower())): servers
            for domain, servers in outside.stub_domains.items()
        }

    def servers(self, name: bytes) -> Sequence[Server]:
        if self._stubs:
            labels = wire.labels_of(name.lower())
            for start in range(len(labels)):
                if labels[start:] in self._stubs:
                    return self._stubs[labels[start:]]
        return self._upstreams


class ClusterView(_Forwarding):
    """A kube-dns Pod: the cluster's zone, and servers for other names."""

    def __init__(self, zone: ClusterZone, outside: Outside) -> None:
        super().__init__(outside)
        self._zone = zone

    def lookup(self, name: bytes, kind: int) -> tuple[Reply, bytes] | None:
        return self._zone.lookup(name, kind)


class NodeLocalView(_Forwarding):
    """A node's cache: it knows nothing by itself. It asks the cluster's DNS Service for the cluster's names, and for
    other names those that kube-dns would ask (kubernetes/cluster/addons/dns/nodelocaldns)."""

    def __init__(self, zone: ClusterZone, outside: Outside) -> None:
        super().__init__(outside)
        self._zone = zone
        self._cluster = outside.cluster

    def lookup(self, name: bytes, kind: int) -> tuple[Reply, bytes] | None:
        return None

    def servers(self, name: bytes) -> Sequence[Server]:
        labels = wire.labels_of(name.lower())
        own = labels[-len(self._zone.domain) :] == self._zone.domain or labels[-2:] in _REVERSE
        return self._cluster if own else super().servers(name)


class InternetView:
    """The internet side's server."""

    def __init__(self, outside: Outside) -> None:
        self._zones = InternetZones(outside.zones, closed=not outside.host)
        self._host = outside.host

    def lookup(self, name: bytes, kind: int) -> tuple[Reply, bytes] | None:
        return self._zones.lookup(name, kind)

    def servers(self, name: bytes) -> Sequence[Server]:
        return self._host
