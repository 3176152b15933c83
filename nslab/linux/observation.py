"""What a kernel holds of a lab, read by netlink and /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from errno import EINVAL, ENOENT
from functools import partial
from typing import NamedTuple

from nslab.errors import KernelError, OwnershipError
from nslab.linux import files, netns, qdisc, rtnetlink, sysctls, workers
from nslab.linux.netlink import NetlinkSocket
from nslab.linux.nftables import NftSocket
from nslab.linux.rtnetlink import ObservedLink
from nslab.netstate.diff import LOOPBACK, End
from nslab.netstate.model import Address, Link, Netns, NetState, Qdisc, Route, stamp
from nslab.nft.objects import Table

_LOOPBACK_ADDRESS = "127.0.0.1/8"
"""The kernel's own on every loopback that is up."""

_NO_TABLE = ENOENT
"""The answer to a dump of the main routing table where there has never been a route."""

@dataclass(frozen=True, slots=True)
class _Contents:
    """What one netns holds, before its links are matched with those of the others."""

    uid: str
    links: dict[int, ObservedLink]
    addresses: tuple[Address, ...]
    routes: dict[str, Route]
    sysctls: dict[str, str]
    tables: dict[tuple[str, str], Table]
    digest: str
    qdiscs: dict[int, Qdisc]
    other_tables: frozenset[tuple[str, str]] = frozenset()


_REMNANT = _Contents("", {}, (), {}, {}, {}, "", {})
"""A name whose creation or deletion was killed half way: of no identity, so that a wish for it makes it anew."""


class Stamp(NamedTuple):
    """Whose a netns is, which object it stands for, and the digest of the neighbours it was given."""

    lab: str
    uid: str
    digest: str


def stamp_of(name: str) -> Stamp | None:
    """What a netns is stamped with; None where it has no stamp of nslab's or is no netns.

    Moves the calling thread there: for workers.
    """
    try:
        netns.enter(name)
    except OSError:  # Gone, or a plain file of that name.
        return None
    connection = NetlinkSocket()
    try:
        return parse_stamp(rtnetlink.parse_link(connection.dump(rtnetlink.get_link(LOOPBACK))[0][1]).alias)
    finally:
        connection.close()


def parse_stamp(alias: str) -> Stamp | None:
    """The stamp that a loopback's alias is, if it is one."""
    if not alias.startswith(netns.STAMP):
        return None
    lab, _, rest = alias.removeprefix(netns.STAMP).partition(" uid=")
    uid, _, digest = rest.partition(" neighbours=")
    return Stamp(lab, uid, digest)


def observe(lab: str, names: Iterable[str], paths: Iterable[str]) -> NetState:
    """See `kernel.Kernel.observe`."""
    asked = set(names)
    prefix = f"{lab}."
    candidates = [name for name in netns.names() if name in asked or name.startswith(prefix)]
    read: dict[str, _Contents] = {}
    foreign: set[str] = set()

    def look(name: str) -> None:
        contents = _read(name, lab)
        if contents is not None:
            read[name] = contents
        elif netns.is_remnant(name):
            read[name] = _REMNANT
        elif os.path.exists(netns.path(name)):  # It may have gone meanwhile.
            foreign.add(name)

    # One worker: reading is mostly Python's own work, and two threads would only take turns.
    workers.run([partial(look, name) for name in candidates], workers=1)
    for name in sorted(asked & foreign):
        raise OwnershipError(
            f"the network namespace {name} exists and is not lab {lab}'s",
            hint=f"remove it with `ip netns delete {name}`, or give the lab another name", where=netns.path(name),
        )
    links = {name: contents.links for name, contents in read.items()}
    peers = _pairs(links)
    owned = [name for name in candidates if name in read]
    written = {*owned, *(name for name in files.namespaces() if name.startswith(prefix))}  # some have files alone
    return NetState(
        lab,
        {name: _netns(lab, name, read[name], peers) for name in owned},
        files.read(paths, written),
    )


def _read(name: str, lab: str) -> _Contents | None:
    """The contents of a netns; None where it is not the lab's. Moves the calling thread there."""
    try:
        netns.enter(name)
    except OSError as error:
        if error.errno in (ENOENT, EINVAL):  # Gone, or a plain file of that name.
            return None
        raise KernelError(f"ip netns exec {name} ip address", error.errno or 0, name) from error
    connection = NetlinkSocket()
    try:
        dumped = [rtnetlink.parse_link(body) for _, body in connection.dump(rtnetlink.DUMP_LINKS)]
        links = {link.index: link for link in dumped}
        owner = parse_stamp(links[1].alias)
        if owner is None or owner[0] != lab:
            return None
        link_names = {index: link.name for index, link in links.items()}
        addresses = tuple(_addresses(connection, link_names))
        routes = {route.destination: route for route in _routes(connection, link_names)}
        qdiscs = _qdiscs(connection, dumped)
    finally:
        connection.close()
    others: set[tuple[str, str]] = set()
    with NftSocket() as nft:
        tables = nft.tables(stamp(lab, "").rstrip(), others)
    return _Contents(
        owner[1], links, addresses, routes, _sysctls(links), tables, owner[2], qdiscs, frozenset(others)
    )


def _qdiscs(connection: NetlinkSocket, links: Iterable[ObservedLink]) -> dict[int, Qdisc]:
    """By ifindex, of the links that have one of somebody's: none is asked for where all have the kernel's own."""
    given = {link.index for link in links if link.name != LOOPBACK and link.qdisc not in qdisc.OWN}
    if not given:
        return {}
    roots = (qdisc.parse_root(body) for _, body in connection.dump(qdisc.DUMP))
    return {index: root for index, root in filter(None, roots) if index in given}


def _sysctls(links: dict[int, ObservedLink]) -> dict[str, str]:
    """Those of the calling thread's netns and of its links, but for ports of bridges, which do not route."""
    values = {sysctls.FORWARDING: sysctls.forwarding(links[1].inet)}
    if values[sysctls.FORWARDING] == "1":
        values |= sysctls.read_router()
    for link in links.values():
        if not link.master and link.name != LOOPBACK:
            values |= sysctls.of_link(link.name, link.inet)
    return values


def _addresses(connection: NetlinkSocket, names: dict[int, str]) -> Iterator[Address]:
    for _, body in connection.dump(rtnetlink.DUMP_ADDRESSES):
        index, address = rtnetlink.parse_address(body)
        if index in names and (names[index], address) != (LOOPBACK, _LOOPBACK_ADDRESS):
            yield Address(names[index], address)


def _routes(connection: NetlinkSocket, names: dict[int, str]) -> Iterator[Route]:
    try:
        answers = connection.dump(rtnetlink.DUMP_STATIC_ROUTES)
    except OSError as error:
        if error.errno != _NO_TABLE:
            raise
        return
    for _, body in answers:
        yield rtnetlink.parse_route(body, names)


def _pairs(links: dict[str, dict[int, ObservedLink]]) -> dict[End, End]:
    """Both ends of every veth pair of ours: each names the other's ifindex, and they share their group."""
    waiting: dict[tuple[int, int, int], End] = {}
    pairs: dict[End, End] = {}
    for name, inside in links.items():
        for link in inside.values():
            if link.kind != "veth" or not link.group:
                continue
            end = (name, link.name)
            other = waiting.pop((link.group, link.other, link.index), None)
            if other is None:
                waiting[link.group, link.index, link.other] = end
            elif link.group in (rtnetlink.pair_number(*end), rtnetlink.pair_number(*other)):
                pairs[end], pairs[other] = other, end
    return pairs


def _netns(lab: str, name: str, contents: _Contents, peers: dict[End, End]) -> Netns:
    """The netns as far as the lab owns it: stamped links, and those of a pair created but not yet stamped."""
    prefix = stamp(lab, "")
    links = {}
    for link in contents.links.values():
        peer = peers.get((name, link.name))
        ours = link.alias.startswith(prefix) or peer is not None
        if ours and link.name != LOOPBACK:
            links[link.name] = _link(name, link, contents, peer)
    owned = {*links, LOOPBACK, ""}
    foreign = {f"link delete {link.name}" for link in contents.links.values() if link.name not in owned}
    foreign |= {f"delete table {family} {table}" for family, table in contents.other_tables}
    return Netns(
        name, contents.uid, links,
        frozenset(address for address in contents.addresses if address.link in owned),
        {to: route for to, route in contents.routes.items() if route.link in owned},
        contents.sysctls, contents.tables,
        digest=contents.digest, foreign=frozenset(foreign),
    )


def _link(name: str, link: ObservedLink, inside: _Contents, peer: End | None) -> Link:
    master = inside.links[link.master].name if link.master in inside.links else ""
    return Link(
        link.name, link.kind, link.alias, link.mtu, master, link.hairpin, peer,
        peer is not None and rtnetlink.pair_number(name, link.name) == link.group, link.mac, link.up,
        inside.qdiscs.get(link.index),
    )
