"""`nslab kubeconfig`: the lab's API for kubectl and its like."""

from __future__ import annotations

import click

from nslab.cli.options import lab_option


@click.command(short_help="Print a kubeconfig for the lab's API.")
@lab_option
def kubeconfig(lab: str | None) -> None:
    """Print the kubeconfig file with which kubectl, helm and other clients talk to the lab.

    \b
    nslab kubeconfig > shop.kubeconfig
    export KUBECONFIG=$PWD/shop.kubeconfig
    kubectl get pods -A

    Where the lab's agent was killed, kubectl is refused: this command starts another, on the same port.
    """
    from nslab.agent import client

    click.echo(client.kubeconfig(client.pick(lab)), nl=False)
