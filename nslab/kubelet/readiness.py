"""Who is ready: the containers' probes, run from the Pods' nodes, summed up to the Pods' Ready condition."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

from nslab.cluster import naming
from nslab.cluster.model import Cluster, Container, Pod
from nslab.kubelet.containers import HOST_IMAGE, Containers, Key, environment
from nslab.kubelet.exec_probes import ExecProbes
from nslab.kubelet.pod_status import ContainerState
from nslab.kubelet.probe_schedule import READY, RESTART, STARTED, UNREADY, Timing
from nslab.kubelet.probes import ProbedContainer, ProbeEngine

Note = Callable[[Key, str, str], None]
"""Called as (container, reason, message): something happened that is worth an Event."""

GRACE = 30.0
"""Seconds that a container has to end by itself where nothing else is written (terminationGracePeriodSeconds)."""


@dataclass(frozen=True, slots=True)
class _Probed:
    pod_key: str
    pod_uid: str
    container: str

    @property
    def key(self) -> Key:
        return self.pod_key, self.pod_uid, self.container


class Readiness:
    """The probes of a lab. `ready` has the Ready condition of every Pod with probes or processes, by key. `stale` are
    the uids of Pods of whose containers there is something new to report.

    `remembered` is what a former agent knew (as the method of that name says it). Its ready containers stay ready
    until their probes have said otherwise, or had the time to.
    """

    def __init__(self, containers: Containers, remembered: dict[str, bool]) -> None:
        self.ready = ready_pods(remembered)
        self.changed = False
        self.stale: set[str] = set()
        self.on_event: Note = lambda key, reason, message: None
        self._lives = containers
        self._engine = ProbeEngine(self._heard)
        self._commands = ExecProbes()
        self._remembered = remembered
        self._trusted: dict[_Probed, float] = {}
        self._containers: dict[_Probed, bool] = {}
        self._places: dict[_Probed, tuple[Pod, Container]] = {}
        self._of_pod: dict[str, set[_Probed]] = {}
        containers.on_change = self.follow

    def fileno(self) -> int:
        """Readable when a probe's answer is there."""
        return self._engine.fileno()

    def remembered(self) -> dict[str, bool]:
        """What a later agent needs to know, by NAMESPACE/POD#UID#CONTAINER."""
        return self._remembered | {_engine_key(known): ready for known, ready in self._containers.items()}

    def replaced(self, cluster: Cluster) -> dict[str, bool]:
        """Not ready, by key: Pods of the Cluster that took the name of one that was probed."""
        return {
            known.pod_key: False for known in self._containers
            if known.pod_key in cluster.pods and cluster.pods[known.pod_key].uid != known.pod_uid
        }

    def set(self, cluster: Cluster) -> None:
        """Probe the containers of this Cluster that run, and no others. A dead node's are as they were when it comes
        back; those of a Pod that crashed begin anew."""
        present = {
            _Probed(pod.key, pod.uid, container.name): (pod, container)
            for pod in cluster.pods.values() for container in pod.containers
            if container.probes or container.image == HOST_IMAGE
        }
        dead = {one for one, (pod, _) in present.items() if cluster.suffers(f"node/{pod.node}", "dead")}
        crashed = {one for one in present if cluster.suffers(f"pod/{one.pod_key}", "crash")}
        wanted = {one: place for one, place in present.items() if one not in dead and one not in crashed}
        for known in [one for one in self._containers if one not in wanted]:
            ready = self._containers.pop(known)
            self._of_pod[known.pod_key].discard(known)
            if known in dead and known not in crashed:
                self._remembered[_engine_key(known)] = ready
            self._trusted.pop(known, None)
            self._engine.remove(_engine_key(known))
        self._forget_all_but(present.keys() - crashed)
        probed = {one.pod_key for one in wanted}
        self.ready = {key: ready for key, ready in self.ready.items() if key in probed}
        self._of_pod = {key: members for key, members in self._of_pod.items() if members}
        self._places = wanted
        self._begin(cluster, [one for one in wanted if one not in self._containers])
        for one, (pod, _) in wanted.items():
            if pod.terminating:
                self._engine.terminate(_engine_key(one))

    def _begin(self, cluster: Cluster, fresh: Sequence[_Probed]) -> None:
        now = time.monotonic()
        for one in fresh:
            probes = self._places[one][1].probes.values()
            trusted = self._remembered.pop(_engine_key(one), False) and self._lives.is_running(one.key)
            self._containers[one] = trusted
            self._of_pod.setdefault(one.pod_key, set()).add(one)
            if trusted and probes:
                self._trusted[one] = now + sum(map(_patience, probes))
        for key in {one.pod_key for one in fresh}:
            self._sum_up(key)
        for one in fresh:
            self._engine.add(_engine_key(one), self._probed(cluster, *self._places[one]))
            if self._lives.is_running(one.key):
                self._engine.start(_engine_key(one))

    def _forget_all_but(self, containers: Set[_Probed]) -> None:
        """Remember of former times only what concerns these."""
        if self._remembered:
            known = {_engine_key(one) for one in containers}
            self._remembered = {key: ready for key, ready in self._remembered.items() if key in known}

    def follow(self, key: Key, runs: bool) -> None:
        """A container has begun, or ended."""
        self.stale.add(key[1])
        probed, life = _Probed(*key), self._lives.life(key)
        if runs:
            self.on_event(key, "Started", f"Started container {key[2]}")
        elif life is not None and life.waits:
            namespace, _, name = key[0].partition("/")
            what = f"{key[2]} in pod {name}_{namespace}({key[1]})"
            self.on_event(key, "BackOff", f"Back-off restarting failed container {what}")
        if probed in self._containers:
            (self._engine.start if runs else self._engine.stop)(_engine_key(probed))

    def state(self, key: Key) -> ContainerState:
        """How a container is."""
        probed, life = _Probed(*key), self._lives.life(key)
        if probed not in self._containers:
            return ContainerState(life)
        started = self._engine.started(_engine_key(probed)) or probed in self._trusted
        return ContainerState(life, started, self._containers[probed])

    def tick(self) -> float:
        """Send what is due, take what came back. Returns the seconds until it is due again."""
        self._engine.turn()
        late = self._commands.tick()
        now = time.monotonic()
        for probed in [probed for probed, deadline in self._trusted.items() if now >= deadline]:
            self._become(probed, False)
        return max(0.0, min([self._engine.deadline(), late, *self._trusted.values()]) - now)

    def _heard(self, engine_key: str, what: str, detail: str) -> None:
        probed = _Probed(*engine_key.split("#"))
        if what in (READY, UNREADY):
            self._become(probed, what == READY)
        elif what == RESTART:
            pod, container = self._places[probed]
            failed = f"Container {container.name} failed {detail} probe, will be restarted"
            self.on_event(probed.key, "Killing", failed)
            self._lives.restart(probed.key, _grace(pod, container.probes[detail]))
        elif what == STARTED:
            self.stale.add(probed.pod_uid)
        else:
            self.on_event(probed.key, what, detail)

    def _become(self, probed: _Probed, ready: bool) -> None:
        self._trusted.pop(probed, None)
        self._containers[probed] = ready
        self.stale.add(probed.pod_uid)
        self._sum_up(probed.pod_key)

    def _sum_up(self, pod_key: str) -> None:
        ready = all(self._containers[known] for known in self._of_pod.get(pod_key, ()))
        if self.ready.get(pod_key) is not ready:
            self.ready[pod_key] = ready
            self.changed = True

    def _probed(self, cluster: Cluster, pod: Pod, container: Container) -> ProbedContainer:
        lab = cluster.lab.name
        place = naming.pod_netns(lab, pod), environment(pod, container), container.working_dir or "/"
        return ProbedContainer(
            naming.node_netns(lab, pod.node),
            pod.ip,
            container.probes,
            {port.name: port.port for port in container.ports if port.name},
            partial(self._commands.run, *place) if container.image == HOST_IMAGE else None,
        )


def _patience(probe: Mapping[str, Any]) -> float:
    """Seconds in which a probe that fails from the start has failed for good."""
    timing = Timing.of(probe)
    return timing.initial_delay + timing.failure_threshold * (timing.period + timing.timeout)


def _grace(pod: Pod, probe: Mapping[str, Any]) -> float:
    """Seconds that a container whose probe has failed has to end by itself."""
    written = probe.get("terminationGracePeriodSeconds")
    if written is None:
        written = (pod.body.get("spec") or {}).get("terminationGracePeriodSeconds")
    return GRACE if written is None else float(written)


def _engine_key(probed: _Probed) -> str:
    return "#".join(probed.key)


def ready_pods(containers: dict[str, bool]) -> dict[str, bool]:
    """The Ready condition, by Pod key, of Pods with such containers: all must be ready."""
    pods: dict[str, bool] = {}
    for key, ready in containers.items():
        pod = key.partition("#")[0]
        pods[pod] = pods.get(pod, True) and ready
    return pods
