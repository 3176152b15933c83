"""What network policies cost: a packet, however many there are; and a label that changes among 500 Pods."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from nslab.agent.network import Network
from nslab.api.decode import decode
from nslab.cluster import naming
from nslab.cluster.allocate import allocate
from nslab.cluster.model import Cluster, Leases
from nslab.linux.real import RealKernel
from tests.bench.commands import Measurement
from tests.bench.datapath import accept_all, listen, median_connect, rate

PODS, NODES, NAMESPACES = 500, 5, 5
ROUNDS = 6


def _lab(name: str, pods: int, policies: int, *, enforced: bool = True) -> str:
    """Pods over five namespaces; each policy selects one of them or ten, and lets others in by labels and a block."""
    objects: list[dict[str, Any]] = [{
        "apiVersion": "nslab.dev/v1", "kind": "Lab", "metadata": {"name": name},
        "spec": {"cluster": {"networkPolicy": enforced}, "nodes": NODES},
    }]
    objects += [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"ns{n}", "labels": {"team": f"t{n}"}}}
        for n in range(NAMESPACES)
    ]
    objects += [{
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": f"p{i}", "namespace": f"ns{i % 5}", "labels": {"app": f"a{i % 50}", "one": f"o{i}"}},
        "spec": {"nodeName": f"node-{i % NODES + 1}",
                 "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
    } for i in range(pods)]
    objects += [_policy(i) for i in range(policies)]
    return "---\n".join(json.dumps(each) + "\n" for each in objects)


def _policy(i: int) -> dict[str, Any]:
    selected = {"app": f"a{i % 50}"} if i % 2 else {"one": f"o{i % PODS}"}
    others = {"namespaceSelector": {"matchLabels": {"team": f"t{(i + 1) % 5}"}},
              "podSelector": {"matchLabels": {"app": f"a{(i + 1) % 50}"}}}
    block = {"ipBlock": {"cidr": "198.51.100.0/24", "except": [f"198.51.100.{i % 250}/32"]}}
    ports = [{"port": 80}, {"port": 1000 + i % 20}]
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": f"policy{i}", "namespace": f"ns{i % 5}"},
        "spec": {"podSelector": {"matchLabels": selected}, "policyTypes": ["Ingress", "Egress"], "egress": [{}],
                 "ingress": [{"from": [others, {"podSelector": {}}, block], "ports": ports}]},
    }


def _network(text: str) -> tuple[Network, Cluster]:
    cluster = allocate(decode(["-"], stdin=io.StringIO(text)), Leases())
    network = Network(RealKernel(), cluster.lab.name)
    network.converge(cluster)
    return network, cluster


def latency() -> Iterator[Measurement]:
    """Connect latency to a Pod of 500 with 1,000 policies against one with one, by turns."""
    labs = [_network(_lab("one", PODS, 1)), _network(_lab("many", PODS, 1000))]
    medians: list[list[float]] = [[], []]
    listening = [listen(naming.pod_netns(cluster.lab.name, cluster.pods["ns0/p0"]), 80) for _, cluster in labs]
    for sock in listening:
        threading.Thread(target=accept_all, args=(sock,), daemon=True).start()
    for _ in range(ROUNDS):
        for found, (_, cluster) in zip(medians, labs, strict=True):
            source = naming.pod_netns(cluster.lab.name, cluster.pods["ns0/p5"])
            found.append(median_connect(source, cluster.pods["ns0/p0"].ip, 80))
    for sock in listening:
        sock.close()
    for network, _ in labs:
        network.converge(None)
    one, many = min(medians[0]), min(medians[1])
    yield f"connect, 1 policy {one:.1f} us, 1,000 over 500 Pods {many:.1f} us", many / one, 1.10, "x"


def throughput() -> Iterator[Measurement]:
    """Octets a second between two Pods of one node, isolated both ways, against two that no policy selects, by
    turns."""
    labs = [_network(_lab(name, 20, policies)) for name, policies in (("open", 0), ("isolated", 1000))]
    rates: list[list[float]] = [[], []]
    ends = [(cluster.pods["ns0/p5"], cluster.pods["ns0/p0"], cluster.lab.name) for _, cluster in labs]
    listening = [listen(naming.pod_netns(lab, server), 80) for _, server, lab in ends]
    for _ in range(ROUNDS):
        for found, (client, server, lab), sock in zip(rates, ends, listening, strict=True):
            found.append(rate(naming.pod_netns(lab, client), server.ip, 80, sock))
    for sock in listening:
        sock.close()
    for network, _ in labs:
        network.converge(None)
    best = [max(found) for found in rates]
    yield f"no policy {best[0] / 2**30:.2f} GiB/s, as a multiple of 1,000", best[0] / best[1], 1.25, "x"


def relabelling() -> Iterator[Measurement]:
    """One Pod's label changes: from the Cluster to the last node's rules in force."""
    network, cluster = _network(_lab("label", PODS, 500))
    times = []
    for label in ("a1", "a6", "a11", "a16") * 3:
        pod = replace(cluster.pods["ns0/p0"], labels={"app": label, "one": "o0"})
        cluster = replace(cluster, pods=cluster.pods | {pod.key: pod})
        started = time.perf_counter()
        network.follow(cluster)
        times.append(time.perf_counter() - started)
    network.converge(None)
    yield "a label among 500 Pods and 500 policies, Cluster to rules", 1000 * min(times), 60.0, "ms"
