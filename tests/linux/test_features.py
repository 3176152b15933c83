"""Probes of the kernel's and the host's features."""

from __future__ import annotations

import os
from pathlib import Path

from nslab.linux import netns
from nslab.linux.features import Feature, probe_features


def by_name() -> dict[str, Feature]:
    return {feature.name: feature for feature in probe_features()}


def test_what_the_tests_themselves_rely_on_is_found() -> None:
    features = by_name()
    for name in ("network namespaces", "veth", "bridge", "nf_tables", "nft masquerade", "nft numgen", "nft fib",
                 "nft ct mark", "nft reject", "conntrack", "/run/netns", "ip"):
        assert features[name].present, name


def test_every_lack_has_a_use_and_a_remedy() -> None:
    for feature in by_name().values():
        assert feature.needed_for
        assert feature.present or feature.remedy
    assert [feature.required for feature in probe_features()] == sorted(
        (feature.required for feature in probe_features()), reverse=True
    )


def test_probing_leaves_nothing() -> None:
    before = (os.readlink("/proc/thread-self/ns/net"), Path("/proc/net/dev").read_text().count("\n"), netns.names())
    probe_features()
    assert before == (
        os.readlink("/proc/thread-self/ns/net"), Path("/proc/net/dev").read_text().count("\n"), netns.names()
    )


def test_tools_tell_their_version() -> None:
    assert "iproute2" in by_name()["ip"].detail
