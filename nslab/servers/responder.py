"""The responder: one process that plays every container of a lab, from one epoll loop.

    python -m nslab.servers.responder --control PATH --title LAB

It listens on the unix socket PATH (mode 0600) and obeys lines of JSON, each answered by one line once it is done:

    {"set": ROWS}                      listen on exactly these sockets; those that stay are not touched
    {"add": ROWS, "remove": ROWS}      the same as a difference
        -> {"ok": sockets open, "failed": [{"listener": ROW, "error": text}]}
    {"stats": true}                    -> {"sockets", "connections", "answered", "exhausted", "rss"}
    {"stop": true}                     -> {"ok": 0, "failed": []}, and the process ends

ROWS are those of listeners.encode_listeners. A wrong line is answered by {"error": text}.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from select import EPOLLIN, EPOLLOUT
from typing import Any

from nslab.servers.listeners import Listener, decode_listeners, encode_listeners
from nslab.servers.sockets import CHUNK, Key, Street

SWEEP = 5.0
"""Seconds between two looks at the deadlines of connections."""


class Responder:
    """The loop, and what it obeys."""

    def __init__(self) -> None:
        self.street = Street()
        self.stopping = False
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)  # now: later no fd may be left

    def obey(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out one line of the control protocol. Raises KeyError, TypeError or ValueError where it is wrong."""
        if "set" in order:
            return self._listen(list(decode_listeners(order["set"])), None)
        if "add" in order or "remove" in order:
            gone = [_key(one) for one in decode_listeners(order.get("remove", ()))]
            return self._listen(list(decode_listeners(order.get("add", ()))), gone)
        if "stats" in order:
            return self._stats()
        if "stop" in order:
            self.stopping = True
            return {"ok": 0, "failed": []}
        raise ValueError("none of set, add, remove, stats, stop")

    def _listen(self, listeners: list[Listener], gone: Iterable[Key] | None) -> dict[str, Any]:
        """Have these listeners, and no longer those of `gone`; with None, nothing but these."""
        doors = self.street.doors
        wanted = {_key(one): one for one in listeners}
        self.street.close([key for key in (doors if gone is None else gone) if key not in wanted])
        missing = []
        for key, one in wanted.items():
            door = doors.get(key)
            if door is None:
                missing.append(one)
                continue
            if door.identity != one.identity:
                door.name(one.identity)
            door.delay = one.delay / 1e6
        failed = self.street.open(missing)
        return {
            "ok": len(doors),
            "failed": [{"listener": encode_listeners([one])[0], "error": why} for one, why in failed],
        }

    def _stats(self) -> dict[str, Any]:
        pages = int(os.pread(self._statm, 200, 0).split()[1])
        street = self.street
        return {
            "sockets": len(street.doors),
            "connections": len(street.connections),
            "answered": street.answered,
            "exhausted": street.exhausted,
            "rss": pages * resource.getpagesize(),
        }

    def serve(self, control: socket.socket) -> None:
        """Serve until told to stop."""
        street = self.street
        entrance = ControlEntrance(self, control)
        street.targets[control.fileno()] = entrance
        street.poll.register(control.fileno(), EPOLLIN)
        clock = time.monotonic
        swept, complained = clock(), 0
        targets = street.targets
        while not self.stopping:
            events = street.poll.poll(street.patience(clock(), SWEEP), 512)
            now = clock()
            street.catch_up(now)
            for fd, event in events:
                target = targets.get(fd)  # None: closed by an earlier event of this round
                if target is not None:
                    target.ready(event, now)
            if now - swept > SWEEP:
                swept = now
                street.sweep(now)
                complained = 0
            if street.exhausted and not complained:  # one line a sweep, however many connections it cost
                complained = street.exhausted
                _log(f"out of file descriptors (the limit is {_fd_limit()}): {complained} connections closed unheard")


class ControlEntrance:
    """The listening control socket."""

    def __init__(self, responder: Responder, sock: socket.socket) -> None:
        self.responder = responder
        self.sock = sock

    def ready(self, events: int, now: float) -> None:
        street = self.responder.street
        try:
            sock, _ = self.sock.accept()
        except BlockingIOError:
            return
        except OSError:
            street.shed(self.sock)
            return
        sock.setblocking(False)
        street.targets[sock.fileno()] = Control(self.responder, sock)
        street.poll.register(sock.fileno(), EPOLLIN)


class Control:
    """One control connection: lines in, lines out."""

    def __init__(self, responder: Responder, sock: socket.socket) -> None:
        self.responder = responder
        self.sock = sock
        self.heard: list[bytes] = []
        self.unsent = b""

    def ready(self, events: int, now: float) -> None:
        poll = self.responder.street.poll
        try:
            if events & ~EPOLLOUT:
                data = self.sock.recv(CHUNK)
                if not data:
                    self._close()
                    return
                self._hear(data)
            if self.unsent:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
            poll.modify(self.sock.fileno(), EPOLLIN | EPOLLOUT if self.unsent else EPOLLIN)
        except BlockingIOError:
            poll.modify(self.sock.fileno(), EPOLLIN | EPOLLOUT)
        except OSError:
            self._close()

    def _hear(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self.heard.append(line)
            whole = b"".join(self.heard)
            self.heard.clear()
            self.unsent += json.dumps(self._obey(whole)).encode() + b"\n"
        if rest:
            self.heard.append(rest)

    def _obey(self, line: bytes) -> dict[str, Any]:
        try:
            return self.responder.obey(json.loads(line))
        except (KeyError, TypeError, ValueError) as fault:
            return {"error": f"{type(fault).__name__}: {fault}"}

    def _close(self) -> None:
        del self.responder.street.targets[self.sock.fileno()]
        self.sock.close()


def _key(one: Listener) -> Key:
    return one.netns, one.uid, one.ip, one.port, one.protocol


def _log(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} responder: {text}", file=sys.stderr, flush=True)


def _fd_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _raise_fd_limit() -> None:
    """As many file descriptors as the system lets this process have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for limit in (1 << 20, hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
            return


def _control_socket(path: str) -> socket.socket:
    """The listening control socket; one that a dead process left at `path` is replaced. Raises OSError (EADDRINUSE)
    where a living one listens there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        sock.connect(path)
        raise OSError(f"a responder listens on {path} already")
    sock.close()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    mask = os.umask(0o177)
    try:
        sock.bind(path)
    finally:
        os.umask(mask)
    sock.listen(16)
    return sock


def main() -> int:
    """The process. Ends with 0 when told to stop, with 1 where the control socket cannot be."""
    options = argparse.ArgumentParser(prog="nslab.servers.responder")
    options.add_argument("--control", required=True, help="path of the unix socket to obey")
    options.add_argument("--title", required=True, help="the lab's name, for the process list")
    arguments = options.parse_args()
    _raise_fd_limit()
    try:
        control = _control_socket(arguments.control)
    except OSError as fault:
        _log(str(fault))
        return 1
    with contextlib.suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(f"nslab responder {arguments.title}")
    gc.collect()
    gc.freeze()
    try:
        Responder().serve(control)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(arguments.control)
    return 0


if __name__ == "__main__":
    sys.exit(main())
