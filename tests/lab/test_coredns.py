"""CoreDNS in the place of kube-dns. Some tests need it; in the others a program stands in that begins as it does:
it reads the Corefile, asks the API, and says that it is ready."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
from pathlib import Path

import dns.rcode
import psutil
import pytest

from tests.lab.conftest import LabFactory
from tests.lab.manifests import pod, service, topology
from tests.lab.running import Json, RunningLab, nslab
from tests.lab.test_dns import ask, data, deployment, eventually, servers, stateful_set

needs_coredns = pytest.mark.skipif(shutil.which("coredns") is None, reason="there is no coredns on PATH (coredns.io)")

LOCAL = "svc.cluster.local."
API = "https://kubernetes.default.svc"

STAND_IN = """\
#!/usr/bin/env python3
import http.server, json, re, ssl, sys, threading, time, urllib.request
corefile = open(sys.argv[sys.argv.index("-conf") + 1]).read()
config = json.load(open(re.search(r"kubeconfig (\\S+)", corefile)[1]))
cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
import base64
trust = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
def items():
    asked = urllib.request.Request(cluster["server"] + "/api/v1/services")
    asked.add_header("Authorization", "Bearer " + user["token"])
    return json.load(urllib.request.urlopen(asked, context=trust, timeout=5))["items"]
while True:
    try:
        found = items()
        break
    except OSError as error:
        print(error, flush=True)
        time.sleep(0.1)
print("knows", *sorted(item["metadata"]["name"] for item in found), flush=True)
class Well(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
for port in (8080, 8181):
    threading.Thread(target=http.server.HTTPServer(("", port), Well).serve_forever).start()
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> str:
    program = tmp_path / "stand-in"
    program.write_text(STAND_IN)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def shop(dns: Json) -> str:
    return topology(
        {"dns": {"engine": "coredns", **dns}, "internet": {"zones": {"example.com": {"www": "198.51.100.20"}}}},
        deployment("web", 2), service("web", {"app": "web"}, "http:80/TCP>http", clusterIP="10.12.0.20"),
        stateful_set("db", 2), service("db", {"app": "db"}, "pg:5432/TCP>80", clusterIP="None"),
        {**service("out", None, "80"), "spec": {"type": "ExternalName", "externalName": "www.example.com"}},
        pod("cart", "node-1", 80),
    )


def curl(running: RunningLab, reference: str, *arguments: str, code: int = 0) -> str:
    return running.nslab("exec", reference, "--", "curl", "-sS", "-m", "3", *arguments, code=code).stdout


def with_token(running: RunningLab) -> tuple[str, ...]:
    root = Path("/run/nslab", running.name)
    return "--cacert", str(root / "ca.crt"), "-H", f"Authorization: Bearer {(root / 'token').read_text()}"


def test_the_api_inside_the_lab(lab: LabFactory, stand_in: str) -> None:
    """Pods reach it by Service kubernetes, with its certificate and token, and the internet does not; it is there
    again after the agent was killed. The Pods are ready: they have been there."""
    running = lab("inside", shop({"coredns": stand_in}))
    told = running.nslab("logs", f"pod/kube-system/{next(iter(servers(running)))}").stdout
    assert "knows db kube-dns kubernetes out web\n" in told
    address = "https://10.12.0.1"
    listed = json.loads(curl(running, "pod/cart", *with_token(running), f"{address}/api/v1/services"))
    assert "kubernetes" in [item["metadata"]["name"] for item in listed["items"]]
    assert json.loads(curl(running, "node/node-2", "-k", address))["code"] == 401
    curl(running, "client/laptop", "-k", "https://10.128.0.1", code=28)

    agent = running.json("status")["agent_pid"]
    os.kill(agent, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(agent))
    running.nslab("label", "pod/cart", "again=yes")
    eventually(lambda: json.loads(curl(running, "pod/cart", "-k", address))["code"] == 401)


def test_the_corefile_follows_its_config_map(lab: LabFactory, stand_in: str) -> None:
    running = lab("corefile", shop({"coredns": stand_in}))
    file = Path("/run/nslab/corefile/coredns/Corefile")
    assert "kubernetes cluster.local" in file.read_text()
    own = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "coredns", "namespace": "kube-system"},
        "data": {"Corefile": ".:53 { whoami }\n"},
    }
    running.nslab("apply", "-f", "-", stdin=json.dumps(own))
    eventually(lambda: file.read_text() == ".:53 { whoami }\n")


def test_coredns_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "missing.yaml"
    file.write_text(shop({"coredns": "/nowhere/coredns"}))
    for command in ("up", "validate"):
        said = nslab(command, str(file), code=4).stderr
        assert "spec.dns.engine: coredns runs CoreDNS's program, and there is no /nowhere/coredns" in said
        assert "put CoreDNS's one file (coredns.io) on PATH, or name it in spec.dns.coredns" in said
    assert nslab("ls", "-o", "name").stdout == ""


@needs_coredns
def test_all_records_of_coredns(lab: LabFactory) -> None:
    running = lab("core", shop({}))
    cart = "core.pod.default.cart"
    pods = {item["metadata"]["name"]: item["status"]["podIP"] for item in running.get("pods")["items"]}
    expected = {
        ("dns-version.cluster.local", "TXT"): ['TXT "1.1.0"'],
        (f"web.default.{LOCAL}", "A"): ["A 10.12.0.20"],
        (f"_http._tcp.web.default.{LOCAL}", "SRV"): [f"SRV 0 100 80 web.default.{LOCAL}"],
        ("20.0.12.10.in-addr.arpa", "PTR"): [f"PTR web.default.{LOCAL}"],
        (f"db.default.{LOCAL}", "A"): sorted(f"A {pods[name]}" for name in ("db-0", "db-1")),
        (f"db-1.db.default.{LOCAL}", "A"): [f"A {pods['db-1']}"],
        (f"out.default.{LOCAL}", "A"): ["A 198.51.100.20", "CNAME www.example.com."],
        (f"{pods['cart'].replace('.', '-')}.default.pod.cluster.local", "A"): [f"A {pods['cart']}"],
        ("www.example.com", "A"): ["A 198.51.100.20"],
    }
    for tcp in (False, True):
        assert {question: data(ask(cart, *question, tcp=tcp)) for question in expected} == expected
    assert ask(cart, f"nothing.default.{LOCAL}").rcode() == dns.rcode.NXDOMAIN
    assert json.loads(curl(running, "pod/cart", "http://web/"))["pod"].startswith("web-")
    version = json.loads(curl(running, "pod/cart", *with_token(running), f"{API}/version"))
    assert version["gitVersion"].startswith("v1.")
    report = running.json("check")
    assert (report["failed"], bool(report["passed"])) == (0, True)
    asked = running.probe("pod/cart", "web", proto="dns", count=40)
    assert set(asked["responders"]) == {f"kube-system/{name}" for name in servers(running)}


@needs_coredns
def test_coredns_follows_the_objects(lab: LabFactory) -> None:
    """On every server; and a Pod of it that is deleted is replaced by one that knows all."""
    running = lab("moves", shop({}))
    cart, late = "moves.pod.default.cart", f"late.default.{LOCAL}"
    running.nslab("apply", "-f", "-", stdin=json.dumps(service("late", {"app": "web"}, "80", clusterIP="10.12.0.30")))
    addresses = list(servers(running).values())
    eventually(lambda: all(data(ask(cart, late, server=ip)) == ["A 10.12.0.30"] for ip in addresses))
    victim, former = next(iter(servers(running).items()))
    running.nslab("delete", f"pod/kube-system/{victim}")
    eventually(lambda: former not in servers(running).values() and len(servers(running)) == 2)
    running.nslab("up", str(running.file), "--wait", "60s")
    assert all(data(ask(cart, late, server=ip)) == ["A 10.12.0.30"] for ip in servers(running).values())
    running.nslab("delete", "svc/late")
    addresses = list(servers(running).values())
    eventually(lambda: all(ask(cart, late, server=ip).rcode() == dns.rcode.NXDOMAIN for ip in addresses))
