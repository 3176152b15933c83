"""Ends that are no Pods, a Pod that meets itself, and the reasons that a decision gives."""

from __future__ import annotations

import json

import pytest

from nslab.check.policies.decision import Evaluator, decide
from nslab.check.policies.matching import in_network
from nslab.cluster.model import Cluster
from tests.policies.world import LAB, Spec, Step, cluster

DENY: Spec = {"netpol": "x/deny", "podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
HOST = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "host", "namespace": "x", "labels": {"pod": "host"}},
    "spec": {"nodeName": "node-1", "hostNetwork": True, "containers": [
        {"name": "c", "image": "i", "ports": [{"containerPort": 9100, "name": "metrics"}]}]},
}
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-2", "labels": {"pool": "blue"}}}


def lab(*policies: Spec) -> Cluster:
    """The nine Pods, one of hostNetwork on node-1 (where x/a is, and x/b is not), and labels of node-2."""
    text = LAB % "ends" + Step("", policies).text
    return cluster("---\n".join([text, json.dumps(HOST) + "\n", json.dumps(NODE) + "\n"]))


def allowed(built: Cluster, source: str, destination: str, port: int = 80, *, translated: bool = False) -> bool:
    """Between a Pod, `node-1`, `client` or an address."""
    names = {key: pod.ip for key, pod in built.pods.items()} | {name: node.ip for name, node in built.nodes.items()}
    ends = names.get(source, source), names.get(destination, destination)
    return decide(built, *ends, port, translated=translated).allowed


def test_a_node_always_reaches_its_own_pods_and_they_reach_it() -> None:
    built = lab(DENY)
    assert allowed(built, "node-1", "x/a")
    assert allowed(built, "10.8.0.1", "x/a"), "the node by its gateway address"
    assert allowed(built, "x/a", "node-1")
    assert allowed(built, "x/host", "x/a"), "a hostNetwork Pod is its node"
    assert not allowed(built, "node-2", "x/a")
    assert not allowed(built, "x/a", "node-2")
    assert not allowed(built, "x/host", "x/b")


def test_selectors_never_mean_nodes_nor_host_network_pods() -> None:
    everybody: Spec = {
        "netpol": "x/p", "podSelector": {}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"namespaceSelector": {}}]}], "egress": [{"to": [{"namespaceSelector": {}}]}],
    }
    built = lab(everybody)
    assert allowed(built, "y/a", "x/b")
    assert not allowed(built, "node-1", "x/b")
    assert not allowed(built, "x/host", "x/b")
    assert not allowed(built, "198.51.100.7", "x/b")
    assert not allowed(built, "x/b", "node-1", 9100)


def test_a_host_network_pod_is_nobodys_subject() -> None:
    built = lab(DENY)
    assert Evaluator(built).of_pod(built.pods["x/host"]) == {"Admin": [], "NetworkPolicy": [], "Baseline": []}
    assert allowed(built, "y/a", "x/host", 9100)


def test_hosts_outside_are_known_by_their_addresses() -> None:
    block = {"ipBlock": {"cidr": "198.51.100.0/25"}}
    built = lab({"netpol": "x/p", "podSelector": {}, "ingress": [{"from": [block]}]})
    assert allowed(built, "198.51.100.7", "x/b")
    assert not allowed(built, "198.51.100.200", "x/b")


def test_a_rule_without_peers_allows_hosts_outside() -> None:
    built = lab({"netpol": "x/p", "podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]})
    assert allowed(built, "198.51.100.7", "x/b")
    assert not allowed(built, "198.51.100.7", "x/b", 81)


def test_nodes_as_peers_of_a_cluster_wide_policy() -> None:
    blue: Spec = {
        "cnp": "p", "tier": "Admin", "priority": 1, "subject": {"namespaces": {"matchLabels": {"ns": "x"}}},
        "egress": [{"action": "Deny", "to": [{"nodes": {"matchLabels": {"pool": "blue"}}}]}],
    }
    built = lab(blue)
    assert not allowed(built, "x/a", "node-2")
    assert allowed(built, "y/a", "node-2")
    assert allowed(built, "x/b", "node-1")


def test_a_pod_cannot_be_kept_from_itself_by_network_policies() -> None:
    built = lab(DENY)
    assert allowed(built, "x/a", "x/a")
    assert allowed(built, "x/a", "x/a", translated=True)


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_cluster_wide_policy_keeps_a_pod_from_itself_through_a_service_only(direction: str) -> None:
    peers = "from" if direction == "ingress" else "to"
    rule = {"action": "Deny", peers: [{"namespaces": {"matchLabels": {"ns": "x"}}}],
            "protocols": [{"tcp": {"destinationPort": {"number": 80}}}]}
    policy: Spec = {"cnp": "p", "tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, direction: [rule]}
    built = lab(policy, DENY)
    assert allowed(built, "x/a", "x/a")
    assert not allowed(built, "x/a", "x/a", translated=True)
    assert allowed(built, "x/a", "x/a", 81, translated=True)


def test_other_protocols_match_rules_without_ports_only() -> None:
    built = lab(
        {"netpol": "x/p", "podSelector": {"matchLabels": {"pod": "a"}}, "ingress": [{}]},
        {"netpol": "x/q", "podSelector": {"matchLabels": {"pod": "b"}}, "ingress": [{"ports": [{"port": 80}]}]},
    )
    ips = {key: pod.ip for key, pod in built.pods.items()}
    assert decide(built, ips["y/a"], ips["x/a"], 0, "icmp").allowed
    assert not decide(built, ips["y/a"], ips["x/b"], 0, "icmp").allowed


def test_of_equal_priorities_the_first_name_applies() -> None:
    one: Spec = {"cnp": "one", "tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
                 "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]}
    two: Spec = {**one, "cnp": "two", "ingress": [{"action": "Accept", "from": [{"namespaces": {}}]}]}
    assert not allowed(lab(two, one), "x/a", "y/a")


def test_the_reasons_of_a_permission() -> None:
    built = lab({"netpol": "x/p", "podSelector": {}, "ingress": [
        {"from": [{"podSelector": {}}]}, {"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]}]})
    decision = decide(built, built.pods["y/a"].ip, built.pods["x/a"].ip, 80)
    egress, ingress = decision.verdicts
    assert (egress.direction, egress.subject, egress.because) == (
        "egress", "y/a", "no policy decides about egress of y/a")
    assert ingress.because == "NetworkPolicy x/p spec.ingress[1] allows it"
    assert [(step.rule, step.says, step.decides) for step in ingress.steps] == [
        ("spec.ingress[0]", "no peer of it is pod/y/a", False), ("spec.ingress[1]", "allows it", True)]
    assert decision.policies == ("NetworkPolicy x/p",)


def test_the_reasons_of_a_denial() -> None:
    built = lab(
        {"netpol": "x/p", "podSelector": {}, "ingress": [{"ports": [{"port": 81}]}]},
        {"cnp": "admin", "tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
         "ingress": [{"name": "ours", "action": "Pass", "from": [{"namespaces": {}}]}]},
    )
    decision = decide(built, built.pods["y/a"].ip, built.pods["x/a"].ip, 80)
    assert not decision.allowed
    assert decision.because == "NetworkPolicy x/p isolates ingress of x/a, and no rule allows it"
    assert [(step.tier, step.rule, step.says) for step in decision.verdicts[1].steps] == [
        ("Admin", 'spec.ingress[0] "ours"', "matches: Pass"),
        ("NetworkPolicy", "spec.ingress[0]", "not TCP 80"),
        ("NetworkPolicy", "", "isolates ingress of x/a, and no rule allows it"),
    ]
    assert decision.verdicts[1].to_json()["steps"][0]["policy"] == "ClusterNetworkPolicy admin"


def test_nobody_decides_between_hosts() -> None:
    decision = decide(lab(DENY), "198.51.100.7", "10.128.0.2", 80)
    assert decision.allowed
    assert decision.because == "no end is a Pod with an address of its own"


def test_host_bits_of_a_block_are_cleared() -> None:
    """Servers older than Kubernetes 1.36 took such blocks in."""
    assert in_network("10.9.1.2", "10.8.3.4/14")
    assert not in_network("10.12.0.1", "10.8.3.4/14")
    assert not in_network("10.9.1.2", "2001:db8::/32")
