"""What a prober is asked, and what it answers (interface section 5)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """The HTTP part of a flow. `path` includes the query. `host` and `sni` default to the destination as written."""

    method: str = "GET"
    path: str = "/"
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    sni: str = ""
    insecure: bool = False
    body: str = ""


@dataclass(frozen=True, slots=True)
class Lookup:
    """How a stub resolver looks a name up: the full names that it tries one after the other until one is there, and
    the addresses of the servers, of which it asks another where one does not answer."""

    names: tuple[str, ...]
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """Packets to send: `count` separate attempts from the netns `netns` to `ip`:`port`.

    `protocol` is tcp, udp, icmp, http, https or dns. tcp and udp ask the responder behind the port who it is; a peer
    that is no responder is still open once it has accepted (tcp) or answered (udp). `timeout` is in seconds, for one
    attempt. `source` is the source address to bind, empty for the kernel's choice. `query` is (name, type) for dns,
    which asks over TCP at once where `stream` says so. With a `lookup` there is no `ip`: each attempt looks it up
    first, and dns asks the lookup's servers for its names.
    With an `interval` (seconds) the attempts start that far apart, without one all at once. `quiet` is how long (in
    seconds) a tcp peer that has accepted may be silent, while nobody else says anything either, before it counts as
    no responder.
    """

    id: str
    netns: str
    protocol: str
    ip: str
    port: int = 0
    count: int = 1
    timeout: float = 1.0
    source: str = ""
    http: HttpRequest | None = None
    query: tuple[str, str] = ("", "A")
    stream: bool = False
    lookup: Lookup | None = None
    interval: float = 0.0
    quiet: float = 1.0

    @property
    def transport(self) -> str:
        """What carries the packets: tcp, udp or icmp. A question of DNS may go on over TCP all the same."""
        if self.protocol == "dns":
            return "tcp" if self.stream else "udp"
        return "tcp" if self.protocol in ("http", "https") else self.protocol


@dataclass(slots=True)
class FlowResult:
    """What came back, summed over all attempts of a flow.

    `counts` has a count for each verdict met: "open" (answered), "refused" (RST or ICMP error), "timeout" (nothing
    came back), "unreachable" (no route, or an ICMP unreachable of a host or network), "error" (anything else, said
    in `detail`). `responders` counts NAMESPACE/POD of the answers, `client_ips` the source addresses they saw.
    `rtts` are in seconds, of open attempts. The http fields are those of the last answer; `statuses` counts them all,
    for dns the response codes (NOERROR, NXDOMAIN, ..). `answers` are the data of the records of the type asked for
    that the last dns answer has, and `aliases` the names that led to them.
    """

    id: str
    counts: dict[str, int] = field(default_factory=dict)
    responders: dict[str, int] = field(default_factory=dict)
    client_ips: dict[str, int] = field(default_factory=dict)
    rtts: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    answers: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    detail: str = ""

    @property
    def verdict(self) -> str:
        """The one verdict of all attempts, or "mixed"."""
        return next(iter(self.counts)) if len(self.counts) == 1 else "mixed"
