"""Every kind of derived check passes on a right network and fails on the wrong one that it is there to find."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nslab.api.objects import LabSpec, Object
from nslab.check.expectations import expectations
from nslab.check.model import Check, Expectation, Report
from nslab.check.pods import covering_pairs
from nslab.check.run import run
from nslab.cluster.model import ADDON, Cluster, Endpoint, Pod
from nslab.servers.flows import Flow
from tests.check.network import Attempt, Fault, Network
from tests.check.shop import NODES, PODS, SHOP, TWO, WEB, changed, lab, pod


def check(cluster: Cluster, fault: Fault | None = None) -> Report:
    return run(cluster, expectations(cluster), Network(cluster, fault))


def failed_subjects(report: Report) -> set[str]:
    return {each.expectation.group for each in report.failed}


def from_nodes(cluster: Cluster) -> list[Expectation]:
    return [each for each in expectations(cluster) if each.group == "Service ports from nodes"]


def of(report: Report, subject: str) -> list[Check]:
    return [each for each in report.checks if each.expectation.group.startswith(subject)]


def test_right_network_passes() -> None:
    report = check(SHOP)
    assert [(each.expectation.name, each.why) for each in report.failed] == []
    assert not report.skipped
    assert {each.expectation.group for each in report.checks} == {
        "Pods to their gateway", "Pods to their node", "Nodes to their Pods", "Pods within a node",
        "Pods across nodes", "Service ports from nodes", "Service ports from Pods",
        "Hairpin: a Pod to itself through its Service",
        "Headless Services", "NodePorts from the VPC", "NodePorts from Pods", "VIPs from the internet",
        "Internal VIPs from the VPC", "Internal VIPs not from the internet", "VIPs from Pods", "External IPs",
        "Load balancer source ranges", "Session affinity", "Services without endpoints",
        "Local policies without a local endpoint", "Egress to the internet", "Egress to the VPC",
    }


def dead(flow: Flow, _: Attempt) -> Attempt:
    return Attempt("timeout")


def refused(flow: Flow, _: Attempt) -> Attempt:
    return Attempt("refused")


def test_dead_network_fails_all_but_what_must_be_blocked() -> None:
    passed = {each.expectation.group for each in check(SHOP, dead).checks if each.outcome == "passed"}
    assert passed == {"Internal VIPs not from the internet", "Local policies without a local endpoint",
                      "Load balancer source ranges"}


def test_refusing_network_passes_only_what_must_be_refused() -> None:
    passed = {each.expectation.group for each in check(SHOP, refused).checks if each.outcome == "passed"}
    assert passed == {"Services without endpoints"}


def test_network_that_answers_everything_fails_what_must_not_answer() -> None:
    report = check(SHOP, lambda flow, attempt: attempt._replace(verdict="open"))
    subjects = failed_subjects(report)
    assert subjects >= {"Services without endpoints", "Local policies without a local endpoint",
                        "Internal VIPs not from the internet", "Load balancer source ranges"}


@pytest.mark.parametrize("subject", [
    "Pods across nodes", "Service ports from nodes", "Service ports from Pods", "NodePorts from the VPC",
    "NodePorts from Pods", "VIPs from the internet", "VIPs from Pods", "Internal VIPs from the VPC", "External IPs",
    "Headless Services", "Hairpin", "Session affinity", "Egress to the internet", "Egress to the VPC",
    "Nodes to their Pods",
])
def test_wrong_source_address_fails(subject: str) -> None:
    report = check(SHOP, lambda flow, attempt: attempt._replace(client="192.0.2.1") if attempt.client else None)
    assert all("seen as coming from 192.0.2.1" in each.why for each in of(report, subject) if each.result
               and each.result.client_ips)
    assert subject in {group.partition(":")[0] for group in failed_subjects(report)}


def test_one_endpoint_never_chosen_fails() -> None:
    report = check(SHOP, lambda flow, attempt: (
        attempt._replace(responder="shop/web-1") if attempt.responder == "shop/web-2" else None))
    assert failed_subjects(report) >= {
        "Service ports from nodes", "Service ports from Pods", "NodePorts from the VPC", "NodePorts from Pods",
        "VIPs from the internet", "VIPs from Pods", "External IPs", "Internal VIPs from the VPC", "Headless Services",
        "Pods across nodes",
    }
    spread = of(report, "VIPs from the internet")[0]
    assert spread.why == "never answered by shop/web-2 in 31 attempts"


def test_not_ready_endpoint_must_not_answer() -> None:
    report = check(SHOP, lambda flow, attempt: (
        attempt._replace(responder="shop/web-3") if flow.ip == "10.12.0.20" else None))
    whys = [each.why for each in report.failed if "10.12.0.20" in each.expectation.name]
    assert len(whys) == 3
    assert all("answered by shop/web-3 (" in why and "expected shop/web-1, shop/web-2" in why for why in whys)


def test_answer_without_a_name_fails() -> None:
    report = check(SHOP, lambda flow, attempt: Attempt("open") if attempt.responder else None)
    assert "did not say which Pod gave them" in of(report, "Service ports from nodes")[0].why
    silent = check(SHOP, lambda flow, attempt: attempt._replace(client=""))
    assert "did not say which source address" in of(silent, "Egress to the VPC")[0].why


def test_affinity_that_forgets_fails() -> None:
    turns = iter(range(10000))
    report = check(SHOP, lambda flow, attempt: (
        attempt._replace(responder=f"shop/web-{1 + next(turns) % 2}") if flow.ip == "10.12.0.24" else None))
    assert failed_subjects(report) == {"Session affinity"}
    assert "session affinity asks for one endpoint" in report.failed[0].why


def test_hairpin_that_shows_the_pod_itself_fails() -> None:
    report = check(SHOP, lambda flow, attempt: (
        attempt._replace(client="10.8.0.3") if flow.netns == "shop.pod.shop.cart" and attempt.client == "10.8.0.1"
        else None))
    assert "Hairpin: a Pod to itself through its Service" in failed_subjects(report)


def test_local_policy_answered_from_another_node_fails() -> None:
    def everywhere(flow: Flow, attempt: Attempt) -> Attempt | None:
        return Attempt("open", "shop/cart", "10.128.0.9") if flow.port == 30070 else None

    report = check(SHOP, everywhere)
    assert "Local policies without a local endpoint" in failed_subjects(report)


def test_source_range_ignored_fails() -> None:
    outside = changed("cart", source_ranges=("192.0.2.0/24",))
    blocked = of(check(outside), "Load balancer source ranges")
    assert [each.expectation.verdicts for each in blocked] == [{"timeout"}, {"timeout"}]
    assert all(each.outcome == "passed" for each in blocked)
    report = check(outside, lambda flow, attempt: (
        Attempt("open", "shop/cart", "198.51.100.2") if flow.ip == "203.0.113.11" else None))
    assert failed_subjects(report) == {"Load balancer source ranges"}


def test_lost_attempt_fails() -> None:
    turns = iter(range(100000))
    report = check(SHOP, lambda flow, attempt: Attempt("timeout") if next(turns) % 3 == 0 else None)
    assert any(each.why == "expected open, but nothing came back in 2 of 4 attempts" for each in report.failed)


def test_terminating_endpoints_serve_when_none_is_ready() -> None:
    ending = replace(TWO[0], ready=False, terminating=True)
    cluster = changed("web", endpoints=(ending, TWO[2]))
    wanted = from_nodes(cluster)
    assert [each.responders for each in wanted] == [{"shop/web-1"}] * 2


def test_not_ready_published() -> None:
    assert from_nodes(changed("web", publish_not_ready=True))[0].spread == {"shop/web-1", "shop/web-2", "shop/web-3"}


def test_zone_hints_keep_flows_in_the_zone() -> None:
    hinted = (replace(TWO[0], zone_hints=("a",)), replace(TWO[1], zone_hints=("b",)))
    wanted = from_nodes(changed("web", endpoints=hinted))
    assert [each.responders for each in wanted] == [{"shop/web-1"}, {"shop/web-2"}]
    wanted = from_nodes(changed("web", endpoints=(hinted[0], TWO[1])))
    assert [each.responders for each in wanted] == [{"shop/web-1", "shop/web-2"}] * 2


def test_local_policy_with_endpoints_on_some_nodes_counts_lost_flows() -> None:
    vip = next(each for each in expectations(SHOP) if "VIP" in each.name and each.source == "client/laptop"
               and "shop/cart" in each.name)
    assert vip.verdicts == {"open", "timeout"}
    assert vip.spread == {"shop/cart"}
    assert vip.share == 0.5
    assert vip.attempts == 30
    assert vip.clients == {"198.51.100.2"}


@pytest.mark.parametrize(("cluster", "reason"), [
    (changed("web", protocol="SCTP"), "SCTP is not probed"),
    (changed("web", endpoints=(Endpoint("192.0.2.9", 80),)), "the endpoint 192.0.2.9 is no Pod of the lab"),
])
def test_what_no_packet_can_tell_is_skipped(cluster: Cluster, reason: str) -> None:
    report = check(cluster)
    assert report.ok
    assert {each.why for each in report.skipped} == {next(each.why for each in report.skipped)}
    assert reason in report.skipped[0].why


def test_endpoint_that_is_a_client_answers_by_its_name() -> None:
    outside = changed("web", endpoints=(Endpoint("10.128.0.9", 80),))
    assert from_nodes(outside)[0].spread == {"client/vm"}
    assert not from_nodes(outside)[0].anonymous
    assert not check(outside).skipped


def test_command_of_the_host_may_answer_without_a_name() -> None:
    pods = {**PODS, "shop/web-1": replace(pod("web-1", "10.8.0.2", "node-1", *WEB, image="host"))}
    cluster = lab(pods=pods)
    by_name = {each.name: each for each in expectations(cluster)}
    tcp = next(each for name, each in by_name.items() if "svc/shop/web:80" in name)
    udp = next(each for name, each in by_name.items() if "svc/shop/dns:53" in name)
    assert tcp.anonymous
    assert not tcp.skipped
    assert "need not answer a datagram" in udp.skipped
    ping = next(each for name, each in by_name.items() if "pod/shop/web-1 (ping)" in name)
    assert ping.flow.protocol == "icmp"


def test_services_of_another_proxy_and_external_names_are_left_alone() -> None:
    labels = {"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": "mine"}}}
    assert not [each for each in expectations(changed("web", body=labels)) if "svc/" in each.name]
    name = changed("headless", external_name="example.com", endpoints=())
    assert not [each for each in expectations(name) if "svc/" in each.name]


def agent_config(text: str) -> Object:
    body = {"data": {"config": text}}
    return Object("v1", "ConfigMap", "kube-system", "ip-masq-agent", body)


def test_masquerade_follows_the_agents_config() -> None:
    kept = lab(objects=(agent_config("nonMasqueradeCIDRs: [198.51.100.0/24]"),))
    groups = {each.group: each for each in expectations(kept)}
    assert "Egress to the internet" not in groups
    assert groups["Egress to the VPC"].clients == {"10.128.0.3"}
    assert groups["Pods across nodes"].clients is not None
    assert "10.128.0.3" in groups["Pods across nodes"].clients
    assert {"Egress to the internet"} <= {each.group for each in expectations(lab(objects=(agent_config(""),)))}


def large(*sizes: int) -> Cluster:
    nodes = {f"node-{n}": replace(NODES["node-1"], name=f"node-{n}", ip=f"10.128.0.{n + 2}",
                                  pod_range=f"10.8.{n}.0/24") for n in range(len(sizes))}
    pods: dict[str, Pod] = {}
    for number, size in enumerate(sizes):
        for index in range(size):
            each = pod(f"p{number}-{index}", f"10.8.{number}.{index + 2}", f"node-{number}", *WEB)
            pods[each.key] = each
    return Cluster(LabSpec("shop"), (), nodes, pods, {}, {}, SHOP.leases)


@pytest.mark.parametrize("sizes", [(40, 40), (70, 3), (1, 80), (30, 30, 5), (90,), (0, 70), (25, 25, 25, 25)])
def test_covering_pairs_have_each_pod_on_either_end(sizes: tuple[int, ...]) -> None:
    cluster = large(*sizes)
    node_of = {key: each.node for key, each in cluster.pods.items()}
    pairs = covering_pairs(cluster)
    assert len(pairs) <= 3 * len(cluster.pods)
    for key, node in node_of.items():
        mates = [other for other in node_of if node_of[other] == node and other != key]
        if mates:
            assert any(one == key and node_of[other] == node for one, other in pairs)
            assert any(other == key and node_of[one] == node for one, other in pairs)
        if len(mates) + 1 < len(node_of):
            assert any(one == key and node_of[other] != node for one, other in pairs)
            assert any(other == key and node_of[one] != node for one, other in pairs)


def test_a_large_lab_pairs_no_pods_that_come_with_it() -> None:
    cluster = large(50, 50)
    beside = replace(pod("dns", "10.8.0.99", "node-0"), labels=ADDON), pod("proxy", "", "node-0", owner=("Node", ""))
    pairs = covering_pairs(replace(cluster, pods=cluster.pods | {each.key: each for each in beside}))
    assert pairs == covering_pairs(cluster)


def test_large_lab_says_that_it_tries_a_subset() -> None:
    report = check(large(50, 50))
    assert report.ok
    suffix = "(each at either end, not all pairs)"
    assert {f"Pods within a node {suffix}", f"Pods across nodes {suffix}"} <= {
        each.expectation.group for each in report.checks
    }


def test_lab_without_pods_or_clients() -> None:
    empty = lab(pods={}, clients={})
    assert {each.group for each in expectations(replace(empty, services={}))} == set()
    assert all(each.source.startswith("node/") for each in expectations(empty))
