"""`nslab get`: objects of a lab in kubectl's columns, or as the Kubernetes objects themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from nslab.cli.options import complete_get, lab_option, output_option
from nslab.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from nslab.cli.objects import Resource

Body = dict[str, Any]
Source = Callable[["Resource"], list[Body]]
"""All objects of a kind, in every namespace."""


@dataclass(frozen=True, slots=True)
class Query:
    """What the command line asks for: kinds in order, and per kind the (namespace, name) pairs wanted, where empty
    means all of `namespace` (all namespaces where that is empty). `expressions` are the selector's requirements."""

    wanted: dict[Resource, list[tuple[str, str]]]
    namespace: str
    expressions: Sequence[Body] = ()

    @property
    def single(self) -> bool:
        """Whether one object was asked for by its name: it is printed itself, not a List of one."""
        return sum(len(names) for names in self.wanted.values()) == 1


@dataclass(frozen=True, slots=True)
class Answer:
    """The objects found per kind, and what was asked for by name and is not there."""

    found: dict[Resource, list[Body]]
    missing: list[str]

    @property
    def bodies(self) -> list[Body]:
        return [body for bodies in self.found.values() for body in bodies]


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="KIND[,KIND..] [NAME..] | KIND/NAME..",
                shell_complete=complete_get)
@click.option("-n", "--namespace", default="default", show_default=True, metavar="NAMESPACE")
@click.option("-A", "--all-namespaces", is_flag=True, help="Objects of every namespace.")
@click.option("-l", "--selector", default="", metavar="SELECTOR", help="Only objects with these labels.")
@click.option("--no-headers", is_flag=True, help="Leave the headings out.")
@output_option("table", "wide", "json", "yaml", "name")
@lab_option
def get(words: tuple[str, ...], namespace: str, all_namespaces: bool, selector: str, no_headers: bool, output: str,
        lab: str | None) -> None:
    """Show objects, with kubectl's columns.

    \b
    nslab get pods -A -o wide
    nslab get svc,endpoints -n shop
    nslab get deploy web -o yaml
    nslab get all

    KIND: nodes, pods, services, endpoints, endpointslices, deployments, replicasets, statefulsets, daemonsets,
    replicationcontrollers, jobs, namespaces, clients, routes, or all.
    """
    from nslab.agent import client
    from nslab.api.label_selectors import parse
    from nslab.cli.objects import bodies

    query = read(words, "" if all_namespaces else namespace, parse(selector))
    snapshot = client.snapshot(client.pick(lab))
    answer = select(query, lambda kind: bodies(snapshot, kind))
    if output in ("table", "wide"):
        print_tables(answer, query, wide=output == "wide", headings=not no_headers)
    else:
        print_objects(answer, query, output)
    if answer.missing:
        raise NotFoundError("\n".join(answer.missing))


def read(words: Sequence[str], namespace: str, expressions: Sequence[Body] = ()) -> Query:
    """The query that the words mean. Raises UsageError, also for a kind that cannot be shown."""
    from nslab.cli.objects import ALL, resource

    by_reference = [word for word in words if "/" in word]
    if by_reference:
        if len(by_reference) < len(words):
            raise UsageError("names cannot be mixed with KIND/NAME", hint="write either `pods a b` or `pod/a pod/b`")
        if not namespace:
            raise UsageError("an object cannot be asked for by its name with --all-namespaces")
        wanted: dict[Resource, list[tuple[str, str]]] = {}
        for word in by_reference:
            kind, _, name = word.partition("/")
            in_namespace, _, last = name.rpartition("/")
            wanted.setdefault(resource(kind), []).append((in_namespace or namespace, last))
    else:
        kinds = [kind for word in words[0].split(",") for kind in (ALL if word == "all" else [word])]
        if len(words) > 1 and not namespace:
            raise UsageError("an object cannot be asked for by its name with --all-namespaces")
        wanted = {resource(kind): [(namespace, name) for name in words[1:]] for kind in kinds}
    if expressions and any(wanted.values()):
        raise UsageError("a name and a selector exclude each other")
    return Query(wanted, namespace, expressions)


def select(query: Query, source: Source) -> Answer:
    """What `source` has of the query's kinds, names, namespace and labels, sorted by name as the API server does."""
    from nslab.cluster.selectors import satisfies

    found, missing = {}, []
    for kind, names in query.wanted.items():
        bodies = sorted(source(kind), key=_key)
        if not names:
            found[kind] = [
                body for body in bodies
                if (not kind.namespaced or query.namespace in ("", body["metadata"]["namespace"]))
                and satisfies(query.expressions, body["metadata"].get("labels") or {})
            ]
            continue
        by_name = {_key(body): body for body in bodies}
        keys = [(namespace if kind.namespaced else "", name) for namespace, name in names]
        found[kind] = [by_name[key] for key in keys if key in by_name]
        missing += [f'{kind.qualified} "{key[1]}" not found' for key in keys if key not in by_name]
    return Answer(found, missing)


def _key(body: Body) -> tuple[str, str]:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


def print_tables(answer: Answer, query: Query, *, wide: bool, headings: bool) -> None:
    """A table for each kind that has objects, an empty line between; names carry their kind where there are several
    tables. That there is nothing at all is said on stderr."""
    from nslab.cli import tables

    now = time.time()
    several = len(query.wanted) > 1
    text = "\n".join(
        tables.render(kind.plural, bodies, now=now, wide=wide, headings=headings,
                      namespaced=kind.namespaced and not query.namespace,
                      prefix=f"{kind.qualified_singular}/" if several else "")
        for kind, bodies in answer.found.items() if bodies
    )
    if text:
        click.echo(text, nl=False)
    elif not answer.missing:
        scoped = query.namespace and any(kind.namespaced for kind in query.wanted)
        click.echo(f"No resources found{f' in {query.namespace} namespace' if scoped else ''}{'.' if scoped else ''}",
                   err=True)


def print_objects(answer: Answer, query: Query, output: str) -> None:
    """The objects as JSON or YAML (a v1 List unless one was asked for by name), or their names as KIND/NAME."""
    from nslab.cli.output import print_json, print_yaml

    if output == "name":
        for kind, bodies in answer.found.items():
            for body in bodies:
                click.echo(f"{kind.qualified_singular}/{body['metadata']['name']}")
        return
    if query.single:
        if not answer.bodies:
            return
        document = answer.bodies[0]
    else:
        document = {"apiVersion": "v1", "items": answer.bodies, "kind": "List", "metadata": {"resourceVersion": ""}}
    if output == "json":
        print_json(document, sort_keys=True)
    else:
        print_yaml(document)
