"""The tables as text: nft(8) reads them, and makes of them what our bytes make."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from nslab.cluster.memo import Memo
from nslab.components.network_policy import compile_policies
from nslab.linux.nftables import NftSocket
from nslab.nft.objects import Table
from nslab.nft.text import table_text
from nslab.nft.transaction import difference, steps
from tests.policies import fuzz
from tests.policies.world import cluster, topology


def nft(*arguments: str, text: str = "") -> str:
    return subprocess.run(["nft", *arguments], input=text, text=True, check=True, capture_output=True).stdout


@pytest.fixture
def kernel() -> Iterator[NftSocket]:
    nft("flush", "ruleset")
    with NftSocket() as socket:
        yield socket
    nft("flush", "ruleset")


def tables(seed: int) -> list[Table]:
    return list(compile_policies(cluster(topology(fuzz.step(seed))), Memo()).tables.values())


@pytest.mark.parametrize("seed", range(2000, 2010))
def test_what_nft_makes_of_the_text_is_what_is_wanted(kernel: NftSocket, seed: int) -> None:
    for table in tables(seed):
        nft("-f", "-", text=table_text(table))
        ((_, there),) = kernel.tables("nslab:").items()
        transaction = difference(table, there)
        assert transaction is None, transaction.text()
        nft("flush", "ruleset")


def test_every_table_leads_to_every_other(kernel: NftSocket) -> None:
    """The kernel takes each change, whatever was there."""
    for seed in range(2000, 2040):
        for table in tables(seed):
            have = next(iter(kernel.tables("nslab:").values()), None)
            for transaction in steps(table, have):
                kernel.apply(transaction)
            assert difference(table, kernel.tables("nslab:")["ip", "network-policy"]) is None
