"""By real packets: nodes, hosts outside, Services, a Pod that meets itself, names of ports, other protocols; and what
becomes of connections and of new Pods when policies are there or come."""

from __future__ import annotations

import itertools
import json
import os
import re
import select
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from nslab.check.policies.decision import decide
from nslab.cluster import naming
from nslab.components.network_policy import TABLE
from nslab.linux.netns import entered
from nslab.servers.flows import Flow
from nslab.servers.prober import probe
from tests.policies.stage import Stage, staged
from tests.policies.world import Spec, Step, cluster

HEAD = """
apiVersion: nslab.dev/v1
kind: Lab
metadata: {name: ends}
spec:
  cluster: {networkPolicy: true}
  nodes: [{name: node-1, labels: {pool: red}}, {name: node-2, labels: {pool: blue}}]
  clients: [{name: vm, network: vpc, address: 10.128.0.200}, {name: laptop, network: internet, address: 198.51.100.7}]
---
"""


def web(name: str, node: str, port: int, **labels: str) -> Spec:
    """A Pod whose port `web` has another number than its neighbour's."""
    ports = [{"containerPort": port, "name": "web"}, {"containerPort": 53, "protocol": "UDP", "name": "dns"}]
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "x", "labels": {"app": name, **labels}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i", "ports": ports}]},
    }


def service(name: str, address: str, selector: dict[str, str], **spec: object) -> Spec:
    ports = [{"port": 9999, "targetPort": "web", "nodePort": spec.pop("nodePort")}] if "nodePort" in spec else [
        {"port": 9999, "targetPort": "web"}]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "x"},
            "spec": {"clusterIP": address, "selector": selector, "ports": ports, **spec}}


HOST: Spec = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "host", "namespace": "x", "labels": {"app": "host"}},
    "spec": {"nodeName": "node-2", "hostNetwork": True, "containers": [
        {"name": "c", "image": "i", "ports": [{"containerPort": 9100}]}]},
}
OBJECTS = (
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "labels": {"ns": "x"}}},
    web("one", "node-1", 80, tier="web"), web("two", "node-2", 8080, tier="web"), web("cli", "node-1", 80), HOST,
    service("one", "10.12.0.101", {"app": "one"}, type="NodePort", nodePort=30101),
    service("two", "10.12.0.102", {"app": "two"}, type="LoadBalancer", loadBalancerIP="203.0.113.50",
            externalTrafficPolicy="Local", nodePort=30102),
)
ISOLATED: Spec = {"netpol": "x/deny", "podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
ALLOWED: Spec = {"netpol": "x/allow", "podSelector": {}, "ingress": [{}], "egress": [{}]}


def text(*policies: Spec, more: tuple[Spec, ...] = ()) -> str:
    bodies = "---\n".join(json.dumps(body) + "\n" for body in (*OBJECTS, *more))
    return f"{HEAD}{bodies}---\n{Step('', policies).policies_text}"


class Ends:
    """The lab of this module, with sentences about it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.ips = {pod.name: pod.ip for pod in stage.cluster.pods.values() if not pod.host_network}
        self.ips |= {node.name: node.ip for node in stage.cluster.nodes.values()}

    def given(self, *policies: Spec) -> None:
        self.stage.follow(cluster(text(*policies)))

    def netns(self, name: str) -> str:
        lab = self.stage.cluster
        if name in lab.nodes:
            return naming.node_netns(lab.lab.name, name)
        return (naming.client_netns(lab.lab.name, name) if name in lab.clients
                else naming.pod_netns(lab.lab.name, lab.pods[f"x/{name}"]))

    def ask(self, source: str, target: str, port: int = 80, protocol: str = "tcp") -> str:
        """What comes of one attempt: a verdict, with the responder's name where one answered."""
        flow = Flow("", self.netns(source), protocol, self.ips.get(target, target), port, timeout=2.0)
        result = probe([flow], drops=self.stage.drops)[0]
        (responder,) = result.responders or ("",)
        return f"{result.verdict} {responder}".strip()


    def counts(self, source: str, target: str, port: int) -> dict[str, int]:
        """The verdicts of many attempts: a load balancer sends some to a node without an endpoint."""
        flow = Flow("", self.netns(source), "tcp", target, port, count=24, timeout=0.5)
        return probe([flow])[0].counts


@pytest.fixture(scope="module")
def built() -> Iterator[Ends]:
    with staged(cluster(text())) as stage:
        yield Ends(stage)


@pytest.fixture
def ends(built: Ends) -> Ends:
    built.given()
    return built


def ingress(*rules: Spec, **subject: str) -> Spec:
    selector = {"matchLabels": subject}
    return {"netpol": "x/in", "podSelector": selector, "policyTypes": ["Ingress"], "ingress": list(rules)}


def egress(*rules: Spec, **subject: str) -> Spec:
    selector = {"matchLabels": subject}
    return {"netpol": "x/out", "podSelector": selector, "policyTypes": ["Egress"], "egress": list(rules)}


def block(cidr: str) -> Spec:
    return {"ipBlock": {"cidr": cidr}}


def test_a_node_and_its_pods_always_reach_each_other(ends: Ends) -> None:
    ends.given(ISOLATED)
    assert ends.ask("node-1", "one") == "open x/one"
    assert ends.ask("node-1", "one", protocol="icmp") == "open"
    assert ends.ask("node-2", "10.12.0.102", 9999) == "open x/two", "the node through a Service"
    assert ends.ask("host", "two", 8080) == "open x/two", "a hostNetwork Pod is its node"
    assert ends.ask("two", "node-2", 9100) == "open x/host"


def test_other_nodes_are_hosts_like_any(ends: Ends) -> None:
    ends.given(ingress({"from": [{"namespaceSelector": {}}]}), egress({"to": [{"namespaceSelector": {}}]}))
    assert ends.ask("cli", "two", 8080) == "open x/two"
    assert ends.ask("node-2", "one") == "timeout"
    assert ends.ask("host", "one") == "timeout", "no selector means a hostNetwork Pod"
    assert ends.ask("one", "node-2", 9100) == "timeout"
    ends.given(ingress({"from": [block(f"{ends.ips['node-2']}/32")]}), egress({"to": [block("10.128.0.0/20")]}))
    assert ends.ask("node-2", "one") == "open x/one"
    assert ends.ask("one", "node-2", 9100) == "open x/host"
    assert ends.ask("cli", "two", 8080) == "timeout"


def test_nodes_are_peers_of_cluster_wide_policies(ends: Ends) -> None:
    rule = {"action": "Deny", "to": [{"nodes": {"matchLabels": {"pool": "blue"}}}]}
    ends.given({"cnp": "p", "tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "egress": [rule]})
    assert ends.ask("one", "node-2", 9100) == "timeout"
    assert ends.ask("one", "two", 8080) == "open x/two"


def test_a_service_is_judged_by_the_pod_and_port_behind_it(ends: Ends) -> None:
    ends.given(ingress({"ports": [{"port": 8080}]}, app="two"))
    assert ends.ask("cli", "10.12.0.102", 9999) == "open x/two"
    ends.given(ingress({"ports": [{"port": 9999}]}, app="two"))
    assert ends.ask("cli", "10.12.0.102", 9999) == "timeout"
    second = {"podSelector": {"matchLabels": {"app": "two"}}}
    ends.given(egress({"to": [second], "ports": [{"port": 8080}]}, app="cli"))
    assert ends.ask("cli", "10.12.0.102", 9999) == "open x/two"
    assert ends.ask("cli", "10.12.0.101", 9999) == "timeout"
    ends.given(egress({"to": [block("10.12.0.0/20")]}, app="cli"))
    assert ends.ask("cli", "10.12.0.102", 9999) == "timeout", "a block of ClusterIPs means nobody"


def test_a_drop_behind_a_service_is_known_at_once(ends: Ends) -> None:
    """One node translates the ClusterIP, another one drops under the Pod's address."""
    ends.given(ingress(app="two"))
    flow = Flow("", ends.netns("cli"), "tcp", "10.12.0.102", 9999, count=20, timeout=20.0)
    result = probe([flow], drops=ends.stage.drops)[0]
    assert result.counts == {"timeout": 20}
    assert result.detail == "dropped in netns ends.node.node-2"


def test_a_dropped_ping_is_known_at_once(ends: Ends) -> None:
    ends.given(ingress(app="two"))
    flows = [Flow("", ends.netns("cli"), "icmp", ends.ips[name], count=3, timeout=20.0) for name in ("two", "one")]
    two, one = probe(flows, drops=ends.stage.drops)
    assert (two.counts, two.detail) == ({"timeout": 3}, "dropped in netns ends.node.node-2")
    assert one.counts == {"open": 3}


def test_one_name_is_another_number_on_another_pod(ends: Ends) -> None:
    ends.given(ingress({"ports": [{"port": "web"}]}))
    assert ends.ask("cli", "one", 80) == "open x/one"
    assert ends.ask("cli", "two", 8080) == "open x/two"
    assert ends.ask("one", "two", 80) == "timeout"
    servers = {"podSelector": {"matchLabels": {"tier": "web"}}}
    ends.given(egress({"to": [servers], "ports": [{"port": "web"}]}, app="cli"))
    assert ends.ask("cli", "one", 80) == "open x/one"
    assert ends.ask("cli", "two", 8080) == "open x/two"
    assert ends.ask("cli", "one", 53, "udp") == "timeout"


def test_a_pod_that_meets_itself_through_a_service(ends: Ends) -> None:
    ends.given(ISOLATED)
    assert ends.ask("one", "10.12.0.101", 9999) == "open x/one"
    assert ends.ask("cli", "10.12.0.101", 9999) == "timeout"
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        rule = {"action": "Deny", peers: [{"namespaces": {"matchLabels": {"ns": "x"}}}]}
        ends.given({"cnp": "p", "tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, direction: [rule]})
        assert ends.ask("one", "10.12.0.101", 9999) == "timeout"
        assert ends.ask("one", "one") == "open x/one", "its own address does not leave its netns"
        rule["protocols"] = [{"udp": {"destinationPort": {"number": 80}}}]
        ends.given(ISOLATED, {
            "cnp": "p", "tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, direction: [rule]})
        assert ends.ask("one", "10.12.0.101", 9999) == "open x/one"


def test_hosts_outside_are_seen_by_the_address_that_the_pods_node_sees(ends: Ends) -> None:
    ends.given(ingress({"from": [block("10.128.0.200/32"), block("198.51.100.0/25")]}))
    assert ends.ask("vm", "one") == "open x/one"
    assert ends.ask("vm", ends.ips["node-1"], 30101) == "open x/one", "before its own node masquerades"
    assert ends.ask("vm", ends.ips["node-2"], 30101) == "timeout", "another node has masqueraded"
    assert ends.counts("laptop", "203.0.113.50", 9999)["open"], "policy Local keeps the client's address"
    ends.given(ingress({"from": [block(f"{ends.ips['node-2']}/32")]}))
    assert ends.ask("vm", ends.ips["node-2"], 30101) == "open x/one"
    assert ends.ask("vm", ends.ips["node-1"], 30101) == "timeout"
    assert set(ends.counts("laptop", "203.0.113.50", 9999)) == {"timeout"}


def test_egress_to_hosts_outside(ends: Ends) -> None:
    ends.given(egress({"to": [block("198.51.100.0/24")], "ports": [{"port": 80}]}, app="cli"))
    assert ends.ask("cli", "198.51.100.7", 80) == "open client/laptop"
    assert ends.ask("cli", "10.128.0.200", 80) == "timeout"
    assert ends.ask("cli", "198.51.100.7", 80, "udp") == "timeout"


def test_other_protocols_pass_rules_without_ports_only(ends: Ends) -> None:
    ends.given(ingress({"from": [{"podSelector": {}}]}))
    assert ends.ask("cli", "two", protocol="icmp") == "open"
    ends.given(ingress({"ports": [{"port": 8080}, {"protocol": "UDP"}, {"port": 1, "protocol": "SCTP"}]}))
    assert ends.ask("cli", "two", protocol="icmp") == "timeout"
    assert ends.ask("cli", "two", 53, "udp") == "open x/two"


def test_errors_about_allowed_connections_come_back(ends: Ends) -> None:
    ends.given(ISOLATED, ALLOWED | {"ingress": [{"ports": [{"protocol": "UDP"}, {}]}]})
    assert ends.ask("cli", "two", 7777, "udp") == "refused"
    assert ends.ask("cli", "two", 7777) == "refused"


class Stream:
    """A TCP connection between two Pods over which every line comes back."""

    def __init__(self, ends: Ends, source: str, target: str, port: int = 7000) -> None:
        with entered(ends.netns(target)):
            listening = socket.create_server(("", port))
        with entered(ends.netns(source)):
            self.client = socket.socket()
        self.client.settimeout(3)
        self.client.connect((ends.ips[target], port))
        self.server, _ = listening.accept()
        listening.close()

    def alive(self, patience: float = 3.0) -> bool:
        """Whether a line comes through and back."""
        self.client.settimeout(patience)
        self.server.settimeout(patience)
        try:
            self.client.sendall(b"x")
            self.server.sendall(self.server.recv(1))
            return self.client.recv(1) == b"x"
        except TimeoutError:
            return False

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_policy_that_forbids_a_connection_ends_it(ends: Ends, direction: str) -> None:
    stream = Stream(ends, "cli", "two")
    assert stream.alive()
    subject = {"app": "two"} if direction == "ingress" else {"app": "cli"}
    ends.given(ingress(**subject) if direction == "ingress" else egress(**subject))
    assert not stream.alive(0.5)
    ends.given()
    assert stream.alive(20.0), "what was lost is sent again once it is allowed"
    stream.close()


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_policy_that_forbids_a_udp_flow_ends_it(ends: Ends, direction: str) -> None:
    """Conntrack knows the flow as assured; its next datagrams are dropped all the same, from either end."""
    with entered(ends.netns("two")):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with entered(ends.netns("cli")):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((ends.ips["two"], 7002))
    client.connect((ends.ips["two"], 7002))

    def passes(text: bytes, patience: float = 3.0) -> bool:
        """Whether a datagram comes through and back."""
        server.settimeout(patience)
        client.settimeout(patience)
        client.send(text)
        try:
            heard, peer = server.recvfrom(16)
            server.sendto(heard, peer)
            return client.recv(16) == text
        except TimeoutError:
            return False

    assert all(passes(b"%d" % number) for number in range(3))
    ends.given(ingress(app="two") if direction == "ingress" else egress(app="cli"))
    assert not passes(b"forbidden", 0.3)
    server.sendto(b"late answer", client.getsockname())
    with pytest.raises(TimeoutError):
        client.recv(16)
    ends.given()
    assert passes(b"again")
    client.close()
    server.close()


class Sender:
    """A process that sends datagrams, a thousand a second, and takes them in where they come out, until it is told to
    stop: no buffer ever fills."""

    def __init__(self, out: socket.socket, into: socket.socket) -> None:
        stop, self._stop = os.pipe()
        self._told, told = os.pipe()
        self._progress = os.eventfd(0)
        self._pid = os.fork()
        if self._pid == 0:
            sent = received = 0
            while not select.select([stop], [], [], 0.001)[0]:
                sent += out.send(b".")
                os.eventfd_write(self._progress, 1)
                while select.select([into], [], [], 0)[0]:
                    received += len(into.recv(8))
            while received < sent and select.select([into], [], [], 3)[0]:
                received += len(into.recv(8))
            os.write(told, f"{sent} {received}".encode())
            os._exit(0)
        os.close(stop)
        os.close(told)

    def await_more(self) -> None:
        """Return when it has sent something since the last time."""
        os.eventfd_read(self._progress)

    def stop(self) -> tuple[int, int]:
        """How many it has sent, and how many came."""
        os.write(self._stop, b".")
        sent, received = map(int, os.read(self._told, 64).split())
        os.waitpid(self._pid, 0)
        os.close(self._stop)
        os.close(self._told)
        os.close(self._progress)
        return sent, received


def test_what_old_and_new_policies_allow_is_never_dropped(ends: Ends) -> None:
    """Datagrams are not sent again: each that a change of rules drops is missed."""
    labs = [cluster(text(*policies)) for policies in (
        (ISOLATED, ALLOWED),
        (ingress({"ports": [{"protocol": "UDP"}]}),),
        (ingress({"from": [{"podSelector": {"matchLabels": {"app": "cli"}}}]}, app="two"), egress({}, app="cli")),
        (ingress({"from": [block("10.8.0.0/14")]}), egress({"ports": [{"port": 7001, "protocol": "UDP"}]})),
        (),
    )]
    with entered(ends.netns("two")):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", 7001))
    with entered(ends.netns("cli")):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect((ends.ips["two"], 7001))
    sender = Sender(client, server)
    for lab in labs * 8:
        ends.stage.follow(lab)
        sender.await_more()
    sent, received = sender.stop()
    client.close()
    server.close()
    assert received == sent


class Flood:
    """A process that sends datagrams as fast as it can, and takes in those that come out, until it is told to
    stop."""

    def __init__(self, out: socket.socket, into: socket.socket) -> None:
        self._told, told = os.pipe()
        self._stop = os.eventfd(0, os.EFD_NONBLOCK)
        self._pid = os.fork()
        if self._pid == 0:
            into.setblocking(False)
            received = 0
            while not select.select([self._stop], [], [], 0)[0]:
                for _ in range(50):
                    out.send(b".")
                received += _drained(into)
            os.write(told, str(received + _drained(into)).encode())
            os._exit(0)
        os.close(told)

    def stop(self) -> int:
        """How many came."""
        os.eventfd_write(self._stop, 1)
        received = int(os.read(self._told, 64))
        os.waitpid(self._pid, 0)
        os.close(self._stop)
        os.close(self._told)
        return received


def _drained(sock: socket.socket) -> int:
    """How many datagrams waited in a socket."""
    for count in itertools.count():
        try:
            sock.recv(8)
        except BlockingIOError:
            return count
    raise AssertionError


def dropped(node: str) -> int:
    """How many packets the rules of a node have dropped so far."""
    listed = subprocess.run(
        ["ip", "netns", "exec", node, "nft", "list", "chain", *TABLE, "dropped"],
        check=True, capture_output=True, text=True,
    )
    (found,) = re.findall(r"counter packets (\d+)", listed.stdout)
    return int(found)


def changing(ends: Ends, *policies: Spec) -> tuple[int, int]:
    """Flood x/one from x/cli while one of the policies takes the other's place some hundred times: how many datagrams
    came, and how many the node's rules dropped."""
    labs = [cluster(text(policy)) for policy in policies]
    ends.given(policies[0])
    with entered(ends.netns("one")):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with entered(ends.netns("cli")):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", 7001))
    client.connect((ends.ips["one"], 7001))
    before = dropped(ends.netns("node-1"))
    flood = Flood(client, server)
    for lab in labs * 200:
        ends.stage.follow(lab)
    received = flood.stop()
    client.close()
    server.close()
    return received, dropped(ends.netns("node-1")) - before


FROM_CLI: Spec = {"from": [{"podSelector": {"matchLabels": {"app": "cli"}}}], "ports": [{"protocol": "UDP"}]}
CHANGES = {
    "a policy changes": (lambda *rules: ingress(*rules, app="one"), lambda *rules: ingress(*rules, tier="web")),
    "another takes its place": (
        lambda *rules: ingress(*rules, app="one"), lambda *rules: {**ingress(*rules, app="one"), "netpol": "x/next"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_packet_slips_through_a_change(ends: Ends, change: str) -> None:
    """Both policies forbid it. Packets are under way at any moment of any transaction."""
    one, other = CHANGES[change]
    stranger = {"from": [{"podSelector": {"matchLabels": {"app": "two"}}}]}
    received, lost = changing(ends, one(), other(stranger))
    assert received == 0
    assert lost > 1000


@pytest.mark.parametrize("change", CHANGES)
def test_no_packet_is_lost_to_a_change(ends: Ends, change: str) -> None:
    """Both policies allow it, one by a label, the other by a block."""
    one, other = CHANGES[change]
    received, lost = changing(
        ends, one(FROM_CLI), other({"from": [block("10.8.0.0/14")], "ports": [{"protocol": "UDP", "port": 7001}]}))
    assert lost == 0
    assert received > 1000


def test_a_new_pod_is_never_open_before_its_policies_hold(ends: Ends) -> None:
    """Its kernel answers pings from the moment that it has an address: nobody may ever hear one."""
    ends.given(ISOLATED)
    new = web("new", "node-1", 80)
    lab = cluster(text(ISOLATED, more=(new,)))
    assert not decide(lab, ends.ips["one"], lab.pods["x/new"].ip, 0, "icmp").allowed
    answered: list[str] = []
    stop = threading.Event()

    def ping() -> None:
        flow = Flow("", ends.netns("one"), "icmp", lab.pods["x/new"].ip, count=20, interval=0.001, timeout=0.05)
        while not stop.is_set():
            answered.extend(probe([flow])[0].counts)

    pinging = threading.Thread(target=ping)
    pinging.start()
    for _ in range(5):
        ends.stage.follow(lab)
        ends.given(ISOLATED)
    ends.stage.follow(lab)
    stop.set()
    pinging.join()
    assert "open" not in answered
    assert ends.ask("node-1", lab.pods["x/new"].ip, protocol="icmp") == "open", "it is there"
