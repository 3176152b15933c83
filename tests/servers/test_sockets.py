"""Patience of the responder's connections, with a clock in hand."""

from __future__ import annotations

import socket

from nslab.linux.netns import entered
from nslab.servers.sockets import Street
from tests.servers.conftest import Network, pod_listener


def turn(street: Street, now: float) -> None:
    """One round of the loop."""
    for fd, events in street.poll.poll(1):
        street.targets[fd].ready(events, now)


def test_half_a_request_is_given_up_however_slowly_it_grows(network: Network) -> None:
    (name,) = network(1)
    street = Street()
    assert street.open([pod_listener(name, 0)]) == []
    with entered(name):
        silent = socket.create_connection(("127.0.0.1", 80))
        slow = socket.create_connection(("127.0.0.1", 80))
        idle = socket.create_connection(("127.0.0.1", 80))
    with silent, slow, idle:
        slow.send(b"GET / HT")
        idle.send(b"GET /healthz HTTP/1.1\r\n\r\n")
        turn(street, 1000.0)
        assert idle.recv(1000).endswith(b"ok")
        assert len(street.connections) == 3
        slow.send(b"T")  # drop by drop does not buy more time; a whole request does
        idle.send(b"GET /healthz HTTP/1.1\r\n\r\n")
        turn(street, 1050.0)
        assert idle.recv(1000).endswith(b"ok")
        street.sweep(1061.0)
        assert slow.recv(1000) == b""
        assert len(street.connections) == 2
        street.sweep(1111.0)
        assert idle.recv(1000) == b""
        assert len(street.connections) == 1  # who never said a word stays
    street.close(list(street.doors))
