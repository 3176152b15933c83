"""The kubelet's probes: their calendar with a clock in hand, and their packets against a responder."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded

from nslab.kubelet.probe_exchange import FAILURE, SUCCESS, ProbeOutcome
from nslab.kubelet.probe_schedule import LIVENESS, READINESS, STARTUP, ContainerProbes, Timing
from nslab.kubelet.probes import ProbedContainer, ProbeEngine
from nslab.linux.netns import entered
from nslab.servers.responder_client import ResponderClient
from tests.servers.conftest import Network, address, ip_batch, pod_listener, serving


def test_thresholds_and_periods() -> None:
    probes = ContainerProbes({READINESS: Timing(5, 10, 1, success_threshold=2, failure_threshold=3)})
    assert probes.start(100) == []
    assert probes.states[READINESS].due == 105
    assert probes.record(READINESS, True, 105.5) == []
    assert probes.states[READINESS].due == 115
    assert probes.record(READINESS, True, 115) == ["ready"]
    assert [probes.record(READINESS, ok, 125) for ok in (False, False, True, False, False)] == [[]] * 5
    assert probes.record(READINESS, False, 165) == ["unready"]


def test_startup_gates_the_others_and_liveness_restarts() -> None:
    probes = ContainerProbes({kind: Timing(failure_threshold=1) for kind in (STARTUP, READINESS, LIVENESS)})
    assert probes.start(0) == []
    assert (set(probes.states), probes.started) == ({STARTUP}, False)
    assert probes.record(STARTUP, True, 1) == ["started"]
    assert (set(probes.states), probes.started) == ({READINESS, LIVENESS}, True)
    assert probes.record(READINESS, True, 2) == ["ready"]
    assert probes.record(LIVENESS, False, 3) == ["unready", "restart"]
    assert (set(probes.states), probes.started) == (set(), False)
    assert probes.start(4) == []
    assert probes.record(STARTUP, False, 5) == ["restart"]


def test_without_readiness_probe_ready_once_started_until_it_ends() -> None:
    assert ContainerProbes({}).start(0) == ["ready"]
    probes = ContainerProbes({STARTUP: Timing(20)})
    assert probes.start(0) == []
    assert probes.states[STARTUP].due == 20
    assert probes.record(STARTUP, True, 20) == ["started", "ready"]
    assert probes.stop() == ["unready"]
    assert probes.stop() == []


def test_a_pod_that_is_deleted_is_still_asked_whether_it_is_ready_and_never_restarted() -> None:
    probes = ContainerProbes({kind: Timing() for kind in (READINESS, LIVENESS)})
    probes.start(0)
    assert probes.terminate(1) == []
    assert set(probes.states) == {READINESS}
    starting = ContainerProbes({STARTUP: Timing()})
    starting.start(0)
    assert starting.terminate(1) == ["ready"]


class Attempts:
    """What the attempts and transitions of probes reported, each as WHAT: DETAIL."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.engine = ProbeEngine(lambda key, what, detail: self.said.append(f"{what}: {detail}"))

    def until(self, wanted: str) -> None:
        """Go on until this was reported."""
        give_up = time.monotonic() + 10
        while wanted not in self.said:
            assert time.monotonic() < give_up, self.said
            self.engine.turn(max(0.0, min(0.5, self.engine.deadline() - time.monotonic())))


@pytest.fixture
def attempts() -> Iterator[Attempts]:
    made = Attempts()
    yield made
    made.engine.close()


POD = address(1)
READY = "ready: "


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ({"httpGet": {"port": "web", "path": "healthz"}}, READY),
        ({"httpGet": {"port": 80, "path": "/status/302", "httpHeaders": [{"name": "Host", "value": "a"}]}}, READY),
        ({"httpGet": {"port": 80, "path": "/status/500"}},
         "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 500"),
        ({"httpGet": {"port": 81, "path": "/x?y=1"}},
         f'Unhealthy: Readiness probe failed: Get "http://{POD}:81/x?y=1": dial tcp {POD}:81: connect: '
         "connection refused"),
        ({"httpGet": {"port": 80, "host": "192.0.2.1"}},
         'Unhealthy: Readiness probe failed: Get "http://192.0.2.1:80/": context deadline exceeded '
         "(Client.Timeout exceeded while awaiting headers)"),
        ({"httpGet": {"port": "admin"}},
         "Unhealthy: Readiness probe errored: strconv.Atoi: parsing 'admin': no container port has this name"),
        ({"httpGet": {"port": "0"}}, "Unhealthy: Readiness probe errored: invalid port number: 0"),
        ({"httpGet": {"port": 80, "scheme": "HTTPS"}}, READY),
        ({"httpGet": {"port": 80, "scheme": "HTTPS", "path": "/status/503"}},
         "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503"),
        ({"tcpSocket": {"port": "80"}}, READY),
        ({"tcpSocket": {"port": 81}},
         f"Unhealthy: Readiness probe failed: dial tcp {POD}:81: connect: connection refused"),
        ({"tcpSocket": {"port": 80, "host": "192.0.2.1"}},
         "Unhealthy: Readiness probe failed: dial tcp 192.0.2.1:80: i/o timeout"),
        ({"grpc": {"port": 80}}, READY),
        ({"grpc": {"port": 80, "service": "shop.Cart"}}, READY),
        ({"grpc": {"port": 81}},
         f'Unhealthy: Readiness probe failed: timeout: failed to connect service "{POD}:81" within 1s: '
         f"dial tcp {POD}:81: connect: connection refused"),
        ({"exec": {"command": ["true"]}}, READY),
        ({}, "Unhealthy: Readiness probe errored: missing probe handler"),
    ],
)  # fmt: skip
def test_attempts_and_what_events_say(
    network: Network, responder: ResponderClient, attempts: Attempts, probe: dict[str, object], said: str
) -> None:
    node, pod = network(2)
    ip_batch(["route add blackhole 192.0.2.0/24"], "hub")
    responder.set([pod_listener(pod, 1)])
    attempts.engine.add("web", ProbedContainer(node, POD, {READINESS: probe}, {"web": 80}))
    attempts.engine.start("web")
    attempts.until(said)


@contextmanager
def program(netns: str, answer: Callable[[str], tuple[int, str]]) -> Iterator[list[dict[str, str]]]:
    """A program on port 8080 that answers a path with a status and a Location, or a body. Yields the headers of the
    requests it got."""
    heard: list[dict[str, str]] = []

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append({**{name.lower(): value for name, value in self.headers.items()}, "path": self.path})
            status, text = answer(self.path)
            self.send_response(status)
            if status != 200:
                self.send_header("Location", text)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None: ...

    with entered(netns):
        server = ThreadingHTTPServer(("0.0.0.0", 8080), Answering)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("location", "said", "asked"),
    [
        ("/next?a=b", READY, ["/", "/next?a=b"]),
        (f"http://{POD}:8080/next", READY, ["/", "/next"]),
        (f"https://{POD}/healthz", READY, ["/"]),
        ("http://shop.example/next", "ProbeWarning: Readiness probe warning: Probe terminated redirects, "
         "Response body: http://shop.example/next", ["/"]),
        ("http://[", 'Unhealthy: Readiness probe failed: Get "http://10.99.0.2:8080/": Invalid IPv6 URL', ["/"]),
        ("/again", 'Unhealthy: Readiness probe failed: Get "http://10.99.0.2:8080/again": stopped after 10 redirects',
         ["/"] + ["/again"] * 9),
    ],
)  # fmt: skip
def test_redirects(
    network: Network, responder: ResponderClient, attempts: Attempts, location: str, said: str, asked: list[str]
) -> None:
    node, pod = network(2)
    responder.set([pod_listener(pod, 1, 443)])
    with program(pod, lambda path: (200, "there") if "next" in path else (302, location)) as heard:
        attempts.engine.add("web", ProbedContainer(node, POD, {READINESS: {"httpGet": {"port": 8080}}}))
        attempts.engine.start("web")
        attempts.until(said)
        assert [request["path"] for request in heard][: len(asked)] == asked


def test_headers(network: Network, attempts: Attempts) -> None:
    node, pod = network(2)
    given = {"X-Mark": "7", "Host": "shop.example", "Accept": ""}
    written = {"httpGet": {"port": 8080, "httpHeaders": [{"name": name, "value": given[name]} for name in given]}}
    with program(pod, lambda path: (200, "")) as heard:
        for name, probe in {"plain": {"httpGet": {"port": 8080}}, "given": written}.items():
            attempts.engine.add(name, ProbedContainer(node, POD, {READINESS: probe}))
            attempts.engine.start(name)
            attempts.until(READY)
            attempts.said.clear()
    plain, marked = heard
    assert (plain["user-agent"], plain["accept"], plain["host"]) == ("kube-probe/1.31", "*/*", f"{POD}:8080")
    assert (marked["host"], marked["x-mark"], marked["user-agent"]) == ("shop.example", "7", "kube-probe/1.31")
    assert "accept" not in marked


@pytest.mark.parametrize(
    ("fields", "body", "said"),
    [
        ({"grpc-status": "0"}, b"\0\0\0\0\x02\x08\x02", 'service unhealthy (responded with "NOT_SERVING")'),
        ({"grpc-status": "0"}, b"\0\0\0\0\0", 'service unhealthy (responded with "UNKNOWN")'),
        ({"grpc-status": "12", "grpc-message": "no"}, b"", "error: this server does not implement the grpc health "
         "protocol (grpc.health.v1.Health): no"),
        ({"grpc-status": "5", "grpc-message": "unknown service"}, b"",
         "error: health rpc probe failed: rpc error: code = 5 desc = unknown service"),
    ],
)  # fmt: skip
def test_grpc_answers(network: Network, attempts: Attempts, fields: dict[str, str], body: bytes, said: str) -> None:
    node, pod = network(2)

    def peer(sock: socket.socket) -> None:
        h2 = H2Connection(H2Configuration(client_side=False))
        h2.initiate_connection()
        while not any(isinstance(event, StreamEnded) for event in h2.receive_data(sock.recv(65536))):
            pass
        h2.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
        h2.send_data(1, body)
        h2.send_headers(1, list(fields.items()), end_stream=True)
        sock.sendall(h2.data_to_send())

    with serving(pod, 8080, peer):
        attempts.engine.add("web", ProbedContainer(node, POD, {READINESS: {"grpc": {"port": 8080}}}))
        attempts.engine.start("web")
        attempts.until(f"Unhealthy: Readiness probe failed: {said}")


def test_engine_follows_readiness_through_loss_and_return(network: Network, responder: ResponderClient) -> None:
    node, pod = network(2)
    said: list[tuple[str, str]] = []
    often = {"periodSeconds": 0.05, "failureThreshold": 2, "tcpSocket": {"port": 80}}

    def report(key: str, what: str, detail: str) -> None:
        said.append((key, what if what != "restart" else f"{what} for {detail}"))

    engine = ProbeEngine(report)

    def until(wanted: list[tuple[str, str]]) -> None:
        give_up = time.monotonic() + 5
        while said != wanted:
            assert time.monotonic() < give_up, said
            engine.turn(max(0.0, min(1.0, engine.deadline() - time.monotonic())))
            said[:] = [one for at, one in enumerate(said) if one not in said[:at] or one[1] != "Unhealthy"]

    def execute(command: object, timeout: float, tell: Callable[[ProbeOutcome], None]) -> None:
        tell(ProbeOutcome(SUCCESS if command == ["true"] else FAILURE, "exit 1"))

    failing = {LIVENESS: {"failureThreshold": 1, "exec": {"command": ["no"]}}}
    engine.add("program", ProbedContainer(node, "", failing, execute=execute))
    engine.start("program")
    steps = ["ready", "Unhealthy", "unready", "restart for liveness"]
    until([("program", step) for step in steps])
    assert not engine.started("program")
    assert engine.deadline() == float("inf")
    engine.start("program")
    assert engine.started("program")
    assert said[-1] == ("program", "ready")
    engine.stop("program")
    assert said[-1] == ("program", "unready")
    engine.remove("program")
    said.clear()
    responder.set([pod_listener(pod, 1)])
    engine.add("web", ProbedContainer(node, address(1), {READINESS: often}))
    engine.start("web")
    until([("web", "ready")])
    responder.set([])
    until([("web", "ready"), ("web", "Unhealthy"), ("web", "unready")])
    engine.remove("web")
    assert engine.deadline() == float("inf")
    engine.close()


def test_an_error_of_the_prober_changes_nothing(network: Network) -> None:
    node, _ = network(2)
    said: list[str] = []
    engine = ProbeEngine(lambda key, what, detail: said.append(what))
    probe = {"periodSeconds": 0.01, "failureThreshold": 1, "httpGet": {"port": "nobody's"}}
    engine.add("web", ProbedContainer(node, POD, {LIVENESS: probe}))
    engine.start("web")
    while said.count("Unhealthy") < 3:
        engine.turn(0.01)
    assert set(said) == {"ready", "Unhealthy"}
    engine.close()
