"""What is said on stderr."""

from __future__ import annotations

from collections.abc import Iterable

import click

ERROR = click.style("error:", fg="red", bold=True)
WARNING = click.style("warning:", fg="yellow", bold=True)


def warn(warnings: Iterable[str]) -> None:
    """Write warnings to stderr, one a line."""
    for warning in warnings:
        click.echo(f"{WARNING} {warning}", err=True)
