"""The server's sockets: tokens, limits, keep-alive, garbage, watches, slow and vanishing clients."""

from __future__ import annotations

import http.client
import json
import random
import socket
import ssl
import time

import pytest

from nslab.apiserver import server as server_module
from nslab.apiserver.access import HOST, access
from tests.apiserver.objects import config_map, pod
from tests.apiserver.serving import serving

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def served(tmp_path):
    with serving(tmp_path) as running:
        yield running


def connected(served) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cadata=served.granted.ca)
    return http.client.HTTPSConnection(HOST, served.port, context=context, timeout=30)


def asked(connection, method, path, body=None, token="", **headers):
    sent = {"Authorization": f"Bearer {token}"} if token else {}
    connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body, sent | headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def unix(served) -> socket.socket:
    raw = socket.socket(socket.AF_UNIX)
    raw.settimeout(30)
    raw.connect(str(served.directory / "api.sock"))
    return raw


def received(raw: socket.socket, until: bytes) -> bytes:
    """What arrives until `until` has, or the other side hangs up."""
    text = b""
    while until not in text:
        piece = raw.recv(65536)
        if not piece:
            break
        text += piece
    return text


def waited(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_only_the_token_opens_the_port(served):
    connection = connected(served)
    for token in ("", "wrong"):
        code, status = asked(connection, "GET", MAPS, token=token)
        assert (code, status["reason"]) == (401, "Unauthorized")
    assert asked(connection, "GET", MAPS, token=served.granted.token)[0] == 200
    assert asked(connection, "GET", MAPS, Authorization=f"Basic {served.granted.token}")[0] == 401


def test_the_unix_socket_needs_no_token_and_only_its_owner_opens_it(served):
    with unix(served) as raw:
        raw.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        assert received(raw, b"}").startswith(b"HTTP/1.1 200 OK\r\n")
    assert (served.directory / "api.sock").stat().st_mode & 0o777 == 0o600
    kept = ("server.key", "token", "ca.crt", "server.crt", "port")
    assert {(served.directory / name).stat().st_mode & 0o777 for name in kept} == {0o600}


def test_access_is_kept(served):
    again = access(served.directory)
    assert (again.token, again.ca) == (served.granted.token, served.granted.ca)
    with again.listen() as other:  # the port is taken: another one is found
        assert other.getsockname()[1] != served.port


def test_one_connection_serves_many_requests(served):
    connection = connected(served)
    token = served.granted.token
    for number in range(20):
        assert asked(connection, "POST", MAPS, config_map(f"c{number}"), token)[0] == 201
    assert len(asked(connection, "GET", MAPS, token=token)[1]["items"]) == 20
    assert len(served.server.connections) == 1


def test_pipelined_requests_are_answered_in_order(served):
    with unix(served) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\n\r\nGET /version HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\n\r\n")
        text = received(raw, b'"code":404}')
        assert text.index(b"\r\n\r\nok") < text.index(b"gitVersion") < text.index(b'"code":404')


def test_a_body_over_the_limit_is_refused(served):
    connection = connected(served)
    big = config_map("big", text="x" * server_module.MAX_BODY)
    code, status = asked(connection, "POST", MAPS, big, served.granted.token)
    assert (code, status["reason"]) == (413, "RequestEntityTooLarge")
    with unix(served) as raw:  # told by no Content-Length
        raw.sendall(f"POST {MAPS} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"x" * 65536
        for _ in range(server_module.MAX_BODY // len(chunk) + 2):
            raw.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        assert b'"code":413' in received(raw, b'"code":413')
    assert served.store.list("ConfigMap") == []


def test_continue_is_told_to_who_waits_for_it(served):
    body = json.dumps(config_map("a")).encode()
    with unix(served) as raw:
        raw.sendall(f"POST {MAPS} HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        assert received(raw, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(body)
        assert received(raw, b"}").startswith(b"HTTP/1.1 201 Created")


@pytest.mark.parametrize("garbage", [
    b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 100,
    b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 70_000 + b"\r\n\r\n",
    b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
])
def test_garbage_is_refused_and_hurts_nobody(served, garbage):
    with unix(served) as raw:
        raw.sendall(garbage)
        assert received(raw, b'"code":400').startswith(b"HTTP/1.1 400 Bad Request")
    draw = random.Random(1)
    for _ in range(20):
        with unix(served) as raw:
            raw.sendall(draw.randbytes(draw.randrange(1, 500)))
    assert asked(connected(served), "GET", "/version", token=served.granted.token)[0] == 200


def test_a_websocket_is_not_to_be_had(served):
    with unix(served) as raw:
        raw.sendall(b"GET /api/v1/pods HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert received(raw, b"\0").startswith(b"HTTP/1.1 200")


def watching(served, query: bytes = b"") -> socket.socket:
    raw = unix(served)
    raw.sendall(b"GET /api/v1/pods?watch=1%b HTTP/1.1\r\n\r\n" % query)
    assert received(raw, b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK")
    return raw


def test_a_watch_is_told_at_once_and_ends_in_time(served):
    with watching(served, b"&timeoutSeconds=1") as raw:
        served.call(lambda: served.store.create("Pod", pod("a")))
        assert b'"type":"ADDED"' in received(raw, b"}\n\r\n")
        assert received(raw, b"0\r\n\r\n").endswith(b"0\r\n\r\n")
        raw.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")  # the connection is good for more
        assert received(raw, b"ok").endswith(b"ok")


def test_bookmarks_come_now_and_then(served, monkeypatch):
    monkeypatch.setattr(server_module, "BOOKMARK_SECONDS", 0.02)
    with watching(served, b"&allowWatchBookmarks=true") as raw:
        assert received(raw, b"BOOKMARK")
        assert received(raw, b"BOOKMARK")


def test_a_request_behind_a_watch_ends_the_connection(served):
    with watching(served) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert received(raw, b"ok") == b""
    with unix(served) as raw:
        raw.sendall(b"GET /api/v1/pods?watch=1 HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n")
        assert not received(raw, b"ok").endswith(b"ok")
    waited(lambda: not served.server.connections)


def test_a_watcher_that_vanishes_is_forgotten(served):
    for _ in range(5):
        watching(served).close()
    waited(lambda: not served.server.connections)
    served.call(lambda: served.store.create("Pod", pod("a")))


def test_a_watcher_that_stops_reading_is_cut_off_and_the_others_are_not(served, monkeypatch):
    monkeypatch.setattr("nslab.apiserver.events.QUEUE_BOUND", 50)
    big = "x" * 100_000
    with watching(served), watching(served) as quick:  # the first one reads nothing
        for number in range(300):
            body = pod(f"p{number}")
            body["metadata"]["annotations"] = {"big": big}
            served.call(lambda body=body: served.store.create("Pod", body))
            assert f'"name":"p{number}"'.encode() in received(quick, b"}\n\r\n")
        waited(lambda: len(served.server.connections) == 1)


def test_a_connection_that_ends_within_a_request_leaves_nothing(served):
    with unix(served) as raw:
        raw.sendall(f"POST {MAPS} HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{{".encode())
    waited(lambda: not served.server.connections)
    assert served.store.list("ConfigMap") == []


def test_two_hundred_watchers_are_told(served):
    watchers = [watching(served) for _ in range(200)]
    served.call(lambda: served.store.create("Pod", pod("a")))
    for raw in watchers:
        assert b'"name":"a"' in received(raw, b"}\n\r\n")
        raw.close()
    waited(lambda: not served.server.connections)
