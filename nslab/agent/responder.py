"""The responder as the agent sees it: started when it is not there, told what to listen on, taken over when it is."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress

from nslab.cluster.ipv4 import to_int
from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster
from nslab.dns.cluster_zone import Names
from nslab.dns.names import names, order, outside
from nslab.dns.views import Outside
from nslab.errors import NslabError
from nslab.linux import process
from nslab.linux.lab_files import Paths
from nslab.servers.listeners import Listener
from nslab.servers.responder_client import ResponderClient, await_responder, spawn_responder

RESTART_SECONDS = 1.0
"""Between two attempts to start one that has ended."""

RESOLV_CONF = "/etc/resolv.conf"

log = logging.getLogger("nslab.agent")


class Responder:
    """A lab's responder process."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.pid = 0
        self.client: ResponderClient | None = None
        self._socket, self._log = str(paths.responder_socket), str(paths.responder_log)
        self._starting: subprocess.Popen[bytes] | None = None
        self.wanted: list[Listener] | None = None
        self.told: list[Listener] | None = None
        self.next_start = 0.0
        self._names: tuple[Names, Outside] | None = None
        self._known: tuple[Names, Outside] | None = None
        self._memo = Memo()

    def begin(self) -> None:
        """Connect to the responder that runs, or start one without waiting for it. Raises NslabError where it cannot
        be started."""
        if self.client is not None or self._starting is not None:
            return
        try:
            self._connect()
        except OSError:
            try:
                self._starting = spawn_responder(self._socket, self.paths.lab, self._log)
            except OSError as error:
                raise self._failure(error) from error

    def start(self) -> None:
        """Have a responder that listens. Raises NslabError where it cannot be started."""
        self.begin()
        child, self._starting = self._starting, None
        if child is not None:
            try:
                await_responder(child, self._socket, self._log)
                self._connect()
            except OSError as error:
                raise self._failure(error) from error

    def _connect(self) -> None:
        self.client = ResponderClient(self._socket)
        self.pid = self.client.pid

    def _failure(self, error: OSError) -> NslabError:
        return NslabError(f"the responder does not start: {error}", hint=f"its log: {self._log}")

    def set(self, wanted: Iterable[Listener]) -> None:
        """Make it listen on exactly these sockets. One that does not answer is replaced. Raises NslabError naming
        those that cannot be had."""
        self.wanted = list(wanted)
        if self.wanted == self.told:
            return
        try:
            failed = self._order(self.wanted)
        except OSError as error:
            log.error("the responder does not answer (%s); starting another", error)
            self.end()
            failed = self._order(self.wanted)
        if failed:
            first, reason = failed[0]
            raise NslabError(
                f"the responder cannot listen on {len(failed)} ports, first {first.port}/{first.protocol} in "
                f"netns {first.netns}: {reason}",
                hint="a process of the lab's own uses the port, or the host's limit of open files is too low",
            )
        self.told = self.wanted

    def know(self, cluster: Cluster) -> None:
        """Have its name servers know the names of a Cluster. Where it does not answer, the next tick starts another,
        which is told them all. Raises NslabError where it cannot be started."""
        self.start()
        host = _host_servers() if cluster.lab.dns.upstream else ()
        self._names = names(cluster, self._memo), outside(cluster, host)
        try:
            self._tell()
        except OSError as error:
            log.error("the responder does not take names: %s", error)

    def _tell(self) -> None:
        """Tell it the names that it does not know."""
        assert self.client is not None
        assert self._names is not None
        changes = order(*self._names, *(self._known or (None, None)))
        if changes:
            self._known = None
            self.client.know(changes)
        self._known = self._names

    def _order(self, wanted: list[Listener]) -> tuple[tuple[Listener, str], ...]:
        """Tell it what it should listen on, or, where it listens already and no socket changes, what is new and what
        is not wanted any more. Returns those that cannot be had."""
        self.start()
        assert self.client is not None
        if self._names is not None and self._known is None:
            self._tell()
        told, self.told = self.told, None
        if told is None:
            return self.client.set(wanted).failed
        known, now = dict.fromkeys(told), dict.fromkeys(wanted)
        gone, fresh = [one for one in told if one not in now], [one for one in wanted if one not in known]
        if {_place(one) for one in gone} & {_place(one) for one in fresh}:
            return self.client.set(wanted).failed
        if gone:
            self.client.remove(gone)
        return self.client.add(fresh).failed if fresh else ()

    def end(self) -> None:
        """End the process, whatever state it is in; quiet where there is none."""
        with suppress(OSError):
            client = self.client or ResponderClient(self._socket)
            process.terminate([client.pid], timeout=1.0)
            process.reap(client.pid)
            client.close()
        self.client = self.told = self._known = None

    def tick(self) -> None:
        """Start it again where it has died, with what it listened on."""
        now = time.monotonic()
        if self.wanted is None or now < self.next_start or (self.client is not None and self.client.connected()):
            return
        log.error("the responder has ended; starting it again")
        self.next_start = now + RESTART_SECONDS
        self.end()
        try:
            self.set(self.wanted)
        except (NslabError, OSError) as error:
            log.error("%s", error)


def _place(one: Listener) -> tuple[str, str, int, str]:
    return one.netns, one.ip, one.port, one.protocol


def _host_servers() -> list[str]:
    """The IPv4 name servers of the host."""
    found = []
    with suppress(OSError), open(RESOLV_CONF) as file:
        for line in file:
            words = line.split()
            if words[:1] == ["nameserver"] and len(words) > 1:
                with suppress(ValueError):
                    to_int(words[1])
                    found.append(words[1])
    return found
