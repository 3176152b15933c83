"""nf_tables over netlink: apply a transaction, observe tables."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

from nslab.linux import netns
from nslab.nft import dump, elements, wire
from nslab.nft.attributes import number, parse, string, text
from nslab.nft.elements import ELEMENTS, LISTED_SET, LISTED_TABLE, RepeatedElementError
from nslab.nft.objects import Chain, Key, MapValue, ObservedRule, Set, Table
from nslab.nft.operations import AddTable, DeleteChain, DeleteElements, DeleteSet, DeleteTable
from nslab.nft.transaction import Transaction
from nslab.nft.wire import Message

_NETFILTER = 12  # NETLINK_NETFILTER
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 16, 17
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP, _DUMP_INTERRUPTED, _EXTENDED = 0x1, 0x300, 0x10, 0x200
_MESSAGE, _OFFSET = 1, 2  # NLMSGERR_ATTR_*
_HEADER = struct.Struct("=IHHII")
_BATCH = struct.pack(">BBH", 0, 0, 10)  # The nfgenmsg of a batch's begin and end names the subsystem.
_RECEIVE = 1 << 18
_ATTEMPTS = 20
_SEND_OVERHEAD = 64


class NftError(OSError):
    """The kernel refused `operation`, an nft line, with `errno`; `detail` is its own explanation or empty."""

    def __init__(self, number: int, operation: str, detail: str = "") -> None:
        super().__init__(number, f"{os.strerror(number)}: {operation}" + (f": {detail}" if detail else ""))
        self.operation = operation
        self.detail = detail


class _InterruptedError(Exception):
    """The tables changed in the middle of a dump."""


class NftSocket:
    """nf_tables of the network namespace that the calling thread is in when the socket is made.

    Needs CAP_NET_ADMIN in the user namespace that owns the network namespace. A context manager; not for two
    threads at once.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
        self._socket.bind((0, 0))
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def apply(self, transaction: Transaction) -> None:
        """Carry out all of the transaction or nothing. Raises NftError that names the first refused operation.

        Two exceptions to "nothing". Chains at the transaction's end that the kernel calls busy after elements were
        deleted are deleted in a transaction of their own, which may be refused too. And where the socket's buffer
        cannot be made large enough (a process privileged in the initial user namespace can; for all others twice
        net.core.wmem_max is the limit), a larger transaction is sent in parts. A refused part then leaves those
        before it in place, unless the transaction creates its table, which is deleted again.
        """
        try:
            self._apply(transaction)
        except NftError as error:
            rest, chains = _without_last_chains(transaction)
            frees = any(isinstance(operation, DeleteElements | DeleteSet) for operation in rest.operations)
            if error.errno != errno.EBUSY or not frees or not chains:
                raise
            # Before Linux 6.2 an element deleted earlier in the same transaction may still hold its chain.
            self._apply(rest)
            self._apply(chains)

    def _apply(self, transaction: Transaction) -> None:
        messages = transaction.messages()
        for position, part in enumerate(self._parts(messages)):
            try:
                self._send_batch(transaction, part)
            except NftError:
                if position and isinstance(transaction.operations[0], AddTable):
                    self._apply(Transaction(transaction.family, transaction.table, (DeleteTable(),)))
                raise

    def _parts(self, messages: list[Message]) -> list[list[Message]]:
        """The messages in as few batches as the socket's buffer allows: nearly always one."""
        room = self._reserve(sum(len(message.payload) + 19 for message in messages) + _SEND_OVERHEAD)
        parts: list[list[Message]] = [[]]
        left = room - _SEND_OVERHEAD
        for message in messages:
            size = len(message.payload) + 19
            if size > left and parts[-1]:
                parts.append([])
                left = room - _SEND_OVERHEAD
            parts[-1].append(message)
            left -= size
        return parts

    def _reserve(self, size: int) -> int:
        """Make room for a batch of `size` octets in the socket's send buffer; the room that there is."""
        room = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        if size > room:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, size)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
            room = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        return room

    def _send_batch(self, transaction: Transaction, messages: list[Message]) -> None:
        first = self._sequence + 1
        pieces = [_HEADER.pack(20, _BATCH_BEGIN, _REQUEST, first, 0), _BATCH]
        for sequence, message in enumerate(messages, first + 1):
            length = len(message.payload)
            header = _HEADER.pack(16 + length, _SUBSYSTEM | message.kind, message.flags, sequence, 0)
            pieces += (header, message.payload, bytes(-length & 3))
        self._sequence = last = first + len(messages) + 1
        pieces += (_HEADER.pack(20, _BATCH_END, _REQUEST, last, 0), _BATCH)
        self._socket.sendall(b"".join(pieces))
        fault = self._fault(first)
        if fault is None:
            return
        sequence, code, offset, detail = fault
        if first < sequence < last:
            message = messages[sequence - first - 1]
            line = wire.describe(transaction.family, transaction.table, message, offset and offset - 16)
        else:
            line = f"the transaction on table {transaction.family} {transaction.table}"
        raise NftError(code, line, detail)

    def _fault(self, first: int) -> tuple[int, int, int | None, str] | None:
        """The first error that answers the batch which began with sequence number `first`, as (sequence number,
        errno, offset in the message, explanation).

        The kernel handles a batch within send(), and answers nothing when all is well.
        """
        fault = None
        while True:
            try:
                buffer = self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return fault
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # More errors than the buffer holds; the first one is in it.
                    raise
                continue
            for kind, flags, sequence, payload in _split(buffer):
                if kind == _ERROR and sequence >= first and fault is None:
                    code, offset, detail = _decode_error(flags, payload)
                    fault = (sequence, code, offset, detail) if code else None

    def generation(self) -> int:
        """The ruleset's number, which grows with every transaction in this network namespace, whoever made it."""
        (payload,) = self._ask(wire.GETGEN, 0, b"", _REQUEST)
        return number(parse(payload[4:])[1])

    def tables(self, comment_prefix: str, others: set[tuple[str, str]] | None = None) -> dict[tuple[str, str], Table]:
        """The tables whose comment begins with the prefix, by (family, name), with all they hold but the elements of
        dynamic sets. The names of all other tables are put into `others`.

        What is returned is of one moment: when the rules change meanwhile, it begins anew. Raises NftError (EBUSY)
        when they never stand still.
        """
        if not any(self._dump(wire.GETTABLE, 0, b"")):  # one question for each of a thousand Pods, instead of three
            return {}
        for _ in range(_ATTEMPTS):
            generation = self.generation()
            try:
                tables = dict(self._tables(comment_prefix, set() if others is None else others))
            except (_InterruptedError, RepeatedElementError):
                continue
            if self.generation() == generation:
                return tables
        raise NftError(errno.EBUSY, "list ruleset", "the rules changed during each of many dumps")

    def _tables(self, comment_prefix: str, others: set[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], Table]]:
        for payload in self._dump(wire.GETTABLE, 0, b""):
            name, comment = dump.decode_table(payload[4:])
            family = dump.FAMILY_NAMES.get(payload[0], str(payload[0]))
            if not comment.startswith(comment_prefix):
                others.add((family, name))
            else:
                chains = tuple(self._chains(payload[0], name))
                yield (family, name), Table(family, name, chains, tuple(self._sets(payload[0], name)), comment)

    def _chains(self, family: int, table: str) -> Iterator[Chain]:
        rules: dict[str, list[ObservedRule]] = {}
        for payload in self._dump(wire.GETRULE, family, string(1, table)):
            chain_name, rule = dump.decode_rule(payload[4:])
            rules.setdefault(chain_name, []).append(rule)
        for payload in self._dump(wire.GETCHAIN, family, b""):  # The kernel filters chains by family alone.
            table_name, chain = dump.decode_chain(payload[4:])
            if table_name == table:
                yield replace(chain, rules=tuple(rules.get(chain.name, ())))

    def _sets(self, family: int, table: str) -> Iterator[Set]:
        for payload in self._dump(wire.GETSET, family, string(1, table)):
            item = dump.decode_set(payload[4:])
            if item is not None:
                is_listed = not item.dynamic and dump.is_readable(item)
                yield replace(item, elements=self._elements(family, table, item)) if is_listed else item

    def _elements(self, family: int, table: str, item: Set) -> dict[Key, MapValue | None]:
        request = string(LISTED_TABLE, table) + string(LISTED_SET, item.name)
        answers = self._dump(wire.GETSETELEM, family, request)
        return elements.decode(item, (parse(payload[4:]).get(ELEMENTS, b"") for payload in answers))

    def expirations(self, family: str, table: str, item: Set) -> dict[Key, float]:
        """The elements of a dynamic set, with the seconds that each still has to live; those that expire or come
        meanwhile may be missed. Raises NftError (ENOENT) where there is no such set."""
        request = string(LISTED_TABLE, table) + string(LISTED_SET, item.name)
        try:
            answers = self._dump(wire.GETSETELEM, wire.FAMILIES[family], request)
        except _InterruptedError:
            raise NftError(errno.ENOENT, f"list set {family} {table} {item.name}") from None
        return elements.decode_expirations(item, (parse(payload[4:]).get(ELEMENTS, b"") for payload in answers))

    def _dump(self, kind: int, family: int, attributes: bytes) -> Iterator[bytes]:
        return self._ask(kind, family, attributes, _REQUEST | _DUMP)

    def _ask(self, kind: int, family: int, attributes: bytes, flags: int) -> Iterator[bytes]:
        """The payloads of the answers, each with its nfgenmsg header. Raises _InterruptedError when a dump is of more
        than one moment, and NftError for any other refusal."""
        self._sequence += 1
        payload = bytes((family, 0, 0, 0)) + attributes
        header = _HEADER.pack(16 + len(payload), _SUBSYSTEM | kind, flags, self._sequence, 0)
        self._socket.sendall(header + payload)
        answers: list[bytes] = []
        interrupted = False
        while True:
            for answer, answer_flags, sequence, body in _split(self._socket.recv(_RECEIVE)):
                if sequence != self._sequence:
                    continue
                interrupted |= bool(answer_flags & _DUMP_INTERRUPTED)
                if answer == _ERROR:
                    code, _, detail = _decode_error(answer_flags, body)
                    if code in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                        raise _InterruptedError
                    raise NftError(code, f"get message {kind}", detail)
                if answer == _DONE:
                    if interrupted:
                        raise _InterruptedError
                    return iter(answers)
                answers.append(body)
                if not flags & _DUMP:
                    return iter(answers)


class NftSockets:
    """An NftSocket in each of some namespaces, kept open from one batch to the next.

    A socket that is closed after elements were deleted waits until the kernel has let go of them (nft_rcv_nl_event of
    net/netfilter/nf_tables_api.c: an RCU grace period). That is a hundred times what a small transaction takes.
    """

    def __init__(self) -> None:
        self._open: dict[str, tuple[int, NftSocket]] = {}

    def of(self, name: str) -> NftSocket:
        """The socket in the netns that has this name now. Raises as `netns.entered` does."""
        inode = os.stat(netns.path(name)).st_ino
        known = self._open.get(name)
        if known is not None and known[0] == inode:
            return known[1]
        self.close(name)
        with netns.entered(name):
            opened = NftSocket()
        self._open[name] = inode, opened
        return opened

    def close(self, name: str) -> None:
        """Let go of a netns, which lives as long as a socket in it. None open there is fine."""
        known = self._open.pop(name, None)
        if known is not None:
            known[1].close()


def _without_last_chains(transaction: Transaction) -> tuple[Transaction, Transaction]:
    """The transaction without the deletions of chains at its end, and these."""
    operations = transaction.operations
    end = len(operations)
    while end and isinstance(operations[end - 1], DeleteChain):
        end -= 1
    return replace(transaction, operations=operations[:end]), replace(transaction, operations=operations[end:])


def _split(buffer: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The (type, flags, sequence number, payload) of the netlink messages in a datagram."""
    offset = 0
    while offset + 16 <= len(buffer):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(buffer, offset)
        yield kind, flags, sequence, buffer[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def _decode_error(flags: int, payload: bytes) -> tuple[int, int | None, str]:
    """(errno, offset of the fault in the message, explanation) of an NLMSG_ERROR without the message it answers."""
    code = -struct.unpack_from("=i", payload)[0]
    details = parse(payload[20:]) if flags & _EXTENDED else {}
    offset = struct.unpack("=I", details[_OFFSET])[0] if _OFFSET in details else None
    return code, offset, text(details.get(_MESSAGE, b""))
