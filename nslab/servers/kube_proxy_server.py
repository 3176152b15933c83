"""What one node's kube-proxy answers on its two ports, without a socket: is it well, and how do its syncs go.

    0.0.0.0:10256     /healthz  for load balancers: 503 as well once the node is about to be deleted (KEP-3836)
                      /livez    for whoever would restart it
    127.0.0.1:10249   /metrics, /healthz, /proxyMode

Bodies, headers, names, labels and buckets are kube-proxy's own (kubernetes/pkg/proxy/healthcheck/proxy_health.go,
pkg/proxy/metrics/metrics.go, cmd/kube-proxy/app/server.go). All times are Unix seconds, and the caller tells them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from json import dumps
from typing import NamedTuple

from nslab.servers.prometheus import CONTENT_TYPE, Family, Histogram, Sample, text

HEALTH_PORT = 10256
METRICS_PORT = 10249
HEALTH_TIMEOUT = 60.0
"""Seconds that a change may wait for its rules before kube-proxy counts as ill: twice its syncPeriod."""

SYNC_BUCKETS = tuple(0.001 * 2**power for power in range(15))
PROGRAMMING_BUCKETS = (
    0.0, 0.25, 0.5, *map(float, range(1, 60)), *map(float, range(60, 120, 5)), *map(float, range(120, 301, 30)),
)  # fmt: skip

_FAMILY = {"ip_family": "IPv4"}
_TEXT = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """A response; kube-proxy forbids browsers to guess the type of all but its metrics."""

    status: int
    body: str | bytes
    media_type: str = _TEXT
    nosniff: bool = True


class Served(NamedTuple):
    """What the surroundings tell of a kube-proxy when its metrics are read: its process by metric name, the version
    labels of kubernetes_build_info, and how many Services have no local endpoint here by policy."""

    process: Mapping[str, float]
    build: Mapping[str, str]
    no_local_endpoints: Mapping[str, int]


@dataclass(slots=True)
class KubeProxy:
    """One node's kube-proxy since it `started`. `eligible` is false for a node that is about to go. Changes are
    queued by `queue` until `synced`; `last_queued` and `last_synced` are 0 before the first."""

    started: float
    eligible: bool = True
    last_queued: float = 0.0
    last_synced: float = 0.0
    service_changes: int = 0
    endpoint_changes: int = 0
    services_pending: set[str] = field(default_factory=set)
    endpoints_pending: set[str] = field(default_factory=set)
    sync_failures: int = 0
    full: Histogram = field(default_factory=lambda: Histogram(SYNC_BUCKETS))
    partial: Histogram = field(default_factory=lambda: Histogram(SYNC_BUCKETS))
    both: Histogram = field(default_factory=lambda: Histogram(SYNC_BUCKETS))
    programming: Histogram = field(default_factory=lambda: Histogram(PROGRAMMING_BUCKETS))
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    _oldest_queued: float = 0.0

    # --- What happens to it

    def queue(self, kind: str, key: str, now: float) -> None:
        """It hears of a change of a Service or an EndpointSlice; `key` is NAMESPACE/NAME of the Service."""
        if kind == "Service":
            self.service_changes += 1
            self.services_pending.add(key)
        else:
            self.endpoint_changes += 1
            self.endpoints_pending.add(key)
        self.last_queued = now
        self._oldest_queued = self._oldest_queued or now

    def synced(self, now: float) -> None:
        """The rules in force are those of everything queued."""
        if self._oldest_queued or not self.last_synced:
            self.last_synced = now
        self._oldest_queued = 0.0
        self.services_pending.clear()
        self.endpoints_pending.clear()

    def measure(self, now: float, seconds: float, programmed: Iterable[float], *, full: bool) -> None:
        """A sync has taken so many seconds; endpoints had changed `programmed` seconds before each. It was `full`
        where all rules were compared with the kernel's, not only what had changed."""
        self.both.observe(seconds)
        (self.full if full else self.partial).observe(seconds)
        for latency in programmed:
            self.programming.observe(latency)
        self.last_synced = now
        self.synced(now)

    # --- What it answers

    def answer(self, port: int, method: str, path: str, now: float, served: Served) -> bytes:
        """The response to a request, ready to be sent; any method will do, as with kube-proxy."""
        return response(self._answer(port, path.partition("?")[0], now, served), method, now)

    def _answer(self, port: int, path: str, now: float, served: Served) -> Answer:
        if port == HEALTH_PORT and path in ("/healthz", "/livez"):
            return self._health(path, now)
        if port == METRICS_PORT and path == "/metrics":
            return Answer(200, text(self._families(served)), CONTENT_TYPE, nosniff=False)
        if port == METRICS_PORT and path == "/healthz":
            return Answer(200, "ok")
        if port == METRICS_PORT and path == "/proxyMode":
            return Answer(200, "nftables")
        return Answer(404, "404 page not found\n")

    def _health(self, path: str, now: float) -> Answer:
        late = self._oldest_queued and now - self._oldest_queued >= HEALTH_TIMEOUT
        well = not late and (self.eligible or path == "/livez")
        status = 200 if well else 503
        self.asked[path, str(status)] += 1
        # A healthy one is as fresh as the question: what was nothing to do was done (proxy_health.go).
        times = [dumps(self._go_time(now if well else self.last_synced)), dumps(self._go_time(now))]
        body = f'{{"lastUpdated": {times[0]},"currentTime": {times[1]}'
        if path == "/healthz":
            body += f', "nodeEligible": {str(self.eligible).lower()}'
        return Answer(status, f"{body}}}", "application/json")

    def _go_time(self, moment: float) -> str:
        """A time as Go's String has it, with the process's own clock behind it."""
        if not moment:
            return "0001-01-01 00:00:00 +0000 UTC"
        whole = datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%d %H:%M:%S")
        fraction = f"{moment % 1:.9f}"[1:].rstrip("0").rstrip(".")
        return f"{whole}{fraction} +0000 UTC m={moment - self.started:+.9f}"

    def _families(self, served: Served) -> Iterable[Family]:
        samples = {**self._sync_samples(), **self._change_samples()}
        samples["sync_proxy_rules_no_local_endpoints_total"] = [
            Sample(count, {**_FAMILY, "traffic_policy": policy})
            for policy, count in sorted(served.no_local_endpoints.items())
        ]
        for path in ("healthz", "livez"):
            samples[f"proxy_{path}_total"] = [
                Sample(count, {"code": code}) for (of, code), count in sorted(self.asked.items()) if of == f"/{path}"
            ]
        for name, kind, told in FAMILIES:
            yield Family(f"kubeproxy_{name}", kind, f"[ALPHA] {told}", samples[name])
        yield Family("kubernetes_build_info", "gauge", BUILD_INFO, [Sample(1, served.build)])
        for name, told in PROCESS.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            yield Family(name, kind, told, [Sample(served.process[name])] if name in served.process else [])

    def _sync_samples(self) -> dict[str, list[Sample]]:
        return {
            "network_programming_duration_seconds": self.programming.samples(_FAMILY),
            "sync_full_proxy_rules_duration_seconds": self.full.samples(_FAMILY),
            "sync_partial_proxy_rules_duration_seconds": self.partial.samples(_FAMILY),
            "sync_proxy_rules_duration_seconds": self.both.samples(_FAMILY),
            "sync_proxy_rules_last_timestamp_seconds": _once(self.last_synced),
            "sync_proxy_rules_nftables_sync_failures_total": [Sample(self.sync_failures, _FAMILY)],
            # What is stale goes in the transaction that brings the new: there is no clean-up that could fail.
            "sync_proxy_rules_nftables_cleanup_failures_total": [Sample(0, _FAMILY)],
        }

    def _change_samples(self) -> dict[str, list[Sample]]:
        return {
            "sync_proxy_rules_endpoint_changes_pending": [Sample(len(self.endpoints_pending))],
            "sync_proxy_rules_endpoint_changes_total": [Sample(self.endpoint_changes)],
            "sync_proxy_rules_last_queued_timestamp_seconds": _once(self.last_queued),
            "sync_proxy_rules_service_changes_pending": [Sample(len(self.services_pending))],
            "sync_proxy_rules_service_changes_total": [Sample(self.service_changes)],
        }


def _once(moment: float) -> list[Sample]:
    """A time, which has no sample before it first came."""
    return [Sample(moment, _FAMILY)] if moment else []


def response(answer: Answer, method: str, now: float) -> bytes:
    """An answer as HTTP/1.1, kept alive."""
    body = answer.body.encode() if isinstance(answer.body, str) else answer.body
    head = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}", f"Content-Type: {answer.media_type}",
        *(["X-Content-Type-Options: nosniff"] if answer.nosniff else []),
        f"Date: {datetime.fromtimestamp(int(now), UTC):%a, %d %b %Y %H:%M:%S GMT}", f"Content-Length: {len(body)}",
    ]  # fmt: skip
    return "\r\n".join([*head, "", ""]).encode() + (b"" if method == "HEAD" else body)


FAMILIES = (
    ("network_programming_duration_seconds", "histogram", "In Cluster Network Programming Latency in seconds"),
    ("proxy_healthz_total", "counter", "Cumulative proxy healthz HTTP status"),
    ("proxy_livez_total", "counter", "Cumulative proxy livez HTTP status"),
    ("sync_full_proxy_rules_duration_seconds", "histogram", "SyncProxyRules latency in seconds for full resyncs"),
    ("sync_partial_proxy_rules_duration_seconds", "histogram",
     "SyncProxyRules latency in seconds for partial resyncs"),
    ("sync_proxy_rules_duration_seconds", "histogram", "SyncProxyRules latency in seconds"),
    ("sync_proxy_rules_endpoint_changes_pending", "gauge", "Pending proxy rules Endpoint changes"),
    ("sync_proxy_rules_endpoint_changes_total", "counter", "Cumulative proxy rules Endpoint changes"),
    ("sync_proxy_rules_last_queued_timestamp_seconds", "gauge", "The last time a sync of proxy rules was queued"),
    ("sync_proxy_rules_last_timestamp_seconds", "gauge", "The last time proxy rules were successfully synced"),
    ("sync_proxy_rules_nftables_cleanup_failures_total", "counter", "Cumulative proxy nftables cleanup failures"),
    ("sync_proxy_rules_nftables_sync_failures_total", "counter", "Cumulative proxy nftables sync failures"),
    ("sync_proxy_rules_no_local_endpoints_total", "gauge",
     "Number of services with a Local traffic policy and no endpoints"),
    ("sync_proxy_rules_service_changes_pending", "gauge", "Pending proxy rules Service changes"),
    ("sync_proxy_rules_service_changes_total", "counter", "Cumulative proxy rules Service changes"),
)  # fmt: skip
"""kube-proxy's own metrics in nftables mode, less "kubeproxy_": name, type and help."""

BUILD_INFO = (
    "[ALPHA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, "
    "build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running."
)

PROCESS = {
    "process_cpu_seconds_total": "Total user and system CPU time spent in seconds.",
    "process_max_fds": "Maximum number of open file descriptors.",
    "process_open_fds": "Number of open file descriptors.",
    "process_resident_memory_bytes": "Resident memory size in bytes.",
    "process_start_time_seconds": "Start time of the process since unix epoch in seconds.",
    "process_virtual_memory_bytes": "Virtual memory size in bytes.",
}
"""What client_golang tells of every process."""
