"""What a responder listens on, who it is there, and the compact form of both on the control socket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers: the fields of the responder's JSON (interface section 1). `pod` is empty for a client host."""

    pod: str
    namespace: str
    node: str
    pod_ip: str
    container: str


@dataclass(frozen=True, slots=True)
class Listener:
    """One socket: in the netns `netns`, bound to `ip` (0.0.0.0 for a Pod of its own netns) and `port`, `protocol`
    "TCP" or "UDP".

    `uid` tells one netns from the next one of the same name: another uid is another socket. Answers wait for `delay`
    microseconds.
    """

    netns: str
    ip: str
    port: int
    protocol: str
    identity: Identity
    uid: str = ""
    delay: int = 0


def encode_listeners(listeners: Iterable[Listener]) -> list[Any]:
    """Listeners as JSON values: a row for each Pod, [netns, uid, pod, namespace, node, podIP, delay, sockets], and in
    it a row for each socket, [ip, port, protocol, container]. The listeners of one Pod share what they have in
    common."""
    rows: dict[tuple[str | int, ...], list[list[str | int]]] = {}
    for one in listeners:
        who = one.identity
        key = (one.netns, one.uid, who.pod, who.namespace, who.node, who.pod_ip, one.delay)
        rows.setdefault(key, []).append([one.ip, one.port, one.protocol, who.container])
    return [[*key, sockets] for key, sockets in rows.items()]


def decode_listeners(rows: Iterable[Any]) -> Iterator[Listener]:
    """The inverse of `encode_listeners`. Raises TypeError or ValueError where a row is not of that form."""
    for netns, uid, pod, namespace, node, pod_ip, delay, sockets in rows:
        identities: dict[str, Identity] = {}
        for ip, port, protocol, container in sockets:
            identity = identities.get(container)
            if identity is None:
                identity = identities[container] = Identity(pod, namespace, node, pod_ip, container)
            yield Listener(netns, ip, port, protocol, identity, uid, delay)
