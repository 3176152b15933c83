"""The values that faults take, and where they are read from."""

from __future__ import annotations

from pathlib import Path

import pytest

from nslab.api.decode import decode
from nslab.api.faults import EFFECTS, bits, fault_name, hundredths, microseconds, split_target
from nslab.api.kinds import by_word
from nslab.api.schema import kind_schema, topology_schema


@pytest.mark.parametrize(("text", "value"), [
    ("200ms", 200_000), ("1.5s", 1_500_000), ("50us", 50), ("1m", 60_000_000),
])
def test_times_are_read(text: str, value: int) -> None:
    assert microseconds(text) == value


@pytest.mark.parametrize("text", ["", "200", "0ms", "61s", "2m", "-1s", "1h", "fast", "1 s", "0.1us", "nans", "٣s"])
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="is no time: write 200ms"):
        microseconds(text)


@pytest.mark.parametrize(("text", "value"), [("10%", 1000), ("0.5%", 50), ("100%", 10_000), ("0.01%", 1)])
def test_shares_are_read(text: str, value: int) -> None:
    assert hundredths(text) == value


@pytest.mark.parametrize("text", ["", "10", "0%", "0.001%", "101%", "-5%", "ten%", "10 %"])
def test_no_shares(text: str) -> None:
    with pytest.raises(ValueError, match="is no share of packets: write 10%"):
        hundredths(text)


@pytest.mark.parametrize(("text", "value"), [
    ("10mbit", 10_000_000), ("1.5mbit", 1_500_000), ("8kbit", 8_000), ("8001bit", 8_000), ("100gbit", 100 * 10**9),
])
def test_rates_are_read(text: str, value: int) -> None:
    assert bits(text) == value


@pytest.mark.parametrize("text", ["", "10", "7999bit", "101gbit", "10MB", "10 mbit", "-1mbit"])
def test_no_rates(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate: write 10mbit"):
        bits(text)


def test_targets_are_taken_apart() -> None:
    assert split_target("pod/shop/cart") == ("pod", "shop", "cart")
    assert split_target("node/n1") == ("node", "n1")
    assert split_target("client/laptop") == ("client", "laptop")
    for text in ("", "pod", "pod/cart", "pod//cart", "node/", "node/a/b", "svc/a/b", "Pod/a/b"):
        assert split_target(text) is None


def test_a_faults_name_tells_its_target_and_effect_from_all_others() -> None:
    names = [
        fault_name(target, effect) for effect in EFFECTS
        for target in ("pod/a/b.c", "pod/a/b", "node/a.b", "node/a", "client/a")
    ]
    assert len(set(names)) == len(names)
    assert fault_name("pod/shop/cart", "slow") == "pod.shop.cart.slow"


def test_schema_and_table_name_the_same_effects() -> None:
    kind = by_word("fault")
    assert kind is not None
    schema = kind_schema(kind)
    assert schema is not None
    assert schema.schema["properties"]["spec"]["properties"]["effect"]["enum"] == list(EFFECTS)
    assert topology_schema()["$defs"]["Fault"]["title"] == "Fault"


def test_a_topology_may_begin_broken() -> None:
    manifest = decode([str(Path(__file__).with_name("faulty.yaml"))])
    assert [(item.kind, item.name) for item in manifest.objects] == [
        ("Fault", "pod.default.later.unready"), ("Fault", "node.node-1.rate"),
    ]
    assert manifest.lab.cluster.node_monitor_grace_period == 60.0
    assert not manifest.warnings
