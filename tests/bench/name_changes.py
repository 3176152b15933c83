"""Changes of Services and endpoints in a running lab: how soon every DNS Pod says so, asked with real queries.

The clock starts when the API has answered.
"""

from __future__ import annotations

import operator
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nslab.agent import client
from nslab.agent.api_client import ApiClient
from nslab.api.kinds import KINDS
from nslab.cluster import naming
from nslab.dns import wire
from nslab.linux.netns import entered
from tests.bench.commands import Measurement, nslab
from tests.bench.labs import topology

ROUNDS, CHANGES = 4, 25
"""Of the rounds the best counts; so many changes are in each."""
HEADLESS = 10
LIMIT = 50.0
"""Milliseconds from the API's answer to that of the last DNS Pod."""
PATIENCE = 30.0
"""Seconds for one change."""
AGAIN = 0.002
"""Seconds between two questions to one server."""

_KINDS = {kind.name: kind for kind in KINDS}


class Servers:
    """The name servers at these addresses, each asked by a socket of its own from a netns."""

    def __init__(self, addresses: list[str], netns: str) -> None:
        self.sockets = []
        with entered(netns):
            for address in addresses:
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sock.connect((address, wire.PORT))
                sock.settimeout(PATIENCE)
                self.sockets.append(sock)

    def wait(self, name: str, is_wanted: Callable[[set[str]], bool]) -> float:
        """The time (monotonic seconds) when all have answered with such addresses for a Service's name."""
        query = wire.encode_query(1, wire.encode_name(f"{name}.default.svc.cluster.local"), wire.A)
        missing = list(self.sockets)
        deadline = time.monotonic() + PATIENCE
        while True:
            for sock in missing:
                sock.send(query)
            missing = [sock for sock in missing if not is_wanted(_addresses(sock.recv(4096)))]
            if not missing:
                return time.monotonic()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(missing)} name servers do not follow {name}")
            time.sleep(AGAIN)

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


def _addresses(octets: bytes) -> set[str]:
    return {socket.inet_ntoa(record.data) for record in wire.decode_reply(octets)[1].answer if record.type == wire.A}


def following() -> Iterator[Measurement]:
    """Two labs, and the same limit in both."""
    for nodes, services, endpoints in ((5, 20, 5), (20, 1000, 1)):
        rounds = [sorted(took) for took in _measured(nodes, services, endpoints)]
        size = f"{services * endpoints:,} Pods, {services:,} Services"
        half = min(took[len(took) // 2] for took in rounds)  # the rest is the machine's noise
        yield f"{size}: half of the changes in all answers", half, LIMIT, "ms"
        slowest = min(took[-1] for took in rounds)
        yield f"{size}: the slowest of {len(rounds[0])} changes", slowest, LIMIT, "ms"


def _measured(nodes: int, services: int, endpoints: int) -> list[list[float]]:
    """Milliseconds of each change, by rounds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "follow.yaml")
        peers = "---\n".join(_peers(number) for number in range(HEADLESS))
        file.write_text(f"{topology('follow', nodes=nodes, services=services, endpoints=endpoints)}---\n{peers}")
        nslab("up", str(file), "--wait", "120s")
    try:
        api = ApiClient("follow")
        pods = api.list(_KINDS["Pod"], "kube-system")
        addresses = [
            pod["status"]["podIP"] for pod in pods if pod["metadata"]["labels"].get("k8s-app") == "kube-dns"
        ]
        servers = Servers(addresses, naming.node_netns("follow", "node-1"))
        rounds = [
            [_changed(api, servers, step, number) for number in range(CHANGES // len(STEPS)) for step in STEPS]
            for _ in range(ROUNDS)
        ]
        servers.close()
    finally:
        nslab("down", "follow")
    return rounds


def _changed(api: ApiClient, servers: Servers, step: Step, number: int) -> float:
    """Milliseconds until a change is in all answers."""
    client.settle("follow", PATIENCE)
    name, is_wanted = step(api, number)
    answered = time.monotonic()
    return max(0.0, servers.wait(name, is_wanted) - answered) * 1000


def _peers(number: int) -> str:
    """A headless Service beside one of the lab's."""
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: peers-{number}}}\n"
        f"spec: {{clusterIP: None, selector: {{app: app-{number}}}, ports: [{{name: http, port: 8080}}]}}\n"
    )


Expected = tuple[str, Callable[[set[str]], bool]]
"""A Service, and what its addresses are once its change is in the answers."""


def _make(api: ApiClient, number: int) -> Expected:
    body = {"metadata": {"name": "made"}, "spec": {"ports": [{"port": 80}]}}
    api.request("POST", "/api/v1/namespaces/default/services", body)
    return "made", bool


def _remove(api: ApiClient, number: int) -> Expected:
    api.delete(_KINDS["Service"], "default", "made")
    return "made", operator.not_


def _take_out(api: ApiClient, number: int) -> Expected:
    """A Pod leaves its Services."""
    pod = _pod(api, {f"app-{number % HEADLESS}"})
    _label(api, pod, "aside")
    return f"peers-{number % HEADLESS}", lambda found: pod["status"]["podIP"] not in found


def _put_back(api: ApiClient, number: int) -> Expected:
    app = f"app-{number % HEADLESS}"
    pod = _pod(api, {"aside"})
    _label(api, pod, app)
    return f"peers-{number % HEADLESS}", lambda found: pod["status"]["podIP"] in found


def _delete(api: ApiClient, number: int) -> Expected:
    pod = _pod(api, {f"app-{number % HEADLESS}"})
    api.delete(_KINDS["Pod"], "default", pod["metadata"]["name"])
    return f"peers-{number % HEADLESS}", lambda found: pod["status"]["podIP"] not in found


Step = Callable[[ApiClient, int], Expected]
STEPS: tuple[Step, ...] = (_make, _take_out, _put_back, _delete, _remove)


def _pod(api: ApiClient, apps: set[str]) -> dict[str, Any]:
    pods = api.list(_KINDS["Pod"], "default")
    return next(
        pod for pod in pods
        if pod["metadata"]["labels"]["app"] in apps and "deletionTimestamp" not in pod["metadata"]
    )


def _label(api: ApiClient, pod: dict[str, Any], app: str) -> None:
    api.patch(_KINDS["Pod"], "default", pod["metadata"]["name"], {"metadata": {"labels": {"app": app}}})
