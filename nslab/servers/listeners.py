"""What a responder listens on, and who it is there."""

from __future__ import annotations

from dataclasses import dataclass


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
    "TCP" or "UDP"."""

    netns: str
    ip: str
    port: int
    protocol: str
    identity: Identity
