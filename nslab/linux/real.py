"""The kernel that this process runs on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from nslab.errors import FeatureError
from nslab.linux import netns, sysctls, workers
from nslab.linux.application import Application
from nslab.linux.features import missing_qdisc
from nslab.linux.kernel import Progress
from nslab.linux.nftables import NftSockets
from nslab.linux.observation import observe, stamp_of
from nslab.netstate.model import NetState
from nslab.netstate.operations import Batch, ReplaceQdisc, SetSysctl


def require_qdisc(kind: str) -> None:
    """Raise FeatureError, with the remedy, where this kernel does not have that queueing discipline."""
    missing = missing_qdisc(kind)
    if missing is not None:
        raise FeatureError(
            f"this kernel has no queueing discipline {kind}, which `{missing.needed_for}` needs", hint=missing.remedy
        )


class RealKernel:
    """`kernel.Kernel`, carried out. The calling thread stays in its netns: threads of its own go into the others."""

    def __init__(self) -> None:
        self._nft = NftSockets()

    def observe(self, lab: str, names: Iterable[str], files: Iterable[str]) -> NetState:
        return observe(lab, names, files)

    def require(self, batch: Batch) -> None:
        needed = {operation.name for operation in batch if isinstance(operation, SetSysctl)}
        if any(name.startswith("bridge/") and not sysctls.present(name) for name in needed):
            raise FeatureError(
                "the kernel does not filter what passes a bridge: /proc/sys/net/bridge is missing",
                hint="sudo modprobe br_netfilter",
            )
        for kind in sorted({operation.qdisc.kind for operation in batch if isinstance(operation, ReplaceQdisc)}):
            require_qdisc(kind)

    def has_qdisc(self, kind: str) -> bool:
        return missing_qdisc(kind) is None

    def apply(self, batch: Batch, progress: Progress | None = None) -> None:
        if batch:
            with Application(batch, progress, self._nft) as application:
                application.run()

    def labs(self) -> list[str]:
        """A lab's namespaces begin with its name and a dot, so that one stamped netns of each prefix tells."""
        by_prefix: dict[str, list[str]] = {}
        for name in netns.names():
            lab, dot, _ = name.partition(".")
            if dot:
                by_prefix.setdefault(lab, []).append(name)
        found: set[str] = set()

        def look(lab: str, names: list[str]) -> None:
            if any((owner := stamp_of(name)) and owner.lab == lab for name in names):
                found.add(lab)

        workers.run([partial(look, lab, names) for lab, names in by_prefix.items()])
        return sorted(found)
