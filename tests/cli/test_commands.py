"""Every command against one running lab, as a user types it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TOPOLOGY = """\
apiVersion: nslab.dev/v1
kind: Lab
metadata: {name: corner}
spec:
  checks:
  - {name: the corner shop answers, from: client/laptop, to: "svc/web:80", expect: blocked}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: talker, namespace: tools}
spec: {containers: [{name: talk, image: host, command: [sh, -c, "echo first; echo second; exec sleep 1000"]}]}
"""


def nslab(*args: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "nslab", *args], capture_output=True, text=True, input=stdin,
                          env={**os.environ, **environment}, timeout=60)


@pytest.fixture(scope="module")
def corner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running lab; the file that it was made from."""
    file = tmp_path_factory.mktemp("corner") / "corner.yaml"
    file.write_text(TOPOLOGY)
    shown = nslab("up", str(file))
    assert shown.returncode == 0, shown.stderr
    assert "Lab corner is up: 2 nodes, 3 pods, 1 service in " in shown.stdout
    assert "nslab exec client/laptop -- curl -s http://203.0.113." in shown.stdout
    yield file
    shown = nslab("down", "corner")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")
    assert nslab("down", "corner").returncode == 0
    assert subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout == ""


def test_up_again_has_nothing_to_change(corner: Path) -> None:
    assert "Lab corner: nothing to change" in nslab("up", str(corner)).stdout
    result = json.loads(nslab("up", str(corner), "-o", "json").stdout)
    assert (result["operations"], result["created"], result["ready"]) == (0, False, True)


def test_dry_run_prints_the_plan_and_builds_nothing(corner: Path) -> None:
    nothing = nslab("up", "--dry-run", str(corner))
    assert (nothing.stdout, nothing.stderr) == ("", "nothing to change\n")
    other = nslab("up", "--dry-run", "--lab", "other", str(corner))
    assert "ip netns add other.vpc" in other.stdout
    assert [lab["name"] for lab in json.loads(nslab("ls", "-o", "json").stdout)] == ["corner"]


def test_faults_are_3_and_nothing_is_built(corner: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("kind: Pod\napiVersion: v1\nmetadata: {name: A}\nspec: {containers: []}\n")
    for command in ("up", "validate"):
        shown = nslab(command, str(bad))
        assert (shown.returncode, shown.stdout) == (3, "")
        assert shown.stderr.startswith(f"{bad}:")
        assert "fault" in shown.stderr.splitlines()[-1] or "hint" in shown.stderr
    assert nslab("ls", "-o", "name").stdout == "corner\n"


def test_validate_counts_objects(corner: Path) -> None:
    assert nslab("validate", str(corner)).stdout == "3 objects ok\n"


def test_status_sees_drift_and_up_mends_it(corner: Path) -> None:
    assert json.loads(nslab("status", "-o", "json").stdout)["drift"] == []
    assert nslab("exec", "node/node-1", "--", "ip", "route", "del", "default").returncode == 0
    drift = json.loads(nslab("status", "-o", "json").stdout)["drift"]
    assert len(drift) == 1
    assert "route replace 0.0.0.0/0" in drift[0]
    assert "is converged by 1 operation" in nslab("up", str(corner)).stdout
    picture = json.loads(nslab("status", "-o", "json").stdout)
    assert picture["drift"] == []
    assert picture["pods"]["ready"] == picture["pods"]["total"] == 3
    assert {each["role"] for each in picture["footprint"]["processes"]} == {"agent", "responder"}
    assert picture["footprint"]["namespaces"] == 11  # two of them kube-dns's


@pytest.mark.parametrize(("command", "heading"), [
    (("status", "-w"), "Lab corner: "), (("check", "--watch", "--filter", "gateway"), "Pods to their gateway"),
])
def test_watching_goes_on_until_it_is_interrupted(corner: Path, command: tuple[str, ...], heading: str) -> None:
    watching = subprocess.Popen([sys.executable, "-m", "nslab", *command], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
    assert watching.stdout
    pictures = (line for line in watching.stdout if line.startswith(heading))
    assert next(pictures)
    assert next(pictures)
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=10)
    assert (watching.returncode, errors.strip()) == (130, "")


def test_ls_imports_neither_netlink_nor_the_nouns_of_what_it_lists(corner: Path) -> None:
    code = (
        "import sys; from nslab.cli.main import main; main(['ls']);"
        "print(*sorted(set(sys.modules) & set(sys.argv[1:])), file=sys.stderr)"
    )
    heavy = ["yaml", "rich", "psutil", "jsonschema_rs", "asyncio", "hashlib", "ctypes", "nslab.linux.netlink",
             "nslab.netstate.model", "nslab.cluster.model", "nslab.api.objects"]
    shown = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True)
    assert shown.stdout.startswith("NAME ")
    assert shown.stderr == "\n"


def test_gc_leaves_a_living_lab_alone(corner: Path) -> None:
    assert nslab("gc").stdout == ""
    assert nslab("ls", "-o", "name").stdout == "corner\n"


def test_exec_into_a_netns_that_is_gone(corner: Path) -> None:
    assert subprocess.run(["ip", "netns", "delete", "corner.pod.tools.talker"]).returncode == 0
    gone = nslab("exec", "pod/tools/talker", "--", "true")
    assert gone.returncode == 6
    assert "its netns corner.pod.tools.talker is gone" in gone.stderr
    assert nslab("up", str(corner)).returncode == 0
    assert nslab("exec", "pod/tools/talker", "--", "true").returncode == 0


def test_exec_passes_exit_code_and_files_on(corner: Path) -> None:
    assert nslab("exec", "client/vm", "--", "sh", "-c", "exit 7").returncode == 7
    assert "10.8." in nslab("exec", "deploy/web", "--", "cat", "/etc/hosts").stdout
    assert nslab("exec", "vpc", "--", "ip", "-br", "address").stdout.startswith("lo ")


def test_exec_passes_stdin_on_only_when_asked(corner: Path) -> None:
    assert nslab("exec", "-i", "node/node-1", "--", "cat", stdin="hello").stdout == "hello"
    assert nslab("exec", "node/node-1", "-i", "--", "cat", stdin="hello").stdout == "hello"
    assert nslab("exec", "node/node-1", "--", "cat", stdin="hello").stdout == ""
    assert "Unable to use a TTY" in nslab("exec", "-it", "node/node-1", "--", "true").stderr


def test_exec_of_what_is_not_there(corner: Path) -> None:
    assert nslab("exec", "pod/nobody", "--", "true").returncode == 6
    assert nslab("exec", "svc/web", "--", "true").returncode == 2
    missing = nslab("exec", "node/node-1", "--", "no-such-program")
    assert (missing.returncode, missing.stderr) == (127, "error: no-such-program: not found on this host\n")
    assert nslab("exec", "node/node-1", "--", "/etc/hosts").returncode == 126


def test_a_service_answers_a_curl_by_hand(corner: Path) -> None:
    [service] = json.loads(nslab("get", "svc", "-o", "json").stdout)["items"]
    vip = service["status"]["loadBalancer"]["ingress"][0]["ip"]
    answer = json.loads(nslab("exec", "client/laptop", "--", "curl", "-s", f"http://{vip}/").stdout)
    assert answer["pod"].startswith("web-")


def test_shell_runs_the_users_shell(corner: Path) -> None:
    main_end, shell_end = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "nslab", "shell", "pod/tools/talker"], stdin=shell_end,
                               stdout=subprocess.PIPE, stderr=shell_end, env={**os.environ, "SHELL": "/bin/sh"})
    os.write(main_end, b"ip netns identify; exit 3\n")
    assert process.communicate(timeout=30)[0].strip() == b"corner.pod.tools.talker"
    assert process.returncode == 3
    os.close(main_end)
    os.close(shell_end)


def test_probe_says_who_answered(corner: Path) -> None:
    shown = nslab("probe", "--from", "pod/tools/talker", "--to", "svc/web:80", "--count", "40", "-o", "json")
    [answer] = json.loads(shown.stdout)
    assert answer["verdict"] == "open"
    assert len(answer["responders"]) == 2
    assert nslab("probe", "--from", "client/laptop", "--to", "svc/web:80", "--expect", "open").returncode == 1
    assert nslab("probe", "--from", "client/laptop", "--to", "svc/web:80", "--expect", "blocked").returncode == 0
    flows = [
        {"id": "a", "from": "node/node-1", "to": "svc/web:80"},
        {"id": "b", "from": "client/vm", "to": "node/node-1", "proto": "icmp"},
    ]
    answers = json.loads(nslab("probe", "-f", "-", "-o", "json", stdin=json.dumps(flows)).stdout)
    assert [(each["id"], each["verdict"]) for each in answers] == [("a", "open"), ("b", "open")]


def test_check_and_its_filter(corner: Path) -> None:
    shown = nslab("check")
    assert shown.returncode == 0, shown.stdout
    assert "Written checks" in shown.stdout
    one = json.loads(nslab("check", "--filter", "corner shop", "-o", "json").stdout)
    assert (one["passed"], len(one["checks"])) == (1, 1)
    assert nslab("check", "--filter", "no such check").returncode == 2


def test_up_with_check_is_one_json_document(corner: Path) -> None:
    result = json.loads(nslab("up", "--check", "-o", "json", str(corner)).stdout)
    assert result["check"]["failed"] == 0


def test_logs_of_a_host_command(corner: Path) -> None:
    deadline = time.monotonic() + 10
    while nslab("logs", "pod/tools/talker").stdout != "first\nsecond\n":
        assert time.monotonic() < deadline
    assert nslab("logs", "pod/tools/talker", "--tail", "1").stdout == "second\n"
    assert nslab("logs", "deploy/web").returncode == 6
    assert nslab("logs", "node/node-1").returncode == 2


def test_rules_and_describe(corner: Path) -> None:
    assert nslab("rules", "svc/web").stdout.startswith("# Service default/web (LoadBalancer) on node node-1\n")
    assert nslab("rules", "node/node-2").stdout.startswith("# node/node-2\nadd table ip kube-proxy ")
    assert nslab("rules").stdout.count("# node/") == 2
    assert nslab("rules", "pod/x").returncode == 2
    assert nslab("describe", "netpol/x").returncode == 2
    assert nslab("describe", "svc/nothing").returncode == 6
    assert nslab("describe", "deploy/web").stdout.startswith("Name:       web\n")


def test_get_exits_with_6_for_an_unknown_name(corner: Path) -> None:
    shown = nslab("get", "pod", "nobody")
    assert (shown.returncode, shown.stdout, shown.stderr) == (6, "", 'error: pods "nobody" not found\n')


def test_names_complete_from_the_running_lab(corner: Path) -> None:
    def complete(words: str) -> list[str]:
        shown = nslab(_NSLAB_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
        return shown.stdout.split()

    assert complete("nslab down co") == ["plain,corner"]
    assert complete("nslab --lab co") == ["plain,corner"]
    assert complete("nslab exec pod/tools/") == ["plain,pod/tools/talker"]
    assert complete("nslab describe svc/w") == ["plain,svc/web"]
    assert complete("nslab get pods -n tools ta") == ["plain,talker"]
    assert complete("nslab get deploy w") == ["plain,web"]


def test_the_lab_is_picked_by_option_or_environment(corner: Path) -> None:
    assert nslab("get", "nodes", "--lab", "gone").returncode == 6
    assert nslab("--lab", "gone", "get", "nodes").returncode == 6
    assert nslab("get", "nodes", NSLAB_LAB="gone").returncode == 6
    assert nslab("get", "nodes", "--lab", "corner", NSLAB_LAB="gone").returncode == 0


def test_on_a_terminal_there_is_a_bar_and_colour_unless_told(corner: Path) -> None:
    def stderr_of(*args: str, **environment: str) -> str:
        main_end, child_end = pty.openpty()
        subprocess.run([sys.executable, "-m", "nslab", *args], stderr=child_end, stdout=subprocess.DEVNULL,
                       env={**os.environ, "TERM": "xterm", **environment}, timeout=60)
        os.close(child_end)
        text = os.read(main_end, 1 << 16).decode()
        os.close(main_end)
        return text

    assert "\x1b[31m" in stderr_of("get", "pod", "nobody")
    assert "\x1b[" not in stderr_of("--no-color", "get", "pod", "nobody")
    assert "\x1b[" not in stderr_of("get", "pod", "nobody", NO_COLOR="1")
    assert "read" in stderr_of("up", str(corner))
