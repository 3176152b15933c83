"""A store served over TLS on the loopback and on a unix socket, by a thread with its own event loop; and kubectl."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nslab.apiserver.access import HOST, Access, access, kubeconfig
from nslab.apiserver.api import Api
from nslab.apiserver.rest.subresources import LogOptions
from nslab.apiserver.server import Server
from nslab.apiserver.store import Store
from tests.apiserver.objects import namespace
from tests.kubectl import KUBECTLS


async def _followed(text: str) -> Any:
    for line in text.splitlines(keepends=True):
        await asyncio.sleep(0)
        yield line.encode()


def _logs(pod: dict[str, Any], options: LogOptions) -> Any:
    text = f"{pod['metadata']['name']} {options.container} {options.tail}\nsecond line\n"
    return _followed(text) if options.follow else text.encode()


@dataclass
class Served:
    """A running server. `call` runs a function on its loop, where alone the store may be touched."""

    store: Store
    server: Server
    directory: Path
    granted: Access
    port: int
    loop: asyncio.AbstractEventLoop

    def call(self, function: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(30)

    def kubectl(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """What kubectl prints, on both streams where it fails as expected."""
        done = self.start(*arguments).communicate(stdin, timeout=60)
        assert self.code == code, (self.code, *done)
        return done[0] if code == 0 else done[0] + done[1]

    def start(self, *arguments: str, **options: Any) -> Any:
        process = subprocess.Popen(
            [KUBECTLS[0], *arguments], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=self.environment, **options,
        )  # fmt: skip
        self.process = process
        return process

    @property
    def code(self) -> int:
        return int(self.process.returncode)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.directory / "config"), "HOME": str(self.directory)}

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"


@contextmanager
def serving(directory: Path, store: Store | None = None) -> Iterator[Served]:
    """Serve a store with the namespaces that every cluster has."""
    store = store or Store()
    for name in ("default", "kube-system"):
        if store.get("Namespace", "", name) is None:
            store.create("Namespace", namespace(name))
    granted = access(directory)
    listening = granted.listen()
    port = listening.getsockname()[1]
    server = Server(Api(store, logs=_logs, address=f"{HOST}:{port}"), granted.token)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> None:
        await server.listen_unix(directory / "api.sock")
        await server.listen_tls(listening, granted.context())

    asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    (directory / "config").write_text(kubeconfig("test", f"{HOST}:{port}", granted))
    try:
        yield Served(store, server, directory, granted, port, loop)
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        (directory / "api.sock").unlink()
