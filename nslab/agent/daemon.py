"""The agent: one process a lab, single-threaded round one event loop.

It answers the control socket (`up`, `status`, `stop`) and the Kubernetes API, and ticks: controllers, network, probes
and processes follow what changed. Killed, it leaves all forwarding and all containers as they are; the next one takes
over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nslab import __version__, errors
from nslab.agent import history, messages, store
from nslab.agent.lab import RETRY, Lab
from nslab.agent.next_steps import next_steps
from nslab.agent.pace import Pace
from nslab.agent.report import changes
from nslab.api.objects import COREDNS
from nslab.cluster.model import Cluster

if TYPE_CHECKING:  # a new lab's `up` has its answer before the API is served
    from nslab.agent.serving import Serving

log = logging.getLogger("nslab.agent")

Json = dict[str, Any]
REQUEST_TIMEOUT = 10.0
"""Seconds that a client may take to send its request."""
SEND_TIMEOUT = 5.0
"""Seconds that a client may keep everybody waiting by not reading its answer."""
RESUME_DELAY = 0.5
"""Seconds that a new agent leaves things as it found them: it mostly was started by an `up`, which looks itself."""
QUIET = 0.5
"""Seconds without a request after which a new lab's objects are stored; whoever asks for them has it done at once."""
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
    """A client that waits for its answer until the lab has settled or the deadline (monotonic seconds) has passed.
    `before` and `operations` are the Cluster and the count of operations when it asked."""

    connection: socket.socket
    deadline: float
    result: Json
    before: Cluster | None
    operations: int


CHUNK = 1 << 20


class Agent:
    """A lab's agent. The caller holds the lab's lock."""

    def __init__(self, lab: str, listening: socket.socket) -> None:
        self.lab = Lab(lab)
        self.listening = listening
        self.callers: list[Caller] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.waiters: list[Waiter] = []
        self.stopping = False
        self.idle_since = self.heard = time.monotonic()
        self.timer: asyncio.TimerHandle | None = None
        self.serving: Serving | None = None
        self.pace = Pace()
        self.starting: asyncio.Task[None] | None = None
        self.operations: dict[str, Callable[[Json, socket.socket], Json | None]] = {
            "up": self._up, "status": self._status, "stop": self._stop, "kubeconfig": self._kubeconfig,
            "serve": self._serve, "settle": self._settle, "events": self._events,
        }

    async def serve(self) -> None:
        """Answer and watch until told to stop. Resumes a lab that a former agent left."""
        self.loop = asyncio.get_running_loop()
        self.stopped = asyncio.Event()
        self.loop.add_reader(self.listening, self._accept)
        self.loop.add_signal_handler(signal.SIGTERM, self._end)
        self.loop.add_signal_handler(signal.SIGCHLD, self.wake)
        self.loop.add_reader(self.lab.readiness.fileno(), self.wake)  # the tick takes answers
        self.lab.stale_udp.done = self._wake_from_a_thread
        try:
            self.lab.resume()
        except errors.NslabError as error:
            log.error("taking over %s: %s", self.lab.name, error)
        self._watch()
        self._schedule(RESUME_DELAY)
        await self.stopped.wait()
        if self.serving is not None:
            self.serving.close()
        for waiter in self.waiters:
            ended = errors.NslabError(f"lab {self.lab.name} was taken down, or over, before every Pod was ready")
            self._answer(waiter.connection, {"error": messages.encode_error(ended)})

    def _watch(self) -> None:
        """Once there is a lab: hear of its changes, and serve its API."""
        if self.lab.objects is not None and self.serving is None:
            from nslab.agent.admission import Admission
            from nslab.agent.serving import Serving

            self.lab.objects.on_change = self.wake
            assert self.lab.state is not None
            admission = Admission(self.lab.objects.store, self._service_range)
            lab = self.lab.state.manifest.lab
            self.serving = Serving(self.lab.paths, self.lab.objects.store, admission.admit, lab)
            self.starting = self.loop.create_task(self.serving.start())
            self.starting.add_done_callback(lambda _: self.wake())

    def _service_range(self) -> str:
        assert self.lab.state is not None
        return self.lab.state.manifest.lab.vpc.service_range

    def _deliver(self) -> None:
        """A new lab's network stands: its objects come into being, and its API."""
        self.lab.give_birth()
        self._watch()

    def wake(self) -> None:
        """Tick as soon as what is at work now is done."""
        self._schedule(0.0)

    def _wake_from_a_thread(self) -> None:
        with suppress(RuntimeError):  # the loop has ended, and the agent with it
            self.loop.call_soon_threadsafe(self.wake)

    def _schedule(self, delay: float) -> None:
        when = max(self.loop.time() + delay, self.pace.rested)
        if self.timer is not None:
            if not self.timer.cancelled() and self.timer.when() <= when:
                return
            self.timer.cancel()
        self.timer = self.loop.call_at(when, self._tick)

    def _end(self) -> None:
        self.stopping = True
        self.stopped.set()

    def _accept(self) -> None:
        connection, _ = self.listening.accept()
        connection.setblocking(False)
        caller = Caller(connection, time.monotonic() + REQUEST_TIMEOUT)
        self.callers.append(caller)
        self.loop.add_reader(connection, self._hear, caller)
        self._schedule(REQUEST_TIMEOUT)

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
        self.loop.remove_reader(caller.connection)
        self.callers.remove(caller)
        self.idle_since = time.monotonic()

    def _obey(self, line: bytes, connection: socket.socket) -> None:
        answer: Json | None
        try:
            request = messages.decode_request(line)
            operation = self.operations.get(request["op"])
            if operation is None:
                raise errors.NslabError(f"an agent does not know how to {request['op']}")
            self.heard = time.monotonic()
            if self.lab.unborn and (request.get("whole") or request["op"] not in ("up", "status", "stop")):
                self._deliver()
            answer = operation(request, connection)
        except errors.NslabError as error:
            answer = {"error": messages.encode_error(error)}
        except Exception as error:  # a defect: the client is told, the agent lives on
            log.exception("request failed")
            defect = errors.NslabError(f"the agent failed: {error!r}", hint=f"its log: {self.lab.paths.agent_log}")
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

        before, count, created = self.lab.cluster, self.lab.operations, self.lab.state is None
        self.lab.up(store.decode_manifest(request["manifest"]), progress)
        self._watch()
        result = {"lab": self.lab.name, "created": created, "converged": time.monotonic() - started}
        deadline = time.monotonic() + float(request.get("wait", 0.0))
        self.waiters.append(Waiter(connection, deadline, result, before, count))
        self.wake()
        return None

    def _status(self, request: Json, connection: socket.socket) -> Json:
        return {
            "result": {
                "version": __version__,
                "pid": os.getpid(),
                "responder_pid": self.lab.responder.pid,
                "not_ready": self.lab.not_ready(),
                "failures": self.lab.failures(),
                "programming": {
                    "changes": self.lab.programming.count,
                    "p50_ms": self.lab.programming.percentile(50),
                    "p99_ms": self.lab.programming.percentile(99),
                },
            }
        }

    def _events(self, request: Json, connection: socket.socket) -> Json:
        """What happened since the `cursor` of the last answer; from the beginning without one."""
        self._require_lab()
        assert self.lab.objects is not None
        stored, programming, cursor = self.lab.objects.store, self.lab.programming, request["cursor"]
        seen = int(cursor.get("changes", 0)) if cursor.get("agent") == os.getpid() else 0
        events = [
            body for body in stored.list("Event")
            if int(body["metadata"]["resourceVersion"]) > int(cursor.get("revision", 0))
        ]
        records = list(programming.records)
        fresh = records[max(0, len(records) - (programming.count - seen)) :]
        after = {"agent": os.getpid(), "changes": programming.count, "revision": stored.revision}
        return {"result": {"lines": history.lines(events, fresh), "cursor": after}}

    def _settle(self, request: Json, connection: socket.socket) -> Json | None:
        self._require_lab()
        self._wait(connection, request, {"lab": self.lab.name, "created": False})
        return None

    def _wait(self, connection: socket.socket, request: Json, result: Json) -> None:
        """Answer once the lab has settled, or the request's time is over."""
        deadline = time.monotonic() + float(request.get("wait", 0.0))
        self.waiters.append(Waiter(connection, deadline, result, self.lab.cluster, self.lab.operations))
        self.wake()

    def _require_lab(self) -> None:
        if self.serving is None:
            raise errors.NotFoundError(f"there is no lab {self.lab.name!r}", hint="`nslab up` builds one")

    def _serve(self, request: Json, connection: socket.socket) -> Json | None:
        """Answer once the API listens."""
        self._require_lab()
        assert self.starting is not None
        self.starting.add_done_callback(lambda _: self._answer(connection, {"result": {}}))
        return None

    def _kubeconfig(self, request: Json, connection: socket.socket) -> Json | None:
        async def answer() -> None:
            try:
                assert self.starting is not None
                assert self.serving is not None
                await self.starting
                self._answer(connection, {"result": {"kubeconfig": await self.serving.kubeconfig()}})
            except OSError as error:
                refused = errors.NslabError(f"the API cannot listen: {error}")
                self._answer(connection, {"error": messages.encode_error(refused)})

        self._require_lab()
        task = self.loop.create_task(answer())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return None

    def _stop(self, request: Json, connection: socket.socket) -> Json:
        self._end()
        return {"result": {}}

    def _tick(self) -> None:
        """What time brings, and when it will be due again."""
        self.timer = None
        started = self.loop.time()
        try:
            due = [self.lab.tick()]
        except Exception:  # a defect, or a process that went away in the middle: the agent lives on
            log.exception("a tick failed")
            due = [RETRY]
        idle = self.lab.state is None and not self.callers
        if idle and time.monotonic() > self.idle_since + IDLE_TIMEOUT:
            self._end()
        self._release_waiters()
        now = time.monotonic()
        if self.lab.unborn and now >= self.heard + self._quiet:
            self._deliver()
            due.append(0.0)
        elif self.lab.unborn:
            due.append(self.heard + self._quiet - now)
        if self.serving is not None and self.lab.cluster is not None:
            self.serving.tick(self.lab.cluster.lab)
        for caller in [caller for caller in self.callers if now >= caller.deadline]:
            self._forget(caller)
            caller.connection.close()
        due += [waiter.deadline - now for waiter in self.waiters]
        due += [caller.deadline - now for caller in self.callers]
        self.pace.ticked(started, self.loop.time(), self.serving.server.answered if self.serving else 0)
        self._schedule(max(0.0, min(due)))

    @property
    def _quiet(self) -> float:
        """CoreDNS asks for a new lab's objects, and its Pods are not ready before it has them."""
        return 0.0 if self.lab.cluster and self.lab.cluster.lab.dns.engine == COREDNS else QUIET

    def _release_waiters(self) -> None:
        if not self.waiters:
            return
        if self.lab.unborn:
            settled = not self.lab.not_ready()
        else:
            settled = self.starting is not None and self.starting.done() and self.lab.settled
        now = time.monotonic()
        for waiter in [waiter for waiter in self.waiters if settled or now >= waiter.deadline]:
            self.waiters.remove(waiter)
            self.heard = now
            assert self.lab.cluster is not None
            assert self.lab.state is not None
            result = {
                **waiter.result,
                "operations": self.lab.operations - waiter.operations,
                "changed": changes(waiter.before, self.lab.cluster),
                "warnings": list(self.lab.state.warnings),
                "not_ready": self.lab.not_ready(),
                "next_steps": next_steps(self.lab.cluster) if waiter.result["created"] else [],
            }
            self._answer(waiter.connection, {"result": result})
