"""A network of the mind: what Kubernetes does with each flow of a lab, written apart from `nslab.check`, and faults.

`Network(cluster)` answers as a right network does. A fault is a function (flow, attempt) -> Attempt or None that
has its way before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from itertools import count
from typing import NamedTuple

from nslab.cluster.model import Cluster, Endpoint, Node, Pod, Service, ServicePort
from nslab.servers.flows import Flow, FlowResult


class Attempt(NamedTuple):
    """What becomes of one attempt."""

    verdict: str
    responder: str = ""
    client: str = ""


Fault = Callable[[Flow, Attempt], Attempt | None]


class Network:
    """A fake `probe`. `rounds` counts its calls, `attempts` what they asked for."""

    def __init__(self, cluster: Cluster, fault: Fault | None = None) -> None:
        self.cluster = cluster
        self.fault = fault
        self.rounds = self.attempts = 0
        self._turn = count()

    def __call__(self, flows: Sequence[Flow]) -> list[FlowResult]:
        self.rounds += 1
        self.attempts += sum(flow.count for flow in flows)
        return [self._result(flow) for flow in flows]

    def _result(self, flow: Flow) -> FlowResult:
        result = FlowResult(flow.id)
        for _ in range(flow.count):
            attempt = self._attempt(flow)
            attempt = (self.fault(flow, attempt) if self.fault else None) or attempt
            for counts, key in (
                (result.counts, attempt.verdict), (result.responders, attempt.responder),
                (result.client_ips, attempt.client),
            ):
                if key:
                    counts[key] = counts.get(key, 0) + 1
            result.rtts += [0.001] if attempt.verdict == "open" else []
        return result

    def _attempt(self, flow: Flow) -> Attempt:
        pod, node, ip = self._source(flow.netns)
        for service in self.cluster.services.values():
            for port in service.ports:
                found = self._service(flow, service, port, pod, node, ip)
                if found and port.protocol.lower() == flow.protocol:
                    return found
        if flow.protocol == "icmp":
            return Attempt("open")
        return self._direct(flow, pod, ip)

    def _source(self, netns: str) -> tuple[Pod | None, Node | None, str]:
        _, kind, *names = netns.split(".")
        if kind == "client":
            return None, None, self.cluster.clients[names[0]].ip
        if kind == "node":
            return None, self.cluster.nodes[names[0]], self.cluster.nodes[names[0]].ip
        pod = self.cluster.pods["/".join(names)]
        return pod, self.cluster.nodes[pod.node], pod.ip

    def _direct(self, flow: Flow, pod: Pod | None, ip: str) -> Attempt:
        for target in self.cluster.pods.values():
            listens = any(port.port == flow.port for each in target.containers for port in each.ports)
            if target.ip == flow.ip and listens:
                return Attempt("open", target.key, ip)
        for client in self.cluster.clients.values():
            if client.ip == flow.ip and flow.port == 80:
                hidden = pod is not None and client.network == "internet"
                seen = self.cluster.nodes[pod.node].ip if pod and hidden else ip
                return Attempt("open", f"client/{client.name}", seen)
        return Attempt("refused")

    def _service(
        self, flow: Flow, service: Service, port: ServicePort, pod: Pod | None, node: Node | None, ip: str
    ) -> Attempt | None:
        nodes = list(self.cluster.nodes.values())
        where = (flow.ip, flow.port)
        if where == (service.cluster_ip, port.port):
            assert node is not None
            return self._at(port, node, service.internal_traffic_policy == "Local", pod, "" if pod else node.ip)
        for target in nodes:
            if where == (target.ip, port.node_port):
                return self._external(service, port, target, pod, ip)
        if flow.ip in (*service.load_balancer_ips, *service.external_ips) and flow.port == port.port:
            ranges = service.source_ranges if flow.ip in service.load_balancer_ips else ()
            usable = any(each.ready for each in port.endpoints)
            if usable and ranges and not any(ip_address(ip) in ip_network(each) for each in ranges):
                return Attempt("timeout")
            if node is None and ip.startswith("198.") and flow.ip.startswith("10."):
                return Attempt("timeout")
            entered = node or nodes[next(self._turn) % len(nodes)]
            return self._external(service, port, entered, pod, ip, node is not None)
        return None

    def _external(
        self, service: Service, port: ServicePort, node: Node, pod: Pod | None, ip: str, inside: bool = False
    ) -> Attempt:
        if service.external_traffic_policy == "Local":
            if pod:
                return self._at(port, node, False, pod, "")
            return self._at(port, node, not inside, None, node.ip if inside else ip)
        return self._at(port, node, False, pod, node.ip)

    def _at(self, port: ServicePort, node: Node, local: bool, pod: Pod | None, masqueraded: str) -> Attempt:
        ready = [each for each in port.endpoints if each.ready]
        used = [each for each in ready if each.node == node.name] if local else ready
        if not used:
            return Attempt("timeout" if ready else "refused")
        chosen: Endpoint = used[0] if self._is_sticky(port) else used[next(self._turn) * 7 // 5 % len(used)]
        if pod and chosen.pod == pod.key:
            masqueraded = node.pod_range.replace(".0/24", ".1")
        return Attempt("open", chosen.pod, masqueraded or (pod.ip if pod else ""))

    def _is_sticky(self, port: ServicePort) -> bool:
        return any(port in each.ports and each.affinity_timeout for each in self.cluster.services.values())
