"""The floor: hand-packed netlink that makes namespaces, veths, bridges, addresses and routes, and nothing else.

One thread, no ownership stamps, no rules, no sockets for the Pods: what any tool that builds this network must pay.
Shares no code with nslab.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time

_libc = ctypes.CDLL(None, use_errno=True)
_NEWNET = 0x40000000
_CREATE = 0x605  # REQUEST | ACK | EXCL | CREATE


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _attribute(number: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return struct.pack("=HH", size, number) + value + bytes(-size % 4)


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def _link(index: int = 0, up: int = 0) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, up, up)


def _talk(netlink: socket.socket, *messages: bytes) -> None:
    netlink.send(b"".join(messages))
    acknowledged = 0
    while acknowledged < len(messages):
        data = netlink.recv(65536)
        offset = 0
        while offset < len(data):
            (length,) = struct.unpack_from("=I", data, offset)
            (error,) = struct.unpack_from("=i", data, offset + 16)
            if error:
                raise OSError(-error, os.strerror(-error))
            acknowledged += 1
            offset += length + 3 & ~3


def _namespace(name: str) -> socket.socket:
    """A named netns that the thread is in afterwards, with its loopback up; a netlink socket in it."""
    path = f"/run/netns/{name}"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0))
    _check(_libc.unshare(_NEWNET))
    _check(_libc.mount(b"/proc/thread-self/ns/net", path.encode(), b"none", 4096, None))
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    netlink.bind((0, 0))
    _talk(netlink, _message(16, 5, _link(1, 1)))
    return netlink


def _index(netlink: socket.socket, name: str) -> int:
    netlink.send(_message(18, 1, _link() + _attribute(3, name.encode() + b"\0")))
    index: int = struct.unpack_from("=i", netlink.recv(65536), 20)[0]
    return index


def _veth(host: str, peer: str, namespace: int, bridge: int) -> bytes:
    one_queue = _attribute(31, struct.pack("=I", 1)) + _attribute(32, struct.pack("=I", 1))
    mtu = _attribute(4, struct.pack("=I", 1460))
    other = _link() + _attribute(3, peer.encode() + b"\0") + _attribute(28, struct.pack("=I", namespace))
    kind = _attribute(1, b"veth\0") + _attribute(2, _attribute(1, other + mtu + one_queue))
    master = _attribute(10, struct.pack("=I", bridge)) if bridge else b""
    body = _link(0, 1) + _attribute(3, host.encode() + b"\0") + mtu + one_queue + master + _attribute(18, kind)
    return _message(16, _CREATE, body)


def _address(index: int, address: str, prefix: int) -> bytes:
    packed = socket.inet_aton(address)
    return _message(
        20, _CREATE, struct.pack("=BBBBi", 2, prefix, 0, 0, index) + _attribute(2, packed) + _attribute(1, packed)
    )


def _default_route(gateway: str, index: int, onlink: int = 0) -> bytes:
    header = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 4, 0, 1, onlink)
    return _message(
        24, _CREATE, header + _attribute(5, socket.inet_aton(gateway)) + _attribute(4, struct.pack("=I", index))
    )


def build(nodes: int, pods_per_node: int) -> float:
    """Build the network of `nodes` nodes with `pods_per_node` Pods each; returns the seconds it took."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    started = time.perf_counter()
    vpc = _namespace("floor.vpc")
    for node in range(nodes):
        netlink = _namespace(f"floor.node{node}")
        namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _talk(vpc, _veth(f"node{node}", "eth0", namespace, 0))
        os.close(namespace)
        bridge_kind = _attribute(18, _attribute(1, b"bridge\0"))
        _talk(netlink, _message(16, _CREATE, _link(0, 1) + _attribute(3, b"cbr0\0") + bridge_kind))
        bridge = _index(netlink, "cbr0")
        eth0 = _index(netlink, "eth0")
        _talk(
            netlink, _message(16, 5, _link(eth0, 1)), _address(bridge, f"10.8.{node}.1", 24),
            _address(eth0, f"10.128.0.{node + 2}", 32), _default_route("10.128.0.1", eth0, onlink=4),
        )
        for pod in range(pods_per_node):
            pod_netlink = _namespace(f"floor.pod{node}.{pod}")
            namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            _talk(netlink, _veth(f"veth{pod}", "eth0", namespace, bridge))
            os.close(namespace)
            index = _index(pod_netlink, "eth0")
            _talk(
                pod_netlink, _message(16, 5, _link(index, 1)), _address(index, f"10.8.{node}.{pod + 2}", 24),
                _default_route(f"10.8.{node}.1", index),
            )
            pod_netlink.close()
        netlink.close()
    vpc.close()
    elapsed = time.perf_counter() - started
    _check(_libc.setns(here, _NEWNET))
    os.close(here)
    return elapsed


def remove() -> float:
    """Remove what `build` made; returns the seconds it took."""
    started = time.perf_counter()
    for name in os.listdir("/run/netns"):
        if name.startswith("floor."):
            path = f"/run/netns/{name}"
            _check(_libc.umount2(path.encode(), 2))
            os.unlink(path)
    return time.perf_counter() - started
