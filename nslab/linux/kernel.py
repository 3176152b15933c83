"""The protocol between nslab and a kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from nslab.netstate.model import NetState
from nslab.netstate.operations import Batch

Progress = Callable[[str, int, int], None]
"""Called as (phase, operations done, operations in the phase)."""


class Kernel(Protocol):
    """A kernel that holds labs. Two implementations: `real.RealKernel` and `fake.FakeKernel`."""

    def observe(self, lab: str, names: Iterable[str], files: Iterable[str]) -> NetState:
        """The present state of the lab's namespaces: of those in `names`, and of every other one whose name begins
        with the lab's and a dot and that carries its stamp; and of the files in `files` that exist, and of those
        below /etc/netns of the observed namespaces.

        Only what nslab can own is reported: routes of the main table that it (protocol static) made, links with the
        lab's alias, nft tables with the lab's comment, sysctls it ever sets; of other links and tables in the lab's
        namespaces their names (`model.Netns.foreign`).
        Raises OwnershipError when a name in `names` belongs to a netns, or in `files` to a file, that is not the
        lab's.
        """

    def require(self, batch: Batch) -> None:
        """Raise FeatureError, with the remedy, where this kernel lacks what the batch needs; do nothing else."""

    def has_qdisc(self, kind: str) -> bool:
        """Whether it has the queueing discipline "blackhole", "tbf" or "netem"."""

    def apply(self, batch: Batch, progress: Progress | None = None) -> None:
        """Carry the batch out, phase by phase. What is already as an operation wants it (a netns, link, address or
        route that exists alike or is gone already) counts as done.

        Raises KernelError naming the first operation that the kernel refused; operations before it stay done, some
        after it too, and the caller observes anew before the next try. Raises OwnershipError when a netns or a link
        to be made exists and is not the lab's.
        """

    def labs(self) -> list[str]:
        """The names of the labs that own at least one netns of this kernel, sorted."""
