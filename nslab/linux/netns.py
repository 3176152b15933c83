"""Network namespaces with a name: made, entered and deleted by the calling thread itself, without a fork.

A named netns is a bind mount of its nsfs file on /run/netns/NAME, which is what ip-netns(8) lists. Each of a lab's
carries a stamp (`model.stamp`) as the alias of its loopback, written before the netns gets its name: a crash in
between leaves at most an empty file of that name, which the next creation takes over. A netns without the stamp is
somebody else's and never touched.
"""

from __future__ import annotations

import ctypes
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, ENODEV, ENOENT
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock, ioctl
from stat import S_ISREG
from struct import pack, unpack_from

from nslab.linux.netlink import NetlinkSocket

NETNS_ROOT = "/run/netns"
STAMP = "nslab:"

STATE = "/run/nslab"
_MADE = f"{STATE}/.made-run-netns"
"""Exists while /run/netns is nslab's own making, and says what of it. The states of labs lie beside it: their names
never begin with a dot."""

_OWN = "/proc/thread-self/ns/net"
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 4096, 16384, 1 << 20
_MNT_DETACH = 2
_SIOCGIFINDEX = 0x8933

_libc = ctypes.CDLL(None, use_errno=True)


def _call(function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")


def unshare(flags: int = _CLONE_NEWNET) -> None:
    """Put the calling thread into new namespaces. Raises OSError."""
    _call("unshare", flags)


def setns(fd: int, flags: int = _CLONE_NEWNET) -> None:
    """Put the calling thread into the namespace of the open nsfs file `fd`. Raises OSError."""
    _call("setns", fd, flags)


def mount(source: str, target: str, kind: str, flags: int) -> None:
    """mount(2). Raises OSError."""
    _call("mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None)


def unmount(target: str) -> None:
    """Detach a mount at once, and from the file system when its last user is gone. Raises OSError."""
    _call("umount2", target.encode(), _MNT_DETACH)


def path(name: str) -> str:
    return f"{NETNS_ROOT}/{name}"


def inode(name: str) -> int:
    """What tells a netns from the next one of its name; 0 where there is none."""
    try:
        return os.stat(path(name)).st_ino
    except OSError:
        return 0


def opened(name: str) -> int:
    """A file descriptor of the netns. Raises FileNotFoundError where there is no netns of that name."""
    fd = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
    if is_remnant(name):
        os.close(fd)
        raise FileNotFoundError(ENOENT, "an empty file, no netns", path(name))
    return fd


@contextmanager
def entered(name: str) -> Iterator[None]:
    """Run the body in the netns, in the calling thread, and come back. Sockets made inside stay of that netns.

    Raises FileNotFoundError where there is no such netns, OSError where entering is refused.
    """
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fd = opened(name)
        try:
            setns(fd)
        finally:
            os.close(fd)
        try:
            yield
        finally:
            setns(home)
    finally:
        os.close(home)


def open_socket_in(name: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket of the netns; the caller stays where it is. Raises as `entered` does."""
    with entered(name):
        return socket.socket(family, kind, protocol)


def enter(name: str) -> None:
    """Move the calling thread into the netns for good: for worker threads and processes about to exec."""
    fd = opened(name)
    try:
        setns(fd)
    finally:
        os.close(fd)


def names() -> list[str]:
    """What /run/netns holds, sorted: namespaces, and empty files that a crash left."""
    try:
        return sorted(os.listdir(NETNS_ROOT))
    except FileNotFoundError:
        return []


def create(name: str, stamping: bytes) -> NetlinkSocket:
    """Make a netns, stamp its loopback by the request `stamping` (rtnetlink.stamp_loopback), and name the netns.

    Leaves the calling thread in it: for worker threads. Returns a route netlink socket of the netns. Raises
    FileExistsError where the name is taken, OSError where the kernel refuses.
    """
    unshare()
    connection = NetlinkSocket()
    try:
        refusals = connection.request([stamping])
        if refusals:
            raise OSError(refusals[0].errno, f"loopback: {refusals[0].detail}")
        target = path(name)
        try:
            os.close(os.open(target, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        except FileExistsError:
            if not is_remnant(name):
                raise
        mount(_OWN, target, "none", _MS_BIND)
    except BaseException:
        connection.close()
        raise
    return connection


def is_remnant(name: str) -> bool:
    """Whether the name is but an empty file, left by a creation or deletion that was killed half way: a netns' file
    is on a file system of its own (nsfs), not on that of the directory."""
    try:
        file = os.lstat(path(name))
    except FileNotFoundError:
        return False
    return S_ISREG(file.st_mode) and file.st_size == 0 and file.st_dev == os.stat(NETNS_ROOT).st_dev


def delete(name: str) -> None:
    """Take the name away; the kernel ends the netns with its last user. What is gone already counts as done."""
    target = path(name)
    try:
        unmount(target)
    except OSError as error:
        if error.errno not in (EINVAL, ENOENT):  # Not mounted, or not there.
            raise
    with suppress(FileNotFoundError):
        os.unlink(target)


@contextmanager
def prepared_root() -> Iterator[None]:
    """Make /run/netns as `ip netns add` does: a mount point of its own, shared, so that namespaces named in it show
    in every mount namespace. It stays while the body, which names some in it, runs."""
    with _root_lock(LOCK_SH):
        if not _shared():
            if not os.path.exists(_MADE):  # A run that was killed here knew what there was before it.
                remember(_MADE, "mount\n" if os.path.isdir(NETNS_ROOT) else "directory and mount\n")
            os.makedirs(NETNS_ROOT, 0o755, exist_ok=True)
            mount(NETNS_ROOT, NETNS_ROOT, "none", _MS_BIND | _MS_REC)
            _shared()
        yield


def restore_root() -> None:
    """Undo `prepared_root` where nslab did it and nothing is left in /run/netns."""
    with suppress(FileNotFoundError, BlockingIOError), _root_lock(LOCK_EX | LOCK_NB), open(_MADE) as file:
        if names():
            return
        with suppress(OSError):  # Somebody else has unmounted it.
            unmount(NETNS_ROOT)
        if "directory" in file.read():
            with suppress(OSError):
                os.rmdir(NETNS_ROOT)
        forget(_MADE)


def remember(marker: str, text: str = "") -> None:
    """Leave a note in STATE of what nslab is about to make on the host."""
    os.makedirs(STATE, 0o755, exist_ok=True)
    with open(marker, "w") as file:
        file.write(text)


def forget(marker: str) -> None:
    """Take the note away, and STATE with the last one."""
    with suppress(FileNotFoundError):
        os.unlink(marker)
    with suppress(OSError):
        os.rmdir(STATE)


@contextmanager
def _root_lock(how: int) -> Iterator[None]:
    """Labs that come and go at once share /run/netns. Raises BlockingIOError where LOCK_NB is in `how`."""
    directory = os.open(os.path.dirname(NETNS_ROOT), os.O_RDONLY | os.O_CLOEXEC)
    try:
        flock(directory, how)
        yield
    finally:
        os.close(directory)


def _shared() -> bool:
    """Share /run/netns with other mount namespaces; False where it is no mount point, or not there."""
    try:
        mount("none", NETNS_ROOT, "none", _MS_SHARED | _MS_REC)
    except OSError as error:
        if error.errno in (EINVAL, ENOENT):
            return False
        raise
    return True


def ifindex(connection: socket.socket | NetlinkSocket, name: str) -> int:
    """The index of a link in the netns of a socket, of whatever family; 0 where there is none."""
    try:
        answer = ioctl(connection.fileno(), _SIOCGIFINDEX, pack("16s16x", name.encode()))
    except OSError as error:
        if error.errno == ENODEV:
            return 0
        raise
    index: int = unpack_from("=i", answer, 16)[0]
    return index


def raise_open_files(needed: int) -> None:
    """Raise this process' limit of open files to `needed`, as far as the hard limit goes: sockets of a thousand
    namespaces are held at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
