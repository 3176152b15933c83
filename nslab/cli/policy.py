"""`nslab policy`: who may talk to whom by the network policies, why, and whether packets agree."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from nslab.cli import columns
from nslab.cli.options import complete_references, lab_option, output_option
from nslab.cli.privilege import require_privilege
from nslab.errors import CheckError, UsageError

if TYPE_CHECKING:
    from nslab.check.policies.matrix_report import Cell
    from nslab.check.policies.reach import Reach
    from nslab.check.policies.why import Answer
    from nslab.check.references import Destination, Source
    from nslab.cluster.model import Cluster
    from nslab.linux.drops import Drops

HEADINGS = ("DIRECTION", "PEER", "OPEN", "BLOCKED", "BY")
TIMEOUT = 3.0
"""Seconds for one attempt; what policies drop is known at once."""


class PolicyGroup(click.Group):
    """A group that takes a reference for the command that shows it: `nslab policy pod/shop/cart`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, ["pod", *args] if "/" in args[0] else args)


@click.group(cls=PolicyGroup, short_help="Explain who may talk to whom by network policies.")
def policy() -> None:
    """Explain network policies: what they say of a Pod (pod/NAME), why a connection is allowed or not (why), and all
    of them against real packets (matrix)."""


@policy.command(short_help="Who may reach a Pod, and whom it may reach.")
@click.argument("reference", metavar="pod/NAME", shell_complete=complete_references("pod"))
@output_option("table", "json")
@lab_option
def pod(reference: str, output: str, lab: str | None) -> None:
    """Show the policies that select a Pod, and what is open between it and every other end, by which policy. Of a
    workload (deploy/NAME) its first Pod is shown."""
    from nslab.agent import client
    from nslab.check.policies.paths import paths_of
    from nslab.check.policies.reach import reach, selecting
    from nslab.check.references import sources

    cluster = client.snapshot(client.pick(lab)).cluster
    key = sources(cluster, reference)[0].pod
    if not key:
        raise UsageError(f"{reference}: is no Pod", hint="name pod/NAMESPACE/NAME, or a workload such as deploy/NAME")
    found = cluster.pods[key]
    if found.host_network:
        raise UsageError(f"pod/{found.key} is in its node's network: no policy selects it", hint="name another Pod")
    rows, policies = list(reach(cluster, found)), selecting(cluster, found)
    if output == "json":
        from nslab.cli.output import print_json

        print_json({
            "pod": found.key, "enforced": paths_of(cluster).enforced,
            "policies": [{"policy": name, "does": does} for name, does in policies],
            "reach": [row.to_json() for row in rows],
        })
        return
    if not cluster.lab.cluster.network_policy:
        click.echo("not enforced: spec.cluster.networkPolicy of the Lab is false", err=True)
    click.echo(f"pod/{found.key}")
    for name, does in policies or [("no policy", "selects it")]:
        click.echo(f"{name} {does}")
    click.echo()
    click.echo(columns.table(HEADINGS, map(_row, rows)), nl=False)


def _row(found: Reach) -> tuple[str, ...]:
    return (
        found.direction, found.peer, ", ".join(found.open) or "-", ", ".join(found.blocked) or "-",
        ", ".join(found.policies) or "-",
    )


@policy.command(short_help="Why a connection is allowed or not, rule by rule.")
@click.option("--from", "source", required=True, metavar="REF", help="Where it comes from: pod/NAME, client/NAME, ..",
              shell_complete=complete_references("pod", "node", "client"))
@click.option("--to", "target", required=True, metavar="DEST", help="Where it goes: pod/NAME:port, svc/NAME:port, ..",
              shell_complete=complete_references("pod", "svc", "node", "client"))
@click.option("--proto", type=click.Choice(["tcp", "udp", "icmp"]), help="Default: what DEST implies.")
@output_option("table", "json")
@lab_option
def why(source: str, target: str, proto: str | None, output: str, lab: str | None) -> int:
    """Decide a connection rule by rule, straight from the policies' specification, and send a real packet beside it;
    exit code 1 where the two differ."""
    from nslab.agent import client
    from nslab.check.policies import why as explaining

    require_privilege("sending packets")
    answer = explained(client.snapshot(client.pick(lab)).cluster, source, target, proto)
    if output == "json":
        from nslab.cli.output import print_json

        print_json(explaining.to_json(answer))
    else:
        for line in explaining.text(answer).splitlines():
            click.echo(click.style(line, fg="red", bold=True) if line.startswith("MISMATCH") else line)
    return 1 if answer.mismatch else 0


def explained(cluster: Cluster, source: str, target: str, proto: str | None) -> Answer:
    """The answer, packets included. Raises NotFoundError and UsageError for what is not there."""
    from dataclasses import replace

    from nslab.agent.drops import drops_of
    from nslab.check.policies.why import Answer, attempts, ways
    from nslab.check.references import destination, sources
    from nslab.servers.flows import Flow
    from nslab.servers.prober import probe

    origin = sources(cluster, source)[0]
    with drops_of(cluster) as drops:
        to = _looked_up(destination(cluster, target, origin), origin, drops)
        protocol = proto or ("udp" if to.protocol == "udp" else "tcp" if to.port else "icmp")
        answer = Answer(origin.reference, to.label, protocol, ways(cluster, origin, to, protocol))
        flow = Flow("", origin.netns, protocol, to.ip, to.port, count=attempts(answer), timeout=TIMEOUT)
        return replace(answer, result=probe([flow], drops=drops)[0])


def _looked_up(to: Destination, origin: Source, drops: Drops | None) -> Destination:
    """The destination with the address that the source's own resolver finds for its name. Raises CheckError where it
    finds none."""
    from dataclasses import replace

    from nslab.servers.flows import Flow
    from nslab.servers.prober import probe

    if to.lookup is None:
        return to
    flow = Flow("", origin.netns, "dns", "", timeout=TIMEOUT, query=(to.lookup.names[0], "A"), lookup=to.lookup)
    found = probe([flow], drops=drops)[0]
    if found.answers:
        return replace(to, ip=found.answers[0], label=f"{to.label} ({found.answers[0]})")
    name, server = to.host.partition(":")[0], to.lookup.servers[0]
    if found.statuses:
        raise CheckError(
            f"{name}: {origin.reference} finds no address of that name",
            hint=f"`nslab dns {name} --from {origin.reference}` shows what its resolver asks and hears",
        )
    raise CheckError(
        f"{name}: {origin.reference} hears nothing from its name server {server}",
        hint="policies may keep it from asking: "
        f"`nslab policy why --from {origin.reference} --to {server}:53 --proto udp`",
    )


@policy.command(short_help="All Pods and ports, predicted against observed.")
@click.option("-n", "--namespace", metavar="NAME", help="Only Pods of this namespace.")
@output_option("table", "json", "html")
@lab_option
def matrix(namespace: str | None, output: str, lab: str | None) -> int:
    """Try every port of every Pod from every Pod, and compare with what the policies say; exit code 1 where the two
    differ."""
    from nslab.agent import client
    from nslab.check.policies import matrix_report

    require_privilege("sending packets")
    cluster = client.snapshot(client.pick(lab)).cluster
    found = tried(cluster, namespace)
    if output == "json":
        from nslab.cli.output import print_json_lines

        print_json_lines(cell.to_json() for cell in found)
    elif output == "html":
        click.echo(matrix_report.html(cluster.lab.name, found), nl=False)
    else:
        click.echo(matrix_report.text(found), nl=False)
    return 0 if all(cell.agrees for cell in found) else 1


def tried(cluster: Cluster, namespace: str | None) -> list[Cell]:
    """The cells of the matrix of all Pods, or of those of a namespace. Raises UsageError where there is none."""
    from nslab.agent.drops import drops_of
    from nslab.check.policies.matrix import between
    from nslab.check.policies.matrix_report import cells
    from nslab.check.run import run
    from nslab.cli.progress import progress_bar
    from nslab.servers.prober import probe

    pods = [pod for pod in cluster.pods.values()
            if not pod.host_network and namespace in (None, pod.namespace)]
    expected = [each for one in pods for other in pods for each in between(cluster, one, other)]
    if not expected:
        raise UsageError("no Pod has a port to try", hint="`nslab get pods -A` lists the Pods")
    with progress_bar() as progress, drops_of(cluster) as drops:
        told = partial(progress, "matrix") if progress else None
        return cells(run(cluster, expected, partial(probe, drops=drops), told).checks)
