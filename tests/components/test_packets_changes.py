"""What happens to a running lab when objects change, tried with real packets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from nslab.cluster.model import Cluster, Service
from tests.components.network import Network, raised
from tests.components.topologies import lab, service

STICKY = service("sticky", "clusterIP: 10.12.0.56, sessionAffinity: ClientIP,"
                           " sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}}")
SERVICES = STICKY + service("web", "clusterIP: 10.12.0.50") + service(
    "lb", "type: LoadBalancer, loadBalancerIP: 203.0.113.10, externalTrafficPolicy: Local")


@pytest.fixture
def network() -> Iterator[Network]:
    with raised(lab("changes") + SERVICES) as built:
        yield built


def _with_service(cluster: Cluster, service: Service) -> Cluster:
    return replace(cluster, services=cluster.services | {service.key: service})


def _without_endpoint(cluster: Cluster, key: str, pod: str) -> Cluster:
    """The Cluster with the Pod's endpoint not ready in the Service."""
    old = cluster.services[key]
    ports = tuple(
        replace(port, endpoints=tuple(
            replace(each, ready=each.ready and each.pod != pod) for each in port.endpoints
        )) for port in old.ports
    )
    return _with_service(cluster, replace(old, ports=ports))


def _answering(network: Network, address: str) -> set[str]:
    return {answer.split()[0] for answer in network.survey("pod/shop/cli-1", address, 20)}


def test_converging_twice_changes_nothing(network: Network) -> None:
    assert network.plan().describe() == ""


def test_affinity_leaves_a_dead_endpoint_and_stays_with_the_next(network: Network) -> None:
    first = network.ask("pod/shop/cli-1", "10.12.0.56:80").split()[0]
    network.converge(_without_endpoint(network.cluster, "shop/sticky", f"shop/{first}"))
    assert _answering(network, "10.12.0.56:80") == {"web-1", "web-2"} - {first}


def test_affinity_survives_a_change_of_the_other_endpoints(network: Network) -> None:
    first = network.ask("pod/shop/cli-1", "10.12.0.56:80").split()[0]
    other = ({"web-1", "web-2"} - {first}).pop()
    network.converge(_without_endpoint(network.cluster, "shop/sticky", f"shop/{other}"))
    assert _answering(network, "10.12.0.56:80") == {first}


def test_affinity_expires(network: Network) -> None:
    """Each round outlasts the timeout of one second; that 20 draws agree happens once in 500,000."""
    deadline = time.monotonic() + 40
    seen: set[str] = set()
    while len(seen) < 2 and time.monotonic() < deadline:
        seen.add(network.ask("pod/shop/cli-1", "10.12.0.56:80").split()[0])
        time.sleep(1.1)
    assert seen == {"web-1", "web-2"}


def test_a_service_that_loses_all_endpoints_refuses_and_recovers(network: Network) -> None:
    whole = network.cluster
    none = _without_endpoint(_without_endpoint(whole, "shop/web", "shop/web-1"), "shop/web", "shop/web-2")
    network.converge(none)
    assert network.ask("pod/shop/cli-1", "10.12.0.50:80") == "refused"
    network.converge(whole)
    assert network.ask("pod/shop/cli-1", "10.12.0.50:80").startswith("web-")


def test_a_terminating_endpoint_serves_only_as_the_last(network: Network) -> None:
    """KEP-1669."""
    whole = network.cluster
    web = whole.services["shop/web"]
    (port,) = web.ports

    def terminating(pods: set[str]) -> Cluster:
        endpoints = tuple(
            replace(each, ready=False, serving=True, terminating=True) if each.pod in pods else each
            for each in port.endpoints
        )
        return _with_service(whole, replace(web, ports=(replace(port, endpoints=endpoints),)))

    network.converge(terminating({"shop/web-1"}))
    assert _answering(network, "10.12.0.50:80") == {"web-2"}
    network.converge(terminating({"shop/web-1", "shop/web-2"}))
    assert _answering(network, "10.12.0.50:80") == {"web-1", "web-2"}


def test_a_removed_service_leaves_nothing_and_the_others_alone(network: Network) -> None:
    services = dict(network.cluster.services)
    del services["shop/lb"]
    network.converge(replace(network.cluster, services=services))
    assert network.ask("client/laptop", "203.0.113.10:80", timeout=0.3) == "blocked"
    assert network.ask("pod/shop/cli-3", "10.12.0.50:80").startswith("web-")
    assert network.plan().describe() == ""
