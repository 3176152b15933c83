"""`nslab down` and `nslab gc`: take labs away, and what crashed runs left of them."""

from __future__ import annotations

import click

from nslab.cli.options import complete_labs, lab_name, lab_option
from nslab.cli.privilege import require_privilege
from nslab.errors import NotFoundError, UsageError


@click.command()
@click.argument("name", required=False, type=lab_name, shell_complete=complete_labs)
@click.option("--all", "every", is_flag=True, help="Every lab of this machine.")
@lab_option
def down(name: str | None, every: bool, lab: str | None) -> None:
    """Remove a lab: its namespaces, rules, files and processes. Quiet, and fine where nothing is left to remove."""
    from nslab.agent import client
    from nslab.cli.progress import progress_bar

    if every and name:
        raise UsageError("--all and a name exclude each other")
    require_privilege("removing a lab")
    with progress_bar() as progress:
        for wanted in [entry.name for entry in client.labs()] if every else chosen(name or lab):
            client.down(wanted, progress)


def chosen(name: str | None) -> list[str]:
    """The lab to remove: the named one, there or not, or the only one; none where none is up."""
    from nslab.agent import client

    if name:
        return [name]
    try:
        return [client.pick(None)]
    except NotFoundError:
        return []


@click.command()
def gc() -> None:
    """Remove what a crashed run left on this machine, and only that."""
    from nslab.agent import client

    require_privilege("removing leftovers")
    for line in client.gc():
        click.echo(line)
