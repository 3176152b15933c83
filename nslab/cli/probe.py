"""`nslab probe`: real packets from one place of a lab to another, and what came back (interface section 5)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nslab.cli import columns
from nslab.cli.options import complete_references, lab_option, output_option
from nslab.cli.privilege import require_privilege
from nslab.cli.seconds import seconds
from nslab.errors import UsageError

if TYPE_CHECKING:
    from nslab.check.flow_file import Asked
    from nslab.cluster.model import Cluster

Json = dict[str, Any]

EXPECTED = {
    "open": frozenset(["open"]),
    "refused": frozenset(["refused", "unreachable"]),
    "blocked": frozenset(["timeout"]),
}
"""What may come back for `--expect`: refused is every answer that says no, blocked is none at all."""

PROTOCOLS = ("tcp", "udp", "icmp", "http", "https", "dns")
HEADINGS = ("FROM", "TO", "PROTO", "VERDICT", "RESPONDERS", "CLIENT IPS", "RTT MS")
ANYWHERE = ("pod", "svc", "node", "client")


@click.command(short_help="Send packets; say what came back, and from whom.")
@click.option("--from", "source", metavar="REF", shell_complete=complete_references("pod", "node", "client"),
              help="Where packets leave: pod/NAME, deploy/NAME, node/NAME, client/NAME; 'pod/*/*' is all Pods.")
@click.option("--to", "target", metavar="DEST", shell_complete=complete_references(*ANYWHERE),
              help="Where they go: IP:port, NAME:port, pod/NAME:port, svc/NAME:port, node/NAME:port or a URL; with "
                   "--proto dns a name.")
@click.option("--proto", type=click.Choice(PROTOCOLS), help="Default: what DEST implies.")
@click.option("--count", type=click.IntRange(min=1), help="How many attempts, each its own connection. Default: 1.")
@click.option("--timeout", type=seconds, metavar="TIME", help="How long to wait for one answer. Default: 1s.")
@click.option("--expect", type=click.Choice(list(EXPECTED)), help="Exit with 1 unless all that came back is this.")
@click.option("-f", "--file", "flows", metavar="FLOWS", help="A YAML or JSON list of flows; - is stdin.")
@output_option("table", "json")
@lab_option
def probe(source: str | None, target: str | None, proto: str | None, count: int | None, timeout: float | None,
          expect: str | None, flows: str | None, output: str, lab: str | None) -> int:
    """Send packets and say what came back: open, refused, timeout, unreachable or error, who answered, and which
    source address they saw.

    \b
    nslab probe --from client/laptop --to http://203.0.113.2/ --count 20
    nslab probe --from 'pod/*/*' --to svc/shop/web:80 --expect open
    nslab probe -f flows.yaml -o json
    """
    from nslab.agent import client

    options = {"from": source, "to": target, "proto": proto, "count": count, "timeout": timeout}
    given = {key: value for key, value in options.items() if value is not None}
    if flows is not None and given:
        raise UsageError(f"-f and --{next(iter(given))} exclude each other", hint="write it into the file")
    if flows is None and not (source and target):
        raise UsageError("say where from and where to", hint="--from REF --to DEST, or -f FLOWS")
    require_privilege("sending packets")
    cluster = client.snapshot(client.pick(lab)).cluster
    answers = send(cluster, asked(cluster, given) if flows is None else from_file(cluster, flows))
    show(answers, output)
    return 0 if expect is None or all(answer["counts"].keys() <= EXPECTED[expect] for answer in answers) else 1


def asked(cluster: Cluster, body: Json) -> list[Asked]:
    """The flows of the command's options. Raises NotFoundError and UsageError."""
    from nslab.check.flow_file import Faults, decode
    from nslab.check.references import destination, name_of, sources

    # The decoder gathers faults of whole files; here an unknown name is an error of its own kind.
    (name_of if body.get("proto") == "dns" else destination)(cluster, body["to"], sources(cluster, body["from"])[0])
    faults = Faults()
    flows = decode(cluster, {"id": "1", **body}, faults)
    if faults.found:
        raise UsageError("; ".join(message for _, message in faults.found))
    return flows


def from_file(cluster: Cluster, path: str) -> list[Asked]:
    """The flows of a file, or of stdin for `-`. Raises ManifestError with every fault, UsageError for no file."""
    from nslab.check.flow_file import read_flows

    if path == "-":
        return read_flows("-", sys.stdin.read(), cluster)
    try:
        return read_flows(path, Path(path).read_text(), cluster)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None


def send(cluster: Cluster, flows: Sequence[Asked]) -> list[Json]:
    """Send all flows at once; the answers are in their order."""
    from nslab.check.flow_file import services_by_pod, to_json
    from nslab.cli.progress import progress_bar
    from nslab.servers.prober import probe as run

    with progress_bar() as progress:
        results = run([each.flow for each in flows], partial(progress, "probe") if progress else None)
    behind = services_by_pod(cluster)
    return [
        to_json(each.flow, each.source.reference, each.to.label, result, behind)
        for each, result in zip(flows, results, strict=True)
    ]


def show(answers: list[Json], output: str) -> None:
    if output == "json":
        from nslab.cli.output import print_json_lines

        print_json_lines(answers)
        return
    click.echo(columns.table(HEADINGS, map(row, answers)), nl=False)
    for answer in answers:
        if answer["detail"]:
            click.echo(f"{answer['from']} to {answer['to']}: {answer['detail']}", err=True)


def row(answer: Json) -> tuple[str, ...]:
    """One line of the table; the round trip is the median."""
    counts = answer["counts"]
    verdict = answer["verdict"] if len(counts) == 1 and answer["attempts"] == 1 else _counted(counts)
    if "dns" in answer and answer["dns"]["status"]:
        verdict += f" ({', '.join(answer['dns']['answers'] or answer['dns']['status'])})"
    rtt = answer["rtt_ms"]["median"]
    return (
        answer["from"], answer["to"], answer["proto"], verdict, _counted(answer["responders"]),
        _counted(answer["client_ips"]), "-" if rtt is None else f"{rtt:.2f}",
    )


def _counted(counts: dict[str, int]) -> str:
    """`web-0 x11, web-1 x9`; a single one needs no number."""
    if sum(counts.values()) == 1:
        return next(iter(counts))
    return ", ".join(f"{name} x{number}" for name, number in counts.items()) or "-"
