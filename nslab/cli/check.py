"""`nslab check`: everything that the lab's objects promise, tried with real packets."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nslab.cli.options import lab_option, output_option
from nslab.cli.privilege import require_privilege
from nslab.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from nslab.check.model import Report

PAUSE = 2.0
"""Seconds between two runs of `--watch`."""


@click.command(short_help="Prove with real packets that the lab works.")
@click.option("-f", "--file", "checks", metavar="FILE", help="Only the checks written in FILE: a list, or `checks:`.")
@click.option("--filter", "wanted", default="", metavar="TEXT", help="Only checks with TEXT in subject or name.")
@click.option("--junit", type=click.Path(dir_okay=False), metavar="FILE", help="Also write a JUnit XML report.")
@click.option("--watch", is_flag=True, help="Check again and again, until Ctrl-C.")
@output_option("table", "json")
@lab_option
def check(checks: str | None, wanted: str, junit: str | None, watch: bool, output: str, lab: str | None) -> int:
    """Check with real packets that the lab does what its objects say, and the checks written in its topology; exit
    code 1 where one fails."""
    from nslab.agent import client

    require_privilege("sending packets")
    name = client.pick(lab)
    while True:
        report = run(name, wanted, checks)
        if junit:
            from nslab.check.report import junit as to_junit

            Path(junit).write_text(to_junit(report))
        show(report, output, clear=watch)
        if not watch:
            return 0 if report.ok else 1
        time.sleep(PAUSE)


def run(lab: str, wanted: str = "", checks: str | None = None) -> Report:
    """All checks of the lab as it is now, or those of the file `checks`, or of these those that `wanted` names.

    Raises UsageError where there are none of that name, ManifestError for faults in written checks.
    """
    from nslab.agent import client
    from nslab.agent.drops import drops_of
    from nslab.check.expectations import expectations
    from nslab.check.run import run as send
    from nslab.check.written import written
    from nslab.cli.progress import progress_bar
    from nslab.servers.prober import probe

    cluster = client.snapshot(lab).cluster
    expected = written(cluster, read_checks(checks), checks) if checks else expectations(cluster)
    with progress_bar() as progress, drops_of(cluster) as drops:
        told = partial(progress, "check") if progress else None
        report = send(cluster, expected, probe=partial(probe, drops=drops), filter=wanted, progress=told)
    if wanted and not report.checks:
        raise UsageError(f"no check contains {wanted!r}", hint="`nslab check` lists the subjects")
    return report


def read_checks(path: str) -> list[Any]:
    """The checks of a YAML file: a list, or the list at `checks:`. Raises UsageError, ManifestError."""
    import yaml

    try:
        value = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError([f"{path}: {error}"]) from None
    checks = value.get("checks") if isinstance(value, dict) else value
    if not isinstance(checks, list) or not all(isinstance(each, dict) for each in checks):
        raise ManifestError([f"{path}: holds no list of checks"],
                            hint="a check is {name, from, to, expect: open|refused|blocked, spread, proto}")
    return checks


def show(report: Report, output: str, *, clear: bool = False) -> None:
    """Print the report on stdout, failures in red; `clear` the terminal first."""
    from nslab.check import report as rendering

    if clear and sys.stdout.isatty():
        click.clear()
    if output == "json":
        from nslab.cli.output import print_json

        print_json(rendering.to_json(report))
        return
    for line in rendering.text(report).splitlines():
        click.echo(click.style(line, fg="red") if "FAILED" in line else line)
