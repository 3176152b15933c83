"""The name server on a lab's internet side: the zones that the Lab declares, and nothing else.

To the hosts of a lab it is the whole of the DNS. A name that is in no zone of its is not there (the root denies it),
unless others are asked for it on behalf of the lab.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nslab.dns import records, wire
from nslab.dns.authority import Authority, Labels, Origin, Rrsets

TTL = 300
Zones = Mapping[str, Mapping[str, Sequence[str]]]
"""Zones by the name of their apex; in each, by relative name ("@" is the apex), addresses or one name, which makes an
alias of it. A name without a dot at its end is of the zone."""


class InternetZones(Authority):
    """These zones; with `closed` the root is one of them, so that every other name is denied."""

    serial = 1

    def __init__(self, zones: Zones, *, closed: bool) -> None:
        self._origins: dict[tuple[bytes, ...], Origin] = {}
        self._names: dict[tuple[bytes, ...], dict[int, list[bytes]]] = {}
        if closed:
            self._add_zone(".")
        for apex in zones:
            self._add_zone(apex)
        for apex, names in zones.items():
            for relative, values in names.items():
                self._add_name(apex, relative, values)

    def _add_zone(self, apex: str) -> None:
        name = wire.encode_name(apex)
        origin = Origin(name, b"\x02ns" + name, TTL)
        labels = wire.labels_of(name)
        self._origins[labels] = origin
        self._add(labels, {wire.NS: [origin.server]})

    def _add_name(self, apex: str, relative: str, values: Sequence[str]) -> None:
        full = absolute(relative, apex)
        labels = wire.labels_of(wire.encode_name(full.lower()))
        for value in values:
            if is_address(value):
                self._add(labels, {wire.A: [records.address(value)]})
                pointer = wire.labels_of(records.reverse_name(value))
                self._origins.setdefault(pointer, Origin(wire.joined(pointer), b"\x02ns\0", TTL))
                self._add(pointer, {wire.PTR: [wire.encode_name(full)]})
            else:
                self._add(labels, {wire.CNAME: [wire.encode_name(absolute(value, apex))]})

    def _add(self, labels: tuple[bytes, ...], data: Mapping[int, list[bytes]]) -> None:
        for start in range(len(labels) + 1):  # all above it are there as well
            self._names.setdefault(labels[start:], {})
        for kind, values in data.items():
            known = self._names[labels].setdefault(kind, [])
            known += [value for value in values if value not in known]

    def names(self) -> Iterable[tuple[bytes, ...]]:
        """All names, by their labels."""
        return self._names

    def origin(self, labels: Labels) -> Origin | None:
        for start in range(len(labels) + 1):
            found = self._origins.get(tuple(labels[start:]))
            if found is not None:
                return found
        return None

    def find(self, labels: Labels) -> Rrsets | None:
        found = self._names.get(tuple(labels))
        origin = self._origins.get(tuple(labels))
        if found is not None and origin is not None and wire.PTR not in found:
            return {**found, wire.SOA: [self.soa(origin).data]}
        return found


def is_address(value: str) -> bool:
    """Whether a value of a zone is an IPv4 address; a name is the other thing that it can be."""
    return value.replace(".", "").isdigit() and value.count(".") == 3


def absolute(name: str, apex: str) -> str:
    """A name of a zone in full, without a dot at its end."""
    if name == "@":
        return apex.removesuffix(".")
    return name.removesuffix(".") if name.endswith(".") else f"{name}.{apex}".removesuffix(".")
