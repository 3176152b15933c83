"""What a lab refuses that comes through its API: addresses and ports that somebody has."""

from __future__ import annotations

from typing import Any

import pytest

from nslab.agent.admission import Admission
from nslab.apiserver.errors import Invalid
from nslab.apiserver.store import Store

Json = dict[str, Any]
RANGE = "10.12.0.0/24"


def service(name: str, **spec: Any) -> Json:
    return {"kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [], **spec}}


def node_port(*numbers: int) -> list[Json]:
    return [{"port": number - 30000, "nodePort": number} for number in numbers]


@pytest.fixture
def admission() -> Admission:
    """One in a lab that has a Service."""
    store = Store()
    ports = {"ports": node_port(30080), "healthCheckNodePort": 30099}
    store.create("Service", service("there", clusterIP="10.12.0.7", **ports))
    store.create("Service", service("headless", clusterIP="None"))
    return Admission(store, lambda: RANGE)


ALLOCATED = "provided port is already allocated"


@pytest.mark.parametrize(("spec", "told"), [
    ({"clusterIP": "10.12.0.7"},
     'spec.clusterIPs: Invalid value: []string{"10.12.0.7"}: failed to allocate IP 10.12.0.7: '
     "provided IP is already allocated"),
    ({"clusterIP": "10.12.0.10"},  # kube-dns's
     'spec.clusterIPs: Invalid value: []string{"10.12.0.10"}: failed to allocate IP 10.12.0.10: '
     "provided IP is already allocated"),
    ({"clusterIP": "10.99.0.5"},
     'spec.clusterIPs: Invalid value: []string{"10.99.0.5"}: failed to allocate IP 10.99.0.5: the provided IP '
     "(10.99.0.5) is not in the valid range. The range of valid IPs is 10.12.0.0/24"),
    ({"ports": node_port(30081, 30080)}, f"spec.ports[1].nodePort: Invalid value: 30080: {ALLOCATED}"),
    ({"ports": node_port(30099)}, f"spec.ports[0].nodePort: Invalid value: 30099: {ALLOCATED}"),
])
def test_what_is_taken_is_refused_with_its_field(admission: Admission, spec: Json, told: str) -> None:
    for old in (None, service("new", clusterIP="10.12.0.8", ports=node_port(30082))):
        with pytest.raises(Invalid) as caught:
            admission.admit(service("new", **spec), old)
        assert caught.value.message == f'Service "new" is invalid: {told}'


def test_all_that_is_taken_is_told_at_once(admission: Admission) -> None:
    with pytest.raises(Invalid) as caught:
        admission.admit(service("new", clusterIP="10.12.0.7", ports=node_port(30080, 30099)), None)
    fields = [cause["field"] for cause in caught.value.status()["details"]["causes"]]
    assert fields == ["spec.clusterIPs", "spec.ports[0].nodePort", "spec.ports[1].nodePort"]


@pytest.mark.parametrize("spec", [
    {}, {"clusterIP": ""}, {"clusterIP": "None"}, {"clusterIP": "10.12.0.8", "ports": node_port(30082)},
])
def test_what_is_free_is_admitted(admission: Admission, spec: Json) -> None:
    body = service("new", **spec)
    assert admission.admit(body, None) is body


def test_a_service_keeps_what_it_has(admission: Admission) -> None:
    there = service("there", clusterIP="10.12.0.7", ports=node_port(30080), healthCheckNodePort=30099)
    assert admission.admit(there, there) is there
    elsewhere = service("there", clusterIP="10.99.0.1", ports=node_port(30099))  # of a range that was another one
    assert admission.admit(elsewhere, elsewhere) is elsewhere
