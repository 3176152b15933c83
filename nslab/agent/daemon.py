"""The agent: one process a lab, single-threaded round one selector.

It answers the control socket (`up`, `status`, `stop`), runs the containers' probes, keeps the responder and the host
processes running, and follows every change of readiness into the kernel. Killed, it leaves all forwarding and all
containers as they are; the next one takes over.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nslab import __version__, errors
from nslab.agent import containers, messages, store
from nslab.agent.network import Network
from nslab.agent.readiness import Readiness
from nslab.agent.report import changes, summary
from nslab.agent.responder import Responder
from nslab.agent.store import Paths, State
from nslab.cluster import naming
from nslab.cluster.allocate import allocate, with_readiness
from nslab.cluster.model import Cluster, Leases
from nslab.components.kube_proxy import udp_backends
from nslab.linux.conntrack import flush_stale_udp
from nslab.linux.real import RealKernel

log = logging.getLogger("nslab.agent")

Json = dict[str, Any]
REQUEST_TIMEOUT = 10.0
"""Seconds that a client may take to send its request."""
SEND_TIMEOUT = 5.0
"""Seconds that a client may keep everybody waiting by not reading its answer."""
IDLE_TIMEOUT = 2.0
"""Seconds after which an agent without a lab ends: its `up` was killed, or its objects could not be placed."""


@dataclass(slots=True)
class Caller:
    """A client whose request is not complete yet, and when (monotonic seconds) it has taken too long."""

    connection: socket.socket
    deadline: float
    received: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Waiter:
    """A client that waits for its answer until every Pod is ready or the deadline (monotonic seconds) has passed."""

    connection: socket.socket
    deadline: float
    result: Json


CHUNK = 1 << 20


class Agent:
    """A lab's agent. The caller holds the lab's lock."""

    def __init__(self, lab: str, listening: socket.socket) -> None:
        self.paths = Paths(lab)
        self.lab = lab
        self.listening = listening
        self.network = Network(RealKernel(), lab)
        self.responder = Responder(self.paths)
        self.containers = containers.Containers(self.paths)
        self.readiness = Readiness(self.containers.restart, store.load_readiness(lab))
        self.state: State | None = None
        self.cluster: Cluster | None = None
        self.callers: list[Caller] = []
        self.waiters: list[Waiter] = []
        self.stopping = False
        self.idle_since = time.monotonic()
        self.selector = selectors.DefaultSelector()
        self.operations: dict[str, Callable[[Json, socket.socket], Json | None]] = {
            "up": self._up, "status": self._status, "stop": self._stop,
        }

    def serve(self) -> None:
        """Answer and watch until told to stop. Resumes a lab that a former agent left."""
        self.selector.register(self.listening, selectors.EVENT_READ, self._accept)
        wake, signal_end = socket.socketpair()
        for end in (wake, signal_end):
            end.setblocking(False)
        signal.set_wakeup_fd(signal_end.fileno())
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopping", True))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(wake, selectors.EVENT_READ, lambda: wake.recv(4096))
        self.selector.register(self.readiness.fileno(), selectors.EVENT_READ, lambda: None)  # the tick takes answers
        self._resume()
        while not self.stopping:
            for key, _ in self.selector.select(self._tick()):
                key.data()
        for waiter in self.waiters:
            ended = errors.NslabError(f"lab {self.lab} was taken down, or over, before every Pod was ready")
            self._answer(waiter.connection, {"error": messages.encode_error(ended)})

    def _resume(self) -> None:
        """Take over the containers of a lab that is up. Its network stands without an agent; whatever is amiss there
        is mended by the `up` that started this one."""
        try:
            self.state = store.load(self.lab)
            self._run(allocate(self.state.manifest, self.state.leases, self.readiness.ready))
        except errors.NotFoundError:
            return
        except errors.NslabError as error:
            log.error("taking over %s: %s", self.lab, error)

    def _accept(self) -> None:
        connection, _ = self.listening.accept()
        connection.setblocking(False)
        caller = Caller(connection, time.monotonic() + REQUEST_TIMEOUT)
        self.callers.append(caller)
        self.selector.register(connection, selectors.EVENT_READ, partial(self._hear, caller))

    def _hear(self, caller: Caller) -> None:
        try:
            chunk = caller.connection.recv(CHUNK)
        except OSError as error:  # a client that went away in the middle hurts no one
            log.info("a client left: %s", error)
            chunk = b""
        caller.received.append(chunk)
        if chunk and not chunk.endswith(b"\n"):
            return
        self._forget(caller)
        if chunk:
            caller.connection.settimeout(SEND_TIMEOUT)
            self._obey(b"".join(caller.received), caller.connection)
        else:
            caller.connection.close()

    def _forget(self, caller: Caller) -> None:
        self.selector.unregister(caller.connection)
        self.callers.remove(caller)
        self.idle_since = time.monotonic()

    def _obey(self, line: bytes, connection: socket.socket) -> None:
        answer: Json | None
        try:
            request = messages.decode_request(line)
            operation = self.operations.get(request["op"])
            if operation is None:
                raise errors.NslabError(f"an agent does not know how to {request['op']}")
            answer = operation(request, connection)
        except errors.NslabError as error:
            answer = {"error": messages.encode_error(error)}
        except Exception as error:  # a defect: the client is told, the agent lives on
            log.exception("request failed")
            defect = errors.NslabError(f"the agent failed: {error!r}", hint=f"its log: {self.paths.agent_log}")
            answer = {"error": messages.encode_error(defect)}
        if answer is not None:
            self._answer(connection, answer)

    @staticmethod
    def _answer(connection: socket.socket, answer: Json) -> None:
        with connection:
            try:
                messages.send(connection, answer)
            except OSError as error:
                log.info("a client left before its answer: %s", error)

    def _up(self, request: Json, connection: socket.socket) -> Json | None:
        started = time.monotonic()
        last_sent = 0.0

        def progress(phase: str, done: int, total: int) -> None:
            nonlocal last_sent
            now = time.monotonic()
            if done == total or now - last_sent > 0.05:
                last_sent = now
                with suppress(OSError):  # a client that was killed: the lab is built all the same
                    messages.send(connection, {"progress": [phase, done, total]})

        manifest = store.decode_manifest(request["manifest"])
        former, former_cluster = self._state(), self.cluster
        followed = self.network.reached is not None
        cluster = allocate(manifest, former.leases if former else Leases(), self.readiness.ready)
        cluster = with_readiness(cluster, self.readiness.replaced(cluster))
        plan = self.network.plan(cluster)  # what is not ours is refused before anything is written
        now = time.time()
        self.state = State(manifest, cluster.leases, former.created if former else now, now)
        store.save_summary(self.lab, summary(cluster, self.state))  # first: a lab with a state has a summary
        store.save(self.state)
        self.responder.start()
        self.cluster = None  # should the kernel refuse something, nobody leads it back to the former Cluster
        batch = self.network.apply(*plan, progress)
        if former is not None:
            self._forget_stale_udp(former_cluster if followed else None, cluster)
        self._run(cluster)
        result = {
            "lab": self.lab,
            "created": former is None,
            "operations": len(batch),
            "changed": changes(former_cluster, cluster),
            "warnings": list(cluster.warnings),
            "converged": time.monotonic() - started,
        }
        waiter = Waiter(connection, time.monotonic() + float(request.get("wait", 0.0)), result)
        self.waiters.append(waiter)
        return None

    def _state(self) -> State | None:
        """What the lab is so far. Raises StateError where it has a state that cannot be read."""
        if self.state is None:
            with suppress(errors.NotFoundError):
                self.state = store.load(self.lab)
        return self.state

    def _run(self, cluster: Cluster) -> None:
        """Make containers and probes those of `cluster`, whose network stands."""
        self.cluster = cluster
        self.responder.set(containers.listeners(cluster))
        self.containers.set(cluster)
        self.readiness.set(cluster)

    def _status(self, request: Json, connection: socket.socket) -> Json:
        return {
            "result": {
                "version": __version__,
                "pid": os.getpid(),
                "responder_pid": self.responder.pid,
                "ready": self.readiness.ready,
                "restarts": self._restarts(),
                "not_ready": self._not_ready(),
            }
        }

    def _stop(self, request: Json, connection: socket.socket) -> Json:
        self.stopping = True
        return {"result": {}}

    def _restarts(self) -> dict[str, int]:
        counts = dict(self.readiness.restarts)
        for known in self.containers.processes.values():
            counts[known.pod_key] = counts.get(known.pod_key, 0) + known.restarts
        return counts

    def _not_ready(self) -> list[str]:
        if self.cluster is None:
            return []
        return [key for key, pod in self.cluster.pods.items() if not pod.ready]

    def _tick(self) -> float:
        """What time brings. Returns the seconds until it is due again."""
        self.responder.tick(self.cluster)
        due = [1.0, self.containers.tick(), self.readiness.tick()]
        if self.readiness.changed and self.cluster is not None:
            self._follow_readiness(self.cluster)
        elif self.state is None and not self.callers and time.monotonic() > self.idle_since + IDLE_TIMEOUT:
            self.stopping = True
        self._release_waiters()
        now = time.monotonic()
        for caller in [caller for caller in self.callers if now >= caller.deadline]:
            self._forget(caller)
            caller.connection.close()
        deadlines = [waiter.deadline for waiter in self.waiters] + [caller.deadline for caller in self.callers]
        due += [max(0.0, deadline - now) for deadline in deadlines]
        return 0.0 if self.stopping else min(due)

    def _follow_readiness(self, cluster: Cluster) -> None:
        self.readiness.changed = False
        store.save_readiness(self.lab, self.readiness.remembered())
        self.cluster = with_readiness(cluster, self.readiness.ready)
        try:
            self.network.follow(self.cluster)
        except errors.KernelError as error:
            log.error("following a change of readiness: %s", error)
            self.readiness.changed = True  # once more at the next tick
        self._forget_stale_udp(cluster, self.cluster)

    def _forget_stale_udp(self, former: Cluster | None, cluster: Cluster) -> None:
        """Once rules have changed: conntrack would send UDP flows on to endpoints that are gone. No former Cluster:
        nobody knows what has changed."""
        nodes = [naming.node_netns(self.lab, name) for name in cluster.nodes]
        try:
            flush_stale_udp(nodes, udp_backends(former) if former else {}, udp_backends(cluster))
        except OSError as error:
            log.error("forgetting UDP flows to endpoints that are gone: %s", error)

    def _release_waiters(self) -> None:
        if not self.waiters:
            return
        missing = self._not_ready()
        now = time.monotonic()
        for waiter in list(self.waiters):
            if not missing or now >= waiter.deadline:
                self.waiters.remove(waiter)
                self._answer(waiter.connection, {"result": {**waiter.result, "not_ready": missing}})
