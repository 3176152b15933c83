"""`nslab rules`: the nftables rules of a node, or those behind a Service, explained."""

from __future__ import annotations

import click

from nslab.cli.options import complete_references, lab_option
from nslab.errors import UsageError


@click.command(short_help="Explain the nftables rules of a Service or node.")
@click.argument("reference", required=False, metavar="[REF]", shell_complete=complete_references("svc", "node"))
@lab_option
def rules(reference: str | None, lab: str | None) -> None:
    """Print nftables rules: of node/NAME, of a Service's way through them (svc/NAME), or of every node."""
    from nslab.agent import client
    from nslab.check.references import keys, parse
    from nslab.components.explain import explain_node, explain_service

    parsed = parse(reference) if reference else None
    if parsed and parsed.kind not in ("node", "svc"):
        raise UsageError(f"{reference}: nslab cannot show rules of that", hint="name node/NAME or svc/NAMESPACE/NAME")
    cluster = client.snapshot(client.pick(lab)).cluster
    if parsed and parsed.kind == "svc":
        texts = [explain_service(cluster, cluster.services[key]) for key in keys(cluster, parsed)]
    else:
        nodes = keys(cluster, parsed) if parsed else list(cluster.nodes)
        texts = [f"# node/{name}\n{explain_node(cluster, name)}" for name in nodes]
    click.echo("\n".join(texts), nl=False)
