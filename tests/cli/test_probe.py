"""`nslab probe`: what its options mean, what its table shows, and how it exits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nslab.agent import client
from nslab.cli import probe
from nslab.cli.main import main
from nslab.errors import ManifestError, NotFoundError, UsageError
from nslab.servers import prober
from nslab.servers.flows import Flow, FlowResult
from tests.cli.shop import cluster, snapshot


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> FlowResult:
    """A lab on whose packets the returned result comes back."""
    result = FlowResult("1", {"open": 3}, {"default/web-0": 2, "default/web-1": 1}, {"198.51.100.2": 3},
                        [0.001, 0.002, 0.003])

    def send(flows: Sequence[Flow], progress: object = None) -> list[FlowResult]:
        return [replace(result, id=flow.id) for flow in flows]

    monkeypatch.setattr(client, "pick", lambda lab: "shop")
    monkeypatch.setattr(client, "snapshot", lambda lab: snapshot())
    monkeypatch.setattr(prober, "probe", send)
    return result


def test_options_become_a_flow() -> None:
    body = {"from": "client/laptop", "to": "svc/web:http", "count": 3, "timeout": 0.5}
    [asked] = probe.asked(cluster(), body)
    assert asked.flow == Flow("1", "shop.client.laptop", "tcp", "10.12.0.20", 80, 3, 0.5)


def test_an_unknown_name_is_not_found_and_a_malformed_one_a_usage_error() -> None:
    with pytest.raises(NotFoundError):
        probe.asked(cluster(), {"from": "client/nobody", "to": "svc/web:80"})
    with pytest.raises(NotFoundError):
        probe.asked(cluster(), {"from": "client/vm", "to": "svc/nothing:80"})
    with pytest.raises(UsageError, match="has no port"):
        probe.asked(cluster(), {"from": "client/vm", "to": "svc/web"})


def test_flows_of_a_file_and_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "flows.yaml"
    path.write_text("- {id: a, from: pod/web-0, to: pod/web-1:80}\n- {id: b, from: node/node-1, to: 10.8.0.2:80}\n")
    assert [each.flow.id for each in probe.from_file(cluster(), str(path))] == ["a", "b"]
    path.write_text("- {id: a, from: pod/web-0}\n")
    with pytest.raises(ManifestError, match=r"flows\.yaml:1:3: flow a: to: is missing"):
        probe.from_file(cluster(), str(path))
    with pytest.raises(UsageError, match="cannot read"):
        probe.from_file(cluster(), str(tmp_path / "none.yaml"))


def test_the_table(answering: FlowResult, capsys: pytest.CaptureFixture[str]) -> None:
    answering.detail = "the last one was slow"
    assert main(["probe", "--from", "client/laptop", "--to", "svc/web:80", "--count", "3"]) == 0
    shown = capsys.readouterr()
    assert shown.out == (
        "FROM            TO                   PROTO   VERDICT   RESPONDERS                           "
        "CLIENT IPS        RTT MS\n"
        "client/laptop   svc/default/web:80   tcp     open x3   default/web-0 x2, default/web-1 x1   "
        "198.51.100.2 x3   2.00\n"
    )
    assert shown.err == "client/laptop to svc/default/web:80: the last one was slow\n"


def test_json_is_a_list_in_the_order_asked(
    answering: FlowResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flows.json"
    path.write_text(json.dumps([{"id": name, "from": "client/vm", "to": "svc/web:80"} for name in ("z", "a")]))
    assert main(["probe", "-f", str(path), "-o", "json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["id"] for answer in answers] == ["z", "a"]
    assert answers[0]["responders"] == {"default/web-0": 2, "default/web-1": 1}


@pytest.mark.parametrize(("counts", "expect", "status"), [
    ({"open": 3}, "open", 0),
    ({"open": 2, "timeout": 1}, "open", 1),
    ({"unreachable": 1}, "refused", 0),
    ({"timeout": 1}, "blocked", 0),
    ({"refused": 1}, "blocked", 1),
])
def test_expect_sets_the_exit_status(
    answering: FlowResult, counts: dict[str, int], expect: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    answering.counts = counts
    assert main(["probe", "--from", "client/vm", "--to", "svc/web:80", "--expect", expect]) == status


@pytest.mark.parametrize("args", [
    [], ["--from", "pod/web-0"], ["-f", "-", "--count", "2"], ["--from", "netpol/a", "--to", "1.2.3.4:80"],
    ["--from", "pod/a", "--to", "1.2.3.4:80", "--count", "0"],
])
def test_what_cannot_be_combined_is_a_usage_error(answering: FlowResult, args: list[str]) -> None:
    assert main(["probe", *args]) == 2
