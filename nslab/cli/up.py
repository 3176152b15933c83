"""`nslab up`: build a lab, or converge the one that is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nslab.cli.columns import count
from nslab.cli.messages import tell_ignored, warn
from nslab.cli.options import lab_option_with, output_option
from nslab.cli.privilege import require_privilege
from nslab.cli.seconds import seconds
from nslab.errors import ManifestError

if TYPE_CHECKING:
    from nslab.agent.calls import StandbyAgent
    from nslab.agent.client import UpResult
    from nslab.api.objects import Manifest
    from nslab.check.model import Report
    from nslab.cli.progress import Progress

DEFAULT_FILE = "topology.yaml"
NAMED = 5
"""Up to so many Pods that are not ready are named; more are counted."""

EXAMPLE = """\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}
"""


@click.command(short_help="Build a lab, or converge the one that is there.")
@click.argument("files", nargs=-1, metavar="[FILE..]", type=click.Path())
@lab_option_with("Another name for the lab than the file's.")
@click.option("--dry-run", is_flag=True, help="Print what would be done as ip, nft and sysctl lines; do nothing.")
@click.option("--check", "then_check", is_flag=True, help="Run `nslab check` on the lab once it stands.")
@click.option("--wait", type=seconds, default="30s", show_default=True, metavar="TIME",
              help="How long to wait for every Pod to be ready.")
@click.option("--ignore-unknown", is_flag=True, help="Let kinds that nslab does not know pass with a warning.")
@output_option("text", "json")
def up(files: tuple[str, ...], lab: str | None, dry_run: bool, then_check: bool, wait: float,
       ignore_unknown: bool, output: str) -> int:
    """Build the lab of FILE (./topology.yaml without one), or converge the lab that is there to it.

    FILE is a topology, ordinary Kubernetes manifests, a folder of them, or - for stdin. A second `up` changes only
    what differs. Exits with 1 where a Pod is not ready within the --wait time, or a check of --check fails.
    """
    from nslab.agent import client
    from nslab.cli.check import run as run_checks
    from nslab.cli.check import show
    from nslab.cli.progress import progress_bar

    paths = files or (default_file(),)
    require_privilege("building a lab")
    with progress_bar() as progress:
        if dry_run:
            plan = client.plan(read(paths, lab, ignore_unknown, progress))
            click.echo(plan, nl=False) if plan else click.echo("nothing to change", err=True)
            return 0
        with standby(paths, lab) as agent:
            manifest = read(paths, lab, ignore_unknown, progress)
            judge_checks(manifest)
        result = client.up(manifest, wait=wait, progress=progress, standby=agent)
    warn(result.warnings)
    tell_ignored(manifest.ignored)
    if result.not_ready:
        warn([f"not ready{f' within {wait:g} s' if wait else ' yet'}: {_some(result.not_ready)}"])
    report = run_checks(result.lab) if then_check else None
    if output == "json":
        print_result(result, manifest.ignored, report)
    else:
        click.echo(summary(result))
        if report is not None:
            click.echo()
            show(report, "table")
        elif result.next_steps:
            click.echo("\n".join(["", "What to try next:", *(f"  {line}" for line in result.next_steps)]))
    return 1 if (report is not None and not report.ok) or (result.not_ready and wait) else 0


def default_file() -> str:
    """./topology.yaml. Raises ManifestError, with an example of one, where it does not exist."""
    if not Path(DEFAULT_FILE).exists():
        example = "".join(f"    {line}\n" for line in EXAMPLE.splitlines())
        raise ManifestError(
            [f"there is no {DEFAULT_FILE} here"],
            hint=f"name a file (`nslab up shop.yaml`), or write {DEFAULT_FILE}, for example:\n\n{example}",
        )
    return DEFAULT_FILE


@contextmanager
def standby(paths: tuple[str, ...], lab: str | None) -> Iterator[StandbyAgent | None]:
    """An agent that starts while the block reads the files, and is dismissed if they are at fault; none where the lab
    of that name, or of these files, has one already."""
    from nslab.agent import client
    from nslab.agent.calls import StandbyAgent

    if any(entry.agent_pid and (entry.name == lab if lab else entry.file in paths) for entry in client.labs()):
        yield None
        return
    agent = StandbyAgent()
    try:
        yield agent
    except BaseException:
        agent.dismiss()
        raise


def read(paths: tuple[str, ...], lab: str | None, ignore_unknown: bool, progress: Progress | None = None) -> Manifest:
    """What the files say, under the name `lab` where one is given. Raises ManifestError with every fault, and
    FeatureError where they want CoreDNS and it is not there."""
    from dataclasses import replace
    from functools import partial

    from nslab.api.decode import decode
    from nslab.api.objects import COREDNS

    reading = partial(progress, "read") if progress else None
    manifest = decode(paths, ignore_unknown=ignore_unknown, stdin=sys.stdin, progress=reading)
    if manifest.lab.dns.engine == COREDNS:
        from nslab.linux.features import require_coredns

        require_coredns(manifest.lab.dns.coredns)
    return replace(manifest, lab=replace(manifest.lab, name=lab)) if lab else manifest


def judge_checks(manifest: Manifest) -> None:
    """Raise ManifestError for faults of the Lab's checks, which only a Cluster tells: before anything is built."""
    if manifest.lab.checks:
        from nslab.check.written import written
        from nslab.cluster.addons import with_addons
        from nslab.cluster.allocate import allocate
        from nslab.cluster.model import Leases
        from nslab.cluster.static_pods import with_static_pods

        written(allocate(with_static_pods(with_addons(manifest)), Leases()))


def print_result(result: UpResult, ignored: Sequence[str], report: Report | None) -> None:
    """What was done as JSON, with the objects that carry nothing for the network, and the report of the checks where
    they were run."""
    from dataclasses import asdict

    from nslab.check.report import to_json
    from nslab.cli.output import print_json

    checks = {"check": to_json(report)} if report is not None else {}
    print_json({**asdict(result), "ready": result.ready, "ignored": list(ignored), **checks})


def summary(result: UpResult) -> str:
    """What changed, and `Lab shop is up: 2 nodes, 5 pods, 3 services in 0.6 s.`"""
    from nslab.agent import client

    if not result.created and not result.operations and not result.changed:
        return f"Lab {result.lab}: nothing to change ({result.seconds:.2f} s)."
    entry = next(entry for entry in client.labs() if entry.name == result.lab)
    parts = ", ".join((count(entry.nodes, "node"), count(entry.pods, "pod"), count(entry.services, "service")))
    state = "is up" if result.created else f"is converged by {count(result.operations, 'operation')}"
    last = f"Lab {result.lab} {state}: {parts} in {result.seconds:.2f} s."
    return last if result.created else "\n".join([*result.changed, last])


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(f"pod/{key}" for key in keys[:NAMED]) + more
