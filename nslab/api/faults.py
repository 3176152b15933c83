"""What can be broken on purpose: the effects of a Fault, what they fall upon, and the values they take."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nslab.api import notation

KIND: Final = "Fault"
TARGETS: Final = ("pod", "node", "client")

_RATE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(bit|kbit|mbit|gbit)")
_RATE_UNITS: Final = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_SHARE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")
_LONGEST: Final = 60.0
_SLOWEST, _FASTEST = 8_000, 100 * 10**9


def microseconds(text: str) -> int:
    """A delay of at most a minute ("200ms", "1.5s"). Raises ValueError."""
    form = f'"{text}" is no time: write 200ms or 1.5s, more than 0 and at most 60s'
    try:
        seconds = notation.seconds(text)
    except ValueError as error:
        raise ValueError(form) from error
    if not 0.000001 <= seconds <= _LONGEST:
        raise ValueError(form)
    return round(seconds * 1_000_000)


def hundredths(text: str) -> int:
    """A share of packets ("10%", "0.5%") in hundredths of a percent. Raises ValueError."""
    found = _SHARE.fullmatch(text)
    share = round(float(found[1]) * 100) if found else 0
    if not 1 <= share <= 10_000:
        raise ValueError(f'"{text}" is no share of packets: write 10% or 0.5%, from 0.01% to 100%')
    return share


def bits(text: str) -> int:
    """A rate ("10mbit", in tc(8)'s units) in bits a second, of whole octets. Raises ValueError."""
    found = _RATE.fullmatch(text)
    rate = round(float(found[1]) * _RATE_UNITS[found[2]]) if found else 0
    if not _SLOWEST <= rate <= _FASTEST:
        raise ValueError(f'"{text}" is no rate: write 10mbit or 500kbit, from 8kbit to 100gbit')
    return rate // 8 * 8


@dataclass(frozen=True, slots=True)
class Effect:
    """One way to be broken. `targets` are the kinds it falls upon; `of_link`: upon their link to the network.
    `read` makes the value's text a number and raises ValueError with the form that is wanted; None where the effect
    has no value."""

    targets: tuple[str, ...]
    of_link: bool = False
    read: Callable[[str], int] | None = None


EFFECTS: Final = {
    "unready": Effect(("pod",)),
    "crash": Effect(("pod",)),
    "blackhole": Effect(("pod",)),
    "slow": Effect(("pod",), read=microseconds),
    "dead": Effect(("node",)),
    "down": Effect(TARGETS, of_link=True),
    "loss": Effect(TARGETS, of_link=True, read=hundredths),
    "delay": Effect(TARGETS, of_link=True, read=microseconds),
    "rate": Effect(TARGETS, of_link=True, read=bits),
}


def fault_name(target: str, effect: str) -> str:
    """The name of the Fault: a target has one of each effect."""
    return f"{target.replace('/', '.')}.{effect}"


def split_target(target: str) -> tuple[str, ...] | None:
    """("pod", NAMESPACE, NAME), ("node", NAME) or ("client", NAME); None where it is none of them."""
    kind, *names = target.split("/")
    wanted = {"pod": 2, "node": 1, "client": 1}.get(kind)
    return (kind, *names) if wanted == len(names) and all(names) else None
