"""What controllers stand on: a store of objects that tells its changes, and what the store knows of a controller."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from nslab.api.objects import Body

Clock = Callable[[], float]
"""The time in Unix seconds."""


class Event(Protocol):
    """A change in the store. `type` is ADDED, MODIFIED or DELETED; `old` is the body before it, None for ADDED."""

    @property
    def type(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def body(self) -> Body: ...
    @property
    def old(self) -> Body | None: ...


class Store(Protocol):
    """The objects of a lab. Bodies are never changed in place, by nobody. Every method sees its own effect at once,
    and subscribers hear of a change before the method that made it returns."""

    def get(self, kind: str, namespace: str, name: str) -> Body | None: ...
    def list(self, kind: str, namespace: str | None = None, selector: Any = None) -> list[Body]: ...
    def create(self, kind: str, body: Body) -> Body: ...
    def update(self, kind: str, body: Body, *, status: bool = False) -> Body: ...
    def delete(self, kind: str, namespace: str, name: str, *, grace: int | None = None) -> Body | None: ...
    def finish(self, kind: str, namespace: str, name: str) -> object: ...
    def subscribe(self, callback: Callable[[Any], None]) -> object: ...


class Controller(Protocol):
    """One kind of care. `keys` takes note of an event and says which objects (NAMESPACE/NAME) to look at; it hears
    of each event once, in order. `sync` looks at one, takes a step, and returns in how many seconds to look again
    though nothing changes, or None. What it raises is retried with back-off."""

    @property
    def name(self) -> str: ...
    def keys(self, event: Event) -> Iterable[str]: ...
    def sync(self, key: str) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds. `grace` is how long a node may be silent before it counts as dead (kube-controller-manager
    --node-monitor-grace-period), `eviction` how long its Pods stay where they tolerate nothing themselves (admission
    plugin DefaultTolerationSeconds), `event_ttl` how long Events are kept (kube-apiserver --event-ttl). `max_pods` is
    the number of Pods a node takes that does not say itself (kubelet --max-pods)."""

    grace: float = 40.0
    eviction: float = 300.0
    event_ttl: float = 3600.0
    max_pods: int = 110
