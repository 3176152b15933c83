"""What a kube-proxy answers, word by word; its metrics are read by Prometheus's own client."""

from __future__ import annotations

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nslab.servers.kube_proxy_server import HEALTH_PORT, HEALTH_TIMEOUT, METRICS_PORT, KubeProxy, Served
from nslab.servers.prometheus import Family, Histogram, Sample, text

START = 1_700_000_000.5
SERVED = Served({"process_start_time_seconds": START}, {"git_version": 'a "b"\\'}, {"internal": 1, "external": 0})


def ask(
    proxy: KubeProxy, path: str, now: float, port: int = HEALTH_PORT, method: str = "GET"
) -> tuple[int, dict[str, str], str]:
    """Status, header fields and body."""
    head, _, body = proxy.answer(port, method, path, now, SERVED).decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    if method != "HEAD":
        assert int(fields["Content-Length"]) == len(body)
    return int(first.split()[1]), fields, body


def metrics(proxy: KubeProxy, now: float = START) -> dict[str, float]:
    """The samples by name and labels, as "NAME{KEY=VALUE}"."""
    body = ask(proxy, "/metrics", now, METRICS_PORT)[2]
    return {
        f"{sample.name}{{{','.join(f'{key}={value}' for key, value in sample.labels.items())}}}": sample.value
        for family in text_string_to_metric_families(body) for sample in family.samples
    }


def test_a_healthy_one_says_when_it_was_asked() -> None:
    status, fields, body = ask(KubeProxy(START), "/healthz", START + 12.25)
    assert status == 200
    assert body == (
        '{"lastUpdated": "2023-11-14 22:13:32.75 +0000 UTC m=+12.250000000",'
        '"currentTime": "2023-11-14 22:13:32.75 +0000 UTC m=+12.250000000", "nodeEligible": true}'
    )
    assert fields["Content-Type"] == "application/json"
    assert fields["X-Content-Type-Options"] == "nosniff"
    assert fields["Date"] == "Tue, 14 Nov 2023 22:13:32 GMT"
    assert "nodeEligible" not in ask(KubeProxy(START), "/livez", START + 1)[2]


def test_rules_that_are_late_make_it_ill_until_they_are_there() -> None:
    proxy = KubeProxy(START)
    proxy.measure(START + 1, 0.5, (), full=True)
    proxy.queue("Service", "a/b", START + 2)
    proxy.queue("Service", "a/c", START + 50)  # the oldest counts
    assert ask(proxy, "/healthz", START + 2 + HEALTH_TIMEOUT - 0.1)[0] == 200
    for path in ("/healthz", "/livez"):
        status, _, body = ask(proxy, path, START + 2 + HEALTH_TIMEOUT)
        assert (status, json.loads(body)["lastUpdated"]) == (503, "2023-11-14 22:13:21.5 +0000 UTC m=+1.000000000")
    proxy.synced(START + 70)
    assert ask(proxy, "/healthz", START + 200)[0] == 200
    assert metrics(proxy)["kubeproxy_proxy_healthz_total{code=503}"] == 1


def test_one_that_never_synced_has_gos_zero_time() -> None:
    proxy = KubeProxy(START)
    proxy.queue("EndpointSlice", "a/b", START)
    assert json.loads(ask(proxy, "/livez", START + 61)[2])["lastUpdated"] == "0001-01-01 00:00:00 +0000 UTC"


def test_a_node_that_is_about_to_go_gets_no_new_connections_but_is_not_restarted() -> None:
    proxy = KubeProxy(START, eligible=False)
    status, _, body = ask(proxy, "/healthz", START)
    assert (status, json.loads(body)["nodeEligible"]) == (503, False)
    assert ask(proxy, "/livez", START)[0] == 200


@pytest.mark.parametrize(("port", "path", "status", "body"), [
    (METRICS_PORT, "/healthz", 200, "ok"), (METRICS_PORT, "/proxyMode", 200, "nftables"),
    (METRICS_PORT, "/livez", 404, "404 page not found\n"), (HEALTH_PORT, "/metrics", 404, "404 page not found\n"),
    (HEALTH_PORT, "/", 404, "404 page not found\n"),
])  # fmt: skip
def test_the_other_paths(port: int, path: str, status: int, body: str) -> None:
    found = ask(KubeProxy(START), f"{path}?verbose=1", START, port)
    assert (found[0], found[1]["Content-Type"], found[2]) == (status, "text/plain; charset=utf-8", body)


def test_head_has_no_body() -> None:
    _, fields, body = ask(KubeProxy(START), "/proxyMode", START, METRICS_PORT, "HEAD")
    assert (fields["Content-Length"], body) == ("8", "")


def test_metrics_tell_what_was_queued_and_what_it_took() -> None:
    proxy = KubeProxy(START)
    family = "{ip_family=IPv4}"
    fresh = metrics(proxy)
    assert f"kubeproxy_sync_proxy_rules_last_timestamp_seconds{family}" not in fresh
    assert "kubeproxy_proxy_livez_total{code=200}" not in fresh
    proxy.queue("Service", "a/b", START + 1)
    proxy.queue("EndpointSlice", "a/b", START + 2)
    proxy.queue("EndpointSlice", "a/b", START + 3)
    queued = metrics(proxy)
    assert queued["kubeproxy_sync_proxy_rules_service_changes_pending{}"] == 1
    assert queued["kubeproxy_sync_proxy_rules_endpoint_changes_pending{}"] == 1
    assert queued["kubeproxy_sync_proxy_rules_endpoint_changes_total{}"] == 2
    assert queued[f"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{family}"] == START + 3
    proxy.measure(START + 4, 0.003, [0.1, 2.5], full=True)
    proxy.measure(START + 5, 0.001, (), full=False)
    done = metrics(proxy)
    assert done["kubeproxy_sync_proxy_rules_endpoint_changes_pending{}"] == 0
    assert done["kubeproxy_sync_proxy_rules_endpoint_changes_total{}"] == 2
    assert done[f"kubeproxy_sync_proxy_rules_last_timestamp_seconds{family}"] == START + 5
    assert done[f"kubeproxy_sync_proxy_rules_duration_seconds_sum{family}"] == pytest.approx(0.004)
    assert done["kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=IPv4,le=0.001}"] == 1
    assert done["kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=IPv4,le=0.004}"] == 2
    assert done[f"kubeproxy_sync_full_proxy_rules_duration_seconds_count{family}"] == 1
    assert done[f"kubeproxy_sync_partial_proxy_rules_duration_seconds_count{family}"] == 1
    assert done["kubeproxy_network_programming_duration_seconds_bucket{ip_family=IPv4,le=0.25}"] == 1
    assert done[f"kubeproxy_network_programming_duration_seconds_count{family}"] == 2
    assert done["kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=IPv4,traffic_policy=internal}"] == 1
    assert done['kubernetes_build_info{git_version=a "b"\\}'] == 1
    assert done["process_start_time_seconds{}"] == START


def test_a_histogram_counts_up_to_its_bounds() -> None:
    histogram = Histogram((0.5, 1.0))
    for value in (0.5, 0.75, 3.0):
        histogram.observe(value)
    family = Family("x", "histogram", "Xs.", histogram.samples({}))
    assert text([family, Family("none", "counter", "Nothing.", [])]).decode() == (
        '# HELP x Xs.\n# TYPE x histogram\nx_bucket{le="0.5"} 1\nx_bucket{le="1"} 2\nx_bucket{le="+Inf"} 3\n'
        "x_sum 4.25\nx_count 3\n"
    )


def test_labels_are_escaped() -> None:
    family = Family("x", "gauge", "Xs.", [Sample(0.1, {"b": 'q"', "a": "line\nend\\"})])
    assert text([family]).decode().splitlines()[-1] == 'x{a="line\\nend\\\\",b="q\\""} 0.1'
