"""`nslab ls`: the labs of this machine."""

from __future__ import annotations

import time

import click

from nslab.cli import columns
from nslab.cli.options import output_option

HEADINGS = ("NAME", "NODES", "PODS", "SERVICES", "AGENT", "AGE", "FILE")


@click.command()
@output_option("table", "json", "name")
def ls(output: str) -> None:
    """List the labs of this machine."""
    from nslab.agent import client

    entries = client.labs()
    if output == "json":
        from dataclasses import asdict

        from nslab.cli.output import print_json

        print_json([asdict(entry) for entry in entries])
    elif output == "name":
        for entry in entries:
            click.echo(entry.name)
    elif entries:
        now = time.time()
        rows = [
            (entry.name, str(entry.nodes), str(entry.pods), str(entry.services),
             str(entry.agent_pid) if entry.agent_pid else "dead", columns.age(now - entry.created), entry.file)
            for entry in entries
        ]
        click.echo(columns.table(HEADINGS, rows), nl=False)
    else:
        click.echo("No lab is up. `nslab up topology.yaml` builds one.", err=True)
