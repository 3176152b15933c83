"""`nslab doctor`: the table and the exit status."""

from __future__ import annotations

import json

import pytest

from nslab.cli.doctor import report
from nslab.cli.main import main
from nslab.linux import features
from nslab.linux.features import Feature

VETH = Feature("veth", True, "links", "modprobe veth", True)
NFT = Feature("nf_tables", False, "Services", "another kernel", True)
NETEM = Feature("netem", False, "delay", "modprobe sch_netem", False)
TOOL = Feature("ip", True, "looking", "apt install iproute2", False, "6.1")


def test_what_is_missing_has_a_remedy() -> None:
    assert report([VETH, NFT, NETEM, TOOL]) == (
        "FEATURE     STATE           NEEDED FOR   REMEDY\n"
        "veth        present         links        \n"
        "nf_tables   MISSING         Services     another kernel\n"
        "netem       absent          delay        modprobe sch_netem\n"
        "ip          present (6.1)   looking      \n"
        "\n"
        "A lab cannot run here: nf_tables missing.\n"
    )
    assert report([VETH, NETEM]).endswith("\nLabs can run here.\n")


def test_the_exit_status_is_4_where_a_required_feature_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(features, "probe_features", lambda: [VETH, NFT])
    assert main(["doctor"]) == 4


def test_here_labs_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "-o", "json"]) == 0
    found = {feature["name"]: feature for feature in json.loads(capsys.readouterr().out)}
    assert found["veth"]["present"]
