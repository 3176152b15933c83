"""Clients of a running lab's API that follow what happens, and one that stops reading."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from statistics import median
from urllib.parse import urlsplit

import pytest
import yaml

from nslab.agent.api_client import ApiClient
from nslab.agent.store import Paths
from nslab.api.kinds import by_name
from nslab.apiserver.events import QUEUE_OCTETS
from tests.lab.conftest import LabFactory
from tests.lab.live import EMPTY, eventually
from tests.lab.running import Json, RunningLab

PATH = "/api/v1/namespaces/default/configmaps?watch=true"
OK = b"HTTP/1.1 200 OK"
SIZE = 64 << 10
CHANGES = 2000
"""So many of such a size are four times what may wait for one watcher."""


def by_unix_socket(lab: RunningLab) -> socket.socket:
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    raw.connect(str(Paths(lab.name).api_socket))
    raw.sendall(f"GET {PATH} HTTP/1.1\r\nHost: lab\r\n\r\n".encode())
    return raw


def by_tls(lab: RunningLab) -> socket.socket:
    config = yaml.safe_load(lab.nslab("kubeconfig").stdout)
    cluster, token = config["clusters"][0]["cluster"], config["users"][0]["user"]["token"]
    where = urlsplit(cluster["server"])
    context = ssl.create_default_context(cadata=b64decode(cluster["certificate-authority-data"]).decode())
    plain = socket.create_connection((where.hostname, where.port))
    raw = context.wrap_socket(plain, server_hostname=where.hostname)
    raw.sendall(f"GET {PATH} HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    return raw


@pytest.mark.parametrize("connect", [by_unix_socket, by_tls])
def test_a_watcher_that_stops_reading_is_cut_off_and_hurts_no_one(
    lab: LabFactory, connect: Callable[[RunningLab], socket.socket]
) -> None:
    """Others are answered as fast as ever and see every change, and the agent grows by little of what it did not get
    rid of."""
    running = lab("stalled", EMPTY % "stalled")
    api, kind = ApiClient("stalled"), by_name("ConfigMap")[0]
    api.request("POST", "/api/v1/namespaces/default/configmaps", config_map(-1))
    seen: list[int] = []
    with connect(running) as stalled, by_unix_socket(running) as reading:
        assert stalled.recv(len(OK)) == OK
        follower = threading.Thread(target=follow, args=(reading, seen))
        follower.start()
        before, took = resident(running), []
        for number in range(CHANGES):
            began = time.monotonic()
            api.patch(kind, "default", "big", {"data": config_map(number)["data"]})
            took.append(time.monotonic() - began)
        eventually(lambda: seen[-1:] == [CHANGES - 1])
        grown = resident(running) - before
        rest = remainder(stalled)
    follower.join(60)
    assert seen == sorted(seen)
    assert len(rest) < CHANGES * SIZE
    assert not rest.endswith(b"0\r\n\r\n"), "it was told of an end in good order"
    assert median(took) < 0.1
    assert max(took) < 5.0
    assert grown < 4 * QUEUE_OCTETS
    assert running.json("status")["drift"] == []


def config_map(number: int) -> Json:
    return {"metadata": {"name": "big"}, "data": {"number": str(number), "text": "x" * SIZE}}


def follow(raw: socket.socket, seen: list[int]) -> None:
    """Note the number of each change until the last one."""
    raw.settimeout(60)
    with raw.makefile("rb") as lines:
        for line in lines:
            if line.startswith(b'{"type"'):
                seen.append(int(json.loads(line)["object"]["data"]["number"]))
                if seen[-1] == CHANGES - 1:
                    return


def remainder(raw: socket.socket) -> bytes:
    """What there is to read until the connection ends."""
    raw.settimeout(60)
    found = bytearray()
    try:
        while piece := raw.recv(1 << 20):
            found += piece
    except (ConnectionResetError, ssl.SSLError):
        pass
    return bytes(found)


def resident(lab: RunningLab) -> int:
    """Octets of memory that the agent has."""
    with open(f"/proc/{lab.json('status')['agent_pid']}/status") as file:
        (line,) = (line for line in file if line.startswith("VmRSS:"))
    return int(line.split()[1]) << 10
