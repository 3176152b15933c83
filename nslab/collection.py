"""How often nslab's processes look for garbage."""

from __future__ import annotations

import gc


def collect_seldom() -> None:
    """Reference counting frees nearly all; the collector would only walk a large lab's objects again and again. What
    is there now is never looked at."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
