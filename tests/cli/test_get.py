"""`nslab get`: what the words ask for, what is found, and how it is printed."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from nslab.api.objects import ClusterSpec, LabSpec
from nslab.cli.get import Answer, Query, print_objects, print_tables, read, select
from nslab.cli.objects import Resource, bodies, resource
from nslab.errors import UsageError
from tests.cli.shop import snapshot

Body = dict[str, Any]


def ask(*words: str, namespace: str = "default", labels: tuple[Body, ...] = ()) -> tuple[Query, Answer]:
    query = read(words, namespace, labels)
    return query, select(query, lambda kind: bodies(snapshot(), kind))


def names(answer: Answer) -> list[str]:
    return [body["metadata"]["name"] for body in answer.bodies]


def test_kinds_by_every_name_of_theirs() -> None:
    assert {resource(word).plural for word in ("po", "pod", "pods", "Pods")} == {"pods"}
    assert resource("deploy").qualified_singular == "deployment.apps"
    assert resource("svc").qualified == "services"
    assert resource("deployments.apps").plural == "deployments"
    assert resource("routes") == Resource("routes", "route", "Route", namespaced=False)


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no kind 'pds'") as caught:
        resource("pds")
    assert caught.value.hint == "did you mean pods?"


def test_a_kind_that_is_not_shown_says_which_are() -> None:
    with pytest.raises(UsageError, match="cannot show ingresses") as caught:
        resource("ing")
    assert "endpointslices" in caught.value.hint


def test_the_default_namespace_one_namespace_and_all() -> None:
    assert names(ask("pods")[1]) == ["web-0", "web-1"]
    assert names(ask("pods", namespace="tools")[1]) == ["job"]
    assert names(ask("pods", namespace="")[1]) == ["web-0", "web-1", "job"]
    assert names(ask("nodes", namespace="tools")[1]) == ["node-1", "node-2"]


def test_names_and_references() -> None:
    assert names(ask("pod", "web-1", "web-0")[1]) == ["web-1", "web-0"]
    assert names(ask("pod/web-0", "node/node-2")[1]) == ["web-0", "node-2"]
    assert names(ask("pod/tools/job")[1]) == ["job"]
    assert ask("pod", "nothing", "web-0")[1].missing == ['pods "nothing" not found']


def test_labels_select() -> None:
    one = {"key": "app", "operator": "In", "values": ["web"]}
    assert names(ask("pods", namespace="", labels=(one,))[1]) == ["web-0", "web-1"]


@pytest.mark.parametrize(("words", "namespace", "labels"), [
    (("pod/web-0", "web-1"), "default", ()),
    (("pod/web-0",), "", ()),
    (("pods", "web-0"), "", ()),
    (("pods", "web-0"), "default", ({"key": "a", "operator": "Exists"},)),
])
def test_words_that_exclude_each_other(words: tuple[str, ...], namespace: str, labels: tuple[Body, ...]) -> None:
    with pytest.raises(UsageError):
        read(words, namespace, labels)


def table(capsys: pytest.CaptureFixture[str], *words: str, namespace: str = "default", wide: bool = False) -> str:
    query, answer = ask(*words, namespace=namespace)
    print_tables(answer, query, wide=wide, headings=True)
    return capsys.readouterr().out


def test_several_kinds_are_several_tables_and_names_have_their_kind(capsys: pytest.CaptureFixture[str]) -> None:
    text = table(capsys, "clients,nodes")
    first, second = text.split("\n\n")
    assert first.splitlines()[1].startswith("client/laptop   internet   198.51.100.2   ")
    assert second.splitlines()[2].startswith("node/node-2   Ready    <none>   ")


def test_all_namespaces_show_their_column(capsys: pytest.CaptureFixture[str]) -> None:
    lines = table(capsys, "pods", namespace="", wide=True).splitlines()
    assert lines[0].split() == ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED",
                                "NODE", "READINESS", "GATES"]
    assert lines[3].split()[:2] == ["tools", "job"]


@pytest.mark.parametrize(("words", "namespace", "said"), [
    (("sts",), "empty", "No resources found in empty namespace.\n"),
    (("sts",), "", "No resources found\n"),
])
def test_nothing_is_said_on_stderr(
    words: tuple[str, ...], namespace: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    query, answer = ask(*words, namespace=namespace)
    print_tables(Answer({kind: [] for kind in answer.found}, []), query, wide=False, headings=True)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", said)


def test_one_object_by_name_is_itself_and_many_are_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    query, answer = ask("pod", "web-0")
    print_objects(answer, query, "json")
    assert json.loads(capsys.readouterr().out)["kind"] == "Pod"
    query, answer = ask("pods")
    print_objects(answer, query, "json")
    many = json.loads(capsys.readouterr().out)
    assert (many["apiVersion"], many["kind"], len(many["items"])) == ("v1", "List", 2)
    print_objects(answer, query, "yaml")
    text = capsys.readouterr().out
    assert yaml.safe_load(text) == many
    assert text.startswith("apiVersion: v1\nitems:\n- apiVersion: v1\n")


def test_names_only(capsys: pytest.CaptureFixture[str]) -> None:
    query, answer = ask("pods,nodes", namespace="")
    print_objects(answer, query, "name")
    assert capsys.readouterr().out.split() == ["pod/web-0", "pod/web-1", "pod/job", "node/node-1", "node/node-2"]


def test_namespaces_are_those_of_every_cluster_and_of_the_objects() -> None:
    assert names(ask("namespaces")[1]) == ["default", "kube-node-lease", "kube-public", "kube-system"]


def test_routes_of_both_modes() -> None:
    def routes(mode: str) -> list[tuple[str, str]]:
        lab = LabSpec("shop", ClusterSpec(mode))
        found = bodies(snapshot(lab=lab), resource("routes"))
        return [(body["spec"]["destRange"], body["spec"]["kind"]) for body in found]

    assert routes("VPCNative") == [
        ("10.128.0.0/20", "subnet"), ("10.8.0.0/14", "subnet"), ("10.12.0.0/20", "subnet"),
        ("10.8.0.0/24", "alias range"), ("10.8.1.0/24", "alias range"),
    ]
    assert routes("RoutesBased") == [
        ("10.128.0.0/20", "subnet"), ("10.8.0.0/24", "static"), ("10.8.1.0/24", "static"),
    ]
