"""The containers' life: what the responder plays for them, and the processes of `image: host`.

A container is served by the responder unless its image is `host`; then its command runs from the host's files inside
the Pod's netns, is restarted when it ends, and writes to a log. Both outlive the agent: a new one takes them over.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import inf

from nslab.cluster import naming
from nslab.cluster.model import Cluster, Container, Pod
from nslab.kubelet.container_life import ALWAYS, CANNOT_START, SIGKILLED, SIGTERMED, Life
from nslab.linux import process
from nslab.linux.lab_files import Paths, write_atomically

HOST_IMAGE = "host"
MARK = "NSLAB_CONTAINER"
"""The variable that every process of a container has in its environment: whose it is, whoever its parent is."""


def _crashed(cluster: Cluster) -> frozenset[PodKey]:
    """The Pods that are made to crash."""
    keys = (fault.target.removeprefix("pod/") for fault in cluster.faults if fault.effect == "crash")
    return frozenset((key, cluster.pods[key].uid) for key in keys if key in cluster.pods)


PodKey = tuple[str, str]
"""One incarnation of a Pod: its key and uid."""

Key = tuple[str, str, str]
"""A container of one incarnation of a Pod: the Pod's key and uid, and the container's name."""


@dataclass(slots=True, kw_only=True)
class Process(Life):
    """One `image: host` container: its life, and its process, whose pid is 0 while there is none. At `killed` (Unix
    seconds) it has had the time to end by itself; `asked` says that it was told to, for good."""

    pod_key: str
    pod_uid: str
    container: str
    pid: int = 0
    start_time: int = 0
    killed: float = inf
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
    """The containers of a lab: processes of `image: host`, and those of the responder that have ended at least once;
    remembered on disk, so that a new agent adopts them.

    `on_change` is told the container, and whether it runs now, whenever one has begun or ended. `reshaped` is set
    when what the responder plays is no longer the same.
    """

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.processes: dict[Key, Process] = {}
        self.played: dict[Key, Life] = {}
        self.wanted: dict[Key, tuple[Cluster, Pod, Container]] = {}
        self.crashed: frozenset[PodKey] = frozenset()
        self.on_change: Callable[[Key, bool], None] = lambda key, runs: None
        self.reshaped = False
        self._pods: dict[PodKey, tuple[Pod, float]] = {}  # with when they were first seen
        with suppress(OSError, ValueError, TypeError, KeyError):  # there is none, or it is damaged
            known = json.loads(paths.containers.read_text())
            self.played = {(pod, uid, name): Life(**fields) for pod, uid, name, fields in known["played"]}
            self.processes = {one.key: one for one in (Process(**fields) for fields in known["processes"])}
        if paths.containers.exists():
            self._adopt()

    def _adopt(self) -> None:
        """Find the processes that a killed agent started and could not write down any more."""
        for pid, mark in _marked(self.paths):
            _, pod_key, pod_uid, container = mark.split(" ")
            fresh = Process(pod_key=pod_key, pod_uid=pod_uid, container=container)
            known = self.processes.setdefault(fresh.key, fresh)
            if not known.alive and process.leads_session(pid):
                known.pid, known.start_time = pid, process.start_time(pid)
                known.start(time.time())

    def set(self, cluster: Cluster) -> None:
        """Want the containers of this Cluster: stop those that it no longer has, start the new ones. Those of a Pod
        that is being deleted are left to themselves; those of one that is made to crash are killed, and start again
        when that is over."""
        now, former = time.time(), self._pods
        self._pods = {
            (pod.key, pod.uid): (pod, former.get((pod.key, pod.uid), (pod, now))[1]) for pod in cluster.pods.values()
        }
        present = {
            (pod.key, pod.uid, container.name): (cluster, pod, container)
            for pod in cluster.pods.values()
            for container in pod.containers
            if container.image == HOST_IMAGE
        }
        self.played = {key: life for key, life in self.played.items() if key[:2] in self._pods}
        self._stop([known for key, known in self.processes.items() if key not in present])
        self.crashed = _crashed(cluster)
        self.wanted = {key: place for key, place in present.items() if self._may_start(key)}
        self._crash()
        self.tick()

    def _may_start(self, key: Key) -> bool:
        return key[:2] in self._pods and not self._pods[key[:2]][0].terminating and key[:2] not in self.crashed

    def _crash(self) -> None:
        """End all containers of the Pods that crash, without a word. That they come back is their faults' affair."""
        victims = [one for one in self.processes.values() if one.key[:2] in self.crashed and one.pid]
        process.terminate([one.pid for one in victims if one.alive], timeout=0.0)
        self._bury(victims)
        for pod in self.crashed:
            for container in self._pods[pod][0].containers:
                if container.image != HOST_IMAGE:
                    self._end_played((*pod, container.name), SIGKILLED)
        for key, life in [*self.processes.items(), *self.played.items()]:
            if key[:2] in self.crashed:
                life.due = 0.0

    # --- What is asked

    def life(self, key: Key) -> Life | None:
        """The container's life; None of one that the responder has played without a break."""
        return self.processes.get(key) or self.played.get(key)

    def is_running(self, key: Key) -> bool:
        life = self.life(key)
        return life is None or life.running

    @property
    def ended(self) -> frozenset[Key]:
        """The containers of the responder that do not run."""
        return frozenset(key for key, life in self.played.items() if not life.running)

    def runs(self, pod: Pod) -> bool:
        """Whether a process of the Pod is still there."""
        return any(known.alive for known in self.processes.values() if known.key[:2] == (pod.key, pod.uid))

    def restarts(self) -> dict[str, int]:
        """How often containers of a Pod were started again, by Pod key."""
        counts: Counter[str] = Counter()
        for key, life in [*self.processes.items(), *self.played.items()]:
            counts[key[0]] += life.restarts
        return counts

    # --- What time and others bring

    def tick(self) -> float:
        """Start what should run and does not. Returns the seconds until there is more to do."""
        now = time.time()
        processes = self.processes.values()
        process.terminate([one.pid for one in processes if now >= one.killed and one.alive], timeout=0.0)
        self._bury([one for one in processes if one.pid and not one.alive])
        idle = [one for key in self.wanted if not (one := self._process(key)).pid]
        starting = [one for one in idle if one.due <= now]
        if starting:
            self._save()  # first: from now on there may be processes to find
            for one in starting:
                self._start(*self.wanted[one.key], one)
            self._save()
        waiting = [(key, life) for key, life in self.played.items() if not life.running and self._may_start(key)]
        for key, life in waiting:
            if life.due <= now:
                life.start(now)
                self._replay(key, True)
        due = [life.due for life in (*idle, *(life for _, life in waiting)) if not life.running]
        return max(0.0, min([*due, *(one.killed for one in processes if one.pid)], default=inf) - now)

    def _process(self, key: Key) -> Process:
        known = self.processes.get(key)
        if known is None:
            _, pod, container = self.wanted[key]
            policy = restart_policy(pod, container.name)
            known = Process(pod_key=pod.key, pod_uid=pod.uid, container=container.name, policy=policy)
            self.processes[key] = known
        return known

    def _bury(self, ended: list[Process]) -> None:
        """Processes have ended; what they left behind ends before they start again."""
        for known in ended:
            code = process.reap(known.pid)
            known.pid, known.killed = 0, inf
            known.end(time.time(), code)
            self.on_change(known.key, False)
        if ended:
            self._end_rest(ended)
            self._save()

    def restart(self, key: Key, grace: float) -> None:
        """A liveness or startup probe has failed for good: end the container, as its restartPolicy has it, to start
        anew. A process has `grace` seconds to end by itself."""
        known = self.processes.get(key)
        if known is None:
            self._end_played(key, SIGTERMED)
        elif known.alive:
            known.killed = min(known.killed, time.time() + grace)
            process.ask([known.pid])

    def _end_played(self, key: Key, exit_code: int) -> None:
        pod, began = self._pods[key[:2]]
        life = self.played.setdefault(key, Life(restart_policy(pod, key[2]), running=True, began=began))
        if life.running:
            life.end(time.time(), exit_code)
            self._replay(key, False)

    def _replay(self, key: Key, runs: bool) -> None:
        self.reshaped = True
        self._save()
        self.on_change(key, runs)

    def ask_to_end(self, pod: Pod) -> None:
        """Send the processes of a Pod SIGTERM; none of them starts again."""
        ending = [known for known in self.processes.values() if known.key[:2] == (pod.key, pod.uid)]
        for known in ending:
            self.wanted.pop(known.key, None)
            known.asked = True
            known.retire()
        process.ask([known.pid for known in ending if known.alive])

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
        known.start(time.time())
        with open(log, "ab") as file:
            try:
                known.pid = process.spawn_in(
                    naming.pod_netns(cluster.lab.name, pod),
                    list(container.command),
                    env={**environment(pod, container), MARK: known.mark(self.paths.lab)},
                    cwd=container.working_dir or "/",
                    log_fd=file.fileno(),
                )
                known.start_time = process.start_time(known.pid)
            except OSError as error:
                file.write(f"nslab: cannot run {container.command[0]}: {error.strerror}\n".encode())
                known.end(time.time(), CANNOT_START)
        self.on_change(known.key, known.running)

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
        known = {
            "processes": [asdict(known) for known in self.processes.values()],
            "played": [[*key, asdict(life)] for key, life in self.played.items()],
        }
        write_atomically(self.paths.containers, json.dumps(known))


def restart_policy(pod: Pod, container: str) -> str:
    """Whether a container starts again: its Pod's restartPolicy, and Always for a sidecar (KEP-753)."""
    spec = pod.body.get("spec") or {}
    sidecar = any(item["name"] == container for item in spec.get("initContainers") or ())
    return ALWAYS if sidecar else str(spec.get("restartPolicy") or ALWAYS)


def _marked(paths: Paths) -> Iterator[tuple[int, str]]:
    """The processes of a lab's containers, and their marks. A lab of the same name in another mount namespace, with a
    /run of its own, is another lab."""
    for pid in process.running():
        mark = process.variable(pid, MARK)
        if mark.startswith(f"{paths.lab} ") and process.sees_same(pid, str(paths.root)):
            yield pid, mark


def environment(pod: Pod, container: Container) -> dict[str, str]:
    """What a program of an `image: host` container finds in its environment."""
    return {
        "PATH": os.environ.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        "HOSTNAME": pod.name,
        "HOME": "/",
        **dict(container.env),
    }
