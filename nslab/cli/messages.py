"""What is said on stderr."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import click

from nslab.cli.columns import count

ERROR = click.style("error:", fg="red", bold=True)
WARNING = click.style("warning:", fg="yellow", bold=True)


def warn(warnings: Iterable[str]) -> None:
    """Write warnings to stderr, one a line."""
    for warning in warnings:
        click.echo(f"{WARNING} {warning}", err=True)


def tell_ignored(references: Iterable[str]) -> None:
    """Say on stderr how many objects of each kind were left out; nothing where there are none.
    `references` are KIND NAMESPACE/NAME."""
    kinds = Counter(reference.partition(" ")[0] for reference in references)
    if kinds:
        listed = ", ".join(count(number, kind) for kind, number in sorted(kinds.items()))
        click.echo(f"ignored: {listed}", err=True)
