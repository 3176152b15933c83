"""Who may reach whom: every Pod, every port of every other Pod, predicted and tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from nslab.check.model import Expectation
from nslab.check.pods import ALL_PAIRS, covering_pairs, flow_to, under_policies
from nslab.check.policies.paths import paths_of
from nslab.check.references import pod_source
from nslab.check.semantics import responder_ports
from nslab.cluster.model import Cluster, ContainerPort, Pod

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
    for port in ports(target):
        destination = f"pod/{target.key}:{port.port}"
        name = f"{source.reference} -> {destination}/{port.protocol.lower()}"
        expectation = Expectation(
            GROUP, name, source.reference, destination, flow_to(cluster, source, target, port),
            responders=frozenset([target.key]),
        )
        yield under_policies(cluster, source, expectation)


def ports(pod: Pod) -> Iterable[ContainerPort]:
    """A Pod's ports that a flow can try, each number and protocol once."""
    served = {(port.port, port.protocol): port for port in responder_ports(pod) if port.protocol != "SCTP"}
    return served.values()
