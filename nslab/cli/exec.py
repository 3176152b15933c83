"""`nslab exec` and `nslab shell`: a command in the netns of a Pod, node or client."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from nslab.cli.messages import ERROR
from nslab.cli.options import complete_references, lab_option
from nslab.cli.privilege import require_privilege
from nslab.errors import NotFoundError

if TYPE_CHECKING:
    from nslab.cluster.model import Cluster

CANNOT_EXECUTE, NOT_FOUND = 126, 127
"""What a shell returns for a command that it cannot execute, or does not find (POSIX, 2.8.2)."""


@click.command("exec", short_help="Run a command in the netns of a Pod, node or client.")
@click.argument("reference", metavar="REF", shell_complete=complete_references("pod", "node", "client"))
@click.option("-i", "--stdin", "interactive", is_flag=True, help="Pass stdin on; else it is empty.")
@click.option("-t", "--tty", is_flag=True, help="The command is used on this terminal.")
@click.argument("command", nargs=-1, required=True, metavar="-- CMD ..")
@lab_option
def exec_(reference: str, interactive: bool, tty: bool, command: tuple[str, ...], lab: str | None) -> int:
    """Run a command of the host in the netns of REF, with its resolv.conf and hosts; its exit code is passed on.

    REF is pod/NAME, pod/NAMESPACE/NAME, deploy/NAME, node/NAME, client/NAME, or vpc and internet for the network
    between them.
    """
    if tty and not sys.stdin.isatty():
        click.echo("Unable to use a TTY - input is not a terminal", err=True)
    return run(reference, list(command), lab, stdin=interactive or tty)


@click.command(short_help="Open a shell in the netns of a Pod, node or client.")
@click.argument("reference", metavar="REF", shell_complete=complete_references("pod", "node", "client"))
@lab_option
def shell(reference: str, lab: str | None) -> int:
    """Open a shell ($SHELL) in the netns of REF; see `nslab exec`."""
    program = os.environ.get("SHELL") or "/bin/sh"
    return run(reference, [program], lab, stdin=True)


def run(reference: str, argv: list[str], lab: str | None, *, stdin: bool) -> int:
    """Become `argv` in the netns that the reference names. Returns only where that failed.

    Raises NotFoundError for an unknown reference, and where the netns is gone.
    """
    from nslab.agent import client
    from nslab.linux.process import exec_in

    require_privilege("entering a netns")
    netns, files = place_of(client.snapshot(client.pick(lab)).cluster, reference)
    if not stdin:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout.flush()
    try:
        exec_in(netns, argv, files_of=files)
    except FileNotFoundError as error:
        if error.filename and str(error.filename).endswith(f"/{netns}"):
            raise NotFoundError(f"{reference}: its netns {netns} is gone", hint="`nslab up` makes it again") from None
        return _refuse(NOT_FOUND, f"{argv[0]}: not found on this host")
    except PermissionError:
        return _refuse(CANNOT_EXECUTE, f"{argv[0]}: cannot be executed")


def place_of(cluster: Cluster, reference: str) -> tuple[str, str]:
    """The name of the netns that packets of `reference` leave from, and that of a Pod's own files."""
    from nslab.check.references import sources
    from nslab.cluster import naming

    own = {"vpc": naming.vpc_netns, "internet": naming.internet_netns}
    if reference in own:
        return own[reference](cluster.lab.name), ""
    source = sources(cluster, reference)[0]
    return source.netns, naming.pod_files(cluster.lab.name, cluster.pods[source.pod]) if source.pod else ""


def _refuse(status: int, message: str) -> int:
    click.echo(f"{ERROR} {message}", err=True)
    return status
