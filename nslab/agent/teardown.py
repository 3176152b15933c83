"""The end of a lab, and of what crashed runs left."""

from __future__ import annotations

import os
from contextlib import suppress

from nslab.agent import store
from nslab.agent.containers import Containers
from nslab.agent.network import Network
from nslab.agent.store import Paths
from nslab.errors import BusyError
from nslab.linux import locks
from nslab.linux.kernel import Progress
from nslab.linux.real import RealKernel
from nslab.servers.responder_client import ResponderClient


def teardown(lab: str, progress: Progress | None = None) -> bool:
    """Remove all that is the lab's. False when nothing was there. Works from any half-built or half-removed state.

    Raises BusyError while another process holds the lab.
    """
    paths = Paths(lab)
    known = paths.root.is_dir()
    lock = None
    if known:
        lock = locks.lock(str(paths.lock))
        if lock is None:
            holder = locks.lock_holder(str(paths.lock))
            raise BusyError(f"lab {lab} is held by process {holder}", hint="wait for it to end, and try again")
        _end_processes(paths)
    batch = Network(RealKernel(), lab).converge(None, progress)
    store.remove(lab)
    if lock is not None:
        os.close(lock)
    return known or len(batch) > 0


def _end_processes(paths: Paths) -> None:
    Containers(paths).stop()
    with suppress(OSError):  # it is gone already
        ResponderClient(str(paths.responder_socket)).stop()


def collect() -> list[str]:
    """Remove the labs that own namespaces but have no state, and states that have neither namespaces nor a holder.
    Returns a line for each."""
    removed = []
    with_state = set(store.labs())
    kernel = RealKernel()
    for lab in kernel.labs():
        if lab not in with_state:
            count = len(Network(kernel, lab).converge(None))
            removed.append(f"lab {lab}: {count} operations to remove its leftover namespaces")
    return removed
