"""What leads from one state to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from nslab.netstate.model import Address, Link, Netns, NetState, Route, neighbours_digest
from nslab.netstate.operations import (
    AddAddress,
    AddLink,
    AddNeighbours,
    AddNetns,
    ApplyTransaction,
    Batch,
    DeleteAddress,
    DeleteLink,
    DeleteNetns,
    DeleteQdisc,
    DeleteRoute,
    Operation,
    RemoveFile,
    ReplaceQdisc,
    ReplaceRoute,
    SetLink,
    SetSysctl,
    WriteFile,
)
from nslab.nft.transaction import Exchanges, difference, steps

End = tuple[str, str]
"""A link of the lab: its netns and its name."""

LOOPBACK = "lo"
"""Every netns has it, up: it is neither created nor compared."""


def diff(want: NetState, have: NetState) -> Batch:
    """The operations that make a kernel that holds `have` hold `want`: none where they are equal, and down where
    `want` is empty.

    What exists and is wanted is not touched. What is added comes before what is removed, except where the old is in
    the new one's way: a namespace of another identity, a link of another kind or with another peer, and addresses
    (the kernel takes secondary addresses and a link's routes away with the address they hang on).

    What is the same object in both is equal, and costs nothing.
    """
    whole, tables = _differing(want.netns, have.netns)
    return _Difference(*(
        NetState(
            state.lab,
            {
                name: Netns(name, netns.uid, tables=netns.tables) if name in tables else netns
                for name, netns in state.netns.items() if name in whole or name in tables
            },
            state.files if want.files is not have.files else {},
        )
        for state in (want, have)
    )).batch()


def _differing(want: Mapping[str, Netns], have: Mapping[str, Netns]) -> tuple[set[str], set[str]]:
    """The namespaces that are not the same object in both states, and those of which only the tables are not. Where
    identity or links are others, a link may come or go with its other end: so the namespaces beyond are among the
    first."""
    names = {name for name, netns in want.items() if have.get(name) is not netns}
    tables = {name for name in names if name in have and _differ_in_tables(want[name], have[name])}
    whole = (names | have.keys() - want.keys()) - tables
    ends = (netns for name in whole for netns in (want.get(name), have.get(name)) if netns is not None)
    whole |= {link.peer[0] for netns in ends for link in netns.links.values() if link.peer}
    return whole, tables - whole


def _differ_in_tables(want: Netns, have: Netns) -> bool:
    """Whether they may differ in their tables, and in nothing else."""
    return not have.digest and replace(want, tables=have.tables, foreign=have.foreign) == have


class _Difference:
    """Two states side by side.

    `reborn` are the namespaces that change their identity, `doomed` these and the ones no longer wanted; `kept` the
    links that stay what they are.
    """

    def __init__(self, want: NetState, have: NetState) -> None:
        self.want, self.have = want, have
        self.exchanges: Exchanges = {}
        self.want_links = _links(want)
        self.have_links = _links(have)
        self.reborn = {
            name for name, netns in have.netns.items() if name in want.netns and want.netns[name].uid != netns.uid
        }
        self.doomed = self.reborn | (have.netns.keys() - want.netns.keys())
        self.kept = {end for end, link in self.want_links.items() if self._keeps(end, link)}
        self.deleted_first, self.deleted_last = self._deleted_links()

    def batch(self) -> Batch:
        return Batch(
            replace=(*self.deleted_first, *(DeleteNetns(name) for name in self.have.netns if name in self.reborn)),
            netns=tuple(
                AddNetns(name, netns.uid, self.want.lab) for name, netns in self.want.netns.items()
                if name not in self.have.netns or name in self.reborn
            ),
            links=tuple(self._links()),
            configure=tuple(self._configure()),
            remove=(*self.deleted_last, *self._remove()),
        )

    def _keeps(self, end: End, link: Link) -> bool:
        """Whether the link exists, of the wanted kind and, for a veth, with the wanted other end."""
        have = self.have_links.get(end)
        if have is None or end[0] in self.doomed or have.kind != link.kind:
            return False
        return link.peer is None or (have.peer == link.peer and link.peer[0] not in self.doomed)

    def _deleted_links(self) -> tuple[list[DeleteLink], list[DeleteLink]]:
        """What to delete before all else, and what at the end. A doomed netns' links need no mention."""
        going = [end for end in self.have_links if end not in self.kept and end[0] not in self.doomed]
        peers = {end: self.have_links[end].peer for end in going}
        in_the_way = {end for end in going if end in self.want_links}
        # The kernel takes a dead netns' links away some time later, so the other ends of such pairs go by name.
        in_the_way |= {end for end in going if (peer := peers[end]) and peer[0] in self.reborn}
        in_the_way |= {peer for end in in_the_way if (peer := peers[end])}
        first: list[DeleteLink] = []
        last: list[DeleteLink] = []
        gone: set[End] = set()
        for end in going:
            if end not in gone:
                (first if end in in_the_way else last).append(DeleteLink(*end))
            peer = peers[end]
            if peer:
                gone.add(peer)
        return first, last

    def _links(self) -> Iterator[Operation]:
        """New links, those that may be masters before the others."""
        missing = [(end, link) for end, link in self.want_links.items() if end not in self.kept]
        for (netns, _), link in missing:
            if link.kind != "veth":
                yield AddLink(netns, link)
        for (netns, _), link in missing:
            if link.kind == "veth" and link.creates_peer:
                if link.peer is None or link.peer not in self.want_links:
                    raise ValueError(f"netns {netns}: the other end of {link.name} is not wanted anywhere")
                yield AddLink(netns, link, self.want_links[link.peer])

    def _configure(self) -> Iterator[Operation]:
        for name, netns in self.want.netns.items():
            known = self.have.netns.get(name)
            have = Netns(name, netns.uid) if known is None or name in self.reborn else known
            yield from self._configure_netns(netns, have)
        for path, content in self.want.files.items():
            if self.have.files.get(path) != content:
                yield WriteFile(path, content)

    def _configure_netns(self, want: Netns, have: Netns) -> Iterator[Operation]:
        yield from self._set_links(want, have)
        fresh = {link for link in want.links if (want.name, link) not in self.kept and link != LOOPBACK}
        obsolete = {
            address for address in have.addresses - want.addresses
            if address.link == LOOPBACK or (want.name, address.link) in self.kept
        }
        missing = {address for address in want.addresses if address not in have.addresses or address.link in fresh}
        if obsolete:
            missing |= _beside(obsolete, want.addresses)
        yield from (DeleteAddress(want.name, address) for address in _ordered(obsolete))
        yield from (AddAddress(want.name, address) for address in _ordered(missing))
        # Going down took the link's neighbours and routes with it.
        fresh |= {link for link, known in have.links.items() if not known.up and (want.name, link) in self.kept}
        yield from self._neighbours(want, have, fresh)
        for sysctl, value in want.sysctls.items():
            if have.sysctls.get(sysctl) != value:
                yield SetSysctl(want.name, sysctl, value)
        # Before routes: no packet takes a new way that the rules do not know yet, such as one to a Pod whose address
        # another Pod had, with other policies.
        yield from self._rules(want, have)
        shaken = fresh | {address.link for address in obsolete}
        renewed = {address.address.partition("/")[0] for address in missing} if obsolete else set()
        for route in sorted(want.routes.values(), key=_needs_others):
            if have.routes.get(route.destination) != route or shaken & route.links or route.source in renewed:
                yield ReplaceRoute(want.name, route)

    def _rules(self, want: Netns, have: Netns) -> Iterator[Operation]:
        for key, table in want.tables.items():
            for transaction in steps(table, have.tables.get(key), self.exchanges):
                yield ApplyTransaction(want.name, transaction)

    def _set_links(self, want: Netns, have: Netns) -> Iterator[Operation]:
        for link in want.links.values():
            known = have.links.get(link.name) if (want.name, link.name) in self.kept else None
            if known is not None and self._differs(want.name, link, known):
                yield SetLink(want.name, link)
            present = known.qdisc if known is not None else None
            if link.qdisc is not None and link.qdisc != present:
                yield ReplaceQdisc(want.name, link.name, link.qdisc)
            elif link.qdisc is None and present is not None:
                yield DeleteQdisc(want.name, link.name)

    def _neighbours(self, want: Netns, have: Netns, fresh: set[str]) -> Iterator[Operation]:
        """Those of a fresh link went with its predecessor."""
        digest = neighbours_digest(want.neighbours)
        known = have.digest or neighbours_digest(have.neighbours)
        if digest == known and not (fresh and fresh & {one.link for one in want.neighbours}):
            return
        missing = sorted(one for one in want.neighbours if one not in have.neighbours or one.link in fresh)
        yield AddNeighbours(want.name, want.uid, self.want.lab, tuple(missing), digest)

    def _differs(self, netns: str, want: Link, have: Link) -> bool:
        if (want.up, want.alias, want.mtu, want.master) != (have.up, have.alias, have.mtu, have.master):
            return True
        if want.master and (want.hairpin != have.hairpin or (netns, want.master) not in self.kept):
            return True
        return bool(want.mac) and want.mac.lower() != have.mac.lower()

    def _remove(self) -> Iterator[Operation]:
        for name, netns in self.want.netns.items():
            have = self.have.netns.get(name)
            if have is not None and name not in self.reborn:
                yield from self._remove_from(netns, have)
        for path in self.have.files:
            if path not in self.want.files:
                yield RemoveFile(path)
        for name in self.have.netns:
            if name not in self.want.netns:
                yield DeleteNetns(name)

    def _remove_from(self, want: Netns, have: Netns) -> Iterator[Operation]:
        gone = {
            link for link in have.links if (want.name, link) not in self.kept or not want.links[link].up
        }
        for destination, route in have.routes.items():
            if destination not in want.routes and not gone & route.links:
                yield DeleteRoute(want.name, route)
        for key, table in have.tables.items():
            transaction = None if key in want.tables else difference(None, table)
            if transaction is not None:
                yield ApplyTransaction(want.name, transaction)


def _links(state: NetState) -> dict[End, Link]:
    return {
        (netns.name, link.name): link
        for netns in state.netns.values() for link in netns.links.values() if link.name != LOOPBACK
    }


def _beside(obsolete: set[Address], wanted: frozenset[Address]) -> set[Address]:
    """Wanted addresses in the network of an obsolete one: the kernel deletes them with it where it came first and
    they are its secondaries (net.ipv4.conf.*.promote_secondaries is 0)."""
    from ipaddress import ip_interface

    networks = {(address.link, ip_interface(address.address).network) for address in obsolete}
    return {address for address in wanted if (address.link, ip_interface(address.address).network) in networks}


def _ordered(addresses: set[Address]) -> list[Address]:
    return sorted(addresses, key=lambda address: (address.link, address.address))


def _needs_others(route: Route) -> bool:
    """A gateway must be reachable by a route that exists already."""
    return bool(route.via or route.nexthops) and not route.onlink
