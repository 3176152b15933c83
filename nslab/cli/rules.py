"""`nslab rules`: the nftables rules of a node, or those behind a Service or a policy, explained."""

from __future__ import annotations

import click

from nslab.cli.options import complete_references, lab_option
from nslab.errors import UsageError

POLICIES = ("netpol", "cnp", "anp", "banp")
"""The kinds of policies, as references name them."""


@click.command(short_help="Explain the nftables rules of a Service, policy or node.")
@click.argument("reference", required=False, metavar="[REF]",
                shell_complete=complete_references("svc", "node", *POLICIES))
@lab_option
def rules(reference: str | None, lab: str | None) -> None:
    """Print nftables rules: of node/NAME, of a Service's way through them (svc/NAME), what a policy became on each
    node (netpol/NAME, cnp/NAME, anp/NAME, banp/default), or of every node."""
    from nslab.agent import client
    from nslab.check.references import POLICY_KINDS, keys, parse
    from nslab.components.explain import explain_node, explain_service
    from nslab.components.policies.explain import explain_policy

    parsed = parse(reference) if reference else None
    if parsed and parsed.kind not in ("node", "svc", *POLICY_KINDS):
        hint = "name node/NAME, svc/NAMESPACE/NAME or netpol/NAMESPACE/NAME"
        raise UsageError(f"{reference}: nslab cannot show rules of that", hint=hint)
    cluster = client.snapshot(client.pick(lab)).cluster
    if parsed and parsed.kind == "svc":
        texts = [explain_service(cluster, cluster.services[key]) for key in keys(cluster, parsed)]
    elif parsed and parsed.kind in POLICY_KINDS:
        kind = POLICY_KINDS[parsed.kind]
        texts = [explain_policy(cluster, f"{kind} {key}") for key in keys(cluster, parsed)]
    else:
        nodes = keys(cluster, parsed) if parsed else list(cluster.nodes)
        texts = [f"# node/{name}\n{explain_node(cluster, name)}" for name in nodes]
    click.echo("\n".join(texts), nl=False)
