"""`nslab check`: files of checks, the report's shapes, the exit status."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nslab.agent import client
from nslab.check import run as check_run
from nslab.check.model import Check, Expectation, Report
from nslab.cli import check
from nslab.cli.main import main
from nslab.cluster.model import Cluster
from nslab.errors import ManifestError, UsageError
from nslab.servers.flows import FlowResult
from tests.cli.shop import snapshot

Outcome = Callable[[str], None]


@pytest.fixture
def every_check(monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """A lab whose checks all end as the returned function is told: "" or the reason why not."""
    outcome = ""

    def send(cluster: Cluster, expected: Sequence[Expectation], **_: object) -> Report:
        return Report("shop", tuple(Check(each, FlowResult("1"), outcome) for each in expected), 0.5, len(expected))

    def ends(why: str) -> None:
        nonlocal outcome
        outcome = why

    monkeypatch.setattr(client, "pick", lambda lab: "shop")
    monkeypatch.setattr(client, "snapshot", lambda lab: snapshot())
    monkeypatch.setattr(check_run, "run", send)
    return ends


def test_passing_is_0_and_failing_is_1(every_check: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "Pods to their gateway" in capsys.readouterr().out
    every_check("nothing came back")
    assert main(["check"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_json_and_junit(every_check: Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every_check("nothing came back")
    path = tmp_path / "report.xml"
    assert main(["check", "--junit", str(path), "-o", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["failed"] == len(report["checks"]) > 0
    assert int(ElementTree.parse(path).getroot().attrib["failures"]) == report["failed"]


def test_a_file_of_checks_replaces_the_derived_ones(
    every_check: Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checks.yaml"
    path.write_text("checks:\n- {name: it answers, from: client/vm, to: 'svc/web:80', expect: open}\n")
    assert main(["check", "-f", str(path), "-o", "json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["checks"]] == ["it answers"]


@pytest.mark.parametrize("content", ["hello", "checks: {}", "- 1", "a: [", "{}"])
def test_a_file_that_holds_no_checks(tmp_path: Path, content: str) -> None:
    path = tmp_path / "checks.yaml"
    path.write_text(content)
    with pytest.raises(ManifestError, match="checks"):
        check.read_checks(str(path))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="cannot read"):
        check.read_checks("nowhere.yaml")
