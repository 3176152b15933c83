"""The containers' life: what the responder plays for them, and the processes of `image: host`.

A container is served by the responder unless its image is `host`; then its command runs from the host's files inside
the Pod's netns, is restarted when it ends, and writes to a log. Both outlive the agent: a new one takes them over.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass

from nslab.agent.store import Paths, write_atomically
from nslab.cluster import naming
from nslab.cluster.addons import NODE_LOCAL_IP, is_dns_port, is_node_local
from nslab.cluster.model import Cluster, Container, Pod
from nslab.cluster.resolvers import internet_server
from nslab.dns.views import CLUSTER, INTERNET, NODE_LOCAL
from nslab.linux import process
from nslab.servers.listeners import Identity, Listener

HOST_IMAGE = "host"
CLIENT_PORT = 80
DNS_PORT = 53
BACKOFF_FIRST = 0.5
BACKOFF_LIMIT = 30.0
MARK = "NSLAB_CONTAINER"
"""The variable that every process of a container has in its environment: whose it is, whoever its parent is."""
STEADY = 10.0
"""A process that ran this long (seconds) starts again at the first back-off; the kubelet's own is ten minutes."""


def listeners(cluster: Cluster) -> Iterator[Listener]:
    """Every socket that the responder opens for this Cluster: ports of containers, port 80 of each client, and the
    internet side's name server."""
    lab = cluster.lab.name
    for pod in cluster.pods.values():
        netns = naming.pod_netns(lab, pod)
        address = pod.ip if pod.host_network else "0.0.0.0"
        kind, cache = (NODE_LOCAL, NODE_LOCAL_IP) if is_node_local(pod) else (CLUSTER, address)
        for container in pod.containers:
            if container.image == HOST_IMAGE:
                continue
            identity = Identity(pod.name, pod.namespace, pod.node, pod.ip, container.name)
            for port in container.ports:
                if is_dns_port(pod, port):
                    yield Listener(netns, cache, port.port, port.protocol, identity, pod.uid, kind)
                elif port.protocol in ("TCP", "UDP"):
                    yield Listener(netns, address, port.port, port.protocol, identity, pod.uid)
    for client in cluster.clients.values():
        netns = naming.client_netns(lab, client.name)
        for protocol in ("TCP", "UDP"):
            identity = Identity("", "", f"client/{client.name}", client.ip, "")
            yield Listener(netns, "0.0.0.0", CLIENT_PORT, protocol, identity)
    server = internet_server(cluster)
    for protocol in ("TCP", "UDP"):
        identity = Identity("", "", "internet", server, "")
        yield Listener(naming.internet_netns(lab), server, DNS_PORT, protocol, identity, "", INTERNET)


Key = tuple[str, str, str]
"""A container of one incarnation of a Pod: the Pod's key and uid, and the container's name."""


@dataclass(slots=True)
class Process:
    """One `image: host` container: its process (pid 0 while it waits to start again), and its history."""

    pod_key: str
    pod_uid: str
    container: str
    pid: int = 0
    start_time: int = 0
    started: float = 0.0
    restarts: int = 0
    backoff: float = BACKOFF_FIRST
    next_start: float = 0.0
    asked: bool = False

    @property
    def alive(self) -> bool:
        return self.pid != 0 and process.alive(self.pid, self.start_time)

    @property
    def key(self) -> Key:
        return self.pod_key, self.pod_uid, self.container

    def mark(self, lab: str) -> str:
        return f"{lab} {self.pod_key} {self.pod_uid} {self.container}"


class Containers:
    """The processes of a lab's `image: host` containers, remembered on disk so that a new agent adopts them."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.processes: dict[Key, Process] = {}
        self.wanted: dict[Key, tuple[Cluster, Pod, Container]] = {}
        with suppress(OSError, ValueError, TypeError):  # there is none, or it is damaged
            known = [Process(**fields) for fields in json.loads(paths.containers.read_text())]
            self.processes = {one.key: one for one in known}
        if paths.containers.exists():
            self._adopt()

    def _adopt(self) -> None:
        """Find the processes that a killed agent started and could not write down any more."""
        for pid, mark in _marked(self.paths):
            _, pod_key, pod_uid, container = mark.split(" ")
            key = pod_key, pod_uid, container
            known = self.processes.setdefault(key, Process(*key))
            if not known.alive and process.leads_session(pid):
                known.pid, known.start_time, known.started = pid, process.start_time(pid), time.monotonic()

    def set(self, cluster: Cluster) -> None:
        """Want the containers of this Cluster: stop those that it no longer has, start the new ones. Those of a Pod
        that is being deleted are left to themselves."""
        present = {
            (pod.key, pod.uid, container.name): (cluster, pod, container)
            for pod in cluster.pods.values()
            for container in pod.containers
            if container.image == HOST_IMAGE
        }
        self.wanted = {key: place for key, place in present.items() if not place[1].terminating}
        self._stop([known for key, known in self.processes.items() if key not in present])
        self.tick()

    def ask_to_end(self, pod: Pod) -> None:
        """Send the processes of a Pod SIGTERM; none of them starts again."""
        ending = [known for known in self.processes.values() if (known.pod_key, known.pod_uid) == (pod.key, pod.uid)]
        for known in ending:
            self.wanted.pop(known.key, None)
            known.asked = True
        process.ask([known.pid for known in ending if known.alive])

    def runs(self, pod: Pod) -> bool:
        """Whether a process of the Pod is still there."""
        return any(
            known.alive for known in self.processes.values()
            if (known.pod_key, known.pod_uid) == (pod.key, pod.uid)
        )

    def tick(self) -> float:
        """Start what should run and does not. Returns the seconds until the next start is due."""
        now = time.monotonic()
        known = [self.processes.setdefault(key, Process(*key)) for key in self.wanted]
        idle = [one for one in known if not one.alive]
        self._bury([one for one in idle if one.pid], now)
        starting = [one for one in idle if one.next_start <= now]
        if starting:
            self._save()  # first: from now on there may be processes to find
            for one in starting:
                self._start(*self.wanted[one.key], one)
            self._save()
        return min((one.next_start - now for one in idle if not one.pid), default=float("inf"))

    def _bury(self, ended: list[Process], now: float) -> None:
        """Processes that have ended start again after a while; what they left behind ends before."""
        for known in ended:
            process.reap(known.pid)
            known.pid = 0
            known.restarts += 1
            steady = now - known.started > STEADY
            known.backoff = BACKOFF_FIRST if steady else min(known.backoff * 2, BACKOFF_LIMIT)
            known.next_start = now + known.backoff
        if ended:
            self._end_rest(ended)
            self._save()

    def pids(self) -> dict[int, Process]:
        """The running processes by pid."""
        return {known.pid: known for known in self.processes.values() if known.pid}

    def restart(self, pod_key: str, container: str) -> None:
        """Kill the container's process, so that it starts anew (a failed liveness probe)."""
        for known in self.processes.values():
            if (known.pod_key, known.container) == (pod_key, container) and known.alive:
                process.terminate([known.pid], timeout=1.0)

    def stop(self) -> int:
        """End all processes, wanted or not, for good. Returns how many containers ran."""
        self.wanted = {}
        count = sum(known.alive for known in self.processes.values())
        self._stop(list(self.processes.values()))
        return count

    def _end_rest(self, ended: Iterable[Process]) -> None:
        """Kill what the processes that have ended left behind, in whatever session."""
        marks = {known.mark(self.paths.lab) for known in ended}
        process.terminate([pid for pid, mark in _marked(self.paths) if mark in marks], timeout=0.0)

    def _start(self, cluster: Cluster, pod: Pod, container: Container, known: Process) -> None:
        log = self.paths.container_log(pod.key, container.name)
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(log, "ab") as file:
            known.started = time.monotonic()
            try:
                known.pid = process.spawn_in(
                    naming.pod_netns(cluster.lab.name, pod),
                    list(container.command),
                    env={**_base_environment(pod), **dict(container.env), MARK: known.mark(self.paths.lab)},
                    cwd=container.working_dir or "/",
                    log_fd=file.fileno(),
                )
                known.start_time = process.start_time(known.pid)
            except OSError as error:
                file.write(f"nslab: cannot run {container.command[0]}: {error.strerror}\n".encode())
                known.restarts += 1
                known.backoff = min(known.backoff * 2, BACKOFF_LIMIT)
                known.next_start = known.started + known.backoff

    def _stop(self, ending: Iterable[Process]) -> None:
        ending = list(ending)
        if ending:
            process.terminate([known.pid for known in ending if known.alive and known.asked], timeout=0.0)
            process.terminate([known.pid for known in ending if known.alive and not known.asked], timeout=2.0)
            self._end_rest(ending)
        for known in ending:
            process.reap(known.pid)
            del self.processes[known.key]
        if ending:
            self._save()

    def _save(self) -> None:
        write_atomically(self.paths.containers, json.dumps([asdict(known) for known in self.processes.values()]))


def _marked(paths: Paths) -> Iterator[tuple[int, str]]:
    """The processes of a lab's containers, and their marks. A lab of the same name in another mount namespace, with a
    /run of its own, is another lab."""
    for pid in process.running():
        mark = process.variable(pid, MARK)
        if mark.startswith(f"{paths.lab} ") and process.sees_same(pid, str(paths.root)):
            yield pid, mark


def _base_environment(pod: Pod) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        "HOSTNAME": pod.name,
        "HOME": "/",
    }
