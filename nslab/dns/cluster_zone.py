"""The zone of a cluster: the records of the Kubernetes DNS specification, version 1.1.0.

Nothing is written out: a name says itself which Service or Pod it is of, and what is kept is a row for each Service.
What the specification leaves open is as CoreDNS has it: an endpoint without hostname is called by its address
(10-8-0-4), all ports of a Service are the SRV records of its own name as well, and a namespace that is not there has
no names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nslab.dns import records, wire
from nslab.dns.authority import Authority, Labels, Origin, Rrsets

SCHEMA_VERSION = "1.1.0"
TTL = 30
"""Seconds that records are valid, as kube-dns has it."""
VERSION_TTL = 28800

_IN_ADDR = (b"in-addr", b"arpa")


class NamedPort(NamedTuple):
    """A port of a Service: its name (which may be empty), its protocol ("tcp", "udp", "sctp") and its number."""

    name: str
    protocol: str
    port: int


class Member(NamedTuple):
    """A ready endpoint of a headless Service: its address, its hostname (which may be empty), and its port for each
    port of the Service, 0 where it has none."""

    ip: str
    hostname: str
    ports: tuple[int, ...]

    @property
    def label(self) -> str:
        """Its name below the Service's."""
        return self.hostname or self.ip.replace(".", "-")


class ServiceNames(NamedTuple):
    """What a Service has names for. One of `cluster_ip` and `external_name` is set, or neither: then it is headless,
    and `members` are its endpoints."""

    namespace: str
    name: str
    cluster_ip: str = ""
    external_name: str = ""
    ports: tuple[NamedPort, ...] = ()
    members: tuple[Member, ...] = ()


@dataclass(slots=True)
class Names:
    """All that a cluster's names are made of: its domain, the address of its DNS Service, its namespaces, and the
    Services by NAMESPACE/NAME."""

    domain: str = "cluster.local"
    dns_ip: str = ""
    namespaces: frozenset[str] = frozenset()
    services: dict[str, ServiceNames] = field(default_factory=dict)


class ClusterZone(Authority):
    """The zone of a domain, and the PTR records of its addresses."""

    def __init__(self, names: Names | None = None) -> None:
        self.set(names or Names(), 0)

    def set(self, names: Names, serial: int) -> None:
        """Have these names and no others."""
        self.serial = serial
        self.domain = tuple(wire.labels_of(wire.encode_name(names.domain)))
        self._origin = _origin(wire.encode_name(names.domain))
        self._reverse = _origin(wire.joined(_IN_ADDR))
        self._dns_ip = names.dns_ip
        self._namespaces = {name.encode() for name in names.namespaces}
        self._services: dict[tuple[bytes, bytes], ServiceNames] = {}
        self._pointers: dict[tuple[bytes, ...], dict[tuple[bytes, bytes], None]] = {}
        for row in names.services.values():
            self._put(row)

    def change(self, rows: Iterable[ServiceNames], gone: Iterable[tuple[str, str]], serial: int) -> None:
        """Have these Services, new or changed, and no longer those of `gone` (namespace and name)."""
        self.serial = serial
        for namespace, name in gone:
            self._remove((namespace.encode(), name.encode()))
        for row in rows:
            self._remove((row.namespace.encode(), row.name.encode()))
            self._put(row)

    def set_namespaces(self, namespaces: Iterable[str], serial: int) -> None:
        self.serial = serial
        self._namespaces = {name.encode() for name in namespaces}

    def _put(self, row: ServiceNames) -> None:
        key = row.namespace.encode(), row.name.encode()
        self._services[key] = row
        for ip in _addresses(row):
            self._pointers.setdefault(_reversed(ip), {})[key] = None

    def _remove(self, key: tuple[bytes, bytes]) -> None:
        row = self._services.pop(key, None)
        for ip in _addresses(row) if row else ():
            pointers = self._pointers[_reversed(ip)]
            pointers.pop(key, None)
            if not pointers:
                del self._pointers[_reversed(ip)]

    # --- What Authority asks

    def origin(self, labels: Labels) -> Origin | None:
        if tuple(labels[-len(self.domain) :]) == self.domain:
            return self._origin
        if len(labels) == 6 and tuple(labels[:4]) in self._pointers and tuple(labels[4:]) == _IN_ADDR:
            return self._reverse  # what is not there may be elsewhere: other names below in-addr.arpa are not ours
        return None

    def ttl(self, origin: Origin, kind: int) -> int:
        return VERSION_TTL if kind == wire.TXT else origin.ttl

    def find(self, labels: Labels) -> Rrsets | None:
        own = labels[: -len(self.domain)]
        if tuple(labels[-len(self.domain) :]) != self.domain:
            return {wire.PTR: self._names_of(tuple(labels[:4]))}
        if not own:
            return {wire.SOA: (self.soa(self._origin).data,), wire.NS: (self._origin.server,)}
        branch, below = own[-1], own[:-1]
        if branch in (b"svc", b"pod"):
            return self._in_namespace(branch, below)
        if branch == b"dns-version":
            return None if below else {wire.TXT: (records.txt(SCHEMA_VERSION),)}
        if branch == b"dns" and self._dns_ip:
            return {(): {}, (b"ns",): {wire.A: (records.address(self._dns_ip),)}}.get(tuple(below))
        return None

    def _in_namespace(self, branch: bytes, below: Labels) -> Rrsets | None:
        if not below:
            return {}
        if below[-1] not in self._namespaces:
            return None
        if len(below) == 1:
            return {}
        if branch == b"pod":
            return _pod(below[0]) if len(below) == 2 else None
        row = self._services.get((below[-1], below[-2]))
        return None if row is None else _of_service(row, below[:-2], self.domain)

    def _names_of(self, reverse: tuple[bytes, ...]) -> list[bytes]:
        ip = b".".join(reversed(reverse)).decode()
        return [name for key in self._pointers[reverse] for name in _names(self._services[key], ip, self.domain)]


def _origin(name: bytes) -> Origin:
    return Origin(name, b"\x02ns\x03dns" + name, TTL)


def _addresses(row: ServiceNames) -> Iterable[str]:
    return (row.cluster_ip,) if row.cluster_ip else dict.fromkeys(member.ip for member in row.members)


def _reversed(ip: str) -> tuple[bytes, ...]:
    return tuple(reversed(ip.encode().split(b".")))


def _service_name(row: ServiceNames, domain: Labels) -> bytes:
    return wire.joined((row.name.encode(), row.namespace.encode(), b"svc", *domain))


def _below(label: str, name: bytes) -> bytes:
    return b"%c%b%b" % (len(label), label.encode(), name)


def _names(row: ServiceNames, ip: str, domain: Labels) -> Iterable[bytes]:
    """What an address of a Service is called."""
    name = _service_name(row, domain)
    if row.cluster_ip:
        return (name,)
    return dict.fromkeys(_below(member.label, name) for member in row.members if member.ip == ip)


def _pod(label: bytes) -> Rrsets | None:
    """A Pod's name: its address with dashes. Any address has one, whether a Pod is there or not."""
    octets = label.split(b"-")
    if len(octets) != 4 or not all(each.isdigit() and len(each) < 4 and int(each) < 256 for each in octets):
        return None
    return {wire.A: (bytes(map(int, octets)),)}


def _of_service(row: ServiceNames, below: Labels, domain: Labels) -> Rrsets | None:
    """The records of a Service's own name, or of one below it."""
    if row.external_name:
        return None if below else _alias(row.external_name)
    if not (row.cluster_ip or row.members):
        return None  # the specification: NXDOMAIN, where no endpoint is ready
    if not below:
        ips = (row.cluster_ip,) if row.cluster_ip else dict.fromkeys(member.ip for member in row.members)
        return {wire.A: [records.address(ip) for ip in ips], wire.SRV: _srv(row, domain, lambda port: True)}
    if len(below) == 2:
        port, protocol = (label.decode("ascii", "replace") for label in below)
        data = _srv(row, domain, lambda each: (f"_{each.name}", f"_{each.protocol}") == (port, protocol))
        return {wire.SRV: data} if data else None
    if len(below) > 2:
        return None
    label = below[0].decode("ascii", "replace")
    addresses = dict.fromkeys(member.ip for member in row.members if member.label == label)
    if addresses:
        return {wire.A: [records.address(ip) for ip in addresses]}
    return {} if any(each.name and f"_{each.protocol}" == label for each in row.ports) else None


def _alias(name: str) -> Rrsets | None:
    """The record of an ExternalName. An address, or what is no name at all, has none."""
    if name.replace(".", "").isdigit():
        return None
    try:
        return {wire.CNAME: (wire.encode_name(name),)}
    except ValueError:
        return None


def _srv(row: ServiceNames, domain: Labels, wanted: Callable[[NamedPort], bool]) -> Sequence[bytes]:
    """The SRV records of the ports that are wanted, all with the same part of the weight."""
    name = _service_name(row, domain)
    if row.cluster_ip:
        found = list(dict.fromkeys((each.port, name) for each in row.ports if wanted(each)))
    else:
        found = list(dict.fromkeys(
            (member.ports[number], _below(member.label, name))
            for number, each in enumerate(row.ports) if wanted(each)
            for member in row.members if member.ports[number]
        ))
    weight = max(1, 100 // len(found)) if found else 0
    return [records.srv(0, weight, port, target) for port, target in found]


def encode_rows(rows: Iterable[ServiceNames]) -> list[Any]:
    """Rows as JSON values."""
    return [list(row) for row in rows]


def decode_rows(rows: Iterable[Sequence[Any]]) -> list[ServiceNames]:
    """The inverse of `encode_rows`. Raises TypeError or ValueError where a row is not of that form."""
    return [
        ServiceNames(
            namespace, name, cluster_ip, external_name, tuple(NamedPort(*port) for port in ports),
            tuple(Member(ip, hostname, tuple(numbers)) for ip, hostname, numbers in members),
        )
        for namespace, name, cluster_ip, external_name, ports, members in rows
    ]


def changed(former: Mapping[str, ServiceNames], now: Mapping[str, ServiceNames]) -> tuple[
    list[ServiceNames], list[tuple[str, str]]
]:
    """The Services that are new or other than they were, and namespace and name of those that are gone."""
    rows = [row for key, row in now.items() if former.get(key) != row]
    gone = [(former[key].namespace, former[key].name) for key in former.keys() - now.keys()]
    return rows, gone
