"""What a rule is made of: matches, map look-ups and verdicts, each with its nft(8) text.

A rule is a tuple of statements, evaluated from left to right; the first match that fails ends the rule.
`expressions.encode_rule` turns the same statements into netlink expressions.
"""

from __future__ import annotations

from dataclasses import dataclass

from nslab.nft import datatypes
from nslab.nft.datatypes import Datatype


@dataclass(frozen=True, slots=True)
class Selector:
    """Something that can be read from a packet, its connection or a random source, into a register.

    `text` is its nft(8) name; `kind` and `arguments` say which kernel expression loads it (see `expressions`):
    payload(base, offset, length), meta(key), ct(key, direction), fib(result, flags), numgen(modulus).
    """

    text: str
    datatype: Datatype
    kind: str
    arguments: tuple[int, ...]


# Payload bases: 0 link layer, 1 network header, 2 transport header (enum nft_payload_bases).
IP_SADDR = Selector("ip saddr", datatypes.IPV4_ADDR, "payload", (1, 12, 4))
IP_DADDR = Selector("ip daddr", datatypes.IPV4_ADDR, "payload", (1, 16, 4))
TH_SPORT = Selector("th sport", datatypes.INET_SERVICE, "payload", (2, 0, 2))
TH_DPORT = Selector("th dport", datatypes.INET_SERVICE, "payload", (2, 2, 2))
# Meta and ct keys are those of enum nft_meta_keys and enum nft_ct_keys; direction 0 is "original", 1 is "reply".
META_MARK = Selector("meta mark", datatypes.MARK, "meta", (3,))
META_IIFNAME = Selector("iifname", datatypes.IFNAME, "meta", (6,))
META_OIFNAME = Selector("oifname", datatypes.IFNAME, "meta", (7,))
META_L4PROTO = Selector("meta l4proto", datatypes.INET_PROTO, "meta", (16,))
CT_MARK = Selector("ct mark", datatypes.MARK, "ct", (3,))
CT_ORIGINAL_SADDR = Selector("ct original ip saddr", datatypes.IPV4_ADDR, "ct", (19, 0))
CT_ORIGINAL_DADDR = Selector("ct original ip daddr", datatypes.IPV4_ADDR, "ct", (20, 0))
CT_ORIGINAL_PROTO_SRC = Selector("ct original proto-src", datatypes.INET_SERVICE, "ct", (11, 0))
CT_ORIGINAL_PROTO_DST = Selector("ct original proto-dst", datatypes.INET_SERVICE, "ct", (12, 0))
# Who answers, by his own address and port: the destination as it is once a Service is translated.
CT_REPLY_SADDR = Selector("ct reply ip saddr", datatypes.IPV4_ADDR, "ct", (19, 1))
CT_REPLY_PROTO_SRC = Selector("ct reply proto-src", datatypes.INET_SERVICE, "ct", (11, 1))


def numgen_random(modulus: int) -> Selector:
    """A random number from 0 to `modulus` - 1, drawn anew for every packet that reaches the rule."""
    return Selector(f"numgen random mod {modulus}", datatypes.MARK, "numgen", (modulus,))


def concat(selectors: tuple[Selector, ...]) -> str:
    """The nft text of a concatenation: `ip daddr . meta l4proto . th dport`."""
    return " . ".join(selector.text for selector in selectors)


@dataclass(frozen=True, slots=True)
class Compare:
    """`selector == value`, or `!=` when `negate`. The value is written as its datatype's person-readable form."""

    selector: Selector
    value: str | int
    negate: bool = False

    @property
    def text(self) -> str:
        operator = "!= " if self.negate else ""
        value = f'"{self.value}"' if self.selector.datatype is datatypes.IFNAME else self.value
        return f"{self.selector.text} {operator}{value}"


@dataclass(frozen=True, slots=True)
class Below:
    """`selector`, a number of four octets in the host's order such as `numgen_random`, is less than `limit`."""

    selector: Selector
    limit: int

    @property
    def text(self) -> str:
        return f"{self.selector.text} < {self.limit}"


@dataclass(frozen=True, slots=True)
class InPrefix:
    """`selector` is an IPv4 address inside (outside, when `negate`) the CIDR `prefix`."""

    selector: Selector
    prefix: str
    negate: bool = False

    @property
    def text(self) -> str:
        return f"{self.selector.text} {'!= ' if self.negate else ''}{self.prefix}"


@dataclass(frozen=True, slots=True)
class InSet:
    """The concatenation of `selectors` is (is not, when `negate`) an element of the named set."""

    selectors: tuple[Selector, ...]
    set_name: str
    negate: bool = False

    @property
    def text(self) -> str:
        return f"{concat(self.selectors)} {'!= ' if self.negate else ''}@{self.set_name}"


CT_STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
CT_STATUSES = {"snat": 16, "dnat": 32}


@dataclass(frozen=True, slots=True)
class CtState:
    """The packet's connection-tracking state is one of `states` (names of CT_STATES)."""

    states: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"ct state {','.join(self.states)}"


@dataclass(frozen=True, slots=True)
class CtStatus:
    """The connection has (has not, when `negate`) the status bit `status` (a name of CT_STATUSES)."""

    status: str
    negate: bool = False

    @property
    def text(self) -> str:
        return f"ct status & {self.status} == 0" if self.negate else f"ct status {self.status}"


@dataclass(frozen=True, slots=True)
class FibLocal:
    """The routing table says that the packet's `field` ("saddr" or "daddr") is an address of this netns (is not,
    when `negate`)."""

    field: str
    negate: bool = False

    @property
    def text(self) -> str:
        return f"fib {self.field} type {'!= ' if self.negate else ''}local"


@dataclass(frozen=True, slots=True)
class SetMark:
    """Write the packet's ("meta") or the connection's ("ct") mark, from another selector such as `numgen_random`."""

    target: str
    source: Selector

    @property
    def text(self) -> str:
        return f"{self.target} mark set {self.source.text}"


@dataclass(frozen=True, slots=True)
class SetMarkFromMap:
    """Write a mark with the value that a map has for `selectors`; where it has none, the rule ends here."""

    target: str
    selectors: tuple[Selector, ...]
    map_name: str

    @property
    def text(self) -> str:
        return f"{self.target} mark set {concat(self.selectors)} map @{self.map_name}"


@dataclass(frozen=True, slots=True)
class SetMarkBits:
    """`mark = (mark & mask) ^ bits`, the kernel's own form of clearing and setting bits of a mark."""

    target: str
    mask: int
    bits: int

    @property
    def text(self) -> str:
        name = f"{self.target} mark"
        if self.bits == 0:
            return f"{name} set {name} & {self.mask:#010x}"
        return f"{name} set ({name} & {self.mask:#010x}) ^ {self.bits:#010x}"


@dataclass(frozen=True, slots=True)
class Remember:
    """`update @map { key timeout Ns : value }`: write an element of a dynamic map and (re)start its timeout."""

    map_name: str
    key: tuple[Selector, ...]
    value: Selector
    timeout: int

    @property
    def text(self) -> str:
        return f"update @{self.map_name} {{ {concat(self.key)} timeout {self.timeout}s : {self.value.text} }}"


@dataclass(frozen=True, slots=True)
class Record:
    """`update @set { key timeout Ns }`: write an element of a dynamic set and (re)start its timeout. Where the set is
    full, the rule ends here."""

    set_name: str
    key: tuple[Selector, ...]
    timeout: int

    @property
    def text(self) -> str:
        return f"update @{self.set_name} {{ {concat(self.key)} timeout {self.timeout}s }}"


@dataclass(frozen=True, slots=True)
class DnatToMap:
    """Rewrite destination address and port to the `addr . port` that a map has for `selectors`; ends the hook.
    Where the map has none, the rule ends here and the next one is tried.

    The kernel takes it anywhere; nft(8) reads its text only after `Compare(META_L4PROTO, ..)` in the same rule, as
    it does `ct original proto-dst`.
    """

    selectors: tuple[Selector, ...]
    map_name: str

    @property
    def text(self) -> str:
        return f"dnat ip to {concat(self.selectors)} map @{self.map_name}"


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Rewrite the source to the address of the interface the packet leaves by, with a random port (RFC 6056)."""

    @property
    def text(self) -> str:
        return "masquerade fully-random"


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer with ICMP port unreachable, which TCP and UDP clients report as "connection refused"."""

    @property
    def text(self) -> str:
        return "reject"


@dataclass(frozen=True, slots=True)
class Counter:
    """Count packets and octets that came this far."""

    @property
    def text(self) -> str:
        return "counter"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`accept`, `drop`, `return`, or `jump`/`goto` to `chain`. Also the value type of a verdict map."""

    code: str
    chain: str = ""

    @property
    def text(self) -> str:
        return f"{self.code} {self.chain}" if self.chain else self.code


ACCEPT = Verdict("accept")
DROP = Verdict("drop")
RETURN = Verdict("return")


def jump(chain: str) -> Verdict:
    """Go to `chain` and come back at its end."""
    return Verdict("jump", chain)


def goto(chain: str) -> Verdict:
    """Go to `chain` and return to the caller's caller at its end."""
    return Verdict("goto", chain)


@dataclass(frozen=True, slots=True)
class VerdictMap:
    """Follow the verdict that a map has for `selectors`; where it has none, go on with the next rule."""

    selectors: tuple[Selector, ...]
    map_name: str

    @property
    def text(self) -> str:
        return f"{concat(self.selectors)} vmap @{self.map_name}"


Statement = (
    Compare | Below | InPrefix | InSet | CtState | CtStatus | FibLocal | SetMark | SetMarkFromMap | SetMarkBits
    | Remember | Record | DnatToMap | Masquerade | Reject | Counter | Verdict | VerdictMap
)
