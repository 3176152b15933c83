"""What an epoll loop calls."""

from __future__ import annotations

from typing import Protocol


class Ready(Protocol):
    """What the loop calls when its file descriptor is ready."""

    def ready(self, events: int, now: float) -> None: ...
