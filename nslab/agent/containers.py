"""The containers' life: what the responder plays for them, and the processes of `image: host`.

A container is served by the responder unless its image is `host`; then its command runs from the host's files inside
the Pod's netns, is restarted when it ends, and writes to a log. Both outlive the agent: a new one takes them over.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from nslab.agent.store import Paths, write_atomically
from nslab.cluster import naming
from nslab.cluster.model import Cluster, Container, Pod
from nslab.linux import process
from nslab.servers.listeners import Identity, Listener

HOST_IMAGE = "host"
CLIENT_PORT = 80
BACKOFF_FIRST = 0.5
BACKOFF_LIMIT = 30.0
STEADY = 10.0
"""A process that ran this long (seconds) starts again at the first back-off; the kubelet's own is ten minutes."""


def listeners(cluster: Cluster) -> Iterator[Listener]:
    """Every socket that the responder opens for this Cluster: the ports of containers, and port 80 of each client."""
    lab = cluster.lab.name
    for pod in cluster.pods.values():
        netns = naming.pod_netns(lab, pod)
        address = pod.ip if pod.host_network else "0.0.0.0"
        for container in pod.containers:
            if container.image == HOST_IMAGE:
                continue
            identity = Identity(pod.name, pod.namespace, pod.node, pod.ip, container.name)
            for port in container.ports:
                if port.protocol in ("TCP", "UDP"):
                    yield Listener(netns, address, port.port, port.protocol, identity, uid=pod.uid)
    for client in cluster.clients.values():
        netns = naming.client_netns(lab, client.name)
        for protocol in ("TCP", "UDP"):
            identity = Identity("", "", f"client/{client.name}", client.ip, "")
            yield Listener(netns, "0.0.0.0", CLIENT_PORT, protocol, identity)


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

    @property
    def alive(self) -> bool:
        return self.pid != 0 and process.alive(self.pid, self.start_time)


class Containers:
    """The processes of a lab's `image: host` containers, remembered on disk so that a new agent adopts them."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.processes: dict[tuple[str, str, str], Process] = {}
        self.wanted: dict[tuple[str, str, str], tuple[Cluster, Pod, Container]] = {}
        if paths.containers.exists():
            for fields in json.loads(paths.containers.read_text()):
                known = Process(**fields)
                self.processes[known.pod_key, known.pod_uid, known.container] = known

    def set(self, cluster: Cluster) -> None:
        """Want the containers of this Cluster: stop those that it no longer has, start the new ones."""
        self.wanted = {
            (pod.key, pod.uid, container.name): (cluster, pod, container)
            for pod in cluster.pods.values()
            for container in pod.containers
            if container.image == HOST_IMAGE
        }
        self._stop([known for key, known in self.processes.items() if key not in self.wanted])
        self.tick()

    def tick(self) -> float:
        """Start what should run and does not. Returns the seconds until the next start is due."""
        now = time.monotonic()
        changed = False
        due: list[float] = []
        for key, (cluster, pod, container) in self.wanted.items():
            known = self.processes.get(key)
            if known is None:
                known = self.processes[key] = Process(*key)
            elif known.alive:
                continue
            if known.pid:
                changed = True
                known.pid = 0
                known.restarts += 1
                steady = now - known.started > STEADY
                known.backoff = BACKOFF_FIRST if steady else min(known.backoff * 2, BACKOFF_LIMIT)
                known.next_start = now + known.backoff
            if known.next_start > now:
                due.append(known.next_start - now)
                continue
            self._start(cluster, pod, container, known)
            changed = True
        if changed:
            self._save()
        return min(due, default=float("inf"))

    def pids(self) -> dict[int, Process]:
        """The running processes by pid."""
        return {known.pid: known for known in self.processes.values() if known.pid}

    def restart(self, pod_key: str, container: str) -> None:
        """Kill the container's process, so that it starts anew (a failed liveness probe)."""
        for known in self.processes.values():
            if (known.pod_key, known.container) == (pod_key, container) and known.alive:
                process.terminate([known.pid], timeout=1.0)

    def stop(self) -> None:
        """End all processes, wanted or not, for good."""
        self.wanted = {}
        self._stop(list(self.processes.values()))

    def _start(self, cluster: Cluster, pod: Pod, container: Container, known: Process) -> None:
        log = self.paths.container_log(pod.key, container.name)
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(log, "ab") as file:
            known.started = time.monotonic()
            try:
                known.pid = process.spawn_in(
                    naming.pod_netns(cluster.lab.name, pod),
                    list(container.command),
                    env={**_base_environment(pod), **dict(container.env)},
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
        process.terminate([known.pid for known in ending if known.alive], timeout=2.0)
        for known in ending:
            del self.processes[known.pod_key, known.pod_uid, known.container]
        if ending:
            self._save()

    def _save(self) -> None:
        write_atomically(self.paths.containers, json.dumps([asdict(known) for known in self.processes.values()]))


def _base_environment(pod: Pod) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        "HOSTNAME": pod.name,
        "HOME": "/",
    }
