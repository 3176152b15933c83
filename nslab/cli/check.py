"""`nslab check`: everything that the lab's objects promise, tried with real packets."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nslab.cli.options import lab_option, output_option
from nslab.cli.privilege import require_privilege

if TYPE_CHECKING:
    from nslab.check.model import Report

PAUSE = 2.0
"""Seconds between two runs of `--watch`."""


@click.command()
@click.option("--filter", "wanted", default="", metavar="TEXT", help="Only checks with TEXT in subject or name.")
@click.option("--junit", type=click.Path(dir_okay=False), metavar="FILE", help="Also write a JUnit XML report.")
@click.option("--watch", is_flag=True, help="Check again and again, until Ctrl-C.")
@output_option("table", "json")
@lab_option
def check(wanted: str, junit: str | None, watch: bool, output: str, lab: str | None) -> int:
    """Check with real packets that the lab does what its objects say; exit code 1 where it does not."""
    from nslab.agent import client

    require_privilege("send packets")
    name = client.pick(lab)
    while True:
        report = run(name, wanted)
        if junit:
            from nslab.check.report import junit as to_junit

            Path(junit).write_text(to_junit(report))
        show(report, output, clear=watch)
        if not watch:
            return 0 if report.ok else 1
        time.sleep(PAUSE)


def run(lab: str, wanted: str) -> Report:
    """All checks of the lab as it is now, or those that `wanted` names. Raises UsageError where it names none."""
    from nslab.agent import client
    from nslab.check.expectations import expectations
    from nslab.check.run import run as send
    from nslab.cli.progress import progress_bar
    from nslab.errors import UsageError

    cluster = client.snapshot(lab).cluster
    with progress_bar() as progress:
        report = send(cluster, expectations(cluster), filter=wanted,
                      progress=partial(progress, "check") if progress else None)
    if wanted and not report.checks:
        raise UsageError(f"no check contains {wanted!r}", hint="`nslab check` lists the subjects")
    return report


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
