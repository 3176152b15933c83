"""`nslab logs`: what a container of `image: host` printed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

import click

from nslab.cli.options import complete_references, lab_option
from nslab.cluster.model import Container, Pod
from nslab.errors import NotFoundError, UsageError

POLL = 0.1
"""Seconds between two looks at a log that is followed."""
CHUNK = 65536


@click.command(short_help="Print the log of an `image: host` container.")
@click.argument("reference", metavar="REF", shell_complete=complete_references("pod"))
@click.option("-c", "--container", default="", metavar="NAME", help="Which container, where several have logs.")
@click.option("-f", "--follow", is_flag=True, help="Go on as the log grows, until Ctrl-C.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@lab_option
def logs(reference: str, container: str, follow: bool, tail: int | None, lab: str | None) -> None:
    """Print the log of a container that runs a command of the host (`image: host`)."""
    from nslab.agent import client
    from nslab.check.references import sources

    name = client.pick(lab)
    cluster = client.snapshot(name).cluster
    pod = cluster.pods.get(sources(cluster, reference)[0].pod)
    if pod is None:
        raise UsageError(f"{reference} has no logs", hint="name a Pod: pod/NAME")
    path = Path(client.log_path(name, pod.key, chosen(pod, container).name))
    for chunk in read(path, tail, follow):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def chosen(pod: Pod, name: str) -> Container:
    """The container with logs that is meant. Raises NotFoundError where there is none, UsageError where there are
    several and no name says which."""
    by_name = {container.name: container for container in pod.containers}
    if name and name not in by_name:
        raise NotFoundError(f"pod/{pod.key} has no container {name!r}", hint=f"it has: {', '.join(by_name)}")
    with_logs = [each for each in ([by_name[name]] if name else pod.containers) if each.command]
    if not with_logs:
        what = f"container {name} of pod/{pod.key}" if name else f"pod/{pod.key}"
        raise NotFoundError(f"{what} has no log: the built-in responder plays it, and that prints nothing",
                            hint="a container with `image: host` runs a command of the host and has a log")
    if len(with_logs) > 1:
        names = ", ".join(each.name for each in with_logs)
        raise UsageError(f"several containers of pod/{pod.key} have logs", hint=f"choose with -c: {names}")
    return with_logs[0]


def read(path: Path, tail: int | None, follow: bool) -> Iterator[bytes]:
    """The log from its last `tail` lines on (all of it for None); with `follow`, for ever. A log that does not exist
    yet is empty."""
    while not path.exists():
        if not follow:
            return
        time.sleep(POLL)
    with path.open("rb") as file:
        if tail is not None:
            file.seek(_tail_offset(file, tail))
        while True:
            chunk = file.read(CHUNK)
            if chunk:
                yield chunk
            elif not follow:
                return
            else:
                time.sleep(POLL)


def _tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last `lines` lines of the file begin."""
    size = file.seek(0, os.SEEK_END)
    if size == 0 or lines == 0:
        return size
    with mmap(file.fileno(), size, access=ACCESS_READ) as content:
        position = size - 1 if content[-1:] == b"\n" else size
        for _ in range(lines):
            position = content.rfind(b"\n", 0, position)
            if position < 0:
                return 0
        return position + 1
