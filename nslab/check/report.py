"""A Report as a table for a terminal, as JSON, as JUnit XML and as one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from nslab.check.model import Check, Report

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2) allows in no form, not even escaped."""


class Row(NamedTuple):
    """One subject of the table and how many of its checks passed, failed or were skipped."""

    subject: str
    passed: int
    failed: int
    skipped: int

    @property
    def result(self) -> str:
        """`40 of 40`, `39 of 40 FAILED` or `2 skipped`."""
        sent = self.passed + self.failed
        parts = [f"{self.passed} of {sent}{' FAILED' if self.failed else ''}"] if sent else []
        return ", ".join(parts + ([f"{self.skipped} skipped"] if self.skipped else []))


def rows(report: Report) -> list[Row]:
    """The subjects in the order of their first check."""
    table = []
    for subject, checks in _by_subject(report).items():
        outcomes = [check.outcome for check in checks]
        table.append(Row(subject, *map(outcomes.count, ("passed", "failed", "skipped"))))
    return table


def _by_subject(report: Report) -> dict[str, list[Check]]:
    subjects: dict[str, list[Check]] = {}
    for check in report.checks:
        subjects.setdefault(check.expectation.group, []).append(check)
    return subjects


def text(report: Report) -> str:
    """The table, then every failure in full, every reason to skip once, and the summary."""
    table = rows(report)
    width = max((len(row.subject) for row in table), default=0)
    lines = [f"{row.subject:<{width}}  {row.result}" for row in table]
    for check in report.failed:
        lines += ["", f"FAILED {check.expectation.group}: {check.expectation.name}", f"  {check.why}"]
    for reason, number in _reasons(report.skipped).items():
        lines += ["", f"skipped {number}: {reason}"]
    return "\n".join([*lines, "", summary(report), ""])


def _reasons(skipped: Iterable[Check]) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for check in skipped:
        reasons[check.why] = reasons.get(check.why, 0) + 1
    return reasons


def summary(report: Report) -> str:
    """`57 checks passed with 312 real exchanges in 0.21 s`, and what did not."""
    plural = "" if report.passed == 1 else "s"
    parts = [f"{report.passed} check{plural} passed"]
    parts += [f"{len(report.failed)} FAILED"] if report.failed else []
    parts += [f"{len(report.skipped)} skipped"] if report.skipped else []
    return f"{', '.join(parts)}; {report.attempts} exchanges of real packets in {report.seconds:.2f} s"


def to_json(report: Report) -> dict[str, Any]:
    """The report as JSON values; fields are only ever added."""
    return {
        "lab": report.lab,
        "passed": report.passed,
        "failed": len(report.failed),
        "skipped": len(report.skipped),
        "attempts": report.attempts,
        "seconds": round(report.seconds, 3),
        "checks": [_check(check) for check in report.checks],
    }


def _check(check: Check) -> dict[str, Any]:
    expectation, result = check.expectation, check.result
    body: dict[str, Any] = {
        "subject": expectation.group, "name": expectation.name, "outcome": check.outcome, "why": check.why,
        "from": expectation.source, "to": expectation.destination, "proto": expectation.flow.protocol,
    }
    if result is not None:
        body |= {"counts": result.counts, "responders": result.responders, "client_ips": result.client_ips}
    return body


def junit(report: Report) -> str:
    """JUnit XML: a testsuite for each subject, well-formed whatever the names."""
    counts = _attributes(
        name=f"nslab check {report.lab}", tests=len(report.checks), failures=len(report.failed), errors=0,
        skipped=len(report.skipped), time=f"{report.seconds:.3f}",
    )
    suites = [line for subject, checks in _by_subject(report).items() for line in _suite(subject, checks)]
    declaration = '<?xml version="1.0" encoding="UTF-8"?>'
    return "\n".join([declaration, f"<testsuites{counts}>", *suites, "</testsuites>", ""])


def _suite(subject: str, checks: list[Check]) -> Iterator[str]:
    outcomes = [check.outcome for check in checks]
    counts = _attributes(
        name=subject, tests=len(checks), failures=outcomes.count("failed"), errors=0,
        skipped=outcomes.count("skipped"),
    )
    yield f"  <testsuite{counts}>"
    for check in checks:
        seconds = sum(check.result.rtts) if check.result else 0.0
        case = _attributes(classname=subject, name=check.expectation.name, time=f"{seconds:.6f}")
        if check.outcome == "passed":
            yield f"    <testcase{case}/>"
            continue
        yield f"    <testcase{case}>"
        if check.outcome == "failed":
            yield f"      <failure{_attributes(message=check.why)}>{_text(_evidence(check))}</failure>"
        else:
            yield f"      <skipped{_attributes(message=check.why)}/>"
        yield "    </testcase>"
    yield "  </testsuite>"


def _evidence(check: Check) -> str:
    result = check.result
    assert result is not None
    return (
        f"from {check.expectation.source} to {check.expectation.destination}: counts {result.counts}, "
        f"responders {result.responders}, client_ips {result.client_ips}"
    )


def _attributes(**values: str | int) -> str:
    return "".join(f" {name}={quoteattr(_NOT_XML.sub('?', str(value)))}" for name, value in values.items())


def _text(value: str) -> str:
    return escape(_NOT_XML.sub("?", value))
