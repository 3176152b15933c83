"""Cluster DNS as Pods see it: real packets through the Service kube-dns, from dig, dnspython, getent and curl."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial

import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from nslab.linux.netns import entered
from tests.lab.conftest import LabFactory
from tests.lab.manifests import pod, service, topology
from tests.lab.running import Json, RunningLab

SERVER = "10.12.0.10"
LOCAL = "svc.cluster.local."
ZONES = {"zones": {"example.com": {
    "www": "198.51.100.20", "@": ["198.51.100.20", "198.51.100.21"], "shop": "203.0.113.7", "alias": "www",
}}}


def deployment(name: str, replicas: int, **spec: object) -> Json:
    labels = {"app": name}
    container = {"name": "main", "image": "any", "ports": [{"containerPort": 80, "name": "http"}]}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], **spec}},
        },
    }


def stateful_set(name: str, replicas: int) -> Json:
    body = deployment(name, replicas)
    return {**body, "kind": "StatefulSet", "spec": {**body["spec"], "serviceName": name}}


def ask(
    netns: str, name: str, kind: str = "A", server: str = SERVER, *, tcp: bool = False, seconds: float = 5
) -> dns.message.Message:
    """An answer to a question from inside a netns."""
    with entered(netns):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    with sock:
        question = dns.message.make_query(name, kind)
        sock.settimeout(seconds)
        if tcp:
            sock.connect((server, 53))
        sock.setblocking(False)  # as dns.query wants it, to keep to its timeout
        if tcp:
            return dns.query.tcp(question, server, timeout=seconds, sock=sock)
        return dns.query.udp(question, server, timeout=seconds, sock=sock)


def data(message: dns.message.Message) -> list[str]:
    """The records of an answer, sorted: "A 10.12.0.20"."""
    return sorted(
        f"{dns.rdatatype.to_text(rrset.rdtype)} {item.to_text()}" for rrset in message.answer for item in rrset
    )


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def servers(lab: RunningLab) -> dict[str, str]:
    """The addresses of the Pods of kube-dns, by name."""
    found = json.loads(lab.nslab("get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns", "-o", "json").stdout)
    return {item["metadata"]["name"]: item["status"]["podIP"] for item in found["items"]}


EVERYTHING = topology(
    {"internet": ZONES},
    deployment("web", 2),
    service("web", {"app": "web"}, "http:80/TCP>http", clusterIP="10.12.0.20"),
    stateful_set("db", 2),
    service("db", {"app": "db"}, "pg:5432/TCP>80", clusterIP="None"),
    service("nobody", {"app": "nobody"}, "80", clusterIP="None"),
    {**service("out", None, "80"), "spec": {"type": "ExternalName", "externalName": "www.example.com"}},
    pod("cart", "node-1", 80),
    pod("pet", "node-2", 80, labels={"app": "db"}, hostname="my-pet", subdomain="db"),
    pod("outside", "node-2", 81, dnsPolicy="Default"),
    pod("own", "node-1", 80, dnsPolicy="None", hostAliases=[{"ip": "10.1.1.1", "hostnames": ["old"]}], dnsConfig={
        "nameservers": [SERVER], "searches": ["svc.cluster.local"], "options": [{"name": "ndots", "value": "2"}],
    }),
)


def test_all_records_by_real_packets(lab: LabFactory) -> None:
    running = lab("dns", EVERYTHING)
    cart = "dns.pod.default.cart"
    pods = {item["metadata"]["name"]: item["status"]["podIP"] for item in running.get("pods")["items"]}
    members = sorted(f"A {pods[name]}" for name in ("db-0", "db-1", "pet"))
    expected = {
        ("dns-version.cluster.local", "TXT"): ['TXT "1.1.0"'],
        (f"web.default.{LOCAL}", "A"): ["A 10.12.0.20"],
        (f"web.default.{LOCAL}", "AAAA"): [],
        (f"_http._tcp.web.default.{LOCAL}", "SRV"): [f"SRV 0 100 80 web.default.{LOCAL}"],
        ("20.0.12.10.in-addr.arpa", "PTR"): [f"PTR web.default.{LOCAL}"],
        (f"db.default.{LOCAL}", "A"): members,
        (f"db-1.db.default.{LOCAL}", "A"): [f"A {pods['db-1']}"],
        (f"my-pet.db.default.{LOCAL}", "A"): [f"A {pods['pet']}"],
        (f"_pg._tcp.db.default.{LOCAL}", "SRV"): sorted(
            f"SRV 0 33 80 {name}.db.default.{LOCAL}" for name in ("db-0", "db-1", "my-pet")
        ),
        (f"{'.'.join(reversed(pods['db-0'].split('.')))}.in-addr.arpa", "PTR"): [f"PTR db-0.db.default.{LOCAL}"],
        (f"out.default.{LOCAL}", "A"): ["A 198.51.100.20", "CNAME www.example.com."],
        (f"{pods['cart'].replace('.', '-')}.default.pod.cluster.local", "A"): [f"A {pods['cart']}"],
        ("example.com", "A"): ["A 198.51.100.20", "A 198.51.100.21"],
        ("alias.example.com", "A"): ["A 198.51.100.20", "CNAME www.example.com."],
        ("shop.example.com", "A"): ["A 203.0.113.7"],
    }
    for tcp in (False, True):
        found = {question: data(ask(cart, *question, tcp=tcp)) for question in expected}
        assert found == expected
    for name in (f"nobody.default.{LOCAL}", f"nothing.default.{LOCAL}", "nothing.example.com", "example.org"):
        assert ask(cart, name).rcode() == dns.rcode.NXDOMAIN
    programs_see_names(running)
    report = running.json("check")
    assert (report["failed"], bool(report["passed"])) == (0, True)


def programs_see_names(running: RunningLab) -> None:
    """curl, dig, getent and Python in Pods, each by the Pod's own resolver; and the files that it reads."""
    def run(reference: str, *command: str, code: int | None = 0) -> str:
        return running.nslab("exec", reference, "--", *command, code=code).stdout.removesuffix("# nslab\n")

    assert json.loads(run("pod/cart", "curl", "-sS", "http://web/"))["pod"].startswith("web-")
    assert json.loads(run("pod/cart", "curl", "-sS", "http://out/"))["node"] == "client/www.example.com"
    assert run("pod/cart", "dig", "+short", "+search", "web") == "10.12.0.20\n"
    assert run("pod/cart", "getent", "hosts", "web.default").split()[0] == "10.12.0.20"
    told = "import socket; print(socket.gethostbyname('db-0.db'), socket.gethostbyaddr('10.12.0.20')[0])"
    assert run("pod/cart", "python3", "-c", told).split()[1] == "web.default.svc.cluster.local"
    assert "NXDOMAIN" in run("pod/cart", "dig", "nothing.default.svc.cluster.local")
    assert json.loads(run("client/laptop", "curl", "-sS", "http://www.example.com/"))["client"].startswith("198.51.100.")
    assert run("pod/cart", "cat", "/etc/resolv.conf") == (
        f"search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver {SERVER}\noptions ndots:5\n"
    )
    assert run("pod/outside", "cat", "/etc/resolv.conf") == "nameserver 198.51.100.1\n"
    assert run("pod/own", "cat", "/etc/resolv.conf") == (
        f"search svc.cluster.local\nnameserver {SERVER}\noptions ndots:2\n"
    )
    assert run("pod/own", "getent", "hosts", "old").split() == ["10.1.1.1", "old"]
    assert run("pod/own", "getent", "hosts", "web.default").split()[0] == "10.12.0.20"
    assert f"{'my-pet.db.default.svc.cluster.local'}\tmy-pet" in run("pod/pet", "cat", "/etc/hosts")
    assert run("pod/outside", "getent", "hosts", "web.default", code=2) == ""


LOOKING = "cat /etc/resolv.conf; getent hosts old; until getent hosts %s; do sleep 0.1; done; exec sleep 1000"
"""A program that looks names up; kube-dns may come up after it."""


def looking(name: str, wanted: str, **spec: object) -> Json:
    """A Pod with a program of the host that looks names up until it finds `wanted`."""
    container = {"name": "main", "image": "host", "command": ["sh", "-c", LOOKING % wanted]}
    aliases = [{"ip": "10.1.1.1", "hostnames": ["old"]}]
    spec = {"nodeName": "node-1", "hostAliases": aliases, "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _has_printed(running: RunningLab, name: str, wanted: str) -> bool:
    return running.nslab("logs", f"pod/{name}").stdout == wanted


def test_programs_in_every_kind_of_pod(lab: LabFactory) -> None:
    """Stock programs, by each way into a Pod: those of the node's network have their own resolv.conf and hosts."""
    running = lab("ways", topology(
        {}, pod("cart", "node-1", 80), service("web", {"app": "cart"}, "80", clusterIP="10.12.0.20"),
        looking("own", "web"), looking("joined", "web", hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"),
        looking("plain", "node-2", hostNetwork=True, dnsPolicy="ClusterFirst"),
    ))
    search = "search default.svc.cluster.local svc.cluster.local cluster.local"
    cluster = f"{search}\nnameserver {SERVER}\noptions ndots:5\n"
    old, found = "10.1.1.1        old\n", "10.12.0.20      web.default.svc.cluster.local\n"
    for name, printed in (
        ("own", f"{cluster}# nslab\n{old}{found}"), ("joined", f"{cluster}# nslab\n{old}{found}"),
        ("plain", f"nameserver 198.51.100.1\n# nslab\n{old}10.128.0.3      node-2\n"),
    ):
        eventually(partial(_has_printed, running, name, printed))
    for command, answer in (
        (("getent", "hosts", "web.default"), "10.12.0.20      web.default.svc.cluster.local\n"),
        (("dig", "+search", "+short", "web"), "10.12.0.20\n"),
        (("python3", "-c", "import socket; print(socket.gethostbyname('web'))"), "10.12.0.20\n"),
        (("sh", "-c", "curl -sS http://web/hostname"), "cart\n"),
    ):
        for reference in ("pod/cart", "pod/joined"):
            assert running.nslab("exec", reference, "--", *command).stdout.rstrip() == answer.rstrip()
        inside = ["ip", "netns", "exec", "ways.pod.default.cart", *command]
        assert subprocess.run(inside, capture_output=True, text=True).stdout.rstrip() == answer.rstrip()
        shell = running.nslab("shell", "pod/joined", stdin=f"{shlex.join(command)}\n")
        assert shell.stdout.rstrip() == answer.rstrip()
    assert running.nslab("exec", "pod/plain", "--", "getent", "hosts", "web.default", code=2).stdout == ""
    of_the_node = running.nslab("exec", "node/node-1", "--", "cat", "/etc/resolv.conf").stdout
    assert of_the_node == "nameserver 198.51.100.1\n# nslab\n"
    running.nslab("delete", "pod/joined")
    eventually(lambda: not os.path.exists("/etc/netns/ways.pod.default.joined"))


def test_commands_use_names(lab: LabFactory) -> None:
    running = lab("names", EVERYTHING)
    answer = running.probe("pod/cart", "web:80", count=8)
    assert (answer["verdict"], answer["counts"]) == ("open", {"open": 8})
    assert all(name.startswith("default/web-") for name in answer["responders"])
    assert running.probe("pod/cart", "http://out/")["responders"] == {"client/www.example.com": 1}
    lost = running.probe("pod/cart", "nothing:80")
    assert (lost["verdict"], lost["detail"]) == ("error", "nothing: the name is not there (NXDOMAIN)")
    asked = running.probe("pod/cart", "web", proto="dns", count=40)
    assert asked["dns"] == {"status": {"NOERROR": 40}, "answers": ["10.12.0.20"]}
    assert set(asked["responders"]) == {f"kube-system/{name}" for name in servers(running)}  # both nodes' Pods

    shown = json.loads(running.nslab("dns", "out.default", "--from", "pod/cart", "-o", "json").stdout)
    assert [(item["name"], item["code"], item["answers"]) for item in shown] == [
        ("out.default.default.svc.cluster.local.", "NXDOMAIN", []),
        ("out.default.svc.cluster.local.", "NOERROR", ["198.51.100.20"]),
    ]
    backwards = json.loads(running.nslab("dns", "10.12.0.20", "-o", "json").stdout)
    assert backwards[0]["answers"] == [f"web.default.{LOCAL}"]
    assert "NXDOMAIN" in running.nslab("dns", "nothing", code=1).stdout
    zone = json.loads(running.nslab("dns", "-o", "json").stdout)
    listed = {(item["name"], item["type"]): item["data"] for item in zone}
    assert listed[f"web.default.{LOCAL}", "A"] == "10.12.0.20"
    assert listed["www.example.com.", "A"] == "198.51.100.20"

    happened = [json.loads(line) for line in running.nslab("events", "--dns", "-o", "json").stdout.splitlines()]
    mine = [line for line in happened if line["object"] == "pod/default/cart" and line["name"] == "nothing."]
    assert mine
    assert {line["code"] for line in mine} == {"NXDOMAIN"}
    assert running.nslab("events", "--dns", "--for", "pod/own").stdout.count("\n") == 1  # the heading


WRITTEN = [
    ({"dns": "web", "expect": ["10.12.0.20"]}, True), ({"dns": "web", "expect": ["10.12.0.21"]}, False),
    ({"dns": "nothing", "expect": {"code": "NXDOMAIN"}}, True), ({"dns": "nothing"}, True),
    ({"dns": "web", "expect": {"code": "NXDOMAIN"}}, False), ({"dns": "out", "type": "CNAME",
                                                                "expect": ["www.example.com"]}, True),
]


def test_written_checks_of_names(lab: LabFactory) -> None:
    checks = [{"from": "pod/cart", "name": str(number), **check} for number, (check, _) in enumerate(WRITTEN)]
    text = EVERYTHING.replace('"spec": {"internet"', f'"spec": {{"checks": {json.dumps(checks)}, "internet"', 1)
    running = lab("written", text)
    report = json.loads(running.nslab("check", "--filter", "Written", "-o", "json", code=1).stdout)
    assert [check["outcome"] == "passed" for check in report["checks"]] == [right for _, right in WRITTEN]


def test_names_follow_the_objects_on_every_server(lab: LabFactory) -> None:
    running = lab("follows", topology({}, pod("cart", "node-1", 80), deployment("web", 2)))
    cart = "follows.pod.default.cart"
    name = f"late.default.{LOCAL}"
    addresses = servers(running).values()
    assert len(addresses) == 2
    assert all(ask(cart, name, server=ip).rcode() == dns.rcode.NXDOMAIN for ip in addresses)
    running.nslab("apply", "-f", "-", stdin=json.dumps(service("late", {"app": "web"}, "80", clusterIP="10.12.0.30")))
    assert all(data(ask(cart, name, server=ip)) == ["A 10.12.0.30"] for ip in addresses)
    running.nslab("apply", "-f", "-", stdin=json.dumps(service("all", {"app": "web"}, "80", clusterIP="None")))
    assert [len(data(ask(cart, f"all.default.{LOCAL}", server=ip))) for ip in addresses] == [2, 2]
    running.nslab("scale", "deploy/web", "--replicas", "3")
    eventually(lambda: all(len(data(ask(cart, f"all.default.{LOCAL}", server=ip))) == 3 for ip in addresses))
    running.nslab("delete", "svc/late")
    eventually(lambda: all(ask(cart, name, server=ip).rcode() == dns.rcode.NXDOMAIN for ip in addresses))
    running.nslab("apply", "-f", "-", stdin=json.dumps(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fresh"}}
    ))
    eventually(lambda: ask(cart, f"fresh.{LOCAL}").rcode() == dns.rcode.NOERROR)
    running.nslab("apply", "-f", "-", stdin=json.dumps({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "data": {"upstreamNameservers": '["198.51.100.10"]', "stubDomains": '{"corp.example": ["198.51.100.1"]}'},
    }))
    eventually(lambda: ask(cart, "www.example.org").rcode() == dns.rcode.SERVFAIL)  # nobody listens there
    assert ask(cart, "www.corp.example").rcode() == dns.rcode.NXDOMAIN


def test_a_server_that_goes_takes_no_queries_along(lab: LabFactory) -> None:
    """One query after the other, each from a socket of its own, while a Pod of kube-dns is deleted and replaced, and
    while one crashes."""
    running = lab("killed", topology({}, pod("cart", "node-1", 80), service("web", {"app": "cart"}, "80")))
    name = f"web.default.{LOCAL}"
    outcomes: list[bool] = []
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            try:
                outcomes.append(bool(ask("killed.pod.default.cart", name).answer))
            except (dns.exception.Timeout, OSError):
                outcomes.append(False)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        before = set(servers(running))
        for victim in before:
            running.nslab("delete", f"pod/kube-system/{victim}")
        eventually(lambda: len(servers(running)) == 2 and not before & set(servers(running)))
        running.nslab("fail", f"pod/kube-system/{next(iter(servers(running)))}", "--crash")
        seen = len(outcomes)
        eventually(lambda: len(outcomes) > seen + 50)
    finally:
        over.set()
        thread.join()
    assert outcomes.count(False) <= len(before) + 1


def test_node_local_cache(lab: LabFactory) -> None:
    running = lab("cached", topology(
        {"dns": {"nodeLocal": True}}, pod("cart", "node-1", 80), service("web", {"app": "cart"}, "80")
    ))
    assert "nameserver 169.254.20.10" in running.nslab("exec", "pod/cart", "--", "cat", "/etc/resolv.conf").stdout
    attempt = json.loads(running.nslab("dns", "web", "--from", "pod/cart", "-o", "json").stdout)[0]
    assert attempt["answered_by"].startswith("kube-system/node-local-dns-")
    assert json.loads(running.nslab("exec", "pod/cart", "--", "curl", "-sS", "http://web/").stdout)["pod"] == "cart"
    report = running.json("check")
    assert (report["failed"], bool(report["passed"])) == (0, True)


def test_a_lab_without_dns(lab: LabFactory) -> None:
    running = lab("mute", topology({"dns": {"engine": "none"}}, pod("cart", "node-1", 80)))
    assert servers(running) == {}
    assert running.nslab("get", "svc", "-A", "-o", "name").stdout == ""
    assert "nameserver 198.51.100.1\n" in running.nslab("exec", "pod/cart", "--", "cat", "/etc/resolv.conf").stdout
    assert running.nslab("dns", "web", code=6).stderr.startswith("error: no Pod asks the cluster's DNS")


def test_users_dns_wins(lab: LabFactory) -> None:
    """A Service of the user's with another address, and a Pod of theirs behind it: no other is made."""
    labels = {"k8s-app": "kube-dns"}
    container = {"name": "coredns", "image": "coredns", "ports": [
        {"name": "dns", "containerPort": 53, "protocol": "UDP"}, {"name": "dns-tcp", "containerPort": 53}
    ]}
    server = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "coredns", "namespace": "kube-system", "labels": labels},
        "spec": {"containers": [container], "dnsPolicy": "Default"},
    }
    own = service("kube-dns", labels, "dns:53/UDP>53", clusterIP="10.12.0.11")
    own["metadata"]["namespace"] = "kube-system"
    running = lab("theirs", topology({}, own, server, pod("cart", "node-1", 80)))
    assert list(servers(running)) == ["coredns"]
    assert "nameserver 10.12.0.11" in running.nslab("exec", "pod/cart", "--", "cat", "/etc/resolv.conf").stdout
    answer = ask("theirs.pod.default.cart", f"kube-dns.kube-system.{LOCAL}", server="10.12.0.11")
    assert data(answer) == ["A 10.12.0.11"]


@pytest.mark.parametrize("upstream", ["", "host"])
def test_names_of_the_world(lab: LabFactory, upstream: str) -> None:
    """Without an upstream they are not there; with the host's they are what its name server says, here the test's."""
    spec = {"dns": {"upstream": upstream}} if upstream else {}
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.53", 53))
    sock.settimeout(30)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            octets, peer = sock.recvfrom(4096)
            if octets == b"end":
                return
            question = dns.message.from_wire(octets)
            answer = dns.message.make_response(question)
            answer.answer.append(dns.rrset.from_text(question.question[0].name, 60, "IN", "A", "192.0.2.77"))
            sock.sendto(answer.to_wire(), peer)

    with open("/etc/resolv.conf") as file:
        before = file.read()
    with open("/etc/resolv.conf", "w") as file:
        file.write("nameserver 127.0.0.53\n")
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        lab("world", topology(spec, pod("cart", "node-1", 80)))
        answer = ask("world.pod.default.cart", "www.example.org")
        laptop = ask("world.client.laptop", "www.example.org", server="198.51.100.1")
    finally:
        over.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"end", ("127.0.0.53", 53))
        thread.join()
        sock.close()
        with open("/etc/resolv.conf", "w") as file:
            file.write(before)
    for message in (answer, laptop):
        assert data(message) == (["A 192.0.2.77"] if upstream else [])
        assert message.rcode() == (dns.rcode.NOERROR if upstream else dns.rcode.NXDOMAIN)
