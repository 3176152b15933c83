"""What this kernel and host have of what a lab needs, tried in a nameless netns that leaves no trace."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from errno import ENOENT, EOPNOTSUPP
from functools import cache
from struct import pack

from nslab.errors import FeatureError
from nslab.linux import netns, qdisc
from nslab.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NetlinkSocket,
    attribute,
    attribute_string,
    attribute_u32,
    message,
)
from nslab.linux.nftables import NftSocket
from nslab.linux.rtnetlink import IFLA_INFO_KIND, IFLA_LINKINFO, RTM_NEWLINK
from nslab.netstate.model import Qdisc
from nslab.nft import statements as nft
from nslab.nft.objects import Chain, Hook, Rule, Table
from nslab.nft.transaction import difference

_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
_CLONE_NEWUSER = 0x10000000
_RTM_NEWNEXTHOP = 104
_GET_COREDNS = "put CoreDNS's one file (coredns.io) on PATH, or name it in spec.dns.coredns"
_OPEN_FILES = 4096
"""Sockets of a lab with a thousand Pods, with room to spare."""


@dataclass(frozen=True, slots=True)
class Feature:
    """Something of the kernel or host: whether it is there, what needs it, and how to get it. `detail` is its version
    or value. Without a `required` one no lab comes up."""

    name: str
    present: bool
    needed_for: str
    remedy: str
    required: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Probe:
    name: str
    found: Callable[[], bool]
    needed_for: str
    remedy: str
    required: bool = True


def _link_kind(kind: str) -> Callable[[], bool]:
    """Whether the kernel can make links of that kind; what else it may miss in so bare a request is no matter."""
    info = attribute(IFLA_LINKINFO, attribute_string(IFLA_INFO_KIND, kind))
    return lambda: EOPNOTSUPP not in _refusals(message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, bytes(16) + info))


def _refusals(*messages: bytes) -> list[int]:
    connection = NetlinkSocket()
    try:
        return [refusal.errno for refusal in connection.request(messages)]
    finally:
        connection.close()


def _qdisc_kind(kind: str) -> Callable[[], bool]:
    """Whether the kernel has that queueing discipline, asked for at the root of the loopback."""
    return lambda: ENOENT not in _refusals(qdisc.replace_root(1, Qdisc(kind, rate=8_000_000)))


def _has_resilient_groups() -> bool:
    """A nexthop that is the loopback, and a group of it of type resilient (NEXTHOP_GRP_TYPE_RES) with 8 buckets."""
    single = pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0) + attribute_u32(1, 1) + attribute_u32(5, 1)
    group = pack("=BBBBI", socket.AF_UNSPEC, 0, 0, 0, 0) + attribute_u32(1, 2)
    group += attribute(2, pack("=IBBH", 1, 0, 0, 0)) + attribute(3, pack("=H", 1))
    group += attribute(12 | 0x8000, attribute(1, pack("=H", 8)))
    up = message(RTM_NEWLINK, 0, pack("=BxHiII", 0, 0, 1, 1, 1))
    return not _refusals(
        up, message(_RTM_NEWNEXTHOP, NLM_F_CREATE, single), message(_RTM_NEWNEXTHOP, NLM_F_CREATE, group)
    )


def _nft_rule(*rule: nft.Statement, hook: Hook | None = None) -> Callable[[], bool]:
    def found() -> bool:
        chain = Chain("hooked" if hook else "plain", (Rule(rule),), hook)
        transaction = difference(Table("ip", "probe", (chain,)), None)
        if transaction is not None:
            with NftSocket() as connection:
                connection.apply(transaction)
        return True

    return found


def _has_sctp() -> bool:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    return True


_NF_TABLES = "a kernel with CONFIG_NF_TABLES and its modules (Debian: linux-image-amd64); modprobe nf_tables"
_POSTROUTING = Hook("nat", "postrouting", 100)

def _qdisc_probe(kind: str, needed_for: str) -> _Probe:
    remedy = f"modprobe sch_{kind}, or a kernel with CONFIG_NET_SCH_{kind.upper()}"
    return _Probe(kind, _qdisc_kind(kind), needed_for, remedy, required=False)


_PROBES = (
    _Probe("veth", _link_kind("veth"), "every Pod's, node's and client's link", "modprobe veth"),
    _Probe("bridge", _link_kind("bridge"), "cbr0, which joins a node's Pods", "modprobe bridge"),
    _Probe(
        "br_netfilter", lambda: os.path.exists("/proc/sys/net/bridge"),
        "Services between Pods of one node", "modprobe br_netfilter",
    ),
    _Probe("nf_tables", _nft_rule(nft.ACCEPT), "Services, masquerade and NetworkPolicy", _NF_TABLES),
    _Probe("conntrack", _nft_rule(nft.CtState(("new",))), "Services and NetworkPolicy", "modprobe nf_conntrack"),
    _Probe(
        "nft masquerade", _nft_rule(nft.Masquerade(), hook=_POSTROUTING), "source NAT of nodes", "modprobe nft_masq",
    ),
    _Probe(
        "nft numgen", _nft_rule(nft.SetMark("meta", nft.numgen_random(2))), "choosing a Service's endpoint",
        "modprobe nft_numgen",
    ),
    _Probe("nft fib", _nft_rule(nft.FibLocal("daddr")), "NodePorts on every address", "modprobe nft_fib_ipv4"),
    _Probe("nft ct mark", _nft_rule(nft.SetMark("ct", nft.META_MARK)), "marks of connections", "modprobe nft_ct"),
    _Probe("nft reject", _nft_rule(nft.Reject()), "Services without endpoints", "modprobe nft_reject_ipv4"),
    _Probe(
        "resilient nexthop groups", _has_resilient_groups, "load balancers that keep flows when nodes come and go",
        "Linux 5.13 or newer", required=False,
    ),
    _Probe("vxlan", _link_kind("vxlan"), "overlay networks", "modprobe vxlan", required=False),
    _Probe("dummy", _link_kind("dummy"), "addresses without a wire", "modprobe dummy", required=False),
    _qdisc_probe("blackhole", "nslab fail node/NAME, and pod/NAME --blackhole"),
    _qdisc_probe("tbf", "nslab fail link .. --rate"),
    _qdisc_probe("netem", "nslab fail link .. --delay"),
    _Probe("SCTP", _has_sctp, "Services and tried policies of SCTP", "modprobe sctp", required=False),
)


def probe_features() -> list[Feature]:
    """All features, the required ones first. Changes nothing outside a netns of its own; takes some ten ms."""
    features = [*_host_features(), *_kernel_features(), *_tools()]
    return sorted(features, key=lambda feature: not feature.required)


def _kernel_features() -> list[Feature]:
    """Each probe tried in one scratch netns, by a thread that ends with it."""
    results: list[Feature] = []

    def work() -> None:
        try:
            netns.unshare()
        except OSError as error:
            results.append(Feature(
                "network namespaces", False, "every node, Pod and client",
                "root, and a kernel with CONFIG_NET_NS", True, os.strerror(error.errno or 0),
            ))
            return
        results.append(Feature("network namespaces", True, "every node, Pod and client", "", True))
        results.extend(
            Feature(probe.name, _found(probe), probe.needed_for, probe.remedy, probe.required) for probe in _PROBES
        )

    _in_a_thread(work)
    return results


def _in_a_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@cache
def missing_qdisc(kind: str) -> Feature | None:
    """What is missing where this kernel does not have that queueing discipline ("blackhole", "tbf", "netem"); None
    where it has it. It takes a netns to find out, so it is asked once in a process."""
    probe = next(probe for probe in _PROBES if probe.name == kind)
    found: list[bool] = []

    def work() -> None:
        netns.unshare()
        found.append(_found(probe))

    _in_a_thread(work)
    return None if found == [True] else Feature(kind, False, probe.needed_for, probe.remedy, False)


def _found(probe: _Probe) -> bool:
    try:
        return probe.found()
    except OSError:
        return False


def _host_features() -> Iterator[Feature]:
    capabilities = _effective_capabilities()
    needed = 1 << _CAP_NET_ADMIN | 1 << _CAP_SYS_ADMIN
    yield Feature(
        "CAP_NET_ADMIN and CAP_SYS_ADMIN", capabilities & needed == needed, "making namespaces and links",
        "run nslab as root (sudo nslab ..)", True,
    )
    yield Feature("/run/netns", _writable(netns.NETNS_ROOT), "names for namespaces", "make /run writable", True)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= _OPEN_FILES
    yield Feature(
        "open files", enough, "sockets in a thousand namespaces", f"ulimit -Hn {_OPEN_FILES}", False, str(hard),
    )
    yield Feature(
        "IPv6", os.path.exists("/proc/net/if_inet6"), "IPv6 destinations of probes", "boot without ipv6.disable=1",
        False,
    )
    yield Feature(
        "user namespaces", _has_user_namespaces(), "labs without root",
        "sysctl -w user.max_user_namespaces=10000 (Debian: kernel.unprivileged_userns_clone=1)", False,
    )


def _effective_capabilities() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))


def _writable(directory: str) -> bool:
    while not os.path.exists(directory):
        directory = os.path.dirname(directory)
    return os.access(directory, os.W_OK)


def _has_user_namespaces() -> bool:
    """Tried in a child: a process with threads may not enter one."""
    pid = os.fork()
    if pid == 0:
        try:
            netns.unshare(_CLONE_NEWUSER)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _tools() -> Iterator[Feature]:
    yield _tool("ip", ["-V"], "`ip netns` and looking into a lab by hand", "apt install iproute2")
    yield _tool("nft", ["--version"], "looking at the rules of a lab by hand", "apt install nftables")


    yield _tool("coredns", ["-version"], "spec.dns.engine: coredns", _GET_COREDNS)


def require_coredns(program: str) -> None:
    """Raise FeatureError where there is no such program, a path or a name on PATH."""
    from shutil import which

    if which(program) is None:
        where = "" if "/" in program else " on PATH"
        raise FeatureError(
            f"spec.dns.engine: coredns runs CoreDNS's program, and there is no {program}{where}",
            hint=f"{_GET_COREDNS}; or take engine: kube-dns, which needs nothing",
        )


def _tool(name: str, arguments: list[str], needed_for: str, remedy: str) -> Feature:
    from shutil import which
    from subprocess import run

    path = which(name)
    printed = run([path, *arguments], capture_output=True, text=True, check=False).stdout if path else ""
    return Feature(name, path is not None, needed_for, remedy, False, printed.strip().partition("\n")[0])
