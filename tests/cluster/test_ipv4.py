from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nslab.cluster.ipv4 import parse_range, to_int, to_text

ADDRESSES = st.integers(0, 2**32 - 1)


@given(ADDRESSES)
def test_addresses_read_and_show_as_the_standard_library_has_them(address: int) -> None:
    assert to_text(address) == str(IPv4Address(address))
    assert to_int(to_text(address)) == address


@given(ADDRESSES, st.integers(0, 32))
def test_ranges_are_those_of_the_standard_library(address: int, prefix: int) -> None:
    network = IPv4Network((address, prefix), strict=False)
    found = parse_range(f"{to_text(address)}/{prefix}")
    assert (found.first, found.last, str(found)) == (
        int(network.network_address), int(network.broadcast_address), str(network)
    )
    assert address in found


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0/8", "10.0.0.256/8", "10.0.0.0", "a.b.c.d/8", "::/0"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_range(text)
