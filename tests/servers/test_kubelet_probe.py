"""The kubelet's probes: their calendar with a clock in hand, and their packets against a responder."""

from __future__ import annotations

import time

import pytest

from nslab.servers.kubelet_probe import Execute, ProbedContainer, ProbeEngine, ProbeOutcome, run_probe
from nslab.servers.probe_schedule import LIVENESS, READINESS, STARTUP, ContainerProbes, Timing
from nslab.servers.responder_client import ResponderClient
from tests.servers.conftest import Network, address, pod_listener


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
    assert set(probes.states) == {STARTUP}
    assert probes.record(STARTUP, True, 1) == []
    assert set(probes.states) == {READINESS, LIVENESS}
    assert probes.record(READINESS, True, 2) == ["ready"]
    assert probes.record(LIVENESS, False, 3) == ["unready", "restart"]
    assert set(probes.states) == {STARTUP}
    assert probes.record(STARTUP, False, 4) == ["restart"]


def test_without_readiness_probe_ready_once_started_and_scaled_delay() -> None:
    assert ContainerProbes({}).start(0) == ["ready"]
    probes = ContainerProbes({STARTUP: Timing(20)}, scale=0.1)
    assert probes.start(0) == []
    assert probes.states[STARTUP].due == 2
    assert probes.record(STARTUP, True, 2) == ["ready"]


@pytest.mark.parametrize(
    ("probe", "ok"),
    [
        ({"httpGet": {"port": "web", "path": "healthz"}}, True),
        ({"httpGet": {"port": 80, "path": "/status/302", "httpHeaders": [{"name": "Host", "value": "a"}]}}, True),
        ({"httpGet": {"port": 80, "path": "/status/500"}}, False),
        ({"httpGet": {"port": 81}}, False),
        ({"httpGet": {"port": "admin"}}, False),
        ({"httpGet": {"port": 80, "scheme": "HTTPS"}}, True),
        ({"httpGet": {"port": 80, "scheme": "HTTPS", "path": "/status/503"}}, False),
        ({"tcpSocket": {"port": "80"}}, True),
        ({"tcpSocket": {"port": 81}}, False),
        ({"tcpSocket": {"port": 80, "host": "192.0.2.1"}}, False),
        ({"grpc": {"port": 80}}, True),
        ({"grpc": {"port": 80, "service": "shop.Cart"}}, True),
        ({"grpc": {"port": 81}}, False),
        ({"exec": {"command": ["true"]}}, True),
        ({}, False),
    ],
)
def test_run_probe(network: Network, responder: ResponderClient, probe: dict[str, object], ok: bool) -> None:
    node, pod = network(2)
    responder.set([pod_listener(pod, 1)])
    outcome = run_probe(node, address(1), probe, {"web": 80})
    assert outcome.ok is ok
    assert outcome.ok or outcome.detail


def test_engine_follows_readiness_through_loss_and_return(network: Network, responder: ResponderClient) -> None:
    node, pod = network(2)
    said: list[tuple[str, str]] = []
    engine = ProbeEngine(lambda key, transition, detail: said.append((key, transition)))
    often = {"periodSeconds": 0.05, "failureThreshold": 2, "tcpSocket": {"port": 80}}

    def until(count: int) -> None:
        give_up = time.monotonic() + 5
        while len(said) < count:
            assert time.monotonic() < give_up
            engine.turn(max(0.0, min(1.0, engine.deadline() - time.monotonic())))

    def execute(command: object, timeout: float, tell: object) -> None:
        tell(ProbeOutcome(command == ["true"], "exit 1"))  # type: ignore[operator]

    runs: Execute = execute
    engine.add("web", ProbedContainer(node, address(1), {READINESS: often}))
    engine.add("program", ProbedContainer(node, "", {LIVENESS: {"failureThreshold": 1, "exec": {"command": ["no"]}}},
                                          execute=runs))  # fmt: skip
    until(4)
    assert said == [("program", step) for step in ("ready", "unready", "restart", "ready")]
    engine.remove("program")
    said.clear()
    responder.set([pod_listener(pod, 1)])
    until(1)
    responder.set([])
    until(2)
    assert said == [("web", "ready"), ("web", "unready")]
    engine.remove("web")
    assert engine.deadline() == float("inf")
    engine.close()
