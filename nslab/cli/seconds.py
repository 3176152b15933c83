"""Times on the command line: `30s`, `500ms`, `2m`, or plain seconds."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_FORM = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")


def seconds(value: str) -> float:
    """The type of an option that takes a duration. Raises click.BadParameter for another text."""
    found = _FORM.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a time: write 30s, 500ms, 2m or a number of seconds")
    return float(found[1]) * _UNITS[found[2]]
