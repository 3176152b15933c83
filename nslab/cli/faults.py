"""`nslab fail` and `nslab heal`: break a Pod, a node or a link on purpose, and mend it.

What is broken is an object of kind Fault, which these commands create and delete by the lab's API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nslab.cli.live import lab_api, settle, wait_option
from nslab.cli.options import complete_fault_targets, complete_targets, lab_option
from nslab.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from nslab.api.kinds import Kind
    from nslab.cluster.model import Cluster, Pod

Body = dict[str, Any]
Command = TypeVar("Command", bound=Callable[..., Any])

LINK = "link"
OF_POD = ("unready", "crash", "blackhole", "slow")
OF_LINK = ("down", "loss", "delay", "rate")

_HELP = {
    "unready": "A Pod's Ready condition is False, whatever its probes say.",
    "crash": "A Pod's containers do not run: connections to it are refused.",
    "blackhole": "Every packet from and to a Pod is lost.",
    "slow": "A Pod's responder answers that much later: 200ms.",
    "down": "The link is down.",
    "loss": "So many packets are lost in either direction: 10%.",
    "delay": "Packets take that much longer in either direction: 50ms.",
    "rate": "No more bits a second pass in either direction: 10mbit.",
}
_METAVARS = {"slow": "TIME", "loss": "SHARE", "delay": "TIME", "rate": "RATE"}


def _with_values(command: Command) -> Command:
    """An option for each effect, which takes its value."""
    for effect, text in reversed(_HELP.items()):
        metavar = _METAVARS.get(effect)
        command = click.option(f"--{effect}", is_flag=metavar is None, metavar=metavar, help=text)(command)
    return command


def _as_flags(command: Command) -> Command:
    """A flag for each effect."""
    for effect in reversed([*_HELP, "dead"]):
        command = click.option(f"--{effect}", is_flag=True, help=f"Of its faults, {effect}.")(command)
    return command


@click.command(short_help="Break a Pod, a node or a link on purpose.")
@click.argument("words", nargs=-1, metavar="REF | link REF", shell_complete=complete_targets)
@_with_values
@wait_option
@lab_option
def fail(words: tuple[str, ...], wait: float, lab: str | None, **given: str | bool | None) -> int:
    """Break something of a running lab until `nslab heal` mends it.

    \b
    nslab fail pod/NAME --unready | --crash | --blackhole | --slow 200ms
    nslab fail node/NAME                       the machine is dead
    nslab fail link pod/NAME --down | --loss 10% | --delay 50ms | --rate 10mbit
    nslab fail link node/NAME ..               its uplink; likewise client/NAME

    REF may be a pattern (pod/shop/web-*). Several effects add up; `nslab get faults` lists them.
    """
    from nslab.agent import client
    from nslab.agent.api_client import ApiClient
    from nslab.components.faults import QDISCS
    from nslab.linux.real import require_qdisc

    of_link, reference = _parsed(words)
    kind = _target_kind(reference)
    effects = _effects(kind, of_link, {name: value for name, value in given.items() if value})
    name = client.pick(lab)
    targets = list(_targets(client.snapshot(name).cluster, reference, effects))
    for effect in effects:
        if effect in QDISCS:
            require_qdisc(QDISCS[effect])
    api = ApiClient(name)
    for target in targets:
        for effect, value in effects.items():
            api.apply(_kind(), _fault(target, effect, value))
            click.echo(f"{target} fails: {_told(effect, value)}")
    return settle(api, wait)


@click.command(short_help="Mend what `nslab fail` broke.")
@click.argument("words", nargs=-1, metavar="[REF | link REF]", shell_complete=complete_fault_targets)
@click.option("--all", "everything", is_flag=True, help="Mend all that is broken.")
@_as_flags
@wait_option
@lab_option
def heal(words: tuple[str, ...], everything: bool, wait: float, lab: str | None, **given: bool) -> int:
    """Mend what is broken of a Pod, a node or a client, or of its link alone; with options, only that.

    \b
    nslab heal pod/NAME          nslab heal link pod/NAME          nslab heal pod/NAME --slow
    nslab heal --all
    """
    if everything == bool(words):
        raise UsageError("name what to heal, or everything", hint="nslab heal pod/shop/cart, or nslab heal --all")
    effects = [name for name, wanted in given.items() if wanted]
    of_link, reference = _parsed(words) if words else (False, "*")
    api = lab_api(lab)
    present = [body["spec"] | {"name": body["metadata"]["name"]} for body in api.list(_kind())]
    chosen = present if everything else _of_target(present, reference, lab)
    chosen = [
        fault for fault in chosen
        if (not of_link or fault["effect"] in OF_LINK) and (not effects or fault["effect"] in effects)
    ]
    if not chosen and not everything:
        raise NotFoundError(f"{reference} has no such fault", hint=_listed(present))
    for fault in chosen:
        api.delete(_kind(), "", fault["name"])
        click.echo(f"{fault['target']} healed: {_told(fault['effect'], fault.get('value', ''))}")
    return settle(api, wait)


def _kind() -> Kind:
    from nslab.api.kinds import by_name

    return by_name("Fault")[0]


def _fault(target: str, effect: str, value: str) -> Body:
    from nslab.api.faults import fault_name

    spec = {"target": target, "effect": effect, **({"value": value} if value else {})}
    kind = _kind()
    return {
        "apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": fault_name(target, effect)},
        "spec": spec,
    }


def _told(effect: str, value: str) -> str:
    return f"{effect} {value}" if value else effect


def _listed(faults: Sequence[Body]) -> str:
    if not faults:
        return "nothing of the lab is broken"
    return "broken: " + ", ".join(f"{fault['target']} ({fault['effect']})" for fault in faults[:5])


def _parsed(words: Sequence[str]) -> tuple[bool, str]:
    """Whether it is about a link, and the reference."""
    of_link = bool(words) and words[0] == LINK
    rest = words[1:] if of_link else words
    if len(rest) != 1:
        raise UsageError(
            "name one Pod, node or link" if rest else "name what is to be broken or mended",
            hint="nslab fail pod/shop/cart --crash, nslab fail node/node-1, nslab fail link node/node-1 --down; "
            "`nslab get faults` lists what is broken",
        )
    return of_link, rest[0]


def _target_kind(reference: str) -> str:
    """"pod", "node" or "client". Raises UsageError for what cannot be broken."""
    from nslab.api.faults import TARGETS
    from nslab.check.references import parse

    kind = parse(reference).kind
    if kind not in TARGETS:
        raise UsageError(f"{reference}: cannot be broken", hint="a pod/, a node/ or a link can")
    return kind


def _effects(kind: str, of_link: bool, given: Mapping[str, Any]) -> dict[str, str]:
    """The values of the effects that are wanted. Raises UsageError where they do not fit the target."""
    from nslab.api.faults import EFFECTS

    effects = {name: "" if value is True else str(value) for name, value in given.items()}
    if kind == "node" and not of_link and not effects:
        return {"dead": ""}
    allowed = OF_LINK if of_link else OF_POD if kind == "pod" else ()
    wrong = [name for name in effects if name not in allowed]
    if wrong or not effects:
        what = "a link" if of_link else f"a {kind}"
        problem = f"--{wrong[0]} is no fault of {what}" if wrong else f"say how {what} is to fail"
        raise UsageError(problem, hint=_remedy(kind, of_link, wrong))
    for name, value in effects.items():
        read = EFFECTS[name].read
        if read is not None:
            try:
                read(value)
            except ValueError as error:
                raise UsageError(f"--{name}: {error}") from error
    return effects


def _remedy(kind: str, of_link: bool, wrong: Sequence[str]) -> str:
    if not of_link and (kind == "client" or (wrong and wrong[0] in OF_LINK)):
        return f"its link can be broken: nslab fail link {kind}/.. --{wrong[0] if wrong else 'down'} .."
    if kind == "node" and not of_link:
        return "a node fails as a whole: nslab fail node/NAME"
    options = OF_LINK if of_link else OF_POD
    return "one or more of " + ", ".join(f"--{name}" for name in options)


def _targets(cluster: Cluster, reference: str, effects: Mapping[str, str]) -> Iterator[str]:
    """What the reference names, in full. Raises NotFoundError, UsageError."""
    from nslab.check.references import keys, parse

    parsed = parse(reference)
    for key in keys(cluster, parsed):
        if parsed.kind == "pod":
            _judge_pod(cluster.pods[key], effects)
        yield f"{parsed.kind}/{key}"


def _judge_pod(pod: Pod, effects: Mapping[str, str]) -> None:
    """Raise UsageError where an effect cannot fall upon this Pod."""
    from nslab.cluster.containers import HOST_IMAGE

    if pod.host_network and (on_network := [name for name in effects if name in ("blackhole", *OF_LINK)]):
        raise UsageError(
            f"pod/{pod.key} uses its node's network and has no link of its own, so --{on_network[0]} cannot be",
            hint=f"nslab fail link node/{pod.node}, or nslab fail pod/{pod.key} --crash",
        )
    answers = any(container.image != HOST_IMAGE and container.ports for container in pod.containers)
    if "slow" in effects and not answers:
        raise UsageError(
            f"pod/{pod.key} runs programs of the host or listens on nothing: only nslab's responder can be slow",
            hint=f"nslab fail link pod/{pod.key} --delay {effects['slow']}",
        )


def _of_target(faults: Sequence[Body], reference: str, lab: str | None) -> list[Body]:
    """The faults of what the reference names, be it still there or not. Raises NotFoundError where it is unknown."""
    from nslab.agent import client
    from nslab.check.references import keys, parse

    kind, parsed = _target_kind(reference), parse(reference)
    wanted = [parsed.name]
    if kind == "pod":
        wanted = [f"{parsed.namespace or 'default'}/{parsed.name}"]
        wanted += [] if parsed.namespace else [f"*/{parsed.name}"]
    for name in wanted:
        found = [fault for fault in faults if fnmatchcase(fault["target"], f"{kind}/{name}")]
        if found:
            return found
    keys(client.snapshot(client.pick(lab)).cluster, parsed)
    return []
