"""Options and arguments that many commands share, and how their values complete in the shell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from nslab.cluster.model import Cluster

Command = TypeVar("Command", bound=Callable[..., Any])
Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def _completer(candidates: Callable[[click.Context], list[str]]) -> Completer:
    """Complete from `candidates`. A shell that completes must never see an error: without a lab there is nothing to
    offer, and that is all."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        try:
            values = candidates(ctx)
        except Exception:
            return []
        return [CompletionItem(value) for value in values if value.startswith(incomplete)]

    return complete


def _labs(ctx: click.Context) -> list[str]:
    from nslab.agent import client

    return [lab.name for lab in client.labs()]


def _cluster(ctx: click.Context) -> Cluster:
    from nslab.agent import client

    return client.snapshot(client.pick(ctx.params.get("lab") or ctx.find_root().params.get("lab"))).cluster


def reference_names(cluster: Cluster, *kinds: str) -> list[str]:
    """Every reference of these kinds ("pod", "svc", "node", "client", "netpol" and other policies) in a lab;
    `pod/NAME` in namespace default."""
    from nslab.check.references import POLICY_KINDS

    named: dict[str, Iterable[str]] = {
        "pod": cluster.pods, "svc": cluster.services, "node": cluster.nodes, "client": cluster.clients,
    }
    for short, kind in POLICY_KINDS.items():
        mine = (each for each in cluster.objects if each.kind == kind)
        named[short] = [f"{each.namespace}/{each.name}".lstrip("/") for each in mine]
    return [f"{kind}/{name.removeprefix('default/')}" for kind in kinds for name in named[kind]]


def complete_references(*kinds: str) -> Completer:
    """Complete KIND/NAME of the running lab."""
    return _completer(lambda ctx: reference_names(_cluster(ctx), *kinds))


def _get_words(ctx: click.Context) -> list[str]:
    """What may follow `nslab get WORD..`: a kind first, then names of that kind."""
    from nslab.cli.objects import KUBERNETES, OWN, resource

    words = ctx.params.get("words") or ()
    if not words:
        return [*KUBERNETES, *OWN, "all"]
    cluster = _cluster(ctx)
    kind = resource(words[0]).plural
    namespace = ctx.params.get("namespace") or "default"
    named: dict[str, Mapping[str, object]] = {"pods": cluster.pods, "services": cluster.services,
                                              "endpoints": cluster.services}
    if kind in named:
        return [key.partition("/")[2] for key in named[kind] if key.startswith(f"{namespace}/")]
    plain: dict[str, Mapping[str, object]] = {"nodes": cluster.nodes, "clients": cluster.clients}
    return [*plain.get(kind, ()), *(each.name for each in cluster.objects
                                    if each.kind.lower() == resource(kind).singular and each.namespace == namespace)]


def _fault_targets(ctx: click.Context) -> list[str]:
    return [*dict.fromkeys(fault.target.replace("pod/default/", "pod/") for fault in _cluster(ctx).faults)]


def _after_link(candidates: Callable[[click.Context], list[str]]) -> Completer:
    """Complete what may be broken, or the word `link` before it."""
    return _completer(lambda ctx: [*(() if ctx.params.get("words") else ("link",)), *candidates(ctx)])


complete_targets = _after_link(lambda ctx: reference_names(_cluster(ctx), "pod", "node", "client"))
complete_fault_targets = _after_link(_fault_targets)
complete_labs = _completer(_labs)
complete_get = _completer(_get_words)


def lab_name(value: str) -> str:
    """The type of an argument that names a lab: a DNS label, since namespaces, links and directories derive from it.
    Raises click.BadParameter for anything else."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", value):
        raise click.BadParameter(f"{value!r} cannot name a lab: at most 63 of a-z, 0-9 and -, not at either end")
    return value


def lab_option(command: Command) -> Command:
    """`--lab NAME`: the command's own, else the group's (which reads NSLAB_LAB)."""
    return lab_option_with("The lab to work on.")(command)


def lab_option_with(text: str) -> Callable[[Command], Command]:
    """`--lab NAME` with a help text of its own."""
    return click.option(
        "--lab", metavar="NAME", type=lab_name, shell_complete=complete_labs, help=text,
        callback=lambda ctx, _, value: value or ctx.find_root().params.get("lab"),
    )


def output_option(*formats: str) -> Callable[[Command], Command]:
    """`-o FORMAT`; the first one is the default."""
    return click.option("-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True,
                        help="How to print it.")
