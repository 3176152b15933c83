"""`nslab dns`: the names that a lab has, and what one of them means to a Pod, attempt by attempt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from nslab.cli import columns
from nslab.cli.options import complete_references, lab_option, output_option
from nslab.cli.privilege import require_privilege
from nslab.errors import NotFoundError

if TYPE_CHECKING:
    from nslab.check.references import Source
    from nslab.cluster.model import Cluster

Json = dict[str, Any]

TYPES = ("A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT")
TIMEOUT = 5.0
"""Seconds for one attempt, as resolv.conf(5) has it."""


@click.command(short_help="List the lab's names, or resolve one as a Pod would.")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--from", "reference", metavar="REF", shell_complete=complete_references("pod", "node", "client"),
              help="Who asks. Default: the first Pod that asks the cluster's DNS.")
@click.option("-t", "--type", "kind", type=click.Choice(TYPES, case_sensitive=False), default="A",
              show_default=True, help="The type of records to ask for.")
@output_option("table", "json")
@lab_option
def dns(name: str | None, reference: str | None, kind: str, output: str, lab: str | None) -> int:
    """List the records of the lab's zones. With NAME ask for it as the resolver of REF does, with real packets: each
    name of its search path is shown with what the server said; exit code 1 where none of them is there.

    An address for NAME is looked up backwards.
    """
    from nslab.agent import client

    if name is not None:
        require_privilege("sending packets")
    cluster = client.snapshot(client.pick(lab)).cluster
    if name is None:
        _show(("NAME", "TTL", "TYPE", "DATA"), _record, zone(cluster), output)
        return 0
    source = asker(cluster, reference)
    attempts = resolve(cluster, source, name, kind.upper())
    _show(("NAME", "TYPE", "ANSWERED BY", "ANSWER", "MS"), _attempt, attempts, output)
    return 0 if attempts and attempts[-1]["answers"] else 1


def zone(cluster: Cluster) -> list[Json]:
    """Every record of the lab's zones."""
    from nslab.dns.listing import cluster_records, internet_records
    from nslab.dns.names import names
    from nslab.dns.records import data_text, type_name
    from nslab.dns.wire import text_of

    return [
        {"name": text_of(record.name), "ttl": record.ttl, "type": type_name(record.type), "data": data_text(record)}
        for found in (cluster_records(names(cluster)), internet_records(cluster.lab.zones)) for record in found
    ]


def asker(cluster: Cluster, reference: str | None) -> Source:
    """Who asks. Raises NotFoundError where nobody asks the cluster's DNS, and as `sources` does."""
    from nslab.check.references import pod_source, sources
    from nslab.cluster.resolvers import resolvers

    if reference is not None:
        return sources(cluster, reference)[0]
    known = resolvers(cluster)
    pods = (pod for pod in cluster.asked_pods.values() if not pod.host_network and known.asks_cluster(pod))
    pod = next(pods, None)
    if pod is None:
        raise NotFoundError("no Pod asks the cluster's DNS", hint="say who asks: --from REF")
    return pod_source(cluster, pod)


def resolve(cluster: Cluster, source: Source, name: str, kind: str) -> list[Json]:
    """A stub resolver's attempts, up to the first that finds something. Raises UsageError for what is no name."""
    from nslab.check.references import is_ipv4, lookup
    from nslab.dns.records import reverse_name
    from nslab.dns.wire import text_of
    from nslab.servers.flows import Flow, Lookup
    from nslab.servers.prober import probe

    if is_ipv4(name):
        name, kind = text_of(reverse_name(name)), "PTR"
    wanted = lookup(cluster, name, source)
    attempts: list[Json] = []
    for full in wanted.names:
        flow = Flow(
            "1", source.netns, "dns", "", timeout=TIMEOUT, query=(full, kind), lookup=Lookup((full,), wanted.servers)
        )
        result = probe([flow])[0]
        code = next(iter(result.statuses), result.verdict)
        attempts.append({
            "from": source.reference, "name": f"{full}.", "type": kind,
            "answered_by": next(iter(result.responders), ""), "code": code, "aliases": result.aliases,
            "answers": result.answers, "ms": round(result.rtts[0] * 1000, 3) if result.rtts else None,
            "detail": result.detail,
        })
        if result.answers or code not in ("NOERROR", "NXDOMAIN"):
            break
    return attempts


def _show(
    headings: tuple[str, ...], row: Callable[[Json], tuple[str, ...]], entries: list[Json], output: str
) -> None:
    if output == "json":
        from nslab.cli.output import print_json_lines

        print_json_lines(entries)
    else:
        click.echo(columns.table(headings, map(row, entries)), nl=False)


def _record(entry: Json) -> tuple[str, ...]:
    return entry["name"], str(entry["ttl"]), entry["type"], entry["data"]


def _attempt(entry: Json) -> tuple[str, ...]:
    said = ", ".join([*entry["aliases"], *entry["answers"]])
    if not entry["answers"]:
        said = ", ".join(filter(None, [said, entry["code"] if entry["code"] != "NOERROR" else "no such records"]))
    ms = "-" if entry["ms"] is None else f"{entry['ms']:.2f}"
    return entry["name"], entry["type"], entry["answered_by"] or "-", entry["detail"] or said, ms
