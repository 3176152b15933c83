"""Sockets that stay open from one batch to the next, and the namespaces that come and go under them."""

from __future__ import annotations

import os
import subprocess

import pytest

from nslab.errors import KernelError
from nslab.linux import netns
from nslab.linux.nftables import NftSockets
from nslab.linux.real import RealKernel
from nslab.netstate.operations import AddNetns, ApplyTransaction, Batch, DeleteNetns
from nslab.nft.objects import Table
from nslab.nft.transaction import difference
from tests.netstate.states import LAB

NAME = f"{LAB}.node.one"
TABLE = difference(Table("ip", "test", comment=f"nslab:{LAB}"), None)


def rules(name: str) -> str:
    return subprocess.run(
        ["ip", "netns", "exec", name, "nft", "list", "tables"], check=True, capture_output=True, text=True
    ).stdout


def test_a_socket_is_kept_as_long_as_its_netns_has_its_name(real: RealKernel) -> None:
    sockets = NftSockets()
    real.apply(Batch(netns=(AddNetns(NAME, "1", LAB),)))
    first = sockets.of(NAME)
    assert sockets.of(NAME) is first
    subprocess.run(["ip", "netns", "delete", NAME], check=True)
    with pytest.raises(FileNotFoundError):
        sockets.of(NAME)
    real.apply(Batch(netns=(AddNetns(NAME, "2", LAB),)))
    assert sockets.of(NAME) is not first
    sockets.close(NAME)
    sockets.close(NAME)


def test_a_table_goes_to_the_netns_that_has_the_name_now(real: RealKernel) -> None:
    assert TABLE is not None
    real.apply(Batch(netns=(AddNetns(NAME, "1", LAB),), configure=(ApplyTransaction(NAME, TABLE),)))
    subprocess.run(["ip", "netns", "delete", NAME], check=True)
    with pytest.raises(KernelError, match=f"there is no netns {NAME}"):
        real.apply(Batch(configure=(ApplyTransaction(NAME, TABLE),)))
    real.apply(Batch(netns=(AddNetns(NAME, "2", LAB),)))
    assert rules(NAME) == ""
    real.apply(Batch(configure=(ApplyTransaction(NAME, TABLE),)))
    assert rules(NAME) == "table ip test\n"


def test_nothing_is_held_of_a_netns_that_was_deleted(real: RealKernel) -> None:
    assert TABLE is not None
    before = len(os.listdir("/proc/self/fd"))
    real.apply(Batch(netns=(AddNetns(NAME, "1", LAB),), configure=(ApplyTransaction(NAME, TABLE),)))
    assert len(os.listdir("/proc/self/fd")) == before + 1
    real.apply(Batch(remove=(DeleteNetns(NAME),)))
    assert len(os.listdir("/proc/self/fd")) == before
    assert netns.names() == []
