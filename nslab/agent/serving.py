"""The Kubernetes API of a lab on its sockets: a unix socket for its owner, and TLS on the loopback for kubectl.

The TLS port opens when somebody asks for a kubeconfig; from then on every agent of the lab opens it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from nslab.api.faults import KIND as FAULT
from nslab.api.objects import Body
from nslab.apiserver.access import HOST, access, kubeconfig
from nslab.apiserver.api import Api
from nslab.apiserver.errors import invalid
from nslab.apiserver.rest.subresources import LogOptions
from nslab.apiserver.server import Server
from nslab.apiserver.store import Store
from nslab.components.faults import QDISCS
from nslab.kubelet.containers import HOST_IMAGE
from nslab.linux.features import missing_qdisc
from nslab.linux.lab_files import Paths

POLL = 0.2
"""Seconds between two looks at a log that is followed."""


class Serving:
    """The sockets of one lab's API."""

    def __init__(self, paths: Paths, store: Store) -> None:
        self.paths = paths
        self.server = Server(Api(store, logs=self._logs, admit=possible), token="")
        self.port = 0

    async def start(self) -> None:
        """Listen on the unix socket, and on TCP where that was asked for before."""
        self.paths.api_socket.unlink(missing_ok=True)
        await self.server.listen_unix(self.paths.api_socket)
        if self.paths.api_port.exists():
            await self.kubeconfig()

    async def kubeconfig(self) -> str:
        """Listen on TCP; returns the kubeconfig file for it. Raises OSError where there is no port to be had."""
        granted = access(self.paths.root)
        if not self.port:
            listening = granted.listen()
            self.server.token = granted.token
            await self.server.listen_tls(listening, granted.context())
            self.port = int(listening.getsockname()[1])
            self.server.api = replace(self.server.api, address=f"{HOST}:{self.port}")
        return kubeconfig(self.paths.lab, self.port, granted)

    def close(self) -> None:
        """Stop listening, and cut off who is connected."""
        self.server.close()

    def _logs(self, pod: Body, options: LogOptions) -> bytes | AsyncIterator[bytes]:
        """What a container printed; the responder's print nothing."""
        metadata, spec = pod["metadata"], pod["spec"]
        container: Body = next((one for one in spec["containers"] if one["name"] == options.container), {})
        path = self.paths.container_log(f"{metadata['namespace']}/{metadata['name']}", options.container)
        if container.get("image") != HOST_IMAGE or options.previous:
            return b""
        if options.follow:
            return _followed(path, options)
        return _printed(path, options)


def possible(body: Body, old: Body | None) -> Body:
    """The object, if it can be had on this machine. Raises Invalid for a Fault that its kernel cannot bring about."""
    qdisc = QDISCS.get(body["spec"]["effect"]) if body["kind"] == FAULT else None
    missing = missing_qdisc(qdisc) if qdisc else None
    if missing is not None:
        reason = f"Invalid value: this kernel has no queueing discipline {missing.name}: {missing.remedy}"
        cause = {"reason": "FieldValueInvalid", "message": reason, "field": "spec.effect"}
        raise invalid(FAULT, body["metadata"]["name"], [cause])
    return body


def _printed(path: Path, options: LogOptions) -> bytes:
    content = path.read_bytes() if path.exists() else b""
    if options.tail is not None:
        content = b"".join(content.splitlines(keepends=True)[-options.tail :] if options.tail else [])
    return content[: options.limit]


async def _followed(path: Path, options: LogOptions) -> AsyncIterator[bytes]:
    while not path.exists():
        await asyncio.sleep(POLL)
    yield _printed(path, options)
    with path.open("rb") as file:
        file.seek(0, 2)
        while True:
            yield file.read()
            await asyncio.sleep(POLL)
