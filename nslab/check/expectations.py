"""Everything that a lab promises, one function a subject."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from nslab.check import names, outside, pods, services
from nslab.check.model import Expectation
from nslab.check.policies import matrix
from nslab.check.written import written
from nslab.cluster.model import Cluster

SUBJECTS: Final[tuple[Callable[[Cluster], Iterable[Expectation]], ...]] = (
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
    names.resolvers_of_pods,
    names.of_services,
    names.of_ports,
    matrix.implied,
    written,
)


def expectations(cluster: Cluster) -> list[Expectation]:
    """What must hold in this lab: all that follows from the objects alone, then what the Lab's `checks` ask for.

    Raises ManifestError with every fault of the written checks.
    """
    return [expectation for subject in SUBJECTS for expectation in subject(cluster)]
