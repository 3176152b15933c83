"""The command line against its contract, word by word: inputs, exit codes, shapes, streams, the shell."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml

from tests.lab.rich import KINDS, POD, RICH, SERVICE
from tests.lab.running import NSLAB, ROOT, Json, RunningLab, nslab

TOPOLOGIES = sorted((ROOT / "topologies").glob("*.yaml"))


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """One lab with an object of every kind that a lab runs."""
    file = tmp_path_factory.mktemp("rich") / "rich.yaml"
    file.write_text(RICH)
    shown = nslab("up", str(file))
    assert "ignored: 1 ServiceAccount\n" in shown.stderr
    assert "Deployment shop/deep: no container declares a port; it listens on 8080/TCP" in shown.stderr
    assert "Service default/silent: selects no Pod: none has app=nothing" in shown.stderr
    assert "ignored" not in shown.stdout
    yield RunningLab("rich", file)
    nslab("down", "rich")


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda path: path.stem)
def test_a_topology_teaches_what_is_true(file: Path) -> None:
    validator = jsonschema_rs.validator_for(json.loads(nslab("schema").stdout))
    for document in yaml.safe_load_all(file.read_text()):
        validator.validate(document)
    assert nslab("validate", str(file)).stderr == ""
    shown = nslab("up", str(file), "--check", "-o", "json")
    result = json.loads(shown.stdout)
    try:
        assert (result["created"], result["ready"], result["check"]["failed"]) == (True, True, 0)
    finally:
        nslab("down", result["lab"])


def test_what_up_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """./topology.yaml, a folder, standard input, several files; with no Lab the name is the file's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "topology.yaml").write_text(POD)
    folder = tmp_path / "My Shop"
    folder.mkdir()
    (folder / "pod.yaml").write_text(POD)
    (folder / "deep").mkdir()
    (folder / "deep" / "service.json").write_text(json.dumps(yaml.safe_load(SERVICE)))
    (tmp_path / "service.yaml").write_text(SERVICE)

    def up(*arguments: str, stdin: str = "") -> tuple[str, int]:
        result = json.loads(nslab("up", *arguments, "-o", "json", stdin=stdin).stdout)
        [lab] = json.loads(nslab("ls", "-o", "json").stdout)
        nslab("down")
        return result["lab"], lab["pods"] + lab["services"]

    assert up() == ("topology", 1)
    assert up(str(folder)) == ("my-shop", 2)
    assert up("-", stdin=f"{POD}---\n{SERVICE}") == ("lab", 2)
    assert up("topology.yaml", "service.yaml") == ("topology", 2)
    assert up("service.yaml", "-", "--lab", "named", stdin=POD) == ("named", 2)


def test_up_fails_with_1_where_a_check_fails_or_a_pod_is_not_ready(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    lab = "apiVersion: nslab.dev/v1\nkind: Lab\nmetadata: {name: bad}\nspec: {checks: [%s]}\n---\n"
    file.write_text(lab % "{name: nobody listens, from: node/node-1, to: 'svc/web:81'}" + f"{POD}---\n{SERVICE}")
    try:
        shown = nslab("up", str(file), "--check", code=1)
        assert "FAILED Written checks: nobody listens" in shown.stdout
        never = POD.replace("ports:", "readinessProbe: {httpGet: {path: /status/500, port: 80}}, ports:")
        file.write_text(lab % "" + never)
        shown = nslab("up", str(file), "--wait", "300ms", code=1)
        assert "warning: not ready within 0.3 s: pod/default/web" in shown.stderr
        assert "not ready yet" in nslab("up", str(file), "--wait", "0").stderr
    finally:
        nslab("down", "bad")


def test_faults_of_checks_and_of_room_are_found_before_anything_is_built(tmp_path: Path) -> None:
    cases = {
        "checks: [{from: pod/nobody, to: 'svc/web:80'}]": "checks[0]: from: pod/nobody: not found in the lab",
        "vpc: {externalRange: 203.0.113.0/32}": "externalRange",
        "cluster: {maxPodsPerNode: 8}, nodes: 1": "with it there are 9 Pods or more; there is room for 8, 8 a node",
        "nodes: 3, vpc: {podRange: 10.8.0.0/24}": "too few for 3 nodes",
        "clients: [{name: vm, network: vpc, address: 192.0.2.1}]": "192.0.2.1 is outside",
    }
    crowd = "".join(f"---\n{POD.replace('name: web,', f'name: web-{number},')}" for number in range(9))
    for spec, said in cases.items():
        file = tmp_path / "faulty.yaml"
        lab = f"apiVersion: nslab.dev/v1\nkind: Lab\nmetadata: {{name: faulty}}\nspec: {{{spec}}}\n"
        file.write_text(f"{lab}{crowd}---\n{SERVICE}")
        for command in ("validate", "up"):
            shown = nslab(command, str(file), code=3)
            assert said in shown.stderr, shown.stderr
            assert shown.stdout == ""
            assert f"{file}:" in shown.stderr
        assert nslab("ls", "-o", "name").stdout == ""
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ip-masq-agent, namespace: kube-system}\n"
    shown = nslab("validate", "-", stdin=f"{config}data: {{config: 'nonMasqueradeCIDRs: [10.0.0.0/99]'}}\n", code=3)
    assert "-:1:1: ConfigMap kube-system/ip-masq-agent: data.config cannot be read" in shown.stderr


def test_a_foreign_netns_with_a_wanted_name_is_refused_with_5(tmp_path: Path) -> None:
    file = tmp_path / "taken.yaml"
    file.write_text(POD)
    subprocess.run(["ip", "netns", "add", "taken.vpc"], check=True)
    try:
        shown = nslab("up", str(file), code=5)
        assert shown.stdout == ""
        assert "taken.vpc" in shown.stderr
        nslab("down", "taken")
        assert "taken.vpc" in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout
    finally:
        subprocess.run(["ip", "netns", "delete", "taken.vpc"], check=True)


def test_without_root_4_says_what_and_how(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(POD)
    lacking = "-net_admin,-sys_admin"
    shown = subprocess.run(
        ["setpriv", f"--bounding-set={lacking}", f"--inh-caps={lacking}", NSLAB, "up", str(file)],
        capture_output=True, text=True,
    )
    assert (shown.returncode, shown.stdout) == (4, "")
    assert "building a lab needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN missing)" in shown.stderr
    assert "hint: run it with sudo" in shown.stderr


def test_objects_are_real_kubernetes_objects(rich: RunningLab) -> None:
    items = rich.get(",".join(KINDS), "-A")["items"]
    assert len({body["kind"] for body in items}) == len(KINDS)
    for body in items:
        kubernetes_validate.validate(body, "1.31", strict=True)
        assert body["metadata"]["creationTimestamp"].endswith("Z")
    assert rich.get("pod", "web")["kind"] == "Pod"
    assert rich.get("pod")["kind"] == "List"


def test_outputs_of_get_agree_with_each_other(rich: RunningLab) -> None:
    kinds = ",".join((*KINDS, "clients", "routes"))
    items = rich.get(kinds, "-A")["items"]
    assert yaml.safe_load(rich.nslab("get", kinds, "-A", "-o", "yaml").stdout)["items"] == items
    names = rich.nslab("get", kinds, "-A", "-o", "name").stdout.splitlines()
    assert [name.partition("/")[2] for name in names] == [body["metadata"]["name"] for body in items]
    rows = [line.split() for line in rich.nslab("get", kinds, "-A", "--no-headers").stdout.splitlines() if line]
    assert [row[1 if "namespace" in body["metadata"] else 0] for row, body in zip(rows, items, strict=True)] == names
    assert rich.nslab("get", "svc", "-l", "kind=odd", "-o", "name").stdout == "service/silent\n"
    assert rich.nslab("get", "pods", "-n", "shop", "-o", "name").stdout.count("pod/deep-") == 2
    empty = rich.nslab("get", "pods", "-n", "nowhere")
    assert (empty.stdout, empty.stderr) == ("", "No resources found in nowhere namespace.\n")


def test_the_answer_of_probe_has_its_shape(rich: RunningLab) -> None:
    flows: list[Json] = [
        {"id": "tcp", "from": "node/a", "to": "svc/web:http", "count": 3},
        {"id": "udp", "from": "node/a", "to": "svc/udp:53"},
        {"id": "icmp", "from": "pod/web", "to": "node/b", "proto": "icmp"},
        {"id": "http", "from": "pod/web", "to": "svc/web:80", "http": {
            "method": "POST", "path": "/any", "host": "shop.example", "headers": {"X-Own": "1"}, "body": "b"}},
        {"id": "refused", "from": "pod/web", "to": "svc/silent:9"},
        {"id": "timeout", "from": "client/laptop", "to": "10.8.0.2:80", "timeout": 0.2},
        {"id": "teapot", "from": "client/laptop", "to": "http://203.0.113.10/status/418"},
    ]
    answers = rich.json("probe", "-f", "-", stdin=json.dumps(flows))
    fields = ["id", "from", "to", "proto", "attempts", "verdict", "counts", "responders", "client_ips", "http",
              "rtt_ms", "detail"]
    assert [list(answer) for answer in answers] == [fields] * len(flows)
    by_id = {answer["id"]: answer for answer in answers}
    assert list(by_id) == [flow["id"] for flow in flows]
    assert [answer["verdict"] for answer in answers] == ["open"] * 4 + ["refused", "timeout", "open"]
    assert (by_id["tcp"]["counts"], by_id["tcp"]["responders"]) == ({"open": 3}, {"default/web": 3})
    assert [by_id[name]["proto"] for name in ("tcp", "udp", "icmp", "http", "teapot")] == [
        "tcp", "udp", "icmp", "http", "http"]
    assert set(by_id["tcp"]["rtt_ms"]) == {"min", "median", "max"}
    assert 0 < by_id["tcp"]["rtt_ms"]["min"] <= by_id["tcp"]["rtt_ms"]["median"] <= by_id["tcp"]["rtt_ms"]["max"]
    assert by_id["refused"]["rtt_ms"] == {"min": None, "median": None, "max": None}
    assert by_id["timeout"]["rtt_ms"] == {"min": None, "median": None, "max": None}
    assert by_id["http"]["http"]["status"] == {"200": 1}
    assert by_id["teapot"]["http"]["status"] == {"418": 1}
    for at in ("tcp", "refused"):
        assert set(by_id[at]["http"]) == {"status", "headers", "service"}
    assert by_id["tcp"]["http"]["service"] == "default/web"


def test_flows_that_meet_both_ends_are_mixed(rich: RunningLab) -> None:
    """One Service, one endpoint that serves and one that does not."""
    file = rich.file.with_name("mixed.yaml")
    half = "apiVersion: v1\nkind: Service\nmetadata: {name: half}\nspec: {ports: [{port: 80}]}\n---\n" + (
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
        "metadata: {name: half-1, labels: {kubernetes.io/service-name: half}}\naddressType: IPv4\n"
        "ports: [{port: 80}]\nendpoints: [{addresses: [10.128.0.2]}, {addresses: [10.8.0.2]}]\n"
    )
    file.write_text(f"{half}---\n{POD.replace('spec: {', 'spec: {nodeName: node-1, ')}")
    nslab("up", str(file))
    try:
        mixed = RunningLab("mixed", file)
        answer = mixed.probe("node/node-2", "svc/half:80", count=60)
        assert answer["verdict"] == "mixed"
        assert set(answer["counts"]) == {"open", "refused"}
        assert sum(answer["counts"].values()) == answer["attempts"] == 60
        several = nslab("get", "nodes", code=2)
        assert several.stderr == (
            "error: several labs are up: mixed, rich\nhint: name one with --lab NAME or NSLAB_LAB\n"
        )
        found = subprocess.run([NSLAB, "get", "nodes", "-o", "name"], capture_output=True, text=True,
                               env={**os.environ, "NSLAB_LAB": "mixed"})
        assert found.stdout == "node/node-1\nnode/node-2\n"
        assert nslab("get", "nodes", "-o", "name", "--lab", "rich").stdout == "node/a\nnode/b\n"
    finally:
        nslab("down", "mixed")


def test_a_pattern_is_one_flow_for_each_source(rich: RunningLab) -> None:
    answers = rich.json("probe", "--from", "pod/shop/*", "--to", "svc/web:80")
    assert len(answers) == 2
    assert all(answer["from"].startswith("pod/shop/deep-") and answer["verdict"] == "open" for answer in answers)
    nodes = rich.json("probe", "--from", "node/*", "--to", "svc/web:80")
    assert [answer["from"] for answer in nodes] == ["node/a", "node/b"]


def test_checks_of_a_file_and_their_reports(rich: RunningLab, tmp_path: Path) -> None:
    checks = tmp_path / "checks.yaml"
    checks.write_text(
        "- {name: good, from: node/a, to: 'svc/web:80'}\n"
        "- {name: bad, from: node/a, to: 'svc/web:81'}\n"
    )
    junit = tmp_path / "report.xml"
    shown = rich.nslab("check", "-f", str(checks), "--junit", str(junit), "-o", "json", code=1)
    report = json.loads(shown.stdout)
    assert (report["passed"], report["failed"], shown.stderr) == (1, 1, "")
    cases = {case.get("name"): case.find("failure") is not None for case in ElementTree.parse(junit).iter("testcase")}
    assert cases == {"good": False, "bad": True}
    assert json.loads(rich.nslab("check", "-f", str(checks), "--filter", "good", "-o", "json").stdout)["passed"] == 1
    assert rich.nslab("check", "-f", str(tmp_path / "none"), code=2).stderr.startswith("error: cannot read ")


def test_logs_follow_and_tail(rich: RunningLab) -> None:
    following = subprocess.Popen([NSLAB, "logs", "-f", "--tail", "1", "pod/sts-0", "--lab", "rich"],
                                 stdout=subprocess.PIPE, text=True)
    assert following.stdout
    deadline = time.monotonic() + 30
    while rich.nslab("logs", "pod/sts-0").stdout != "one\ntwo\n":
        assert time.monotonic() < deadline
    assert following.stdout.readline().strip() in ("one", "two")
    following.send_signal(signal.SIGINT)
    assert following.wait(timeout=30) == 130
    assert rich.nslab("logs", "pod/sts-0", "--tail", "1", "-c", "sts").stdout == "two\n"
    assert "has no container 'other'" in rich.nslab("logs", "pod/sts-0", "-c", "other", code=6).stderr


def test_a_shell_that_sources_the_completion_completes_a_pod(rich: RunningLab) -> None:
    script = (
        'source <("$0" completion bash); COMP_WORDS=(nslab exec pod/sts); COMP_CWORD=2;'
        ' _nslab_completion nslab; echo "${COMPREPLY[@]}"'
    )
    shown = subprocess.run(
        ["bash", "-c", script, NSLAB], capture_output=True, text=True,
        env={**os.environ, "PATH": f"{Path(NSLAB).parent}:{os.environ['PATH']}"},
    )
    assert (shown.stdout, shown.stderr) == ("pod/sts-0\n", "")


def test_progress_shows_on_a_terminal_only(rich: RunningLab) -> None:
    off = nslab("up", str(rich.file), "-o", "json")
    assert json.loads(off.stdout)["operations"] == 0
    assert "\x1b" not in off.stderr
    assert "read" not in off.stderr
    main_end, child_end = pty.openpty()
    running = subprocess.Popen([NSLAB, "up", str(rich.file), "-o", "json"], stdout=subprocess.PIPE, stderr=child_end,
                               env={**os.environ, "TERM": "xterm"})
    os.close(child_end)
    shown = drained(main_end)
    assert running.stdout
    assert json.loads(running.stdout.read())["operations"] == 0
    assert running.wait(timeout=30) == 0
    assert "read" in shown
    assert "\x1b[" in shown


def drained(terminal: int) -> str:
    """All that is written to a terminal until its last writer closes it."""
    text = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            text += os.read(terminal, 4096)
        except OSError:  # EIO: nobody has the other end open any more
            break
    os.close(terminal)
    return text.decode()


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    validator = jsonschema_rs.validator_for(json.loads(nslab("schema").stdout))
    wrong: list[Json] = [
        {"apiVersion": "nslab.dev/v1", "kind": "Lab", "metadata": {"name": "a"}, "spec": {"nods": 3}},
        {"apiVersion": "nslab.dev/v1", "kind": "Lab", "metadata": {"name": "a"}, "spec": {"cluster": {"mode": "X"}}},
        {"apiVersion": "nslab.dev/v1", "kind": "Lab", "metadata": {"name": "A_b"}},
        {"apiVersion": "nslab.dev/v1", "kind": "Lab", "metadata": {"name": "a"}, "spec": {"nodes": "three"}},
        {"apiVersion": "v1", "metadata": {"name": "a"}},
    ]
    for document in wrong:
        assert not validator.is_valid(document), document
        assert nslab("validate", "-", stdin=json.dumps(document), code=3).stdout == ""


def test_down_needs_no_file_and_nothing_to_be_there(tmp_path: Path) -> None:
    for arguments in (["gone"], ["--all"], ["--lab", "gone"], []):
        shown = nslab("down", *arguments)
        assert (shown.stdout, shown.stderr) == ("", "")
