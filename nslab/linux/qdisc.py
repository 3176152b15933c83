"""rtnetlink's requests for queueing disciplines as bytes, and its dump as the nouns of `netstate.model`.

Numbers are those of linux/pkt_sched.h and linux/rtnetlink.h.
"""

from __future__ import annotations

from struct import Struct

from nslab.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    attribute,
    attribute_string,
    attribute_u32,
    attributes,
    message,
    text,
)
from nslab.netstate.model import Qdisc

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
TC_H_ROOT = 0xFFFFFFFF
TCA_KIND, TCA_OPTIONS = 1, 2
TCA_TBF_PARMS, TCA_TBF_RATE64, TCA_TBF_BURST = 1, 4, 6
TCA_NETEM_RATE, TCA_NETEM_RATE64, TCA_NETEM_LATENCY64 = 6, 8, 10
TC_LINKLAYER_ETHERNET = 1

OWN = frozenset(["", "noop", "noqueue"])
"""What IFLA_QDISC says of a veth or a bridge that nobody gave a queueing discipline, up or down."""

_TCMSG = Struct("=BxxxiIII")
_RATESPEC = Struct("=BBHhHI")
_TBF = Struct("=III")
_NETEM = Struct("=IIIIII")
_NETEM_RATE = Struct("=IiIi")
_U64 = Struct("=Q")
_I64 = Struct("=q")

_TICK = 64
"""Nanoseconds of the kernel's tick (PSCHED_SHIFT 6), in which the older attributes count time."""

_CERTAIN = 0xFFFFFFFF
"""A probability of 1."""


def replace_root(index: int, qdisc: Qdisc) -> bytes:
    """Give the link of that ifindex this root queueing discipline."""
    body = _TCMSG.pack(0, index, 0, TC_H_ROOT, 0) + attribute_string(TCA_KIND, qdisc.kind)
    options = {"tbf": _tbf, "netem": _netem}.get(qdisc.kind)
    if options is not None:
        body += attribute(TCA_OPTIONS, options(qdisc))
    return message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body)


def delete_root(index: int) -> bytes:
    """Give it the kernel's own back; the answer is ENOENT where it has that."""
    return message(RTM_DELQDISC, 0, _TCMSG.pack(0, index, 0, TC_H_ROOT, 0))


DUMP = message(RTM_GETQDISC, NLM_F_DUMP, _TCMSG.pack(0, 0, 0, 0, 0))


def _tbf(qdisc: Qdisc) -> bytes:
    """The burst comes as octets of its own attribute, so that no table of transmission times is needed."""
    octets = qdisc.rate // 8
    rate = _RATESPEC.pack(0, TC_LINKLAYER_ETHERNET, 0, 0, 0, min(octets, 0xFFFFFFFF))
    options = attribute(TCA_TBF_PARMS, rate + bytes(_RATESPEC.size) + _TBF.pack(qdisc.limit, 0, 0))
    options += attribute_u32(TCA_TBF_BURST, qdisc.burst)
    return options + _rate64(TCA_TBF_RATE64, octets)


def _netem(qdisc: Qdisc) -> bytes:
    """A struct tc_netem_qopt, and behind it attributes for what does not fit in."""
    latency, octets = qdisc.delay * 1000, qdisc.rate // 8
    ticks = min(latency // _TICK, 0xFFFFFFFF)
    options = _NETEM.pack(ticks, qdisc.limit, qdisc.loss * _CERTAIN // 10_000, 0, 0, 0)
    if latency:
        options += attribute(TCA_NETEM_LATENCY64, _I64.pack(latency))
    if octets:
        options += attribute(TCA_NETEM_RATE, _NETEM_RATE.pack(min(octets, 0xFFFFFFFF), 0, 0, 0))
    return options + _rate64(TCA_NETEM_RATE64, octets)


def _rate64(kind: int, octets: int) -> bytes:
    """Rates of 34 Gbit/s and more do not fit into the older attribute's 32 bits."""
    return attribute(kind, _U64.pack(octets)) if octets > 0xFFFFFFFF else b""


def parse_root(body: bytes) -> tuple[int, Qdisc] | None:
    """The ifindex and its root queueing discipline; None for one that is not at the root."""
    _, index, _, parent, _ = _TCMSG.unpack_from(body)
    if parent != TC_H_ROOT:
        return None
    found = attributes(body, _TCMSG.size, len(body))
    kind, options = text(found[TCA_KIND]), found.get(TCA_OPTIONS, b"")
    if kind == "tbf":
        return index, _parse_tbf(options)
    if kind == "netem":
        return index, _parse_netem(options)
    return index, Qdisc(kind)


def _parse_tbf(options: bytes) -> Qdisc:
    found = attributes(options, 0, len(options))
    octets: int = _RATESPEC.unpack_from(found[TCA_TBF_PARMS])[-1]
    return Qdisc("tbf", _wide(found, TCA_TBF_RATE64, octets) * 8)


def _parse_netem(options: bytes) -> Qdisc:
    ticks, _, probability, *_ = _NETEM.unpack_from(options)
    found = attributes(options, _NETEM.size, len(options))
    latency = _I64.unpack(found[TCA_NETEM_LATENCY64])[0] if TCA_NETEM_LATENCY64 in found else ticks * _TICK
    octets = _NETEM_RATE.unpack_from(found[TCA_NETEM_RATE])[0] if TCA_NETEM_RATE in found else 0
    loss = round(probability * 10_000 / _CERTAIN)
    return Qdisc("netem", _wide(found, TCA_NETEM_RATE64, octets) * 8, round(latency / 1000), loss)


def _wide(found: dict[int, bytes], kind: int, narrow: int) -> int:
    wide: int = _U64.unpack(found[kind])[0] if kind in found else narrow
    return wide
