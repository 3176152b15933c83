"""The Kubernetes API of a lab on its sockets: a unix socket for its owner, TLS on the loopback for kubectl, and TLS
inside the lab for CoreDNS, behind Service default/kubernetes.

The loopback's port opens when somebody asks for a kubeconfig; from then on every agent of the lab opens it again.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from nslab.api.objects import COREDNS, Body, LabSpec
from nslab.apiserver.access import HOST, Access, access, kubeconfig
from nslab.apiserver.api import Admit, Api
from nslab.apiserver.rest.subresources import LogOptions
from nslab.apiserver.server import Server
from nslab.apiserver.store import Store
from nslab.cluster import naming
from nslab.cluster.coredns import API_PORT, api_address, api_names
from nslab.kubelet.containers import HOST_IMAGE
from nslab.linux import netns
from nslab.linux.lab_files import Paths

log = logging.getLogger("nslab.agent")

POLL = 0.2
"""Seconds between two looks at a log that is followed."""


class Serving:
    """The sockets of one lab's API. `admit` is the lab's say about what is written."""

    def __init__(self, paths: Paths, store: Store, admit: Admit, lab: LabSpec) -> None:
        self.paths = paths
        self.lab = lab
        self.server = Server(Api(store, logs=self._logs, admit=admit), token="")
        self.port = 0
        self._inside = 0  # the inode of the netns where it listens
        self._server_inside: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None
        self._complained = ""

    async def start(self) -> None:
        """Listen on the unix socket, and on TCP where that was asked for before."""
        self.paths.api_socket.unlink(missing_ok=True)
        await self.server.listen_unix(self.paths.api_socket)
        if self.paths.api_port.exists():
            await self.kubeconfig()

    async def kubeconfig(self) -> str:
        """Listen on TCP; returns the kubeconfig file for it. Raises OSError where there is no port to be had."""
        granted = self._granted()
        if not self.port:
            listening = granted.listen()
            await self.server.listen_tls(listening, granted.context())
            self.port = int(listening.getsockname()[1])
            self.server.api = replace(self.server.api, address=f"{HOST}:{self.port}")
        return kubeconfig(self.paths.lab, f"{HOST}:{self.port}", granted)

    def _granted(self) -> Access:
        granted = access(self.paths.root, api_names(self.lab))
        self.server.token = granted.token
        return granted

    def tick(self, lab: LabSpec) -> None:
        """Listen inside a lab that has CoreDNS, and leave a netns that is no longer the lab's: a socket would keep it
        alive. What cannot be had is tried again."""
        self.lab = lab
        inode = netns.inode(naming.vpc_netns(self.paths.lab)) if lab.dns.engine == COREDNS else 0
        if inode != self._inside and (self._opening is None or self._opening.done()):
            if self._server_inside is not None:
                self._server_inside.close()
            self._server_inside, self._inside = None, inode
            self._opening = asyncio.get_running_loop().create_task(self._open_inside()) if inode else None

    async def _open_inside(self) -> None:
        try:
            with netns.entered(naming.vpc_netns(self.paths.lab)):
                listening = socket.create_server((api_address(self.lab), API_PORT))
            self._server_inside = await self.server.listen_tls(listening, self._granted().context())
        except OSError as error:
            self._inside = 0
            if self._complained != str(error):
                log.error("the API cannot listen inside the lab: %s", error)
            self._complained = str(error)

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
