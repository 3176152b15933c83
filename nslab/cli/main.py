"""The `nslab` command: its group, its global options, and how an error becomes a message and an exit status."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
from click.exceptions import Exit

from nslab.cli.group import LazyGroup
from nslab.cli.messages import ERROR
from nslab.cli.options import complete_labs, lab_name
from nslab.collection import collect_seldom
from nslab.errors import KernelError, ManifestError, NslabError, PrivilegeError

CLOSED_PIPE = 141
"""What a shell reports for a process that SIGPIPE ended: 128 + 13."""

INTERRUPTED = 130
"""What a shell reports for a process that Ctrl-C ended: 128 + SIGINT."""

SECTIONS = {
    "Labs": {
        "up": "nslab.cli.up:up",
        "down": "nslab.cli.down:down",
        "ls": "nslab.cli.labs:ls",
        "status": "nslab.cli.status:status",
    },
    "Topology files": {
        "validate": "nslab.cli.validate:validate",
        "schema": "nslab.cli.validate:schema",
    },
    "Looking": {
        "get": "nslab.cli.get:get",
        "describe": "nslab.cli.describe:describe",
        "logs": "nslab.cli.logs:logs",
        "rules": "nslab.cli.rules:rules",
        "dns": "nslab.cli.dns:dns",
    },
    "Changing a running lab": {
        "apply": "nslab.cli.live:apply",
        "delete": "nslab.cli.live:delete",
        "scale": "nslab.cli.live:scale",
        "label": "nslab.cli.live:label",
        "cordon": "nslab.cli.live:cordon",
        "uncordon": "nslab.cli.live:uncordon",
        "events": "nslab.cli.events:events",
        "fail": "nslab.cli.faults:fail",
        "heal": "nslab.cli.faults:heal",
        "kubeconfig": "nslab.cli.kubeconfig:kubeconfig",
    },
    "Sending packets": {
        "check": "nslab.cli.check:check",
        "probe": "nslab.cli.probe:probe",
        "policy": "nslab.cli.policy:policy",
        "exec": "nslab.cli.exec:exec_",
        "shell": "nslab.cli.exec:shell",
    },
    "The host": {
        "doctor": "nslab.cli.doctor:doctor",
        "gc": "nslab.cli.down:gc",
        "completion": "nslab.cli.completion:completion",
        "version": "nslab.cli.version:version",
    },
}


class Nslab(LazyGroup):
    """The group whose commands' errors become messages and exit statuses, while click still knows whether to colour
    them."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except NslabError as error:
            raise Exit(show_error(error)) from error
        except BrokenPipeError as error:
            # The reader left (`| head`). The interpreter flushes stdout once more at exit: let that go nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit(CLOSED_PIPE) from error
        except PermissionError as error:
            refused = PrivilegeError(f"{error.filename or 'this'}: permission denied", hint="run it with sudo")
            raise Exit(show_error(refused)) from error
        except OSError as error:
            click.echo(f"{ERROR} {error.filename or 'the system'}: {error.strerror or error}", err=True)
            raise Exit(KernelError.exit_code) from error
        return result


@click.group(
    cls=Nslab, sections=SECTIONS, context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with `sudo nslab up topology.yaml`.",
)
@click.option("--lab", envvar="NSLAB_LAB", metavar="NAME", type=lab_name, shell_complete=complete_labs,
              help="The lab to work on (or NSLAB_LAB); may be left out while only one is running.")
@click.option("--no-color", is_flag=True, help="Plain text on a terminal too (or NO_COLOR).")
@click.pass_context
def cli(ctx: click.Context, lab: str | None, no_color: bool) -> None:
    """The network of a Kubernetes (GKE) cluster on one Linux machine, with real packets and no cluster."""
    if no_color or os.environ.get("NO_COLOR"):
        ctx.color = False


def main(args: list[str] | None = None) -> int:
    """Run a command line (sys.argv without `args`) and return its exit status (interface section 3)."""
    collect_seldom()
    try:
        status = cli.main(args=args, prog_name="nslab", standalone_mode=False)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return status if isinstance(status, int) else 0


def show_error(error: NslabError) -> int:
    """Write an error to stderr, and return its exit status.

    The faults of a file come first, one a line, each beginning with its place so that editors find it; then what is
    wrong, and the remedy.
    """
    message = error.message
    if isinstance(error, ManifestError):
        for fault in error.faults:
            click.echo(fault, err=True)
        count = len(error.faults)
        message = f"{count} fault{'s' if count > 1 else ''} found"
    elif error.where:
        message = f"{error.where}: {message}"
    click.echo(f"{ERROR} {message}", err=True)
    if error.hint:
        click.echo(f"{click.style('hint:', fg='cyan')} {error.hint}", err=True)
    return error.exit_code
