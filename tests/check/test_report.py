"""The report's forms: table, summary, JSON, JUnit (golden)."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from nslab.check.model import Check, Expectation, Report
from nslab.check.report import junit, rows, summary, text, to_json
from nslab.servers.flows import Flow, FlowResult

GOLDEN = Path(__file__).parent / "golden"


def check(group: str, name: str, why: str = "", *, skipped: bool = False) -> Check:
    flow = Flow("", "shop.pod.shop.cart", "tcp", "10.12.0.20", 80)
    wanted = Expectation(group, name, "pod/shop/cart", "10.12.0.20:80", flow, skipped=why if skipped else "")
    result = FlowResult("0", {"open": 2}, {"shop/web-1": 2}, {"10.8.0.3": 2}, [0.0001, 0.0002])
    return Check(wanted, None if skipped else result, why)


REPORT = Report("shop", (
    check("Pods across nodes", "pod/shop/cart -> pod/shop/web-1:8080/tcp"),
    check("Service ports from nodes", "node/node-1 -> svc/shop/web:80"),
    check("Service ports from nodes", "node/node-2 -> svc/shop/web:80",
          "never answered by shop/web-2 in 31 attempts"),
    check("Service ports from nodes", "node/node-1 -> svc/shop/sctp:80", "SCTP is not probed", skipped=True),
    check("Service ports from nodes", "node/node-2 -> svc/shop/sctp:80", "SCTP is not probed", skipped=True),
    check("Written checks", 'a <name> & "quotes" \x00\x1b[31m ]]> ü', "why <not> & \x07 'how'"),
    check("SCTP", "node/node-1 -> svc/shop/more:80", "SCTP is not probed", skipped=True),
), 0.2149, 14)


def test_rows() -> None:
    assert [(row.subject, row.result) for row in rows(REPORT)] == [
        ("Pods across nodes", "1 of 1"),
        ("Service ports from nodes", "1 of 2 FAILED, 2 skipped"),
        ("Written checks", "0 of 1 FAILED"),
        ("SCTP", "1 skipped"),
    ]


def test_text() -> None:
    assert text(REPORT).replace("\x00", "NUL").replace("\x07", "BEL").replace("\x1b", "ESC") == (
        GOLDEN / "report.txt"
    ).read_text()


def test_summary() -> None:
    assert summary(REPORT) == "2 checks passed, 2 FAILED, 3 skipped; 14 exchanges of real packets in 0.21 s"
    assert summary(Report("shop", REPORT.checks[:1], 1.0, 2)) == (
        "1 check passed; 2 exchanges of real packets in 1.00 s")
    assert text(Report("shop", (), 0.0, 0)) == "\n0 checks passed; 0 exchanges of real packets in 0.00 s\n"


def test_json() -> None:
    body = json.loads(json.dumps(to_json(REPORT)))
    assert {key: value for key, value in body.items() if key != "checks"} == {
        "lab": "shop", "passed": 2, "failed": 2, "skipped": 3, "attempts": 14, "seconds": 0.215,
    }
    assert body["checks"][2] == {
        "subject": "Service ports from nodes", "name": "node/node-2 -> svc/shop/web:80", "outcome": "failed",
        "why": "never answered by shop/web-2 in 31 attempts", "from": "pod/shop/cart", "to": "10.12.0.20:80",
        "proto": "tcp", "counts": {"open": 2}, "responders": {"shop/web-1": 2}, "client_ips": {"10.8.0.3": 2},
    }
    assert body["checks"][3]["outcome"] == "skipped"
    assert "counts" not in body["checks"][3]


def test_junit() -> None:
    assert junit(REPORT) == (GOLDEN / "report.xml").read_text()


def test_junit_is_well_formed_whatever_the_names() -> None:
    names = [
        "\x00\x08\x0b\x1f", "\ud800 lone surrogate", "]]>", "<a b='c'>", "&amp;", "\ufffe\uffff",
        "日本 \U0001f600", "",
    ]
    report = Report("]]>", tuple(check(name, name, name) for name in names), 0.0, 0)
    root = ElementTree.fromstring(junit(report).encode("utf-8"))
    assert root.attrib["tests"] == str(len(names))
    cases = root.findall(".//testcase")
    assert [case.attrib["name"] for case in cases][2:5] == names[2:5]
    assert len(cases) == len(names)
