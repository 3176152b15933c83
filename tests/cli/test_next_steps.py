"""What `up` suggests works in the lab that it built."""

from __future__ import annotations

from dataclasses import replace

from nslab.agent.next_steps import next_steps
from tests.cli.shop import cluster


def test_a_vip_is_asked_from_the_internet() -> None:
    assert next_steps(cluster()) == [
        "nslab status",
        "nslab get pods -A -o wide",
        "nslab exec client/laptop -- curl -s http://203.0.113.10/",
        "nslab check",
        "nslab down shop",
    ]


def test_a_node_port_is_asked_from_the_vpc() -> None:
    shop = cluster()
    web = replace(shop.services["default/web"], load_balancer_ips=())
    lines = next_steps(cluster(services={web.key: web}))
    assert "nslab exec client/vm -- curl -s http://10.128.0.2:30080/" in lines


def test_a_cluster_ip_is_asked_from_a_pod() -> None:
    web = cluster().services["default/web"]
    port = replace(web.ports[0], node_port=0, port=8080)
    inner = replace(web, type="ClusterIP", load_balancer_ips=(), ports=(port,))
    lines = next_steps(cluster(services={inner.key: inner}))
    assert "nslab exec pod/web-0 -- curl -s http://10.12.0.20:8080/" in lines


def test_without_a_service_that_answers_nothing_is_asked() -> None:
    assert not any("curl" in line for line in next_steps(cluster(services={})))
