"""The names that zones have, one by one: what the servers would say to who asked for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nslab.dns import records, wire
from nslab.dns.authority import Authority
from nslab.dns.cluster_zone import ClusterZone, Names
from nslab.dns.internet import InternetZones, Zones
from nslab.dns.wire import Record

SHOWN = (wire.A, wire.SRV, wire.CNAME, wire.TXT, wire.PTR, wire.NS)


def cluster_records(names: Names) -> Iterator[Record]:
    """The records of a cluster's zone, but for the names of Pods, which any address has."""
    zone, domain = ClusterZone(names), names.domain
    wanted = {domain: None, f"dns-version.{domain}": None, f"ns.dns.{domain}": None}
    addresses: dict[str, None] = {}
    for row in names.services.values():
        own = f"{row.name}.{row.namespace}.svc.{domain}"
        wanted[own] = None
        wanted.update((f"_{port.name}._{port.protocol}.{own}", None) for port in row.ports if port.name)
        wanted.update((f"{member.label}.{own}", None) for member in row.members)
        addresses.update(dict.fromkeys([row.cluster_ip] if row.cluster_ip else [each.ip for each in row.members]))
    yield from _found(zone, map(wire.encode_name, wanted))
    yield from _found(zone, map(records.reverse_name, addresses))


def internet_records(zones: Zones) -> Iterator[Record]:
    """The records of the internet side's zones."""
    known = InternetZones(zones, closed=False)
    return _found(known, (wire.joined(labels) for labels in known.names()))


def _found(authority: Authority, names: Iterable[bytes]) -> Iterator[Record]:
    for name in names:
        labels = wire.labels_of(name)
        origin, found = authority.origin(labels), authority.find(labels)
        for kind in SHOWN:
            for data in (found or {}).get(kind, ()):
                if origin is not None:
                    yield Record(name, kind, authority.ttl(origin, kind), data)
