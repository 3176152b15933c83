"""Sets of CIDRs, made fit for interval sets: these refuse elements that overlap."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, collapse_addresses


def merge(prefixes: Iterable[str]) -> list[str]:
    """The same addresses in the fewest CIDRs, none of which overlap; IPv6 is left out and host bits cleared."""
    return [str(network) for network in collapse_addresses(_networks(prefixes))]


def without(prefixes: Iterable[str], removed: Iterable[str]) -> list[str]:
    """`prefixes` less every address of `removed`, merged."""
    kept = _networks(prefixes)
    for hole in _networks(removed):
        kept = [rest for network in kept for rest in _less(network, hole)]
    return [str(network) for network in collapse_addresses(kept)]


def _networks(prefixes: Iterable[str]) -> list[IPv4Network]:
    return [IPv4Network(prefix.strip(), strict=False) for prefix in prefixes if ":" not in prefix]


def _less(network: IPv4Network, hole: IPv4Network) -> Iterable[IPv4Network]:
    if network.subnet_of(hole):
        return ()
    return network.address_exclude(hole) if hole.subnet_of(network) else (network,)
