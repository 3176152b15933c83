"""`nslab events`: what changed in a lab, when, and how long until its rules were in force."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from nslab.cli.options import lab_option, output_option

HEADINGS = ("TIME", "TYPE", "REASON", "OBJECT", "MESSAGE")
REFRESH = 0.2
"""Seconds between two looks of `--watch`."""

Json = dict[str, Any]


@click.command(short_help="Show what changed, when, and how soon the rules followed.")
@click.option("-n", "--namespace", default="", metavar="NAMESPACE", help="Only of objects in this namespace.")
@click.option("--for", "reference", default="", metavar="KIND/NAME", help="Only of this object: pod/shop/web.")
@click.option("-w", "--watch", is_flag=True, help="Then show what happens, until Ctrl-C.")
@output_option("table", "json")
@lab_option
def events(namespace: str, reference: str, watch: bool, output: str, lab: str | None) -> None:
    """Show the Events of a lab's objects and the changes that its rules followed, the oldest first; with -o json an
    object a line."""
    from nslab.agent import client

    name = client.pick(lab)
    happened, cursor = client.events(name)
    shown = _chosen(happened, namespace, reference)
    _print(shown, output, heading=True)
    while watch:
        time.sleep(REFRESH)
        happened, cursor = client.events(name, cursor)
        _print(_chosen(happened, namespace, reference), output, heading=False)


def _chosen(lines: Sequence[Json], namespace: str, reference: str) -> list[Json]:
    return [
        line for line in lines
        if (not reference or line["object"] == _full(reference))
        and (not namespace or line["object"].split("/")[1:-1] == [namespace])
    ]


def _full(reference: str) -> str:
    """`svc/web` as the lines have it: `service/default/web`."""
    from nslab.cli.live import named

    (kind, namespace, name), = named([reference], "default")
    return "/".join([kind.name.lower(), *([namespace] if kind.namespaced else []), name])


def _print(lines: Sequence[Json], output: str, *, heading: bool) -> None:
    from json import dumps

    from nslab.cli import columns

    if output == "json":
        for line in lines:
            click.echo(dumps(line))
    elif lines or heading:
        rows = [[line[field.lower()] for field in HEADINGS] for line in lines]
        click.echo(columns.table(HEADINGS if heading else (), rows), nl=False)
