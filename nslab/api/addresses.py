"""Addresses as users write them."""

from __future__ import annotations

from ipaddress import IPv4Address


def ipv4(text: str) -> IPv4Address | None:
    """The IPv4 address that a text is; None for any other."""
    try:
        return IPv4Address(text)
    except ValueError:
        return None
