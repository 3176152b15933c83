"""Times on the command line: `30s`, `500ms`, `2m`, or plain seconds."""

from __future__ import annotations

import click

from nslab.api import notation


def seconds(value: str) -> float:
    """The type of an option that takes a duration. Raises click.BadParameter for another text."""
    try:
        return notation.seconds(f"{value}s" if value[-1:].isdigit() else value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a time: write 30s, 500ms, 2m or a number of seconds"
        ) from None
