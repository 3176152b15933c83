"""`nslab validate` and `nslab schema`: a topology file judged without building anything, by us or by an editor."""

from __future__ import annotations

import click

from nslab.cli.columns import count
from nslab.cli.messages import tell_ignored, warn


@click.command(short_help="Report every fault of topology files; build nothing.")
@click.argument("files", nargs=-1, required=True, metavar="FILE..", type=click.Path())
@click.option("--ignore-unknown", is_flag=True, help="Let kinds that nslab does not know pass with a warning.")
def validate(files: tuple[str, ...], ignore_unknown: bool) -> None:
    """Report every fault of the files (exit code 3), or that there is none. Nothing is built, and nothing is refused
    later by `up` but by the kernel: addresses are given out and the whole network is wished for, in memory."""
    from nslab.check.written import written
    from nslab.cli.progress import progress_bar
    from nslab.cli.up import read
    from nslab.cluster.allocate import allocate
    from nslab.cluster.model import Leases
    from nslab.cluster.static_pods import with_static_pods
    from nslab.components.desired import desired

    with progress_bar() as progress:
        manifest = read(files, None, ignore_unknown, progress)
        cluster = allocate(with_static_pods(manifest), Leases())
        desired(cluster)
        written(cluster)
    warn(cluster.warnings)
    tell_ignored(manifest.ignored)
    click.echo(f"{count(len(manifest.objects), 'object')} ok")


@click.command()
def schema() -> None:
    """Print the JSON Schema of the topology file, for editors."""
    from nslab.api.schema import topology_schema
    from nslab.cli.output import print_json

    print_json(topology_schema())
