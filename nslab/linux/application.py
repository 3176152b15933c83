"""Carrying a batch out: requests gathered per netns, sent together, two threads side by side."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from errno import EADDRNOTAVAIL, EEXIST, ENODEV, ENOENT, ESRCH
from functools import cached_property, partial

from nslab.errors import KernelError, OwnershipError
from nslab.linux import files, netns, qdisc, rtnetlink, sysctls, workers
from nslab.linux.kernel import Progress
from nslab.linux.netlink import NetlinkSocket
from nslab.linux.nftables import NftError, NftSockets
from nslab.linux.observation import stamp_of
from nslab.netstate.model import Link
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
    FileOperation,
    NetnsOperation,
    Operation,
    RemoveFile,
    ReplaceQdisc,
    ReplaceRoute,
    SetLink,
    SetSysctl,
    WriteFile,
)
from nslab.nft.operations import AddElements, DeleteElements
from nslab.nft.operations import Operation as Step

SHORT = 100
"""Elements of nft sets in a transaction that is worth no thread of its own."""

_FILES_PER_NETNS = 4
"""Sockets and namespaces open at once, for each netns of a batch."""


class _Netns:
    """One netns while a batch is applied: a netlink socket in it, and requests waiting to be sent together."""

    def __init__(self, name: str, connection: NetlinkSocket) -> None:
        self.name = name
        self.connection = connection
        self._queue: list[tuple[bytes, NetnsOperation, int]] = []
        self._indexes: dict[str, int] = {}
        self._open: list[int] = []

    def close(self) -> None:
        self._close_files()
        self.connection.close()

    def queue(self, message: bytes, operation: NetnsOperation, done: int = 0) -> None:
        """Send the request some time later; `done` is the errno that says that there is nothing left to do."""
        self._queue.append((message, operation, done))

    def keep_open(self, fd: int) -> int:
        """Close `fd` when the queue has been sent."""
        self._open.append(fd)
        return fd

    def flush(self) -> None:
        """Send what is queued. Raises KernelError for the first request that is refused."""
        if not self._queue:
            return
        queue, self._queue = self._queue, []
        try:
            refusals = self.connection.request([message for message, _, _ in queue])
        finally:
            self._close_files()
        for number, errno, detail in refusals:
            _, operation, done = queue[number]
            if errno != done:
                raise KernelError(operation.describe(), errno, operation.netns, detail=detail)

    def index(self, link: str) -> int:
        """The link's ifindex, 0 where there is none."""
        known = self._indexes.get(link)
        if known is None:
            self.flush()
            known = netns.ifindex(self.connection, link)
            if known:
                self._indexes[link] = known
        return known

    def forget(self) -> None:
        """Links are about to go: their indexes are no longer known."""
        self._indexes.clear()

    def _close_files(self) -> None:
        for fd in self._open:
            os.close(fd)
        self._open.clear()


class Application:
    """One batch on its way into the kernel. A context manager: it holds a socket in every netns it touches, those of
    `nft` beyond its end."""

    def __init__(self, batch: Batch, progress: Progress | None, nft: NftSockets) -> None:
        self._batch = batch
        self._nft = nft
        self._progress = progress
        self._opened: dict[str, _Netns] = {}
        self._lock = threading.Lock()
        # Another worker may be at work in the far end's netns, so these wait until all links are there.
        self._far_ends: list[tuple[_Netns, Link, AddLink]] = []

    @cached_property
    def _ipv6(self) -> bool:
        return os.path.exists("/proc/net/if_inet6")

    def __enter__(self) -> Application:
        return self

    def __exit__(self, *_: object) -> None:
        for inside in self._opened.values():
            inside.close()

    def run(self) -> None:
        """Raises KernelError for the first refused operation, OwnershipError for one on what is not the lab's."""
        names = {operation.netns for operation in self._batch if not isinstance(operation, WriteFile | RemoveFile)}
        netns.raise_open_files(256 + _FILES_PER_NETNS * len(names))
        for phase, operations in self._batch.phases:
            if operations or (phase == "configure" and self._far_ends):
                with netns.prepared_root() if phase == "netns" else nullcontext():
                    self._run_phase(phase, operations)
        if any(isinstance(operation, DeleteNetns) for operation in self._batch):
            netns.restore_root()

    def _run_phase(self, phase: str, operations: tuple[Operation, ...]) -> None:
        """One task for each netns and for each directory, which keep the order of their operations."""
        places: dict[str, list[NetnsOperation]] = {}
        directories: dict[str, list[FileOperation]] = {}
        for operation in operations:
            if isinstance(operation, WriteFile | RemoveFile):
                directories.setdefault(os.path.dirname(operation.path), []).append(operation)
            else:
                places.setdefault(operation.netns, []).append(operation)
        if phase == "configure":
            for inside, link, creation in self._far_ends:
                self._finish(inside, link, creation)
                places.setdefault(inside.name, [])
        tasks = [partial(self._in_netns, name, group) for name, group in places.items()]
        file_tasks = [partial(self._on_host, group) for group in directories.values()]
        if not directories and all(map(_is_short, operations)) and not self._opened:
            for task in tasks:  # sooner done than handed to threads
                task()
            return
        # Files first: a netns that still has its name says whose they are.
        sizes = [len(group) for group in directories.values()] + [len(group) for group in places.values()]
        self._report(phase, 0, sizes)
        workers.run(file_tasks, lambda done: self._report(phase, done, sizes))
        workers.run(tasks, lambda done: self._report(phase, len(file_tasks) + done, sizes))

    def _report(self, phase: str, tasks: int, sizes: list[int]) -> None:
        if self._progress is not None and sizes:
            self._progress(phase, sum(sizes[:tasks]), sum(sizes))

    def _on_host(self, operations: list[FileOperation]) -> None:
        for operation in operations:
            try:
                if isinstance(operation, WriteFile):
                    files.write(operation.path, operation.content)
                else:
                    files.remove(operation.path)
            except OSError as error:
                raise KernelError(operation.describe(), error.errno or 0, "of the host") from error

    def _in_netns(self, name: str, operations: list[NetnsOperation]) -> None:
        """The operations on one netns. Runs in a worker, which it may leave in that netns."""
        present = False
        for operation in operations:
            try:
                if isinstance(operation, AddNetns):
                    self._add_netns(operation)
                elif isinstance(operation, DeleteNetns):
                    self._delete_netns(operation)
                elif isinstance(operation, ApplyTransaction):
                    self._flush(name)
                    self._nft.of(name).apply(operation.transaction)
                elif isinstance(operation, SetSysctl):
                    self._inside(name, operation).flush()
                    if not present:
                        netns.enter(name)
                        present = True
                    _write_sysctl(operation)
                else:
                    self._queue(self._inside(name, operation), operation)
            except NftError as error:
                raise KernelError(error.operation, error.errno or 0, name, detail=error.detail) from error
            except OSError as error:
                detail = "" if os.path.exists(netns.path(name)) else f"there is no netns {name}"
                raise KernelError(operation.describe(), error.errno or 0, name, detail=detail) from error
        self._flush(name)

    def _flush(self, name: str) -> None:
        inside = self._opened.get(name)
        if inside is not None:
            inside.flush()

    def _inside(self, name: str, operation: NetnsOperation) -> _Netns:
        """The netns of that name, entered once in a batch. Raises KernelError for `operation` where there is none."""
        with self._lock:
            known = self._opened.get(name)
            if known is None:
                try:
                    with netns.entered(name):
                        known = _Netns(name, NetlinkSocket())
                except OSError as error:
                    detail = f"there is no netns {name}" if error.errno == ENOENT else ""
                    raise KernelError(
                        operation.describe(), error.errno or 0, operation.netns, detail=detail
                    ) from error
                self._opened[name] = known
            return known

    def _add_netns(self, operation: AddNetns) -> None:
        name = operation.netns
        try:
            connection = netns.create(name, rtnetlink.stamp_loopback(operation.alias))
        except FileExistsError:
            owner = stamp_of(name)
            if owner is None or owner.lab != operation.lab:
                raise OwnershipError(
                    f"the network namespace {name} exists and is not lab {operation.lab}'s", where=netns.path(name)
                ) from None
            if owner.uid != operation.uid:
                raise
            return
        self._opened[name] = _Netns(name, connection)

    def _delete_netns(self, operation: DeleteNetns) -> None:
        known = self._opened.pop(operation.netns, None)
        if known is not None:
            known.close()
        self._nft.close(operation.netns)
        netns.delete(operation.netns)

    def _queue(self, inside: _Netns, operation: NetnsOperation) -> None:
        match operation:
            case AddLink():
                self._add_link(inside, operation)
            case SetLink(link=link):
                master = self._index_of(inside, link.master, operation) if link.master else 0
                self._set(inside, link, master, operation)
                if master:
                    inside.queue(rtnetlink.set_port(link), operation)
            case DeleteLink(name=name):
                inside.queue(rtnetlink.delete_link(name), operation, ENODEV)
                inside.forget()
            case ReplaceQdisc(link=name, qdisc=wanted):
                index = self._index_of(inside, name, operation)
                inside.queue(qdisc.replace_root(index, wanted), operation)
            case DeleteQdisc(link=name):
                index = self._index_of(inside, name, operation)
                inside.queue(qdisc.delete_root(index), operation, ENOENT)
            case AddAddress(address=address):
                index = self._index_of(inside, address.link, operation)
                inside.queue(rtnetlink.address(address, index, add=True), operation, EEXIST)
            case DeleteAddress(address=address):
                index = inside.index(address.link)
                if index:
                    inside.queue(rtnetlink.address(address, index, add=False), operation, EADDRNOTAVAIL)
            case AddNeighbours(neighbours=neighbours, alias=alias):
                for one in neighbours:
                    index = self._index_of(inside, one.link, operation)
                    inside.queue(rtnetlink.add_neighbour(one.ip, one.mac, index), operation)
                inside.queue(rtnetlink.stamp_loopback(alias), operation)
            case ReplaceRoute(route=route):
                index_of = partial(self._index_of, inside, operation=operation)
                inside.queue(rtnetlink.replace_route(route, index_of), operation)
            case DeleteRoute(route=route):
                inside.queue(rtnetlink.delete_route(route), operation, ESRCH)

    def _index_of(self, inside: _Netns, link: str, operation: NetnsOperation) -> int:
        index = inside.index(link)
        if not index:
            raise KernelError(operation.describe(), ENODEV, operation.netns, detail=f"there is no link {link}")
        return index

    def _add_link(self, inside: _Netns, operation: AddLink) -> None:
        link, peer = operation.link, operation.peer
        if self._exists(inside, link):
            self._finish(inside, link, operation)
            return
        if peer is None or link.peer is None:
            inside.queue(rtnetlink.create_bridge(link), operation)
            self._finish(inside, link, operation)
            return
        beyond = self._inside(link.peer[0], operation)
        if netns.ifindex(beyond.connection, peer.name):
            detail = f"netns {beyond.name} has a link {peer.name} already"
            raise KernelError(operation.describe(), EEXIST, operation.netns, detail=detail)
        master = self._index_of(inside, link.master, operation) if link.master else 0
        fd = inside.keep_open(netns.opened(beyond.name))
        group = rtnetlink.pair_number(inside.name, link.name)
        inside.queue(rtnetlink.create_veth(link, peer, fd, group, master), operation)
        self._finish(inside, link, operation)
        self._far_ends.append((beyond, peer, operation))

    def _finish(self, inside: _Netns, link: Link, operation: AddLink) -> None:
        for message in rtnetlink.finish_link(link, self._ipv6):
            inside.queue(message, operation)
        if link.master and link is operation.peer:
            self._set(inside, link, self._index_of(inside, link.master, operation), operation)

    def _set(self, inside: _Netns, link: Link, master: int, operation: NetnsOperation) -> None:
        for message in rtnetlink.set_link(link, master, self._ipv6):
            inside.queue(message, operation)

    def _exists(self, inside: _Netns, link: Link) -> bool:
        """Whether the link is there already and the lab's. Raises OwnershipError where it is somebody else's."""
        if not inside.index(link.name):
            return False
        there = rtnetlink.parse_link(inside.connection.dump(rtnetlink.get_link(link.name))[0][1])
        if there.alias.partition(" ")[0] != link.alias.partition(" ")[0] or there.kind != link.kind:
            raise OwnershipError(
                f"the link {link.name} exists and is not the lab's",
                hint=f"remove it with `ip -n {inside.name} link delete {link.name}`", where=f"netns {inside.name}",
            )
        return True


def _is_short(operation: Operation) -> bool:
    """Whether it changes so little of an nft table, and nothing else, that it is done in a moment."""
    return isinstance(operation, ApplyTransaction) and sum(map(_size, operation.transaction.operations)) <= SHORT


def _size(step: Step) -> int:
    """How many elements a step of an nft transaction is about; any other counts as one."""
    if isinstance(step, AddElements):
        return len(step.elements)
    return len(step.keys) if isinstance(step, DeleteElements) else 1


def _write_sysctl(operation: SetSysctl) -> None:
    """In the netns that the calling thread is in."""
    if not sysctls.known(operation.name):
        raise ValueError(f"{operation.name} is not in sysctls.py: nslab would set it but never read it back")
    sysctls.write(operation.name, operation.value)
