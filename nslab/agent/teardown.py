"""The end of a lab, and of what crashed runs left."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from nslab.agent import store
from nslab.agent.network import Network
from nslab.agent.responder import Responder
from nslab.cluster.naming import STATE_ROOT, lab_prefix
from nslab.kubelet.containers import MARK, Containers
from nslab.linux import files, netns, process
from nslab.linux.kernel import Progress
from nslab.linux.lab_files import Paths, is_lab_name
from nslab.linux.real import RealKernel
from nslab.netstate.operations import DeleteNetns

TITLES = ("nslab agent", "nslab responder")


def teardown(lab: str, progress: Progress | None = None) -> Counter[str]:
    """Remove all that is the lab's, whose lock the caller holds; returns how many things of each kind that were.

    Works from any half-built or half-removed state. Raises KernelError where the kernel refuses.
    """
    removed: Counter[str] = Counter()
    removed["process"] += _end_processes(Paths(lab))
    strays = files.owned(name for name in files.namespaces() if name.startswith(lab_prefix(lab)))
    batch = Network(RealKernel(), lab).converge(None, progress)
    for path in strays:  # those of a namespace that is gone are in no batch
        files.remove(path)
    files.restore_root()
    netns.restore_root()
    store.remove(lab)
    removed["namespace"] += sum(isinstance(operation, DeleteNetns) for operation in batch)
    removed["file"] += len(strays)
    return +removed


def collect() -> list[str]:
    """Take away what is left of labs that have no state any more; returns a line for each lab."""
    lines = []
    for lab in sorted(_remains() - set(store.labs())):
        lock = store.hold(lab)
        if lock is None:  # it is being built or taken away
            continue
        try:
            if lab not in store.labs():
                removed = teardown(lab)
                counts = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in removed.items())
                lines.append(f"removed what was left of lab {lab}: {counts or 'its directory'}")
        finally:
            os.close(lock)
    return lines


def _end_processes(paths: Paths) -> int:
    ended = Containers(paths).stop()
    Responder(paths).end()
    # Those that nothing on disk tells of any more, or that hang: nobody else holds the lab's lock.
    strays = [
        pid for pid, lab in (*_titled(), *_marked()) if lab == paths.lab and process.sees_same(pid, str(paths.root))
    ]
    process.terminate(strays, timeout=1.0)
    return ended + len(strays)


def _remains() -> set[str]:
    """The labs that own a namespace, a directory, a file, or a process whose directory is gone."""
    labs = {name.partition(".")[0] for name in files.namespaces() if any(files.owned([name]))}
    if os.path.isdir(STATE_ROOT):
        labs |= {entry.name for entry in os.scandir(STATE_ROOT) if entry.is_dir()}
    for pid, lab in (*_titled(), *_marked()):
        if process.sees_same(pid, os.path.dirname(STATE_ROOT)) and process.misses(pid, f"{STATE_ROOT}/{lab}"):
            labs.add(lab)
    return {lab for lab in labs | set(RealKernel().labs()) if is_lab_name(lab)}


def _titled() -> Iterator[tuple[int, str]]:
    """The agents and responders that run, each with its lab."""
    for pid in process.running():
        role, _, lab = process.title(pid).rpartition(" ")
        if role in TITLES:
            yield pid, lab


def _marked() -> Iterator[tuple[int, str]]:
    """The processes of containers that run, each with its lab."""
    for pid in process.running():
        lab = process.variable(pid, MARK).partition(" ")[0]
        if lab:
            yield pid, lab
