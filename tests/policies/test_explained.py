"""What is said about policies: ways and mismatches, matrices, who reaches whom, rules; without packets."""

from __future__ import annotations

import json

from nslab.check.model import BLOCKED, Check
from nslab.check.policies import matrix, matrix_report, why
from nslab.check.policies.matrix_report import Cell
from nslab.check.policies.reach import reach, selecting
from nslab.check.policies.why import Answer, ways
from nslab.check.references import destination, sources
from nslab.cli.options import reference_names
from nslab.cluster.model import Cluster
from nslab.components.policies.explain import explain_policy
from nslab.servers.flows import FlowResult
from tests.policies.world import LAB, Spec, Step, cluster

ONE: Spec = {
    "netpol": "x/one", "podSelector": {"matchLabels": {"pod": "a"}},
    "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80, "endPort": 81}]}],
}
SERVICE = {
    "apiVersion": "v1", "kind": "Service", "metadata": {"name": "two", "namespace": "x"},
    "spec": {"type": "LoadBalancer", "clusterIP": "10.12.0.9", "loadBalancerIP": "203.0.113.9",
             "selector": {"both": "1"}, "ports": [{"port": 80, "nodePort": 30009}]},
}


def lab(*policies: Spec, enforced: bool = True) -> Cluster:
    """x/a, which ONE isolates, and x/b are behind Service x/two."""
    labels = {"x/a": {"pod": "a", "both": "1"}, "x/b": {"pod": "b", "both": "1"}}
    head = LAB % "told" if enforced else (LAB % "told").replace("networkPolicy: true", "networkPolicy: false")
    return cluster(f"{head}{Step('', policies, labels).text}---\n{json.dumps(SERVICE)}\n")


def answer(built: Cluster, source: str, target: str, *, result: FlowResult | None = None) -> Answer:
    origin = sources(built, source)[0]
    to = destination(built, target, origin)
    return Answer(origin.reference, to.label, "tcp", ways(built, origin, to, "tcp"), result)


def found(counts: dict[str, int], responders: dict[str, int] | None = None, detail: str = "") -> FlowResult:
    return FlowResult("", counts, responders or {}, detail=detail)


def test_a_service_has_a_way_for_each_endpoint() -> None:
    built = lab(ONE)
    mixed = answer(built, "pod/y/a", "svc/x/two:80")
    assert [(way.to, way.allowed) for way in mixed.ways] == [("x/a", False), ("x/b", True)]
    assert mixed.predicted == "mixed"
    assert answer(built, "pod/x/c", "svc/x/two:80").predicted == "open"
    assert why.attempts(mixed) == 12


def test_the_ways_of_clients() -> None:
    built = lab(ONE)
    assert answer(built, "client/vm", "svc/x/two:80").predicted == "no endpoint", "a ClusterIP is nothing outside"
    assert answer(built, "client/laptop", "203.0.113.9:80").predicted == "mixed"
    assert answer(built, "client/vm", "node/node-1:30009").predicted == "mixed"
    assert answer(built, "client/vm", "pod/x/a:80").predicted == "blocked"
    assert answer(built, "pod/y/a", "client/vm:80").ways[0].to == built.clients["vm"].ip


def test_packets_that_contradict_the_policies() -> None:
    built = lab(ONE)
    blocked = {"source": "pod/y/a", "target": "pod/x/a:80"}
    for result, told in (
        (found({"timeout": 1}), ""),
        (found({"open": 1}, {"x/a": 1}), "the policies forbid it, and it was let through"),
        (found({"refused": 1}), "the policies forbid it, and it was let through"),
    ):
        assert answer(built, **blocked, result=result).mismatch == told
    allowed = {"source": "pod/x/b", "target": "pod/x/a:80"}
    dropped = found({"timeout": 1}, detail="dropped in netns told.node.node-1")
    assert answer(built, **allowed, result=found({"timeout": 1})).mismatch == "", "something else may be broken"
    assert answer(built, **allowed, result=found({"refused": 1})).mismatch == ""
    assert "allow it, and it was dropped in netns" in answer(built, **allowed, result=dropped).mismatch
    several = answer(built, "pod/y/a", "svc/x/two:80", result=found({"open": 2}, {"x/a": 1, "x/b": 1}))
    assert several.mismatch == "the policies forbid x/a, which answered"
    assert "MISMATCH: the policies forbid x/a" in why.text(several)
    assert "to x/a: DENIED" in why.text(several)
    assert why.to_json(several)["mismatch"]


def test_without_enforcement_nothing_is_forbidden() -> None:
    built = lab(ONE, enforced=False)
    assert answer(built, "pod/y/a", "pod/x/a:80").predicted == "open"
    assert "no policy is enforced at either end" in why.text(answer(built, "pod/y/a", "pod/x/a:80"))
    assert list(matrix.implied(built)) == []
    assert explain_policy(built, "NetworkPolicy x/one") == (
        "# NetworkPolicy x/one is not enforced: spec.cluster.networkPolicy of the Lab is false\n")


def test_the_matrix_that_policies_imply() -> None:
    expectations = {each.name: each for each in matrix.implied(lab(ONE))}
    assert len(expectations) == 9 * 9 * 4
    blocked = {name for name, each in expectations.items() if each.verdicts == BLOCKED}
    assert len(blocked) == 6 * 4 + 2 * 2, "six Pods elsewhere on four ports, two neighbours by UDP"
    assert "pod/x/b -> pod/x/a:80/tcp" in expectations


def test_a_matrix_shows_what_differs() -> None:
    checks = [Check(each, found({"open": 1}), "") for each in matrix.implied(lab(ONE))]
    cells = matrix_report.cells(checks)
    assert matrix_report.summary(cells) == "324 flows, 0 blocked, 28 NOT as predicted"
    text = matrix_report.text(cells)
    row = next(line for line in text.splitlines() if line.startswith("y/b"))
    assert row.split() == ["y/b", "!", *"........"]
    page = matrix_report.html("<lab>", cells)
    assert page.count("class='mismatch'") == 28
    assert "<lab>" not in page
    odd = Cell("a", "b", 80, "TCP", "blocked", "error", "no netns")
    assert (odd.sign, odd.agrees, odd.to_json()["detail"]) == ("!", False, "no netns")


def test_who_reaches_a_pod_and_whom_it_reaches() -> None:
    admin: Spec = {"cnp": "all", "tier": "Admin", "priority": 7, "subject": {"namespaces": {}},
                   "egress": [{"action": "Deny", "to": [{"networks": ["198.51.100.0/24"]}]}]}
    built = lab(ONE, admin)
    pod = built.pods["x/a"]
    assert selecting(built, pod) == [
        ("ClusterNetworkPolicy all", "tier Admin, priority 7: egress"), ("NetworkPolicy x/one", "isolates ingress")]
    rows = {(row.direction, row.peer): row for row in reach(built, pod)}
    assert rows["ingress", "pod/x/b"].open == ("TCP 80", "TCP 81")
    assert rows["ingress", "pod/x/b"].blocked == ("UDP 80", "UDP 81")
    assert rows["egress", "client/laptop"].blocked == ("TCP 80", "UDP 80")
    assert rows["egress", "client/laptop"].policies == ("ClusterNetworkPolicy all",)
    assert rows["egress", "node/node-2"].open == ("ICMP",)
    assert rows["egress", "pod/x/b"].policies == (), "ONE does not speak of egress"


def test_the_rules_of_a_policy() -> None:
    told = explain_policy(lab(ONE), "NetworkPolicy x/one")
    assert "bears on 1 group of Pods" in told
    assert "# node/node-1, ingress of pod/x/a\n# by NetworkPolicy x/one\n" in told
    assert "#   from pod/x/c (10.8.0.3): TCP 80-81\n" in told
    assert "#   from anybody else: nothing\n" in told
    assert "-tcp { 80-81 }" in told
    assert "node-2" not in told
    assert explain_policy(lab(), "NetworkPolicy x/one") == "# NetworkPolicy x/one restricts no Pod\n"


def seen(*observed: tuple[str, str, FlowResult]) -> list[Cell]:
    """The cells of some flows between x/b and x/a (predicted open) or y/b and x/a (predicted blocked)."""
    expectations = {each.name.partition(":")[0]: each for each in matrix.implied(lab(ONE)) if ":80/tcp" in each.name}
    return matrix_report.cells(
        Check(expectations[f"pod/{one} -> pod/{other}"], result, "") for one, other, result in observed)


def test_a_matrix_tells_what_policies_cannot_have_done() -> None:
    """A Pod that is broken on purpose makes no mismatch; a drop that no policy asked for does."""
    cells = seen(
        ("x/b", "x/a", found({"refused": 1})), ("x/c", "x/a", found({"timeout": 1})),
        ("y/b", "x/a", found({"timeout": 1})),
    )
    assert [cell.sign for cell in cells] == ["r", "?", "X"]
    assert matrix_report.summary(cells) == "3 flows, 1 blocked, 1 refused, 1 lost, all as predicted"
    assert "? lost, but not to policies" in matrix_report.text(cells)
    cells = seen(
        ("x/b", "x/a", found({"timeout": 1}, detail="dropped in netns n")), ("y/b", "x/a", found({"refused": 1})))
    assert [cell.sign for cell in cells] == ["!", "!"]
    text = matrix_report.text(cells)
    assert "MISMATCH: x/b -> x/a:80/tcp: predicted open, observed blocked (dropped in netns n)" in text
    assert "MISMATCH: y/b -> x/a:80/tcp: predicted blocked, observed refused" in text
    assert "r refused" not in text


def test_wide_grids_have_numbers_above_their_columns() -> None:
    names = [f"namespace/deployment-{number}-with-a-long-name" for number in range(11)]
    cells = [Cell(one, other, 80, "TCP", "open", "open") for one in names for other in names]
    head, first, *_, last = matrix_report.text(cells).splitlines()[:12]
    assert head.split() == ["TCP", "80", *map(str, range(1, 12))]
    assert first.split() == ["1", names[0], *"..........."]
    assert last.split()[:2] == ["11", names[10]]
    assert max(map(len, matrix_report.text(cells).splitlines())) <= matrix_report.WIDTH


def test_one_port_of_two_protocols_has_two_grids() -> None:
    cells = [Cell("a", "b", 53, protocol, "open", "open") for protocol in ("UDP", "TCP")]
    assert [line for line in matrix_report.text(cells).splitlines() if " 53" in line] == ["UDP 53  b", "TCP 53  b"]


def test_policies_complete_by_name() -> None:
    assert reference_names(lab(ONE), "netpol", "cnp") == ["netpol/x/one"]
