"""A change of readiness as packets meet it: a Pod on another node sends datagrams through a ClusterIP, each a flow of
its own, all the while that the Service's one Pod fails and is healed.

They come to a socket in that Pod's namespace, so that no other process is between. The clock starts when the API has
answered that the change is stored.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from nslab.agent import client
from nslab.agent.api_client import ApiClient
from nslab.agent.store import Paths
from nslab.api.kinds import by_name
from nslab.linux.netns import open_socket_in

FLIPPING = """\
---
apiVersion: v1
kind: Service
metadata: {name: flipping}
spec: {selector: {app: flipping}, ports: [{port: 9, protocol: UDP}]}
---
apiVersion: v1
kind: Pod
metadata: {name: flipping, labels: {app: flipping}}
spec: {nodeName: node-1, containers: [{name: app, image: app, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: sending}
spec: {nodeName: node-2, containers: [{name: app, image: app, ports: [{containerPort: 8080}]}]}
"""
PORT = 9
PAUSE = 0.0002
"""Seconds between two datagrams."""

SILENCE = 0.05
"""Seconds without one that arrives, after which none will."""

PATIENCE = 30.0
"""Seconds for one change."""

FAULTS = f"/apis/{by_name('Fault')[0].api_version}/faults"
"""The path of the collection."""


def unready(pod: str) -> dict[str, Any]:
    """The Fault by which a Pod of that name fails its readiness probe."""
    target = {"target": f"pod/default/{pod}", "effect": "unready"}
    return {"metadata": {"name": f"pod.default.{pod}.unready"}, "spec": target}


@dataclass(slots=True)
class Datagrams:
    """The way from one Pod through the ClusterIP to the other."""

    lab: str
    cluster_ip: str
    receiver: socket.socket
    netns: str
    ports: Iterator[int] = field(default_factory=lambda: cycle(range(1024, 1 << 16)))

    @classmethod
    def of(cls, lab: str, api: ApiClient) -> Datagrams:
        service = api.get(by_name("Service")[0], "default", "flipping")
        receiver = open_socket_in(f"{lab}.pod.default.flipping", socket.AF_INET, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        receiver.bind(("", PORT))
        return cls(lab, service["spec"]["clusterIP"], receiver, f"{lab}.pod.default.sending")

    def flips(self, times: int) -> Iterator[float]:
        """Fail the Pod and heal it so many times: milliseconds until the last datagram that reached it, and until the
        first one, each time."""
        for _ in range(times):
            fault = unready("flipping")
            yield self._flip(f"POST {FAULTS}", json.dumps(fault), fails=True)
            yield self._flip(f"DELETE {FAULTS}/{fault['metadata']['name']}", "", fails=False)

    def _flip(self, request: str, body: str, *, fails: bool) -> float:
        client.settle(self.lab, PATIENCE)
        head = f"Host: lab\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as api:
            api.connect(str(Paths(self.lab).api_socket))
            for _ in range(10):
                self._send()
            assert self._arrived() == fails, "it is not as the change before had left it"
            api.sendall(f"{request} HTTP/1.1\r\n{head}\r\n\r\n{body}".encode())
            api.setblocking(False)
            return self._until_it_shows(api, fails)

    def _until_it_shows(self, api: socket.socket, fails: bool) -> float:
        answered, last = 0.0, time.monotonic()
        while True:
            now = time.monotonic()
            self._send()
            if self._arrived():
                last = now
                if not fails:
                    return max(0.0, now - answered) * 1000 if answered else 0.0
            answered = answered or _answered(api)
            if answered and fails and now - max(last, answered) > SILENCE:
                return max(0.0, last - answered) * 1000
            assert not answered or now - answered < PATIENCE, "the rules did not follow"
            time.sleep(PAUSE)

    def _send(self) -> None:
        """From the next port: a new flow, for which the rules are asked. When a port's turn comes again, conntrack
        has forgotten its last flow."""
        with open_socket_in(self.netns, socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("", next(self.ports)))
            sender.sendto(b"x", (self.cluster_ip, PORT))

    def _arrived(self) -> bool:
        """Whether anything has come since this was last asked."""
        came = False
        while True:
            try:
                came |= bool(self.receiver.recv(16))
            except BlockingIOError:
                return came

    def close(self) -> None:
        self.receiver.close()


def _answered(api: socket.socket) -> float:
    """The time, once the answer is there; it must say that the change was made."""
    try:
        head = api.recv(1 << 16)
    except BlockingIOError:
        return 0.0
    assert head.startswith(b"HTTP/1.1 20"), head
    return time.monotonic()
