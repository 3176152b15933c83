"""Unharmed host, unharmed lab: what `up` leaves alone, what it refuses, and what `down` leaves behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from nslab.agent.client import labs
from nslab.agent.objects import read_journal, stored
from nslab.linux.lab_files import Paths
from nslab.linux.netns import open_socket_in
from tests.lab.conftest import LabFactory
from tests.lab.running import NETWORK, NSLAB, RunningLab, host_state, nslab
from tests.lab.topologies import PAIR, deployment, pod, service, topology


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for the condition; fail where it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)


def sh(command: str) -> str:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout


def operations(done: subprocess.CompletedProcess[str]) -> int:
    count: int = json.loads(done.stdout)["operations"]
    return count


class Stream:
    """A TCP connection between two real sockets, on which one HTTP request follows the other."""

    def __init__(self, source: str, address: str, port: int = 80) -> None:
        self.socket = open_socket_in(source, socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(30)
        self.socket.connect((address, port))
        self.lines = self.socket.makefile("rb")

    def ask(self) -> str:
        """Who answers, over the same connection as ever."""
        self.socket.sendall(b"GET /hostname HTTP/1.1\r\nHost: x\r\n\r\n")
        length = 0
        while (line := self.lines.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return self.lines.read(length).decode().strip()

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


@contextmanager
def streams(running: RunningLab) -> Iterator[list[Stream]]:
    """From Pod a to Pod b, once straight and once through b's ClusterIP."""
    address = running.get("pod", "b")["status"]["podIP"]
    cluster_ip = running.get("service", "b")["spec"]["clusterIP"]
    opened = [Stream(f"{running.name}.pod.default.a", to) for to in (address, cluster_ip)]
    try:
        assert [stream.ask() for stream in opened] == ["b", "b"]
        yield opened
        assert [stream.ask() for stream in opened] == ["b", "b"]
    finally:
        for stream in opened:
            stream.close()


BASE = (pod("a"), pod("b", "node-2"), service("b"))

CHANGES = {
    "a Pod comes": topology(*BASE, pod("c")),
    "a Pod of the Service comes": topology(*BASE, pod("c", labels=", app: b").replace("app: c, ", "")),
    "a Service comes": topology(*BASE, pod("c"), service("c")),
    "a node comes": topology(*BASE, nodes=3),
    "a client comes": topology(*BASE, clients=", {name: vm, network: vpc}"),
    "labels change": topology(pod("a", labels=", tier: new"), pod("b", "node-2", labels=", tier: new"), service("b")),
    "a port of the Service changes": topology(
        pod("a"), pod("b", "node-2"), service("b") + "    - {name: x, port: 81}\n"
    ).replace("ports: [{port: 80, targetPort: 80}]\n", "ports:\n    - {name: http, port: 80, targetPort: 80}\n"),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES.keys())
def test_streams_outlive_a_change_of_something_else_and_its_undoing(lab: LabFactory, changed: str) -> None:
    running = lab("calm", PAIR)
    with streams(running) as opened:
        running.up(changed)
        assert [stream.ask() for stream in opened] == ["b", "b"]
        running.up(PAIR)
    assert running.nslab("status", "-o", "json")
    assert running.json("status")["drift"] == []


def test_up_twice_does_nothing_the_second_time_and_says_so(lab: LabFactory) -> None:
    running = lab("twice", topology(*BASE, deployment("web", 4), service("web")))
    assert operations(running.nslab("up", str(running.file), "-o", "json")) == 0
    assert "Lab twice: nothing to change" in running.nslab("up", str(running.file)).stdout
    dry = running.nslab("up", str(running.file), "--dry-run")
    assert (dry.stdout, dry.stderr) == ("", "nothing to change\n")


def test_a_plan_names_only_what_differs(lab: LabFactory) -> None:
    running = lab("lean", PAIR)
    running.nslab("status")  # whoever asks for a new lab's objects has them stored
    before = host_state()
    running.file.write_text(topology(*BASE, pod("c")))
    plan = running.nslab("up", str(running.file), "--dry-run").stdout
    assert host_state() == before
    touched = [line for line in plan.splitlines() if "lean." in line and "lean.pod.default.c" not in line]
    assert "ip netns add lean.pod.default.c" in plan
    # Its node has a new link, and its node and the Pods beside it on the bridge know its mac. Nobody else is touched.
    beside = {"lean.pod.default.a"} | {name for name in running.netns() if name.startswith("lean.pod.kube-system.")}
    assert {line.split()[2] for line in touched} - {"lean.node.node-1"} <= beside
    assert {"lean.node.node-1", "lean.pod.default.a"} <= {line.split()[2] for line in touched}
    assert all("neigh replace" in line or "neighbours=" in line for line in touched if "lean.pod." in line)
    running.file.write_text(topology(*BASE, pod("c"), service("c")))
    running.nslab("up", str(running.file))
    running.file.write_text(topology(*BASE, pod("c", labels=", tier: new"), service("c")))
    assert running.nslab("up", str(running.file), "--dry-run").stdout == ""


def test_the_host_is_as_it_was(tmp_path: Path) -> None:
    before = host_state()
    network = host_state(NETWORK)
    file = tmp_path / "host.yaml"
    sleeper = pod("s", image="host", more="      command: [sh, -c, 'sleep 1000 & setsid sleep 1000 & sleep 1000']\n")
    file.write_text(topology(*BASE, deployment("web", 4), service("web"), sleeper))
    nslab("up", str(file), "--lab", "host")
    assert host_state(NETWORK) == network
    nslab("check")
    nslab("probe", "--from", "pod/a", "--to", "svc/b:80")
    assert host_state(NETWORK) == network
    nslab("down")
    assert host_state() == before
    nslab("down", "host")
    assert host_state() == before


@pytest.mark.parametrize("directory", ["/etc/netns", "/etc/netns/mine", None])
def test_etc_netns_that_was_there_stays_and_one_that_up_made_goes(lab: LabFactory, directory: str | None) -> None:
    if directory:
        Path(directory).mkdir(parents=True)
    running = lab("etc", PAIR)
    assert Path("/etc/netns/etc.vpc").exists() or any(Path("/etc/netns").glob("etc.*"))
    running.nslab("down", "etc")
    assert Path("/etc/netns").exists() is bool(directory)
    if directory:
        assert Path(directory).is_dir()
        os.removedirs(directory) if directory != "/etc/netns" else os.rmdir(directory)


def test_two_labs_with_the_same_ranges_do_not_meet(lab: LabFactory) -> None:
    one = lab("one", topology(pod("a"), pod("b", "node-2"), service("b")))
    two = lab("two", topology(pod("a"), pod("b", "node-2", labels=', second: "1"'), service("b"), pod("z")))
    addresses = [running.get("pod", "b")["status"]["podIP"] for running in (one, two)]
    assert addresses[0] == addresses[1]
    for running in (one, two):
        with streams(running):
            pass
    z = two.get("pod", "z")["status"]["podIP"]
    assert one.probe("pod/a", f"{z}:80", timeout=0.5)["verdict"] != "open"
    assert two.probe("pod/a", f"{z}:80")["responders"] == {"default/z": 1}
    with streams(two):
        nslab("down", "one")
    assert two.json("status")["drift"] == []


class Commands:
    """Commands that run side by side."""

    def __init__(self, *lines: list[str]) -> None:
        self.running = [
            subprocess.Popen([NSLAB, *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for line in lines
        ]

    def codes(self) -> list[int]:
        for process in self.running:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
        return [process.returncode for process in self.running]


def test_two_ups_of_one_lab_at_once(tmp_path: Path) -> None:
    before = host_state()
    same, other = tmp_path / "same.yaml", tmp_path / "other.yaml"
    same.write_text(topology(*BASE, deployment("web", 4)))
    other.write_text(topology(*BASE, deployment("web", 8), nodes=3))
    Commands(["up", str(same), "--lab", "race"], ["up", str(same), "--lab", "race"]).codes()
    Commands(["up", str(same), "--lab", "race"], ["up", str(other), "--lab", "race"]).codes()
    assert json.loads(nslab("status", "-o", "json").stdout)["drift"] == []
    Commands(["down", "race"], ["down", "race"]).codes()
    assert host_state() == before


def test_up_while_down_runs_and_down_while_up_runs(tmp_path: Path) -> None:
    before = host_state()
    file = tmp_path / "race.yaml"
    file.write_text(topology(*BASE, deployment("web", 12)))
    up, down = ["up", str(file), "--lab", "race", "--wait", "0"], ["down", "race"]
    for _ in range(3):
        Commands(up).codes()
        racing = Commands(down, up)
        for process in racing.running:
            process.communicate(timeout=120)
        assert racing.running[0].returncode == 0
        # Taken down in its middle, an `up` says so; a lab that is there is whole.
        for entry in labs():
            assert json.loads(nslab("--lab", entry.name, "status", "-o", "json").stdout)["drift"] == []
    nslab("down", "race")
    assert host_state() == before


def test_down_all(lab: LabFactory) -> None:
    before = host_state()
    lab("one", PAIR)
    lab("two", PAIR)
    nslab("down", "--all")
    assert host_state() == before
    nslab("down", "--all")
    assert host_state() == before


FOREIGN = {
    "a netns": ("ip netns add own.pod.default.c", "ip netns delete own.pod.default.c"),
    "a link": (
        "ip -n own.pod.default.a link delete eth0; ip -n own.pod.default.a link add eth0 type bridge",
        "ip -n own.pod.default.a link delete eth0",
    ),
    "a table": (
        "ip netns exec own.node.node-1 nft 'delete table ip kube-proxy; add table ip kube-proxy;"
        " add chain ip kube-proxy mine'",
        "ip netns exec own.node.node-1 nft delete table ip kube-proxy",
    ),
    "a file": (
        "mkdir -p /etc/netns/own.pod.default.c; echo mine > /etc/netns/own.pod.default.c/hosts",
        "rm -r /etc/netns/own.pod.default.c",
    ),
}


def _objects(lab: str) -> dict[str, list[Any]]:
    """All objects that the journal leads to, but for the nodes' Leases."""
    return {kind: bodies for kind, bodies in stored(read_journal(Paths(lab).journal)).items() if kind != "Lease"}


@pytest.mark.parametrize(("make", "remove"), FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_somebody_elses_is_refused_and_left(lab: LabFactory, make: str, remove: str) -> None:
    running = lab("own", PAIR)
    running.nslab("status")  # whoever asks for a new lab's objects has them stored
    sh(make)
    before, state = host_state(), Paths("own").state.read_bytes()
    objects = _objects("own")
    inside = (
        "for n in $(ip netns list | cut -d' ' -f1)"
        "; do ip -n $n -br link | awk '{print $1, $3}'; ip netns exec $n nft list ruleset; done"
    )
    kernel = sh(inside)
    refused = running.up(topology(*BASE, pod("c"), nodes=3), code=5)
    assert "is not" in refused.stderr
    assert "hint: " in refused.stderr
    assert host_state() == before
    assert _objects("own") == objects
    assert sh(inside) == kernel
    assert Paths("own").state.read_bytes() == state
    sh(remove)
    running.up(topology(*BASE, pod("c"), nodes=3))
    assert running.json("status")["drift"] == []
    assert running.probe("pod/a", "svc/b:80")["verdict"] == "open"


def test_a_new_lab_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    sh("ip netns add fresh.vpc")
    before = host_state()
    file = tmp_path / "fresh.yaml"
    file.write_text(PAIR)
    refused = nslab("up", str(file), "--lab", "fresh", code=5)
    assert "fresh.vpc exists and is not lab fresh's" in refused.stderr
    assert "ip netns delete fresh.vpc" in refused.stderr
    until(lambda: host_state() == before)
    nslab("down", "fresh")
    assert host_state() == before
    sh("ip netns delete fresh.vpc")


def kill(pid: int | None) -> None:
    assert pid
    os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError, FileNotFoundError):
        until(lambda: "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3])


def pids(running: RunningLab) -> dict[str, int]:
    return {each["role"]: each["pid"] for each in running.json("status")["footprint"]["processes"]}


def test_a_lab_goes_on_without_its_agent(lab: LabFactory) -> None:
    probed = pod("b", "node-2", more="      readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}\n")
    text = topology(pod("a"), probed, service("b"))
    running = lab("headless", text)
    with streams(running) as opened:
        kill(pids(running)["agent"])
        assert [stream.ask() for stream in opened] == ["b", "b"]
        assert running.json("ls")[0]["agent_pid"] is None
        assert "dead" in running.nslab("status").stdout
        status = running.json("status")
        assert (status["drift"], status["pods"]["not_ready"]) == ([], [])
        assert len(running.get("pods")["items"]) == 2
        assert running.probe("pod/a", "svc/b:80")["responders"] == {"default/b": 1}
        running.nslab("check")
        assert operations(running.up(text, "-o", "json")) == 0
        assert [stream.ask() for stream in opened] == ["b", "b"]
    assert pids(running)["agent"]


def test_a_stopped_agent_is_named_and_keeps_nobody_from_reading(lab: LabFactory) -> None:
    running = lab("stopped", PAIR)
    before = running.get("pods")
    agent = pids(running)["agent"]
    os.kill(agent, signal.SIGSTOP)
    assert running.get("pods") == before
    refused = running.up(PAIR, code=5)
    assert f"process {agent}, which holds lab stopped, is stopped" in refused.stderr
    assert f"kill -CONT {agent}" in refused.stderr
    os.kill(agent, signal.SIGCONT)
    assert operations(running.up(PAIR, "-o", "json")) == 0


def test_a_responder_that_dies_is_started_again(lab: LabFactory) -> None:
    running = lab("phoenix", PAIR)
    former = pids(running)
    kill(former["responder"])
    until(lambda: running.probe("pod/a", "svc/b:80", timeout=1)["verdict"] == "open")
    assert pids(running)["responder"] != former["responder"]
    assert pids(running)["agent"] == former["agent"]
    # Only the agent's own children: another test of this worker may have some that it has not yet waited for.
    until(lambda: "Z" not in sh(f"ps -o stat= --ppid {former['agent']}"))


SLEEPER = pod("s", image="host", more="      command: [sh, -c, 'sleep 7777 & setsid sleep 7777 & echo up; wait']\n")


def sleepers() -> list[int]:
    return [int(line) for line in sh("pgrep -fx 'sleep 7777' || true").split()]


def test_host_processes_are_adopted_and_leave_no_child(lab: LabFactory) -> None:
    text = topology(SLEEPER)
    running = lab("adopt", text)
    until(lambda: len(sleepers()) == 2)
    children = sleepers()
    kill(pids(running)["agent"])
    assert operations(running.up(text, "-o", "json")) == 0
    assert sleepers() == children
    kill(pids(running)["agent"])
    Paths("adopt").containers.write_text("[]")  # as if the agent had been killed before it could write
    running.up(text)
    assert sleepers() == children
    nslab("down", "adopt")
    assert sleepers() == []


def test_a_host_process_that_ends_starts_again_later_and_later(lab: LabFactory) -> None:
    running = lab("again", topology(pod("s", image="host", more="      command: [sh, -c, 'sleep 7777 & date']\n")))
    until(lambda: running.json("status")["pods"]["restarts"] >= 2)
    assert len(sleepers()) <= 1
    log = Paths("again").container_log("default/s", "main").read_text()
    assert len(log.splitlines()) >= 2
    nslab("down", "again")
    assert sleepers() == []


BREAKAGES = {
    "agent dead": "kill -9 $AGENT",
    "agent hangs": "kill -STOP $AGENT",
    "agent hangs without its socket": "kill -STOP $AGENT; rm /run/nslab/broken/*.sock",
    "agent hangs without its lock": "kill -STOP $AGENT; rm -r /run/nslab/broken",
    "all processes dead": "kill -9 $AGENT $RESPONDER",
    "state missing": "kill -9 $AGENT; rm /run/nslab/broken/state.json",
    "state garbage": "kill -9 $AGENT; echo '{\"manifest\": 7' > /run/nslab/broken/state.json",
    "state of another shape": "kill -9 $AGENT; echo '[1]' > /run/nslab/broken/state.json",
    "directory gone": "rm -r /run/nslab/broken",
    "all metadata garbage": "kill -9 $AGENT; for f in /run/nslab/broken/*.json; do echo x > $f; done",
    "namespaces half removed": "cd /run/netns; for n in $(ls | head -3); do ip netns delete $n; done",
    "namespaces all removed": "cd /run/netns; for n in $(ls); do ip netns delete $n; done",
    "responder hangs": "kill -STOP $RESPONDER",
    "sockets gone": "rm /run/nslab/broken/*.sock",
}


@pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=BREAKAGES.keys())
def test_down_removes_a_broken_lab(lab: LabFactory, breakage: str) -> None:
    before = host_state()
    running = lab("broken", topology(*BASE, SLEEPER))
    until(lambda: len(sleepers()) == 2)
    found = pids(running)
    running.file.unlink()
    sh(breakage.replace("$AGENT", str(found["agent"])).replace("$RESPONDER", str(found["responder"])))
    nslab("down", "broken")
    if "rm -r" in breakage:  # nothing but the environment of a lost process tells that it was the lab's
        nslab("gc")
    assert host_state() == before


@pytest.mark.parametrize("garbage", ["", "x", "[]", "{}", '{"manifest": {"lab": {}}, "leases": {}}'])
def test_up_tells_a_damaged_state_and_ls_still_works(lab: LabFactory, garbage: str) -> None:
    running = lab("garbled", PAIR)
    kill(pids(running)["agent"])
    Paths("garbled").state.write_text(garbage)
    refused = running.up(PAIR, code=5)
    assert "the state of lab garbled is damaged" in refused.stderr
    assert "nslab down garbled" in refused.stderr
    assert running.nslab("status", code=5).stderr == refused.stderr
    Paths("garbled").summary.write_text(garbage)
    assert [entry["name"] for entry in running.json("ls")] == ["garbled"]
    nslab("down", "garbled")
    running.up(PAIR)


def test_gc_removes_what_crashes_left_and_only_that(lab: LabFactory) -> None:
    before = host_state()
    running = lab("gone", topology(*BASE, SLEEPER))
    until(lambda: len(sleepers()) == 2)
    found = pids(running)
    kept = lab("kept", PAIR)
    sh("ip netns add foreign; ip netns add gone.foreign")
    sh("mkdir /etc/netns/gone.mine; echo x > /etc/netns/gone.mine/hosts")
    sh("ip netns delete gone.pod.default.a")
    kill(found["agent"])
    sh("rm -r /run/nslab/gone")
    with streams(kept):
        said = nslab("gc").stdout
    assert said.startswith("removed what was left of lab gone: ")
    assert nslab("gc").stdout == ""
    assert sorted(sh("ip netns list | cut -d' ' -f1 | grep -v ^kept").split()) == ["foreign", "gone.foreign"]
    assert sorted(os.listdir("/etc/netns"))[0] == "gone.mine"
    assert sleepers() == []
    assert kept.json("status")["drift"] == []
    sh("ip netns delete foreign; ip netns delete gone.foreign; rm -r /etc/netns/gone.mine")
    nslab("down", "kept")
    assert host_state() == before


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "A", "-a", "a.b", "", "x" * 64, "a\n"])
def test_no_name_leads_out_of_the_state_directory(name: str) -> None:
    from nslab.agent import client
    from nslab.errors import UsageError

    with pytest.raises(UsageError, match="cannot name a lab"):
        Paths(name)
    with pytest.raises(UsageError, match="cannot name a lab"):
        client.down(name)


def test_an_agent_without_a_lab_ends_by_itself() -> None:
    from nslab.agent.calls import StandbyAgent

    before = host_state()
    agent = StandbyAgent()
    assert agent.become("nothing")
    assert Paths("nothing").agent_socket.exists()
    assert agent.process.wait(60) == 0
    assert host_state() == before


def test_a_standby_agent_goes_with_its_client() -> None:
    before = host_state()
    code = "import time, nslab.agent.calls as c; c.StandbyAgent(); print(flush=True); time.sleep(99)"
    client = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert client.stdout
    assert client.stdout.readline() == b"\n"
    client.kill()
    client.wait()
    client.stdout.close()
    until(lambda: host_state() == before)


def test_clients_that_say_nothing_or_nonsense_keep_nobody_waiting(lab: LabFactory) -> None:
    running = lab("patient", PAIR)
    silent = []
    for said in (b"", b'{"op":', b""):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(Paths("patient").agent_socket))
        connection.sendall(said)
        silent.append(connection)
    for nonsense in (b"x\n", b"[]\n", b"{}\n", b'{"op": "dance"}\n', b'{"op": "up"}\n', b"\xff\xfe\n"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(Paths("patient").agent_socket))
            connection.sendall(nonsense)
            assert b'"error"' in connection.makefile("rb").readline()
    started = time.monotonic()
    running.nslab("status")
    assert time.monotonic() - started < 9
    for connection in silent:
        assert connection.recv(1) == b""  # dropped in the end
        connection.close()


def test_without_root_the_remedy_is_told(tmp_path: Path) -> None:
    file = tmp_path / "poor.yaml"
    file.write_text(PAIR)
    for line in (["up", str(file)], ["down", "poor"], ["gc"]):
        done = subprocess.run(
            ["setpriv", "--bounding-set=-all", "--inh-caps=-all", NSLAB, *line], capture_output=True, text=True,
            check=False,
        )
        assert done.returncode == 4, done.stderr
        assert "sudo" in done.stderr


def test_without_the_bridge_filter_nothing_is_built(tmp_path: Path) -> None:
    file = tmp_path / "bare.yaml"
    file.write_text(PAIR)
    before = host_state()
    sh("mount -t tmpfs none /proc/sys/net/bridge")
    try:
        done = nslab("up", str(file), code=4)
        nslab("up", str(file), "--dry-run", code=4)
    finally:
        sh("umount /proc/sys/net/bridge")
    assert "modprobe br_netfilter" in done.stderr
    until(lambda: host_state() == before)


def test_what_the_kernel_refuses_is_told(lab: LabFactory) -> None:
    running = lab("refused", PAIR)
    sh("mount -t tmpfs -o ro none /etc/netns")
    try:
        done = running.up(topology(*BASE, pod("c")), code=5)
    finally:
        sh("umount /etc/netns")
    assert "the kernel refused `" in done.stderr
    assert "EROFS" in done.stderr
    running.up(topology(*BASE, pod("c")))
    assert running.json("status")["drift"] == []
