"""Times, ages and label lists as Kubernetes and kubectl write them."""

from __future__ import annotations

import re
from collections.abc import Mapping

NONE = "<none>"

_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """A duration of one unit ("500ms", "5s", "1.5m") in seconds. Raises ValueError for another text."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" is no time: write 30s, 500ms or 2m')
    return float(found[1]) * _SECONDS[found[2]]


def age(seconds: float) -> str:
    """A duration with at most two units, as kubectl prints it (k8s.io/apimachinery/pkg/util/duration)."""
    total = int(seconds)
    if total < 120:
        return f"{total}s" if total >= -1 else "<invalid>"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if minutes < 10:
        return _two(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 2 * 365:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 8 * 365 else f"{days // 365}y"


def labels(mapping: Mapping[str, str]) -> str:
    """Labels or a selector as `a=b,c=d`, sorted by key."""
    return ",".join(f"{key}={mapping[key]}" for key in sorted(mapping)) or NONE


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
