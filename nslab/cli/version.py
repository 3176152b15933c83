"""`nslab version`."""

from __future__ import annotations

import click

from nslab import __version__
from nslab.cli.options import output_option


@click.command(short_help="Print the version.")
@output_option("text", "json")
def version(output: str) -> None:
    """Print nslab's version, and with `-o json` also Python's and the kernel's."""
    if output == "text":
        click.echo(f"nslab {__version__}")
        return
    import platform

    from nslab.cli.output import print_json

    print_json({"nslab": __version__, "python": platform.python_version(), "kernel": platform.release()})
