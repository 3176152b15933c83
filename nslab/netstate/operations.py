"""Single operations on a kernel, in the order of `Batch.phases`, each able to say itself as command lines.

What `--dry-run` prints and what errors quote is `describe()`: the `ip`, `bridge`, `nft` or `sysctl` lines that a
person would type for the same. `linux` carries the objects out by netlink.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from nslab.netstate.model import FILE_STAMP, Address, Link, Neighbour, Qdisc, Route, stamp
from nslab.nft.transaction import Transaction


@dataclass(frozen=True, slots=True)
class AddNetns:
    """Create the netns, stamp it as the lab's, and bring its loopback up."""

    netns: str
    uid: str
    lab: str

    @property
    def alias(self) -> str:
        """What its loopback carries as alias: the stamp of a netns."""
        return stamp(self.lab, f"uid={self.uid}")

    def describe(self) -> str:
        return f'ip netns add {self.netns}; ip -n {self.netns} link set lo up alias "{self.alias}"'


@dataclass(frozen=True, slots=True)
class DeleteNetns:
    netns: str

    def describe(self) -> str:
        return f"ip netns delete {self.netns}"


@dataclass(frozen=True, slots=True)
class AddLink:
    """Create a link (and a veth's peer with it), named, aliased, sized, enslaved and up, unless it is wanted down.
    `peer` is the other end's Link where the pair is a veth."""

    netns: str
    link: Link
    peer: Link | None = None

    def describe(self) -> str:
        link = self.link
        create = f"ip -n {self.netns} link add {_named(link)} type {link.kind}"
        finish = [_finish(self.netns, link)]
        if link.kind == "bridge":
            create += " stp_state 0 mcast_snooping 0"
        if link.peer and self.peer:
            create += f" peer name {_named(self.peer)} netns {link.peer[0]}"
            finish.append(_finish(link.peer[0], self.peer))
        if link.hairpin:
            finish.append(f"bridge -n {self.netns} link set dev {link.name} hairpin on")
        return "\n".join([create, *finish])


def _named(link: Link) -> str:
    """A link's name and what it is created with. One queue: see linux/rtnetlink.py."""
    mac = f" address {link.mac}" if link.mac else ""
    return f"{link.name}{mac} numtxqueues 1 numrxqueues 1"


def _finish(netns: str, link: Link) -> str:
    master = f" master {link.master}" if link.master else ""
    return f'ip -n {netns} link set {link.name} mtu {link.mtu}{master} {_state(link)} alias "{link.alias}"'


def _state(link: Link) -> str:
    return "up" if link.up else "down"


@dataclass(frozen=True, slots=True)
class SetLink:
    """Change an existing link to the wanted mtu, master, hairpin, alias, mac, and up or down."""

    netns: str
    link: Link

    def describe(self) -> str:
        link = self.link
        master = f"master {link.master}" if link.master else "nomaster"
        mac = f" address {link.mac}" if link.mac else ""
        line = f"ip -n {self.netns} link set {link.name} mtu {link.mtu} {master}{mac}"
        line += f' {_state(link)} alias "{link.alias}"'
        if link.master:
            line += f"; bridge -n {self.netns} link set dev {link.name} hairpin {'on' if link.hairpin else 'off'}"
        return line


@dataclass(frozen=True, slots=True)
class DeleteLink:
    netns: str
    name: str

    def describe(self) -> str:
        return f"ip -n {self.netns} link delete {self.name}"


@dataclass(frozen=True, slots=True)
class ReplaceQdisc:
    """Give a link this root queueing discipline instead of the one it has."""

    netns: str
    link: str
    qdisc: Qdisc

    def describe(self) -> str:
        kind, rate, delay, loss = self.qdisc
        line = f"tc -n {self.netns} qdisc replace dev {self.link} root {kind}"
        if kind == "tbf":
            return f"{line} rate {rate}bit burst {self.qdisc.burst}b limit {self.qdisc.limit}b"
        if kind == "netem":
            line += f" limit {self.qdisc.limit}"
            line += f" delay {delay}us" if delay else ""
            line += f" loss {loss / 100:g}%" if loss else ""
            line += f" rate {rate}bit" if rate else ""
        return line


@dataclass(frozen=True, slots=True)
class DeleteQdisc:
    """Give a link the kernel's own queueing discipline back."""

    netns: str
    link: str

    def describe(self) -> str:
        return f"tc -n {self.netns} qdisc delete dev {self.link} root"


@dataclass(frozen=True, slots=True)
class AddAddress:
    netns: str
    address: Address

    def describe(self) -> str:
        return f"ip -n {self.netns} address add {self.address.address} dev {self.address.link}"


@dataclass(frozen=True, slots=True)
class DeleteAddress:
    netns: str
    address: Address

    def describe(self) -> str:
        return f"ip -n {self.netns} address delete {self.address.address} dev {self.address.link}"


@dataclass(frozen=True, slots=True)
class AddNeighbours:
    """Make the neighbours known, and write on the loopback that all of `digest` (model.neighbours_digest) are."""

    netns: str
    uid: str
    lab: str
    neighbours: tuple[Neighbour, ...]
    digest: str

    @property
    def alias(self) -> str:
        return stamp(self.lab, f"uid={self.uid} neighbours={self.digest}")

    def describe(self) -> str:
        lines = [
            f"ip -n {self.netns} neigh replace {ip} lladdr {mac} dev {link} nud permanent"
            for link, ip, mac in self.neighbours
        ]
        return "\n".join([*lines, f'ip -n {self.netns} link set lo alias "{self.alias}"'])


@dataclass(frozen=True, slots=True)
class ReplaceRoute:
    netns: str
    route: Route

    def describe(self) -> str:
        route = self.route
        if route.kind != "unicast":
            return f"ip -n {self.netns} route replace {route.kind} {route.destination} proto static"
        line = f"ip -n {self.netns} route replace {route.destination} proto static"
        onlink = " onlink" if route.onlink else ""
        for via, link, weight in route.nexthops:
            line += f" nexthop via {via} dev {link} weight {weight}{onlink}"
        if route.via:
            line += f" via {route.via}"
        if route.link:
            line += f" dev {route.link}"
        if route.source:
            line += f" src {route.source}"
        return line if route.nexthops else line + onlink


@dataclass(frozen=True, slots=True)
class DeleteRoute:
    netns: str
    route: Route

    def describe(self) -> str:
        return f"ip -n {self.netns} route delete {self.route.destination}"


@dataclass(frozen=True, slots=True)
class SetSysctl:
    netns: str
    name: str
    value: str

    def describe(self) -> str:
        return f"ip netns exec {self.netns} sysctl -w net.{self.name.replace('/', '.')}={self.value}"


@dataclass(frozen=True, slots=True)
class ApplyTransaction:
    """One atomic nftables transaction in one netns."""

    netns: str
    transaction: Transaction

    def describe(self) -> str:
        return f"ip netns exec {self.netns} nft -f - <<EOF\n{self.transaction.text()}EOF"


@dataclass(frozen=True, slots=True)
class WriteFile:
    path: str
    content: str

    def describe(self) -> str:
        return f"install -D -m 644 /dev/stdin {self.path} <<'EOF'\n{self.content}{FILE_STAMP}EOF"


@dataclass(frozen=True, slots=True)
class RemoveFile:
    path: str

    def describe(self) -> str:
        return f"rm {self.path}"


NetnsOperation = (
    AddNetns | DeleteNetns | AddLink | SetLink | DeleteLink | ReplaceQdisc | DeleteQdisc | AddAddress | DeleteAddress
    | AddNeighbours | ReplaceRoute | DeleteRoute | SetSysctl | ApplyTransaction
)
FileOperation = WriteFile | RemoveFile
Operation = NetnsOperation | FileOperation


@dataclass(frozen=True, slots=True)
class Batch:
    """Ordered phases of operations. Within a phase operations on different namespaces may run side by side;
    those on one netns keep their order. Phases, in order:

    replace   namespaces whose name must become free first
    netns     new namespaces
    links     new links; a veth's other end needs both namespaces
    configure links, addresses, routes, sysctls, rules and files
    remove    what is wanted no longer, last: add before delete
    """

    replace: tuple[Operation, ...] = ()
    netns: tuple[Operation, ...] = ()
    links: tuple[Operation, ...] = ()
    configure: tuple[Operation, ...] = ()
    remove: tuple[Operation, ...] = field(default=())

    @property
    def phases(self) -> tuple[tuple[str, tuple[Operation, ...]], ...]:
        return (
            ("replace", self.replace), ("netns", self.netns), ("links", self.links),
            ("configure", self.configure), ("remove", self.remove),
        )

    def __iter__(self) -> Iterator[Operation]:
        for _, operations in self.phases:
            yield from operations

    def __len__(self) -> int:
        return sum(len(operations) for _, operations in self.phases)

    def describe(self) -> str:
        """The whole batch as command lines: a script for a shell."""
        return "".join(f"{operation.describe()}\n" for operation in self)
