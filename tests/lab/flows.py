"""Flows that last: a sender or a connection that a lab's changes must not, or must, move."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable

from nslab.linux.netns import entered

PATIENCE = 20.0
"""Seconds until an answer counts as lost."""


def datagrams(netns: str, to: tuple[str, int]) -> Callable[[], str]:
    """A UDP sender that keeps its source port; each call is a datagram, and says which Pod answered."""
    with entered(netns):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.settimeout(PATIENCE)
    sender.connect(to)

    def ask() -> str:
        sender.send(b"who?")
        return str(json.loads(sender.recv(4096))["pod"])

    return ask


def requests(netns: str, to: tuple[str, int]) -> Callable[[], str]:
    """One TCP connection; each call is a request on it, and says which Pod answered."""
    with entered(netns):
        connection = http.client.HTTPConnection(*to, timeout=PATIENCE)
        connection.connect()
    connection.auto_open = False

    def ask() -> str:
        connection.request("GET", "/")
        return str(json.loads(connection.getresponse().read())["pod"])

    return ask
