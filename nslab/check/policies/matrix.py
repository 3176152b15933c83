"""Who may reach whom: every Pod, every port of every other Pod, predicted and tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from nslab.check.model import OPEN_TIMEOUT, Expectation
from nslab.check.pods import ALL_PAIRS, covering_pairs, under_policies
from nslab.check.policies.paths import paths_of
from nslab.check.references import pod_source
from nslab.check.semantics import responder_ports
from nslab.cluster.model import Cluster, Pod
from nslab.servers.flows import Flow

GROUP: Final = "Network policies, Pod to Pod"


def implied(cluster: Cluster) -> Iterator[Expectation]:
    """The matrix that the policies imply; nothing where there are none, or where they are not enforced."""
    if not paths_of(cluster).enforced:
        return
    pods = [pod.key for pod in cluster.pods.values() if not pod.host_network]
    few = len(pods) <= ALL_PAIRS
    pairs = ((one, other) for one in pods for other in pods) if few else covering_pairs(cluster)
    for one, other in pairs:
        yield from between(cluster, cluster.pods[one], cluster.pods[other])


def between(cluster: Cluster, pod: Pod, target: Pod) -> Iterator[Expectation]:
    """What becomes of connections from one Pod to each port that another's responder serves."""
    source = pod_source(cluster, pod)
    for number, protocol in ports(target):
        destination = f"pod/{target.key}:{number}"
        flow = Flow(
            "", source.netns, protocol.lower(), target.ip, number, timeout=OPEN_TIMEOUT, quiet=OPEN_TIMEOUT
        )
        name = f"{source.reference} -> {destination}/{protocol.lower()}"
        expectation = Expectation(
            GROUP, name, source.reference, destination, flow, responders=frozenset([target.key])
        )
        yield under_policies(cluster, source, expectation)


def ports(pod: Pod) -> Iterable[tuple[int, str]]:
    """The (number, protocol) of a Pod's ports that a flow can try."""
    return dict.fromkeys((port.port, port.protocol) for port in responder_ports(pod) if port.protocol != "SCTP")
