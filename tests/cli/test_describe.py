"""`nslab describe` of each kind, from a hand-built lab."""

from __future__ import annotations

from nslab.cli.describe import render
from nslab.cluster.model import Fault
from tests.cli.shop import snapshot


def test_a_pod() -> None:
    assert render(snapshot(), "pod", "default/web-1") == """\
Name:           web-1
Namespace:      default
Node:           node-2/10.128.0.3
Labels:         app=web
Ready:          False
Restarts:       3
IP:             10.8.1.2
Controlled By:  StatefulSet/web
Netns:          shop.pod.default.web-1
Containers:     nginx: nginx; ports 80/TCP (http)
Services:       svc/default/web
"""


def test_a_pod_with_a_command_of_the_host() -> None:
    text = render(snapshot(), "pod", "tools/job")
    assert "Containers:     runner: runs /bin/sleep 60; no ports\n                side: busybox; no ports\n" in text
    assert "Services:       <none>\n" in text


def test_a_service() -> None:
    assert render(snapshot(), "svc", "default/web") == """\
Name:                     web
Namespace:                default
Selector:                 app=web
Type:                     LoadBalancer
IP:                       10.12.0.20
External IPs:             <none>
LoadBalancer IPs:         203.0.113.10
Port:                     http  80/TCP
TargetPort:               http/TCP
NodePort:                 30080/TCP
Endpoints:                10.8.0.2:80  pod/default/web-0 on node-1
                          10.8.1.2:80  pod/default/web-1 on node-2  not ready
Session Affinity:         None
Internal Traffic Policy:  Cluster
External Traffic Policy:  Cluster
Its rules:                nslab rules svc/default/web
"""


def test_an_external_name() -> None:
    assert "External Name:  example.com\n" in render(snapshot(), "svc", "tools/away")


def test_a_node() -> None:
    assert render(snapshot(), "node", "node-1") == """\
Name:           node-1
Labels:         zone=a
Zone:           <none>
Taints:         <none>
Unschedulable:  False
InternalIP:     10.128.0.2
PodCIDR:        10.8.0.0/24
Netns:          shop.node.node-1
Pods:           2 of 110
                pod/default/web-0  10.8.0.2
                pod/tools/job  10.8.0.3
"""


def test_a_client() -> None:
    assert "Network:  internet\n" in render(snapshot(), "client", "laptop")


def test_a_workload() -> None:
    text = render(snapshot(), "StatefulSet", "default/web")
    assert "Pods:       2, 1 ready\n" in text
    assert "pod/default/web-1  10.8.1.2  not ready\n" in text


def test_what_is_broken_on_purpose_is_said_of_each_target() -> None:
    broken = snapshot(faults=(
        Fault("client/laptop", "down"), Fault("node/node-2", "dead"), Fault("pod/default/web-1", "crash"),
        Fault("pod/default/web-1", "slow", "200ms"),
    ))
    assert "\nFaults:         crash, slow 200ms\n" in render(broken, "pod", "default/web-1")
    assert "Faults:" in render(broken, "node", "node-2")
    assert "Faults:" in render(broken, "client", "laptop")
    assert "Faults:" not in render(broken, "node", "node-1")
