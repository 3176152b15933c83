"""Policies in a running lab, by the commands that a user types."""

from __future__ import annotations

import json

import pytest

from tests.lab.conftest import LabFactory
from tests.lab.running import RunningLab
from tests.policies.world import LAB, Spec, Step

DENY: Spec = {"netpol": "x/deny", "podSelector": {}}
FROM_Y: Spec = {
    "netpol": "x/from-y", "podSelector": {"matchLabels": {"pod": "a"}},
    "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}], "ports": [{"port": "serve-80-tcp"}]}],
}


def topology(name: str, *policies: Spec, enforced: bool = True) -> str:
    head = LAB % name
    if not enforced:
        head = head.replace("networkPolicy: true", "networkPolicy: false")
    return head + Step("", policies).text


@pytest.fixture
def policed(lab: LabFactory) -> RunningLab:
    return lab("policed", topology("policed", DENY, FROM_Y))


def test_policies_follow_objects_and_every_check_holds(policed: RunningLab) -> None:
    verdict = policed.probe("pod/y/a", "pod/x/a:80", timeout=3)["verdict"]
    assert verdict == "open"
    assert policed.probe("pod/z/a", "pod/x/a:80", timeout=0.5)["verdict"] == "timeout"
    report = policed.json("check")
    assert report["failed"] == 0, report
    policed.nslab("label", "ns", "z", "ns=y", "--overwrite")
    assert policed.probe("pod/z/a", "pod/x/a:80", timeout=3)["verdict"] == "open"
    policed.nslab("delete", "netpol", "deny", "-n", "x")
    assert policed.probe("pod/z/a", "pod/x/b:80", timeout=3)["verdict"] == "open"
    policed.nslab("apply", "-f", "-", stdin=Step("", (DENY,)).policies_text)
    assert policed.probe("pod/z/a", "pod/x/b:80", timeout=0.5)["verdict"] == "timeout"
    assert policed.json("check")["failed"] == 0


def test_up_twice_changes_nothing(policed: RunningLab) -> None:
    assert "nothing to change" in policed.up(topology("policed", DENY, FROM_Y)).stdout


def test_without_enforcement_policies_are_accepted_and_up_says_so(lab: LabFactory) -> None:
    running = lab("unpoliced", topology("unpoliced", enforced=False))
    told = running.up(topology("unpoliced", DENY, FROM_Y, enforced=False))
    assert "NetworkPolicy x/deny: is accepted and not enforced (nor are 1 others)" in told.stderr
    assert running.probe("pod/z/a", "pod/x/a:80", timeout=3)["verdict"] == "open"


def test_why_explains_a_decision_and_a_packet_agrees(policed: RunningLab) -> None:
    told = policed.nslab("policy", "why", "--from", "pod/y/a", "--to", "pod/x/a:serve-80-tcp").stdout
    assert "ingress of x/a: allowed" in told
    assert "    * NetworkPolicy x/from-y spec.ingress[0]: allows it" in told
    assert "predicted: open\nobserved:  open x1 by x/a" in told
    told = policed.nslab("policy", "why", "--from", "pod/z/a", "--to", "pod/x/a:80").stdout
    assert "ingress of x/a: DENIED" in told
    assert "NetworkPolicy x/from-y spec.ingress[0]: no peer of it is pod/z/a" in told
    assert "NetworkPolicy x/deny: isolates ingress of x/a, and no rule allows it" in told
    assert "observed:  blocked x1 (dropped in netns policed.node.node-1)" in told
    answer = policed.json("policy", "why", "--from", "client/vm", "--to", "pod/x/b:81", "--proto", "udp")
    assert (answer["predicted"], answer["mismatch"]) == ("blocked", "")
    assert answer["ways"][0]["verdicts"][0]["direction"] == "ingress"
    assert policed.nslab("policy", "why", "--from", "pod/y/a", "--to", "pod/x/b").stdout.count("ICMP") == 0


def test_what_a_pod_may_reach(policed: RunningLab) -> None:
    found = policed.json("policy", "pod/x/a")
    assert found["policies"] == [
        {"policy": "NetworkPolicy x/deny", "does": "isolates ingress"},
        {"policy": "NetworkPolicy x/from-y", "does": "isolates ingress"},
    ]
    rows = {(row["direction"], row["peer"]): row for row in found["reach"]}
    assert rows["ingress", "pod/y/b"]["open"] == ["TCP 80"]
    assert rows["ingress", "pod/z/b"]["open"] == []
    assert rows["ingress", "node/node-1"]["blocked"] == []
    assert rows["egress", "pod/x/b"]["open"] == ["TCP 80", "UDP 80", "TCP 81", "UDP 81"]
    assert "pod/y/b" in policed.nslab("policy", "pod/x/a").stdout
    assert policed.nslab("policy", "pod/x/a").stdout.startswith("pod/x/a\nNetworkPolicy x/deny isolates ingress\n")
    policed.nslab("policy", "svc/x/a", code=2)
    policed.nslab("policy", "node/node-1", code=2)


def test_the_matrix(policed: RunningLab) -> None:
    cells = policed.json("policy", "matrix")
    theirs = [cell for cell in cells if "kube-system/" not in cell["from"] + cell["to"]]
    assert len(theirs) == 9 * 9 * 4
    assert all(cell["agrees"] for cell in cells)
    blocked = {(cell["from"], cell["to"]) for cell in cells if cell["observed"] == "blocked"}
    assert ("z/a", "x/b") in blocked
    assert ("x/b", "x/b") not in blocked
    table = policed.nslab("policy", "matrix", "-n", "x").stdout
    assert table.splitlines()[0].split() == ["TCP", "80", "x/a", "x/b", "x/c"]
    assert "36 flows, 24 blocked, all as predicted" in table
    page = policed.nslab("policy", "matrix", "-o", "html").stdout
    assert page.count("class='blocked'") == len([cell for cell in cells if cell["observed"] == "blocked"])


def test_rules_of_a_policy(policed: RunningLab) -> None:
    told = policed.nslab("rules", "netpol/x/from-y").stdout
    assert "# node/node-1, ingress of pod/x/a" in told
    assert "# by NetworkPolicy x/deny, NetworkPolicy x/from-y" in told
    assert "add element ip network-policy ports-" in told
    assert "restricts no Pod" not in told
    policed.nslab("apply", "-f", "-", stdin=Step("", ({
        "cnp": "none", "tier": "Admin", "priority": 1, "subject": {"namespaces": {"matchLabels": {"ns": "none"}}},
        "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]},)).policies_text)
    assert policed.nslab("rules", "cnp/none").stdout == "# ClusterNetworkPolicy none restricts no Pod\n"
    assert "none" in policed.nslab("get", "cnp").stdout
    assert "from-y" in policed.nslab("get", "netpol", "-n", "x").stdout


def test_the_time_until_a_change_is_in_force_is_told(policed: RunningLab) -> None:
    policed.nslab("label", "pod", "b", "-n", "y", "pod=a", "--overwrite")
    policed.nslab("delete", "netpol", "deny", "-n", "x")
    lines = [json.loads(line) for line in policed.nslab("events", "-o", "json").stdout.splitlines()]
    told = {(line["object"], line["change"]): line for line in lines if line["reason"] == "Programmed"}
    gone = told["networkpolicy/x/deny", "DELETED"]
    assert gone["operations"] >= 2
    assert 0 < gone["in_force_ms"] < 60_000
    assert ("pod/y/b", "MODIFIED") in told
