"""Who is ready: the containers' probes, run from the Pods' nodes, summed up to the Pods' Ready condition."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nslab.agent.containers import HOST_IMAGE
from nslab.agent.store import ready_pods
from nslab.cluster import naming
from nslab.cluster.model import Cluster, Container, Pod
from nslab.linux import process
from nslab.servers.kubelet_probe import ProbedContainer, ProbeEngine
from nslab.servers.probe_exchange import ERROR, FAILURE, SUCCESS, ProbeOutcome
from nslab.servers.probe_schedule import READY, RESTART, UNREADY, Timing

Restart = Callable[[str, str], None]
"""Called as (Pod key, container name) when a liveness or startup probe has failed for good."""


@dataclass(slots=True)
class _Command:
    """An exec probe that runs: its process and when (monotonic seconds) it has taken too long."""

    pid: int
    deadline: float
    report: Callable[[ProbeOutcome], None]


@dataclass(frozen=True, slots=True)
class _Probed:
    pod_key: str
    pod_uid: str
    container: str


class Readiness:
    """The probes of a lab. `ready` has the Ready condition of every Pod with probes, by key; `restarts` counts what
    its probes had restarted.

    `remembered` is what a former agent knew (as the method of that name says it). Its ready containers stay ready
    until their probes have said otherwise, or had the time to.
    """

    def __init__(self, restart: Restart, remembered: dict[str, bool]) -> None:
        self.ready = ready_pods(remembered)
        self.restarts: dict[str, int] = {}
        self.changed = False
        self._restart = restart
        self._engine = ProbeEngine(self._transition)
        self._remembered = remembered
        self._trusted: dict[_Probed, float] = {}
        self._containers: dict[_Probed, bool] = {}
        self._commands: list[_Command] = []

    def fileno(self) -> int:
        """Readable when a probe's answer is there."""
        return self._engine.fileno()

    def remembered(self) -> dict[str, bool]:
        """What a later agent needs to know, by NAMESPACE/POD#UID#CONTAINER."""
        return {_engine_key(known): ready for known, ready in self._containers.items()}

    def replaced(self, cluster: Cluster) -> dict[str, bool]:
        """Not ready, by key: Pods of the Cluster that took the name of one that was probed."""
        return {
            known.pod_key: False for known in self._containers
            if known.pod_key in cluster.pods and cluster.pods[known.pod_key].uid != known.pod_uid
        }

    def set(self, cluster: Cluster) -> None:
        """Probe the containers of this Cluster, and no others."""
        wanted = {
            _Probed(pod.key, pod.uid, container.name): (pod, container)
            for pod in cluster.pods.values() for container in pod.containers if container.probes
        }
        for known in [one for one in self._containers if one not in wanted]:
            del self._containers[known]
            self._trusted.pop(known, None)
            self._engine.remove(_engine_key(known))
        for key in [key for key in self.ready if key not in {one.pod_key for one in wanted}]:
            self.ready.pop(key)
            self.restarts.pop(key, None)
        fresh = [one for one in wanted if one not in self._containers]
        now = time.monotonic()
        for one in fresh:
            trusted = self._containers[one] = self._remembered.pop(_engine_key(one), False)
            if trusted:
                self._trusted[one] = now + sum(map(_patience, wanted[one][1].probes.values()))
        for one in fresh:
            self._sum_up(one.pod_key)
        for one in fresh:
            pod, container = wanted[one]
            self._engine.add(_engine_key(one), _probed(cluster, pod, container, self._execute))
            self._engine.start(_engine_key(one))

    def tick(self) -> float:
        """Send what is due, take what came back. Returns the seconds until it is due again."""
        self._engine.turn()
        now = time.monotonic()
        for command in list(self._commands):
            self._look_after(command, now)
        for probed in [probed for probed, deadline in self._trusted.items() if now >= deadline]:
            self._become(probed, False)
        due = [
            self._engine.deadline(), *self._trusted.values(), *(command.deadline for command in self._commands)
        ]
        return max(0.0, min(due) - now)

    def _transition(self, key: str, transition: str, detail: str) -> None:
        probed = _Probed(*key.split("#"))
        if transition == RESTART:
            self.restarts[probed.pod_key] = self.restarts.get(probed.pod_key, 0) + 1
            self._restart(probed.pod_key, probed.container)
            self._engine.start(key)
        elif transition in (READY, UNREADY):
            self._become(probed, transition == READY)

    def _become(self, probed: _Probed, ready: bool) -> None:
        self._trusted.pop(probed, None)
        self._containers[probed] = ready
        self._sum_up(probed.pod_key)

    def _sum_up(self, pod_key: str) -> None:
        ready = all(state for known, state in self._containers.items() if known.pod_key == pod_key)
        if self.ready.get(pod_key) is not ready:
            self.ready[pod_key] = ready
            self.changed = True

    def _execute(
        self, netns: str, command: Sequence[str], timeout: float, report: Callable[[ProbeOutcome], None]
    ) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            pid = process.spawn_in(netns, list(command), env=dict(os.environ), cwd="/", log_fd=null)
        except OSError as error:
            report(ProbeOutcome(ERROR, f'exec: "{command[0]}": {error.strerror}'))
            return
        finally:
            os.close(null)
        self._commands.append(_Command(pid, time.monotonic() + timeout, report))

    def _look_after(self, command: _Command, now: float) -> None:
        ended, status = os.waitpid(command.pid, os.WNOHANG)
        if ended:
            self._commands.remove(command)
            code = os.waitstatus_to_exitcode(status)
            command.report(ProbeOutcome(SUCCESS if code == 0 else FAILURE, f"exit code {code}"))
        elif now >= command.deadline:
            self._commands.remove(command)
            process.terminate([command.pid], timeout=0.0)
            os.waitpid(command.pid, 0)
            command.report(ProbeOutcome(FAILURE, "the command took too long"))


def _patience(probe: Mapping[str, Any]) -> float:
    """Seconds in which a probe that fails from the start has failed for good."""
    timing = Timing.of(probe)
    return timing.initial_delay + timing.failure_threshold * (timing.period + timing.timeout)


def _engine_key(probed: _Probed) -> str:
    return f"{probed.pod_key}#{probed.pod_uid}#{probed.container}"


def _probed(
    cluster: Cluster, pod: Pod, container: Container,
    execute: Callable[[str, Sequence[str], float, Callable[[ProbeOutcome], None]], None],
) -> ProbedContainer:
    lab = cluster.lab.name
    return ProbedContainer(
        naming.node_netns(lab, pod.node),
        pod.ip,
        container.probes,
        {port.name: port.port for port in container.ports if port.name},
        partial(execute, naming.pod_netns(lab, pod)) if container.image == HOST_IMAGE else None,
    )
