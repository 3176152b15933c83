"""A kernel made of dictionaries: the same protocol as `real.RealKernel`, the same answers and the same errors.

For unit tests, which can stop it at any operation. What it models of the kernel's habits is what a batch can trip
over: what vanishes with a link, a namespace or an address, and what must be there before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from errno import EEXIST, EINVAL, EIO, ENETDOWN, ENETUNREACH, ENODEV, ENOENT
from ipaddress import ip_address, ip_interface, ip_network

from nslab.errors import KernelError, OwnershipError
from nslab.linux import sysctls
from nslab.linux.fake_tables import applied
from nslab.linux.kernel import Progress
from nslab.netstate.diff import LOOPBACK
from nslab.netstate.model import Address, Link, Netns, NetState, Qdisc, Route
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
from nslab.nft.objects import Table


class Killed(BaseException):
    """The process is killed: nothing of it runs any more."""


@dataclass
class FakeNetns:
    """A netns. `lab` is empty where it carries no stamp. `addresses` are in the order they came."""

    lab: str = ""
    uid: str = ""
    links: dict[str, Link] = field(default_factory=dict)
    addresses: list[Address] = field(default_factory=list)
    routes: dict[str, Route] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    tables: dict[tuple[str, str], Table] = field(default_factory=dict)
    digest: str = ""


class FakeKernel:
    """`netns` and `files` may be filled and changed at will; `fail_at` stops it in the middle of a batch."""

    def __init__(self) -> None:
        self.netns: dict[str, FakeNetns] = {}
        self.files: dict[str, str] = {}
        self._until_failure = 0
        self._failure: type[BaseException] = KernelError

    def fail_at(self, number: int, failure: type[BaseException] = KernelError) -> None:
        """Stop before the operation of that number, counted from 1 over all batches to come: with KernelError (EIO)
        or with Killed. 0 stops no more."""
        self._until_failure = number
        self._failure = failure

    def observe(self, lab: str, names: Iterable[str], files: Iterable[str]) -> NetState:
        asked = set(names)
        for name in sorted(asked & self.netns.keys()):
            if self.netns[name].lab != lab:
                raise OwnershipError(f"the network namespace {name} exists and is not lab {lab}'s")
        owned = {
            name: self._observed(lab, name, inside) for name, inside in sorted(self.netns.items())
            if inside.lab == lab and (name in asked or name.startswith(f"{lab}."))
        }
        below = tuple(f"/etc/netns/{name}/" for name in owned)
        wanted = {*files, *(path for path in self.files if path.startswith(below))}
        return NetState(lab, owned, {path: self.files[path] for path in sorted(wanted & self.files.keys())})

    def require(self, batch: Batch) -> None:
        """It lacks nothing."""

    def has_qdisc(self, kind: str) -> bool:
        return True

    def apply(self, batch: Batch, progress: Progress | None = None) -> None:
        for phase, operations in batch.phases:
            for done, operation in enumerate(operations, 1):
                self._count(operation)
                try:
                    self._carry_out(operation)
                except OSError as error:
                    raise KernelError(
                        operation.describe(), error.errno or 0, _netns_of(operation), detail=error.strerror or ""
                    ) from error
                if progress is not None:
                    progress(phase, done, len(operations))

    def labs(self) -> list[str]:
        return sorted({inside.lab for inside in self.netns.values() if inside.lab})

    def _count(self, operation: Operation) -> None:
        if not self._until_failure:
            return
        self._until_failure -= 1
        if self._until_failure == 0:
            if self._failure is KernelError:
                raise KernelError(operation.describe(), EIO, _netns_of(operation))
            raise self._failure

    def _observed(self, lab: str, name: str, inside: FakeNetns) -> Netns:
        links = {
            link.name: replace(link, peer=link.peer if self._other_end((name, link.name)) else None)
            for link in inside.links.values()
            if link.alias.startswith(f"nslab:{lab} ") or self._other_end((name, link.name))
        }
        owned = {*links, LOOPBACK, ""}
        forwards = inside.sysctls.get(sysctls.FORWARDING) == "1"
        tables = {key: table for key, table in inside.tables.items() if table.comment.startswith(f"nslab:{lab}")}
        foreign = {f"link delete {link}" for link in inside.links if link not in owned}
        foreign |= {f"delete table {family} {table}" for family, table in inside.tables.keys() - tables.keys()}
        return Netns(
            name, inside.uid, links,
            frozenset(address for address in inside.addresses if address.link in owned),
            {to: route for to, route in inside.routes.items() if route.link in owned},
            {key: value for key, value in inside.sysctls.items() if forwards or key not in sysctls.ROUTERS},
            tables,
            digest=inside.digest,
            foreign=frozenset(foreign),
        )

    def _other_end(self, end: tuple[str, str]) -> Link | None:
        peer = self.netns[end[0]].links[end[1]].peer
        other = self.netns[peer[0]].links.get(peer[1]) if peer and peer[0] in self.netns else None
        return other if other is not None and other.peer == end else None

    def _carry_out(self, operation: Operation) -> None:
        match operation:
            case AddNetns():
                self._add_netns(operation)
            case DeleteNetns(netns=name):
                for link in list(self.netns[name].links if name in self.netns else ()):
                    self._delete_link(name, link)
                self.netns.pop(name, None)
            case AddLink():
                self._add_link(operation)
            case SetLink(netns=name, link=link):
                self._set_link(name, link)
            case DeleteLink(netns=name, name=link_name):
                if link_name in self._inside(name).links:
                    self._delete_link(name, link_name)
            case ReplaceQdisc(netns=name, link=link_name, qdisc=qdisc):
                self._set_qdisc(name, link_name, qdisc)
            case DeleteQdisc(netns=name, link=link_name):
                self._set_qdisc(name, link_name, None)
            case WriteFile(path=path, content=content):
                self.files[path] = content
            case RemoveFile(path=path):
                self.files.pop(path, None)
            case _:
                self._configure(operation, self._inside(operation.netns))

    def _configure(
        self,
        operation: AddAddress | DeleteAddress | AddNeighbours | ReplaceRoute | DeleteRoute
        | SetSysctl | ApplyTransaction,
        inside: FakeNetns,
    ) -> None:
        match operation:
            case AddAddress(address=address):
                _require_link(inside, address.link)
                if address not in inside.addresses:
                    inside.addresses.append(address)
            case DeleteAddress(address=address):
                _delete_address(inside, address)
            case AddNeighbours(neighbours=neighbours, digest=digest):
                for neighbour in neighbours:
                    _require_link(inside, neighbour.link)
                inside.digest = digest
            case ReplaceRoute(route=route):
                _check_route(inside, route)
                inside.routes[route.destination] = route
            case DeleteRoute(route=route):
                inside.routes.pop(route.destination, None)
            case SetSysctl(name=name, value=value):
                if not sysctls.known(name):
                    raise ValueError(f"{name} is not in sysctls.py")
                if (link := sysctls.link_of(name)) and link not in inside.links:
                    raise OSError(ENOENT, f"no link {link}")
                inside.sysctls[name] = value
            case ApplyTransaction(transaction=transaction):
                key = (transaction.family, transaction.table)
                table = applied(inside.tables.get(key), transaction)
                inside.tables.pop(key, None)
                if table is not None:
                    inside.tables[key] = table

    def _inside(self, name: str) -> FakeNetns:
        if name not in self.netns:
            raise OSError(ENOENT, "there is no such netns")
        return self.netns[name]

    def _add_netns(self, operation: AddNetns) -> None:
        known = self.netns.setdefault(operation.netns, FakeNetns(operation.lab, operation.uid))
        if known.lab != operation.lab:
            raise OwnershipError(f"the network namespace {operation.netns} exists and is not lab {operation.lab}'s")
        if known.uid != operation.uid:
            raise OSError(EEXIST, "the netns has another identity")

    def _add_link(self, operation: AddLink) -> None:
        name, link, peer = operation.netns, operation.link, operation.peer
        inside = self._inside(name)
        known = inside.links.get(link.name)
        if known is not None:
            if known.alias.partition(" ")[0] != link.alias.partition(" ")[0] or known.kind != link.kind:
                raise OwnershipError(f"the link {link.name} exists and is not the lab's")
            return
        if link.master:
            _require_link(inside, link.master)
        if peer is not None and link.peer is not None:
            beyond = self._inside(link.peer[0])
            if peer.name in beyond.links:
                raise OSError(EEXIST, f"{peer.name} is there without its other end")
            beyond.links[peer.name] = replace(peer, qdisc=None)
        inside.links[link.name] = replace(link, qdisc=None)

    def _set_link(self, name: str, link: Link) -> None:
        inside = self._inside(name)
        _require_link(inside, link.name)
        if link.master:
            _require_link(inside, link.master)
        present = inside.links[link.name]
        inside.links[link.name] = replace(link, peer=present.peer, qdisc=present.qdisc)
        if not link.up:
            _forget_routes(inside, link.name)

    def _set_qdisc(self, name: str, link: str, qdisc: Qdisc | None) -> None:
        inside = self._inside(name)
        _require_link(inside, link)
        inside.links[link] = replace(inside.links[link], qdisc=qdisc)

    def _delete_link(self, name: str, link_name: str) -> None:
        """With it go its peer, its addresses, its routes, and its ports' membership."""
        other = self._other_end((name, link_name))
        peer = self.netns[name].links[link_name].peer
        ends = [(name, link_name), peer] if other is not None and peer else [(name, link_name)]
        for netns_name, gone in ends:
            inside = self.netns[netns_name]
            del inside.links[gone]
            inside.addresses[:] = [address for address in inside.addresses if address.link != gone]
            _forget_routes(inside, gone)
            inside.sysctls = {key: value for key, value in inside.sysctls.items() if sysctls.link_of(key) != gone}
            for port in inside.links.values():
                if port.master == gone:
                    inside.links[port.name] = replace(port, master="")


def _forget_routes(inside: FakeNetns, link: str) -> None:
    inside.routes = {to: route for to, route in inside.routes.items() if link not in route.links}


def _delete_address(inside: FakeNetns, address: Address) -> None:
    """With a network's first address on a link go the others of that network, with a link's last address its routes,
    and with every address the routes that have it as their source."""
    if address not in inside.addresses:
        return
    network = ip_interface(address.address).network
    beside = [
        one for one in inside.addresses if one.link == address.link and ip_interface(one.address).network == network
    ]
    gone = beside if beside[0] == address else [address]
    inside.addresses[:] = [one for one in inside.addresses if one not in gone]
    local = {one.address.partition("/")[0] for one in inside.addresses}
    alive = any(one.link == address.link for one in inside.addresses)
    inside.routes = {
        to: route for to, route in inside.routes.items()
        if (alive or address.link not in route.links) and (not route.source or route.source in local)
    }


def _check_route(inside: FakeNetns, route: Route) -> None:
    for link in route.links - {""}:
        _require_link(inside, link)
        if link != LOOPBACK and not inside.links[link].up:
            raise OSError(ENETDOWN, f"{link} is down")
    if route.source and not any(one.address.partition("/")[0] == route.source for one in inside.addresses):
        raise OSError(EINVAL, "the source is no address of this netns")
    gateways = [(route.via, route.link)] if route.via else [(via, link) for via, link, _ in route.nexthops]
    if route.onlink:
        return
    for via, link in gateways:
        connected = [(one.link, ip_interface(one.address).network) for one in inside.addresses]
        connected += [(one.link, ip_network(one.destination)) for one in inside.routes.values()
                      if one.kind == "unicast" and not one.via and not one.nexthops]
        if not any(ip_address(via) in network for on, network in connected if link in ("", on)):
            raise OSError(ENETUNREACH, "the gateway cannot be reached")


def _require_link(inside: FakeNetns, link: str) -> None:
    if link != LOOPBACK and link not in inside.links:
        raise OSError(ENODEV, f"there is no link {link}")


def _netns_of(operation: Operation) -> str:
    return "of the host" if isinstance(operation, WriteFile | RemoveFile) else operation.netns
