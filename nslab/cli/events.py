"""`nslab events`: what changed in a lab, when, and how long until its rules were in force."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from nslab.cli.options import lab_option, output_option

if TYPE_CHECKING:
    from nslab.cluster.model import Cluster

HEADINGS = ("TIME", "TYPE", "REASON", "OBJECT", "MESSAGE")
REFRESH = 0.2
"""Seconds between two looks of `--watch`."""

Json = dict[str, Any]


@click.command(short_help="Show what changed, when, and how soon the rules followed.")
@click.option("-n", "--namespace", default="", metavar="NAMESPACE", help="Only of objects in this namespace.")
@click.option("--for", "reference", default="", metavar="KIND/NAME", help="Only of this object: pod/shop/web.")
@click.option("--dns", "names", is_flag=True, help="The queries that name servers were asked, and their answers.")
@click.option("-w", "--watch", is_flag=True, help="Then show what happens, until Ctrl-C.")
@output_option("table", "json")
@lab_option
def events(namespace: str, reference: str, names: bool, watch: bool, output: str, lab: str | None) -> None:
    """Show the Events of a lab's objects and the changes that its rules followed, the oldest first; with -o json an
    object a line."""
    from nslab.agent import client

    name = client.pick(lab)
    read = _queries if names else client.events
    happened, cursor = read(name, None)
    shown = _chosen(happened, namespace, reference)
    _print(shown, output, heading=True)
    while watch:
        time.sleep(REFRESH)
        happened, cursor = read(name, cursor)
        _print(_chosen(happened, namespace, reference), output, heading=False)


def _queries(lab: str, cursor: Json | None) -> tuple[list[Json], Json]:
    """The queries since the last call, as lines like those of other events, each of who asked."""
    from nslab.agent import client

    last = cursor["number"] if cursor else 0
    found = client.queries(lab, last)
    cluster = client.snapshot(lab).cluster if found else None
    lines = [query_line(cluster, query) for query in found if cluster is not None]
    return lines, {"number": found[-1]["number"] if found else last}


def query_line(cluster: Cluster, query: Json) -> Json:
    """A query as an event of who asked: a Pod, node or client, or an address of nobody."""
    from datetime import UTC, datetime

    ip = query["client"]
    pod = cluster.pods_by_ip.get(ip)
    machines = [("node", node.name) for node in cluster.nodes.values() if node.ip == ip]
    machines += [("client", client.name) for client in cluster.clients.values() if client.ip == ip]
    asker = f"pod/{pod.key}" if pod else "/".join(machines[0]) if machines else ip
    answers = ", ".join(query["answers"]) or query["code"]
    at = datetime.fromtimestamp(query["at"], UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = f"{query['name'] or 'malformed'} {query['type']}: {answers} from {query['server']} in {query['ms']:.1f} ms"
    return {
        **query, "time": at, "type": "Normal" if query["code"] in ("NOERROR", "NXDOMAIN") else "Warning",
        "reason": query["code"], "object": asker, "message": told, "record_type": query["type"],
    }


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
