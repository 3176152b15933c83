"""The API of a running lab under load: Pods as fast as they are accepted, and watchers by the hundred."""

from __future__ import annotations

import selectors
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from nslab.agent import client
from nslab.agent.api_client import ApiClient
from nslab.api.kinds import by_name
from nslab.linux.lab_files import Paths
from tests.bench.commands import Measurement, nslab
from tests.bench.labs import topology

PODS, WATCHERS, CHANGES = 500, 200, 20
_POD = by_name("Pod")[0]
_COLLECTION = "/api/v1/namespaces/default/pods"


class Watchers:
    """Many watches of all Pods. They are read in a thread; `seen` says when the last one has read something."""

    def __init__(self, path: str, count: int) -> None:
        self._awaited = b""
        self._all = Event()
        self._ended = False
        self._selector = selectors.DefaultSelector()
        for _ in range(count):
            watcher = socket.socket(socket.AF_UNIX)
            watcher.connect(path)
            watcher.sendall(b"GET /api/v1/pods?watch=true HTTP/1.1\r\nHost: bench\r\n\r\n")
            self._selector.register(watcher, selectors.EVENT_READ, bytearray())
        self._missing: set[int] = set()
        self._thread = Thread(target=self._read)
        self._thread.start()

    def expect(self, text: bytes) -> None:
        """What `seen` is about, from now on."""
        self._awaited = text
        self._missing = set(self._selector.get_map())
        self._all.clear()

    def seen(self, patience: float = 30.0) -> None:
        """Wait until every watcher has been sent it. Raises TimeoutError."""
        if not self._all.wait(patience):
            raise TimeoutError(f"{len(self._missing)} watchers did not hear of the change")

    def close(self) -> None:
        self._ended = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]

    def _read(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(0.1):
                tail: bytearray = key.data
                tail += key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
                if self._awaited and self._awaited in tail:
                    self._missing.discard(key.fd)
                    if not self._missing:
                        self._all.set()
                del tail[: -len(self._awaited) or len(tail)]


def accepting() -> Iterator[Measurement]:
    """Pods accepted one by one while the lab makes their network, and one change beside many watchers."""
    with _lab() as api:
        yield f"{PODS} Pod creations accepted", min(_created(api) for _ in range(3)), 1.0, "s"
        watchers = Watchers(str(Paths(api.lab).api_socket), WATCHERS)
        try:
            answered, heard = _changed(api, watchers)
        finally:
            watchers.close()
        yield f"a change beside {WATCHERS} watchers, until it is answered", answered * 1000, 10.0, "ms"
        yield "until the last of them has it", heard * 1000, 100.0, "ms"


@contextmanager
def _lab() -> Iterator[ApiClient]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "accepting.yaml")
        file.write_text(topology("accepting", nodes=10, services=0, endpoints=0))
        nslab("up", str(file))
    try:
        yield ApiClient("accepting")
    finally:
        nslab("down", "accepting")


def _created(api: ApiClient) -> float:
    """Seconds until the last of so many Pods was accepted; afterwards none is left."""
    spec = {"containers": [{"name": "app", "image": "app", "ports": [{"containerPort": 8080}]}]}
    started = time.perf_counter()
    for number in range(PODS):
        api.request("POST", _COLLECTION, {"metadata": {"name": f"pod-{number}"}, "spec": spec})
    elapsed = time.perf_counter() - started
    client.settle(api.lab, 120)
    api.request("DELETE", _COLLECTION, {"gracePeriodSeconds": 0})
    client.settle(api.lab, 120)
    return elapsed


def _changed(api: ApiClient, watchers: Watchers) -> tuple[float, float]:
    """The median seconds of a changed label, until it is answered and until every watcher has it."""
    spec = {"schedulerName": "nobody", "containers": [{"name": "app", "image": "app"}]}
    api.request("POST", _COLLECTION, {"metadata": {"name": "labelled"}, "spec": spec})
    times = []
    for number in range(CHANGES):
        mark = f"mark-{number}."
        watchers.expect(mark.encode())
        started = time.perf_counter()
        api.patch(_POD, "default", "labelled", {"metadata": {"labels": {"mark": mark + "x"}}})
        answered = time.perf_counter() - started
        watchers.seen()
        times.append((answered, time.perf_counter() - started))
    return sorted(one for one, _ in times)[CHANGES // 2], sorted(other for _, other in times)[CHANGES // 2]
