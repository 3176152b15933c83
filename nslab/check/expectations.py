"""Everything that the objects of a lab promise, one function a subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from nslab.check import outside, pods, services
from nslab.check.model import Expectation
from nslab.cluster.model import Cluster

SUBJECTS: Final[tuple[Callable[[Cluster], Iterator[Expectation]], ...]] = (
    pods.to_gateway,
    pods.to_node,
    pods.from_node,
    pods.between,
    services.from_nodes,
    services.from_pods,
    services.hairpin,
    services.headless,
    outside.node_ports_from_vpc,
    outside.node_ports_from_pods,
    outside.vips_from_outside,
    outside.internal_vips_from_internet,
    outside.vips_from_pods,
    outside.external_ips,
    pods.to_clients,
)


def expectations(cluster: Cluster) -> list[Expectation]:
    """What must hold in this lab with nothing written: derived from the objects alone, in the order of `SUBJECTS`."""
    return [expectation for subject in SUBJECTS for expectation in subject(cluster)]
