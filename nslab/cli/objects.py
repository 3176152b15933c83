"""The kinds that `nslab get` shows, and where each one's objects come from."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from nslab.api import kinds
from nslab.errors import UsageError

if TYPE_CHECKING:
    from nslab.agent.client import Snapshot

Body = dict[str, Any]

ALL = (
    "pods", "replicationcontrollers", "services", "daemonsets", "deployments", "replicasets", "statefulsets", "jobs",
)
"""What `get all` means to kubectl (the category "all"), of the kinds that a lab has."""

KUBERNETES = (*ALL, "nodes", "namespaces", "endpoints", "endpointslices")


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the command line names it; `group` is its API group, empty for the core and for nslab's own."""

    plural: str
    singular: str
    group: str = ""
    namespaced: bool = True

    @property
    def qualified(self) -> str:
        """`deployments.apps`, as messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_singular(self) -> str:
        """`deployment.apps`, as `-o name` names it."""
        return f"{self.singular}.{self.group}" if self.group else self.singular


OWN = {
    "clients": Resource("clients", "client", namespaced=False),
    "routes": Resource("routes", "route", namespaced=False),
}


def resource(word: str) -> Resource:
    """The kind that a plural, singular or short name means. Raises UsageError where `get` does not show it."""
    for own in OWN.values():
        if word.lower() in (own.plural, own.singular):
            return own
    kind = kinds.by_word(word.partition(".")[0])
    if kind is not None and kind.plural in KUBERNETES:
        return Resource(kind.plural, kind.singular, kind.group, kind.namespaced)
    shown = sorted([*KUBERNETES, *OWN])
    if kind is not None:
        raise UsageError(f"nslab cannot show {kind.plural}", hint=f"it shows {', '.join(shown)} and all")
    near = get_close_matches(word, shown, 1)
    raise UsageError(f"there is no kind {word!r}",
                     hint=f"did you mean {near[0]}?" if near else f"kinds: {', '.join(shown)}, all")
