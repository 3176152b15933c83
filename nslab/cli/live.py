"""`nslab apply`, `delete`, `scale`, `label`, `cordon`, `uncordon`: changes of a running lab, by its API.

Each returns once the change has reached every node, or the --wait time is over.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nslab.cli.messages import warn
from nslab.cli.options import lab_option
from nslab.cli.seconds import seconds
from nslab.errors import ManifestError, NotFoundError, UsageError

if TYPE_CHECKING:
    from nslab.agent.api_client import ApiClient
    from nslab.api.kinds import Kind

Body = dict[str, Any]
Command = TypeVar("Command", bound=Callable[..., Any])

namespace_option = click.option("-n", "--namespace", default="default", show_default=True, metavar="NAMESPACE")
files_option = click.option("-f", "--filename", "files", multiple=True, metavar="FILE",
                            help="A manifest, or - for stdin.")
wait_option = click.option("--wait", type=seconds, default="30s", show_default=True, metavar="TIME",
                           help="How long to wait until the change is in force everywhere.")


def lab_api(lab: str | None) -> ApiClient:
    from nslab.agent import client
    from nslab.agent.api_client import ApiClient

    return ApiClient(client.pick(lab))


def settle(api: ApiClient, wait: float) -> int:
    """Wait until nothing is under way in the lab; 1, with a warning, where Pods are not ready by then."""
    from nslab.agent import client

    missing = client.settle(api.lab, wait) if wait else []
    if missing:
        warn([f"not ready within {wait:g} s: {', '.join(f'pod/{key}' for key in missing)}"])
    return 1 if missing else 0


@click.command(short_help="Create or change objects of a running lab.")
@files_option
@namespace_option
@wait_option
@lab_option
def apply(files: tuple[str, ...], namespace: str, wait: float, lab: str | None) -> int:
    """Create the objects of the files in the running lab, or change those that are there, as kubectl apply does."""
    if not files:
        raise UsageError("there is nothing to apply", hint="name a file: nslab apply -f shop.yaml")
    objects = list(read(files, namespace))
    api = lab_api(lab)
    for kind, body in objects:
        click.echo(f"{_shown(kind, body['metadata']['name'])} {api.apply(kind, body)}")
    return settle(api, wait)


@click.command(short_help="Delete objects of a running lab.")
@click.argument("words", nargs=-1, metavar="[KIND NAME.. | KIND/NAME..]")
@files_option
@namespace_option
@wait_option
@lab_option
def delete(words: tuple[str, ...], files: tuple[str, ...], namespace: str, wait: float, lab: str | None) -> int:
    """Delete objects by name, or those of the files; what they own goes with them."""
    if bool(words) == bool(files):
        raise UsageError("name either objects or files", hint="nslab delete deploy/web, or nslab delete -f shop.yaml")
    metadata = [(kind, body["metadata"]) for kind, body in read(files, namespace)]
    wanted = named(words, namespace) if words else [
        (kind, each.get("namespace", ""), each["name"]) for kind, each in metadata
    ]
    api = lab_api(lab)
    for kind, where, name in wanted:
        api.delete(kind, where, name)
        click.echo(f'{_qualified(kind)} "{name}" deleted')
    return settle(api, wait)


@click.command(short_help="Give a workload another number of replicas.")
@click.argument("words", nargs=-1, required=True, metavar="KIND/NAME..")
@click.option("--replicas", type=click.IntRange(min=0), required=True, metavar="N")
@namespace_option
@wait_option
@lab_option
def scale(words: tuple[str, ...], replicas: int, namespace: str, wait: float, lab: str | None) -> int:
    """Give Deployments, ReplicaSets or StatefulSets another number of replicas."""
    api = lab_api(lab)
    for kind, where, name in named(words, namespace):
        api.patch(kind, where, name, {"spec": {"replicas": replicas}}, "scale")
        click.echo(f"{_shown(kind, name)} scaled")
    return settle(api, wait)


@click.command(short_help="Set or remove labels of an object.")
@click.argument("words", nargs=-1, required=True, metavar="KIND NAME | KIND/NAME  KEY=VALUE.. KEY-..")
@click.option("--overwrite", is_flag=True, help="Let a label that is there get another value.")
@namespace_option
@wait_option
@lab_option
def label(words: tuple[str, ...], overwrite: bool, namespace: str, wait: float, lab: str | None) -> int:
    """Set labels (KEY=VALUE) and remove them (KEY-)."""
    changes = [word for word in words if "=" in word or word.endswith("-")]
    labels = {
        word.partition("=")[0] if "=" in word else word[:-1]: word.partition("=")[2] if "=" in word else None
        for word in changes
    }
    objects = named([word for word in words if word not in changes], namespace)
    if not labels or not objects:
        raise UsageError("name an object and its labels", hint="nslab label pod web-0 tier=front team-")
    api = lab_api(lab)
    for kind, where, name in objects:
        present = api.get(kind, where, name)["metadata"].get("labels") or {}
        taken = [key for key, value in labels.items() if value is not None and present.get(key, value) != value]
        if taken and not overwrite:
            raise UsageError(f"{_shown(kind, name)} has another value of {', '.join(taken)}", hint="--overwrite")
        api.patch(kind, where, name, {"metadata": {"labels": labels}})
        click.echo(f"{_shown(kind, name)} labeled")
    return settle(api, wait)


def _cordon(names: Sequence[str], lab: str | None, unschedulable: bool) -> None:
    from nslab.api.kinds import by_name

    kind, api = by_name("Node")[0], lab_api(lab)
    for name in (name.removeprefix("node/") for name in names):
        api.patch(kind, "", name, {"spec": {"unschedulable": unschedulable or None}})
        click.echo(f"node/{name} {'cordoned' if unschedulable else 'uncordoned'}")


@click.command(short_help="Let no new Pods onto a node.")
@click.argument("nodes", nargs=-1, required=True, metavar="NODE..")
@lab_option
def cordon(nodes: tuple[str, ...], lab: str | None) -> None:
    """Mark nodes as unschedulable: their Pods stay, new ones go elsewhere."""
    _cordon(nodes, lab, True)


@click.command(short_help="Let Pods onto a node again.")
@click.argument("nodes", nargs=-1, required=True, metavar="NODE..")
@lab_option
def uncordon(nodes: tuple[str, ...], lab: str | None) -> None:
    """Mark nodes as schedulable again."""
    _cordon(nodes, lab, False)


def read(files: Sequence[str], namespace: str) -> Iterator[tuple[Kind, Body]]:
    """The objects of the files. Raises ManifestError for what is no object of a known kind."""
    import yaml

    for file in files:
        with click.open_file(file) if file != "-" else sys.stdin as stream:
            try:
                documents = list(yaml.load_all(stream, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
            except yaml.YAMLError as error:
                raise ManifestError([f"{file}: {error}"]) from error
        for document in filter(None, documents):
            items = document.get("items", []) if str(document.get("kind", "")).endswith("List") else [document]
            for body in items:
                yield _known(file, body, namespace)


def _known(file: str, body: Body, namespace: str) -> tuple[Kind, Body]:
    from nslab.api.kinds import find

    kind = find(str(body.get("apiVersion")), str(body.get("kind")))
    name = (body.get("metadata") or {}).get("name")
    if kind is None or not name:
        raise ManifestError([f"{file}: {body.get('kind')} {name or ''}: is no object of a kind that nslab knows"])
    if kind.name == "Lab":
        raise ManifestError([f"{file}: Lab {name}: a running lab's Lab is changed with `nslab up`"])
    if kind.namespaced:
        body = {**body, "metadata": {"namespace": namespace, **body["metadata"]}}
    return kind, body


def named(words: Sequence[str], namespace: str) -> list[tuple[Kind, str, str]]:
    """(kind, namespace, name) of `KIND NAME..` or `KIND/[NAMESPACE/]NAME..`. Raises UsageError."""
    if words and "/" not in words[0]:
        words = [f"{words[0]}/{name}" for name in words[1:]]
    found = []
    for word in words:
        kind_word, _, rest = word.partition("/")
        inside, _, name = rest.rpartition("/")
        found.append((_kind(kind_word), inside or namespace, name))
    if not found:
        raise NotFoundError("no object is named")
    return found


def _kind(word: str) -> Kind:
    from nslab.api.kinds import by_word

    kind = by_word(word.partition(".")[0])
    if kind is None:
        raise UsageError(f"there is no kind {word!r}")
    return kind


def _qualified(kind: Kind) -> str:
    return f"{kind.singular}.{kind.group}" if kind.group else kind.singular


def _shown(kind: Kind, name: str) -> str:
    return f"{_qualified(kind)}/{name}"
