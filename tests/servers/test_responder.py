"""The responder with stock clients, in namespaces of its own."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from wsproto import WSConnection
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, Request, TextMessage

from nslab.linux.netns import entered
from nslab.servers.listeners import Identity, Listener, decode_listeners, encode_listeners
from nslab.servers.responder_client import ResponderClient, start_responder
from tests.servers.conftest import Network, address, ip_batch, pod_listener


def curl(netns: str, *arguments: str) -> str:
    """What curl prints, run inside a netns."""
    command = ["ip", "netns", "exec", netns, "curl", "-sS", "--max-time", "5", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def connect(netns: str, ip: str, port: int = 80) -> socket.socket:
    """A TCP connection from inside a netns."""
    with entered(netns):
        return socket.create_connection((ip, port), timeout=5)


def read_all(sock: socket.socket) -> bytes:
    """Everything until the peer closes."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, 5 s at most."""
    give_up = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


@pytest.fixture
def pair(network: Network, responder: ResponderClient) -> tuple[str, str]:
    """Two namespaces; the second one's Pod listens on TCP and UDP port 80. Returns (client, Pod's address)."""
    asker, server = network(2)
    done = responder.set([pod_listener(server, 1), pod_listener(server, 1, protocol="UDP")])
    assert (done.sockets, done.failed) == (2, ())
    return asker, address(1)


def test_any_path_says_who_answers(pair: tuple[str, str]) -> None:
    asker, ip = pair
    said = json.loads(curl(asker, "-H", "X-One: two", f"http://{ip}/some/path?q=1"))
    client, _, port = said.pop("client").rpartition(":")
    assert client == address(0)
    assert int(port) > 1023
    assert said.pop("headers")["x-one"] == "two"
    assert said == {
        "pod": "srv1", "namespace": "default", "node": "node-a", "podIP": ip, "container": "web", "port": 80,
        "method": "GET", "path": "/some/path?q=1", "host": ip,
    }  # fmt: skip


def test_agnhost_paths(pair: tuple[str, str]) -> None:
    asker, ip = pair
    assert curl(asker, f"http://{ip}/hostname") == "srv1"
    assert curl(asker, f"http://{ip}/clientip").startswith(f"{address(0)}:")
    assert curl(asker, f"http://{ip}/echo?msg=a%20b+c") == "a b c"
    assert curl(asker, f"http://{ip}/healthz") == "ok"
    assert curl(asker, "-o", "/dev/null", "-w", "%{http_code}", f"http://{ip}/status/418") == "418"
    assert curl(asker, "-w", "%{http_code}", f"http://{ip}/status/204") == "204"
    assert curl(asker, "-o", "/dev/null", "-w", "%{http_code}", f"http://{ip}/status/99") == "400"


def test_methods_and_bodies(pair: tuple[str, str]) -> None:
    asker, ip = pair
    assert json.loads(curl(asker, "-d", "x" * 5000, f"http://{ip}/"))["method"] == "POST"
    big = ["-H", "Transfer-Encoding: chunked", "--data-binary", f"@{sys.executable}"]
    assert json.loads(curl(asker, *big, f"http://{ip}/"))["method"] == "POST"
    assert json.loads(curl(asker, "-T", sys.executable, f"http://{ip}/"))["headers"]["expect"] == "100-continue"
    head = curl(asker, "-I", f"http://{ip}/")
    assert head.startswith("HTTP/1.1 200 OK")
    assert "Content-Length" in head


def test_keep_alive_serves_two_requests_on_one_connection(pair: tuple[str, str]) -> None:
    asker, ip = pair
    print_connects = ["-w", "%{num_connects}", "-o", "/dev/null"]
    assert curl(asker, *print_connects, f"http://{ip}/", *print_connects, f"http://{ip}/") == "10"


def test_pipelined_requests_are_answered_in_order(pair: tuple[str, str]) -> None:
    asker, ip = pair
    with connect(asker, ip) as sock:
        sock.sendall(b"".join(b"GET /echo?msg=%d HTTP/1.1\r\nHost: x\r\n\r\n" % at for at in range(50)))
        sock.sendall(b"GET /echo?msg=last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        bodies = [part.partition(b"\r\n\r\n")[2] for part in read_all(sock).split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == [b"%d" % at for at in range(50)] + [b"last"]


def test_http_1_0_closes_unless_asked_to_stay(pair: tuple[str, str]) -> None:
    asker, ip = pair
    with connect(asker, ip) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n")
        answer = read_all(sock)
    assert b"Connection: keep-alive" in answer
    assert answer.endswith(b"ok")


def test_http2_with_prior_knowledge(pair: tuple[str, str]) -> None:
    asker, ip = pair
    said = json.loads(curl(asker, "--http2-prior-knowledge", "-d", "body", f"http://{ip}/two"))
    assert (said["path"], said["method"], said["pod"], said["host"]) == ("/two", "POST", "srv1", ip)
    version = curl(asker, "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_version}", f"http://{ip}/")
    assert version == "2"
    assert json.loads(curl(asker, "--http2", f"http://{ip}/"))["headers"]["upgrade"] == "h2c"  # declined


def test_http2_preface_may_come_in_pieces_and_be_followed_by_garbage(pair: tuple[str, str]) -> None:
    asker, ip = pair
    with connect(asker, ip) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9:  # DATA on stream 0
            sock.send(bytes([byte]))
        assert len(read_all(sock)) > 9  # SETTINGS and GOAWAY


def test_tls_on_the_same_port(pair: tuple[str, str]) -> None:
    asker, ip = pair
    said = json.loads(curl(asker, "-k", "-d", "x" * 100_000, f"https://{ip}:80/secret"))
    assert (said["path"], said["method"], said["pod"]) == ("/secret", "POST", "srv1")
    assert len(curl(asker, "-k", f"https://{ip}:80/echo?msg={'m' * 20_000}")) == 20_000
    for option, version in (("--http2", "2"), ("--http1.1", "1.1"), ("--no-alpn", "1.1")):
        asked = [option, "-k", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", f"https://{ip}:80/status/404"]
        assert curl(asker, *asked) == f"{version} 404"
    command = ["ip", "netns", "exec", asker, "curl", "-sS", f"https://{ip}:80/"]
    assert "self-signed certificate" in subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_tls_keeps_alive_and_says_when_it_is_over(pair: tuple[str, str]) -> None:
    asker, ip = pair
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connect(asker, ip) as sock, context.wrap_socket(sock, suppress_ragged_eofs=False) as tls:
        tls.sendall(b"GET /clientip HTTP/1.1\r\n\r\n")
        assert tls.recv(65536).startswith(b"HTTP/1.1 200 OK")
        tls.sendall(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert read_all(tls).endswith(b"ok")  # and a close_notify, or this would raise


def test_tls_that_is_none_gets_an_alert(pair: tuple[str, str]) -> None:
    asker, ip = pair
    with connect(asker, ip) as sock:
        sock.sendall(b"\x16\x03\x01\0\x05hello")
        assert read_all(sock).startswith(b"\x15\x03")
    assert curl(asker, f"http://{ip}/healthz") == "ok"


def test_websocket_echo(pair: tuple[str, str]) -> None:
    asker, ip = pair
    ws = WSConnection(ConnectionType.CLIENT)
    with connect(asker, ip) as sock:
        sock.sendall(ws.send(Request(host=ip, target="/ws")))
        events: list[object] = []

        def until(kind: type) -> object:
            while not any(isinstance(event, kind) for event in events):
                ws.receive_data(sock.recv(65536))
                events.extend(ws.events())
            return events.pop()

        until(AcceptConnection)
        sock.sendall(ws.send(TextMessage("grüß")))
        assert until(TextMessage) == TextMessage("grüß")
        sock.sendall(ws.send(BytesMessage(b"\0\1")))
        assert until(BytesMessage) == BytesMessage(b"\0\1")
        sock.sendall(ws.send(Ping(b"p")))
        assert until(Pong) == Pong(b"p")
        sock.sendall(ws.send(CloseConnection(1000)))
        assert isinstance(until(CloseConnection), CloseConnection)
        assert read_all(sock) == b""


def test_wrong_websocket_handshake_is_a_400(pair: tuple[str, str]) -> None:
    asker, ip = pair
    with connect(asker, ip) as sock:
        sock.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 400 ")


def test_garbage_and_oversize_heads_are_refused(pair: tuple[str, str], responder: ResponderClient) -> None:
    asker, ip = pair
    for garbage in (b"\0" + os.urandom(3000), b"GET / HTTP/9.9\r\n\r\n"):
        with connect(asker, ip) as sock:
            sock.sendall(garbage)
            assert sock.recv(65536).startswith(b"HTTP/1.1 400 ")
    with connect(asker, ip) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000)
        assert sock.recv(65536).startswith(b"HTTP/1.1 431 ")
    assert curl(asker, f"http://{ip}/healthz") == "ok"


def test_silent_client_stays_and_is_served_when_it_speaks(pair: tuple[str, str], responder: ResponderClient) -> None:
    asker, ip = pair
    with connect(asker, ip) as sock:
        eventually(lambda: responder.stats()["connections"] == 1)
        sock.sendall(b"GET /heal")
        sock.sendall(b"thz HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert read_all(sock).endswith(b"ok")
    eventually(lambda: responder.stats()["connections"] == 0)


def test_a_reader_that_does_not_read_does_not_hold_others_up(pair: tuple[str, str]) -> None:
    asker, ip = pair
    request = b"GET /echo?msg=%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"m" * 8000)
    with connect(asker, ip) as slow:
        slow.settimeout(0.3)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while True:
                sent += slow.send(request)
        assert curl(asker, f"http://{ip}/healthz") == "ok"
        slow.settimeout(5)
        slow.shutdown(socket.SHUT_WR)
        assert read_all(slow).count(b"200 OK") >= sent // len(request)


def test_udp_says_who_answers(pair: tuple[str, str]) -> None:
    asker, ip = pair
    with entered(asker):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(5)
        sock.connect((ip, 80))
        sock.send(b"")
        said = json.loads(sock.recv(65536))
        assert said["client"] == f"{address(0)}:{sock.getsockname()[1]}"
    assert (said["pod"], said["port"], said["method"]) == ("srv1", 80, "")


def test_ipv6(network: Network, responder: ResponderClient) -> None:
    (name,) = network(1)
    who = Identity("six", "default", "node-a", "::1", "web")
    assert not responder.set([Listener(name, "::", 80, "TCP", who)]).failed
    assert json.loads(curl(name, "http://[::1]/"))["client"].startswith("[::1]:")


def test_set_add_remove(network: Network, responder: ResponderClient) -> None:
    asker, *servers = network(3)
    first, second = pod_listener(servers[0], 1), pod_listener(servers[1], 2)
    assert responder.set([first]).sockets == 1
    with connect(asker, address(1)) as lasting:
        lasting.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert lasting.recv(65536).endswith(b"ok")
        assert responder.add([second]).sockets == 2
        assert responder.set([second, first]).sockets == 2
        lasting.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")  # what the order does not touch goes on
        assert lasting.recv(65536).endswith(b"ok")
        renamed = replace(first, identity=replace(first.identity, pod="other"))
        assert responder.set([renamed, second]).sockets == 2
        assert curl(asker, f"http://{address(1)}/hostname") == "other"
        assert responder.remove([first]).sockets == 1
        with pytest.raises(ConnectionResetError):
            lasting.recv(65536)
    with pytest.raises(ConnectionRefusedError):
        connect(asker, address(1))
    assert curl(asker, f"http://{address(2)}/hostname") == servers[1]
    assert responder.set([]).sockets == 0


def test_a_replaced_netns_gets_new_sockets(network: Network, responder: ResponderClient) -> None:
    (name,) = network(1)
    responder.set([pod_listener(name, 0, uid="1")])
    ip_batch([f"netns delete {name}", f"netns add {name}"])
    ip_batch(["link set lo up"], name)
    responder.set([pod_listener(name, 0, uid="2")])
    assert curl(name, "http://127.0.0.1/hostname") == name


def test_failures_name_the_listener_and_the_rest_listens(network: Network, responder: ResponderClient) -> None:
    (name,) = network(1)
    nowhere, foreign = pod_listener("nowhere", 9), replace(pod_listener(name, 0, 81), ip="192.0.2.1")
    done = responder.set([pod_listener(name, 0), nowhere, foreign])
    assert done.sockets == 1
    assert dict(done.failed) == {
        nowhere: "netns nowhere: No such file or directory",
        foreign: "Cannot assign requested address",
    }
    assert responder.set([pod_listener(name, 0)]).failed == ()


def test_wrong_orders_are_answered(tmp_path: Path, responder: ResponderClient) -> None:
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(tmp_path / "responder.sock"))
        control.sendall(b'nonsense\n{"unknown": 1}\n{"set": [["too", "short"]]}\n{"stats": true}\n')
        with control.makefile() as lines:
            answers = [json.loads(lines.readline()) for _ in range(4)]
    assert [sorted(answer) for answer in answers[:3]] == [["error"]] * 3
    assert answers[3]["sockets"] == 0
    assert os.stat(tmp_path / "responder.sock").st_mode & 0o777 == 0o600


def test_listeners_survive_the_wire() -> None:
    who = Identity("p", "n", "node", "10.0.0.1", "a")
    listeners = [
        Listener("x", "0.0.0.0", 80, "TCP", who, "u1"),
        Listener("x", "0.0.0.0", 53, "UDP", replace(who, container="b"), "u1"),
        Listener("y", "::", 80, "TCP", who),
    ]
    assert list(decode_listeners(json.loads(json.dumps(encode_listeners(listeners))))) == listeners


def test_two_on_one_path_and_a_dead_ones_socket(tmp_path: Path) -> None:
    path, log = str(tmp_path / "r.sock"), str(tmp_path / "log")
    pid = start_responder(path, "test", log)
    second = [sys.executable, "-m", "nslab.servers.responder", "--control", path, "--title", "test"]
    assert subprocess.run(second, capture_output=True, check=False).returncode == 1
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with pytest.raises(ConnectionRefusedError):
        ResponderClient(path)
    start_responder(path, "test", log)
    with ResponderClient(path) as client:
        client.stop()
    with pytest.raises(FileNotFoundError):
        ResponderClient(path)
    with pytest.raises(ChildProcessError, match="ended with status 1"):
        start_responder(str(tmp_path / "no such folder" / "r.sock"), "test", log)


def test_out_of_file_descriptors_is_logged_and_survived(network: Network, tmp_path: Path) -> None:
    asker, server = network(2)
    path, log = str(tmp_path / "r.sock"), tmp_path / "log"
    pid = start_responder(path, "test", str(log))
    with ResponderClient(path) as client:
        client.set([pod_listener(server, 1)])
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (40, 40))
        crowd = [connect(asker, address(1)) for _ in range(60)]
        eventually(lambda: client.stats()["exhausted"] > 0)
        for one in crowd:
            one.close()
        eventually(lambda: client.stats()["connections"] == 0)
        assert curl(asker, f"http://{address(1)}/healthz") == "ok"
        client.stop()
    assert log.read_text().count("out of file descriptors (the limit is 40)") == 1


# Slow on purpose


DELAY = 0.3


def _slowed(server: str, *, delay: float = DELAY, protocols: tuple[str, ...] = ("TCP", "UDP")) -> list[Listener]:
    return [
        replace(pod_listener(server, 1, protocol=protocol), delay=round(delay * 1e6)) for protocol in protocols
    ]


def test_a_slow_pod_answers_that_much_later(network: Network, responder: ResponderClient) -> None:
    asker, server = network(2)
    responder.set(_slowed(server))
    began = time.monotonic()
    assert curl(asker, f"http://{address(1)}/hostname", f"http://{address(1)}/hostname") == "srv1srv1"
    assert time.monotonic() - began >= 2 * DELAY  # on one connection, one after the other
    with entered(asker):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(5)
        began = time.monotonic()
        sock.sendto(b"?", (address(1), 80))
        assert json.loads(sock.recv(65536))["pod"] == "srv1"
        assert time.monotonic() - began >= DELAY


def test_slow_pods_keep_no_other_waiting(network: Network, responder: ResponderClient) -> None:
    asker, slow, quick = network(3)
    responder.set([*_slowed(slow, delay=3.0), pod_listener(quick, 2)])
    with connect(asker, address(1)) as waiting:
        waiting.sendall(b"GET /hostname HTTP/1.0\r\n\r\n")
        began = time.monotonic()
        assert curl(asker, f"http://{address(2)}/hostname") == "srv2"
        assert time.monotonic() - began < 3.0
        assert b"srv1" in read_all(waiting)


def test_how_slow_changes_without_a_new_socket(network: Network, responder: ResponderClient) -> None:
    asker, server = network(2)
    responder.set(_slowed(server, delay=0.0))
    with connect(asker, address(1)) as sock:
        assert responder.set(_slowed(server)).sockets == 2
        began = time.monotonic()
        sock.sendall(b"GET /hostname HTTP/1.0\r\n\r\n")
        assert b"srv1" in read_all(sock)
        assert time.monotonic() - began >= DELAY


def test_who_leaves_before_a_late_answer_hurts_nobody(network: Network, responder: ResponderClient) -> None:
    asker, server = network(2)
    responder.set(_slowed(server))
    for _ in range(3):
        sock = connect(asker, address(1))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        sock.close()
    eventually(lambda: responder.stats()["connections"] == 0)
    responder.set(_slowed(server, delay=60.0))
    with connect(asker, address(1)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: responder.stats()["connections"] == 1)
        responder.set([])  # the container crashes before it could answer
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    responder.set(_slowed(server))
    assert curl(asker, f"http://{address(1)}/hostname") == "srv1"
