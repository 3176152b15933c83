"""A lab's network: its namespaces with their links, addresses, routes, sysctls and nft tables, and its files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple, TypeVar
from zlib import crc32

from nslab.nft.objects import Table

K = TypeVar("K")
V = TypeVar("V")


class Qdisc(NamedTuple):
    """What becomes of packets that leave by a link: its root queueing discipline (tc(8)), if not the kernel's own.

    `kind` "blackhole" loses them all, in silence; "tbf" lets `rate` bits a second pass; "netem" holds them up for
    `delay` microseconds, loses `loss` hundredths of a percent of them, and lets `rate` pass (0: any). An observed one
    of another kind is somebody else's wish, which is known by its kind alone.
    """

    kind: str
    rate: int = 0
    delay: int = 0
    loss: int = 0

    @property
    def burst(self) -> int:
        """Octets that a tbf lets pass at once: what it earns in 20 ms, and ten full frames at least, since timers and
        senders work in bursts."""
        return max(self.rate // 8 // 50, 10 * 1514)

    @property
    def limit(self) -> int:
        """How much waits before more is lost: octets for 100 ms (tbf), packets (netem)."""
        return 10_000 if self.kind == "netem" else self.rate // 8 // 10 + self.burst


@dataclass(frozen=True, slots=True)
class Link:
    """A network device of one netns.

    `kind` is the rtnetlink kind: "veth", "bridge" or "loopback". `alias` is the long, person-readable name and the
    ownership stamp (it begins with "nslab:LAB "). `peer` of a veth is (netns, link name) of its other end; a pair is
    created by the end whose `creates_peer` is true; observed, `peer` is None where the other end is gone or is not of
    the pair. `mac` is set only where it must not be the kernel's choice. A link that is not `up` has no routes and no
    neighbours: the kernel takes them away. The loopback needs no Link: every netns has it, up.
    """

    name: str
    kind: str
    alias: str
    mtu: int
    master: str = ""
    hairpin: bool = False
    peer: tuple[str, str] | None = None
    creates_peer: bool = False
    mac: str = ""
    up: bool = True
    qdisc: Qdisc | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 address with its prefix length ("10.8.0.1/24") on a link."""

    link: str
    address: str


@dataclass(frozen=True, slots=True)
class Route:
    """An IPv4 route of the main table.

    `destination` is a CIDR ("0.0.0.0/0" is the default route). `kind` is "unicast" or "blackhole". A unicast route
    leaves by `link`, directly or through `via` (`onlink`: the gateway is on the link although no address says so), or
    by several `nexthops`, each (via, link, weight), over which the kernel spreads flows.
    """

    destination: str
    link: str = ""
    via: str = ""
    onlink: bool = False
    source: str = ""
    nexthops: tuple[tuple[str, str, int], ...] = ()
    kind: str = "unicast"

    @property
    def links(self) -> set[str]:
        """The links that it leaves by; "" for one that names none."""
        return {self.link, *(link for _, link, _ in self.nexthops)}


class Neighbour(NamedTuple):
    """A permanent neighbour: the IPv4 address `ip` on the link is at `mac`, without asking (ARP) and for ever.

    A tuple, because a node's Pods share a set of them that is looked at for each Pod.
    """

    link: str
    ip: str
    mac: str


@dataclass(frozen=True, slots=True)
class Netns:
    """One network namespace.

    `uid` is the identity of what it stands for (a replaced Pod has another): a namespace of the same name with
    another uid is deleted and made anew. An observed one has an empty uid where only its name exists: a kill left it
    half made, or half deleted. `sysctls` maps names below /proc/sys/net, written with slashes
    ("ipv4/ip_forward"), to their value.

    `neighbours` are wanted ones; what an observed netns was given is known by their `digest` alone, which is kept on
    its loopback. A kernel searches the neighbours of all its namespaces to list those of one; and nothing is lost
    with one that somebody deleted, since ARP finds it again. None is ever deleted: an address keeps its mac.

    `foreign` are links and tables that an observed netns holds and that are not the lab's, each as what deletes it:
    "link delete NAME", "delete table FAMILY NAME".
    """

    name: str
    uid: str
    links: dict[str, Link] = field(default_factory=dict)
    addresses: frozenset[Address] = frozenset()
    routes: dict[str, Route] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    tables: dict[tuple[str, str], Table] = field(default_factory=dict)
    neighbours: frozenset[Neighbour] = frozenset()
    digest: str = ""
    foreign: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NetState:
    """All namespaces of the lab `lab` by name, and the files it keeps on the host (path to content)."""

    lab: str
    netns: dict[str, Netns] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


FILE_STAMP = "# nslab\n"
"""The last line of every file that nslab keeps on the host: what lacks it is somebody else's, and never touched. /etc
outlives a reboot, so that neither a netns nor the lab's state may be left to tell."""


@lru_cache(maxsize=4096)
def neighbours_digest(neighbours: frozenset[Neighbour]) -> str:
    """A short text that tells one set of neighbours from another; empty for none."""
    return f"{crc32(repr(sorted(neighbours)).encode()):08x}" if neighbours else ""


def stamp(lab: str, long_name: str) -> str:
    """The alias of a link: ownership stamp and long name, cut to the kernel's 255 octets (IFALIASZ)."""
    return f"nslab:{lab} {long_name}"[:255]


def join(lab: str, parts: Iterable[NetState]) -> NetState:
    """The union of what several components want.

    Raises ValueError when two of them want different things of one name: a defect of nslab, not of the user's files.
    """
    netns, files = pieces(parts)
    return NetState(lab, {name: joined(those) for name, those in netns.items()}, files)


def pieces(parts: Iterable[NetState]) -> tuple[dict[str, tuple[Netns, ...]], dict[str, str]]:
    """What `join` makes a state of: all that is wanted of each netns, by name, and the files. Raises as it does."""
    netns: dict[str, tuple[Netns, ...]] = {}
    files: list[dict[str, str]] = []
    for part in parts:
        if part.files:
            files.append(part.files)
        for name, more in part.netns.items():
            netns[name] = (*netns.get(name, ()), more)
    if len(files) == 1:
        return netns, files[0]
    together: dict[str, str] = {}
    for some in files:
        _update(together, some, "file")
    return netns, together


def joined(those: tuple[Netns, ...]) -> Netns:
    """One netns of its pieces: a single one as it is. Raises as `join` does."""
    first = those[0]
    if len(those) == 1:
        return first
    name = first.name
    known = replace(
        first, links=dict(first.links), routes=dict(first.routes), sysctls=dict(first.sysctls),
        tables=dict(first.tables),
    )
    for more in those[1:]:
        if known.uid != more.uid:
            raise ValueError(f"netns {name}: wanted with two uids, {known.uid} and {more.uid}")
        _update(known.links, more.links, f"{name}: link")
        _update(known.routes, more.routes, f"{name}: route")
        _update(known.sysctls, more.sysctls, f"{name}: sysctl")
        _update(known.tables, more.tables, f"{name}: table")
    addresses = first.addresses.union(*(more.addresses for more in those[1:]))
    neighbours = [each.neighbours for each in those if each.neighbours]
    if len(neighbours) > 1:
        neighbours = [frozenset().union(*neighbours)]
    return replace(known, addresses=addresses, neighbours=neighbours[0] if neighbours else frozenset())


def _update(into: dict[K, V], more: dict[K, V], what: str) -> None:
    for key, value in more.items():
        if into.setdefault(key, value) != value:
            raise ValueError(f"{what} {key}: wanted in two ways, {into[key]} and {value}")
