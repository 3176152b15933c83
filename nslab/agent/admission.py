"""The lab's own say about an object that comes through its API: what cannot be had is refused, in the API server's
words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set

from nslab.api.faults import KIND as FAULT
from nslab.api.objects import Body
from nslab.apiserver.errors import invalid
from nslab.apiserver.store import Store
from nslab.cluster.ipam import service_addresses
from nslab.cluster.ipv4 import parse_range, to_int, to_text
from nslab.components.faults import QDISCS
from nslab.linux.features import missing_qdisc

Cause = tuple[str, str]
"""The path of a field, and what is wrong with it."""


class Admission:
    """`service_range` tells the range that ClusterIPs come from."""

    def __init__(self, store: Store, service_range: Callable[[], str]) -> None:
        self._store = store
        self._service_range = service_range

    def admit(self, body: Body, old: Body | None) -> Body:
        """The object, if it can be had in the place of `old`. Raises Invalid for a Fault that this machine's kernel
        cannot bring about, and for a Service that asks for an address or a port that is not to be had."""
        causes: list[Cause] = []
        if body["kind"] == FAULT:
            causes = [*_of_fault(body)]
        elif body["kind"] == "Service":
            former = old["spec"] if old else {}
            causes = [*self._of_address(body, former), *self._of_node_ports(body, former)]
        if causes:
            told = [{"reason": "FieldValueInvalid", "message": text, "field": field} for field, text in causes]
            raise invalid(body["kind"], body["metadata"].get("name", ""), told)
        return body

    def _of_address(self, service: Body, former: Body) -> Iterator[Cause]:
        """A ClusterIP that is asked for, as the API server allocates it (service/storage/alloc.go, ipallocator)."""
        address = service["spec"].get("clusterIP")
        if address in (None, "", "None", former.get("clusterIP")):
            return
        whole = parse_range(self._service_range())
        if not whole.first < to_int(address) < whole.last:
            problem = f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {whole}"
        elif address in self._addresses(service):
            problem = "provided IP is already allocated"
        else:
            return
        yield "spec.clusterIPs", f'Invalid value: []string{{"{address}"}}: failed to allocate IP {address}: {problem}'

    def _addresses(self, service: Body) -> Set[str]:
        """The ClusterIPs that another Service has, or that are kept for it."""
        kept = {name: to_text(number) for name, number in service_addresses(self._service_range()).items()}
        kept |= {_key(other): other["spec"].get("clusterIP", "") for other in self._store.list("Service")}
        return {address for key, address in kept.items() if key != _key(service)}

    def _of_node_ports(self, service: Body, former: Body) -> Iterator[Cause]:
        """NodePorts that are asked for (portallocator)."""
        had = {port.get("nodePort") for port in former.get("ports") or ()}
        asked = [(index, port.get("nodePort")) for index, port in enumerate(service["spec"].get("ports") or ())]
        fresh = [(index, number) for index, number in asked if number and number not in had]
        taken = self._node_ports(service) if fresh else frozenset()
        for index, number in fresh:
            if number in taken:
                yield f"spec.ports[{index}].nodePort", f"Invalid value: {number}: provided port is already allocated"

    def _node_ports(self, service: Body) -> Set[int]:
        """The NodePorts of all other Services."""
        others = [other["spec"] for other in self._store.list("Service") if _key(other) != _key(service)]
        ports = {port.get("nodePort") for spec in others for port in spec.get("ports") or ()}
        return ports | {spec.get("healthCheckNodePort") for spec in others}


def _of_fault(fault: Body) -> Iterator[Cause]:
    qdisc = QDISCS.get(fault["spec"]["effect"])
    missing = missing_qdisc(qdisc) if qdisc else None
    if missing is not None:
        problem = f"this kernel has no queueing discipline {missing.name}: {missing.remedy}"
        yield "spec.effect", f"Invalid value: {problem}"


def _key(body: Body) -> str:
    """NAMESPACE/NAME; of one whose name is still to be made, NAMESPACE/ alone."""
    return f"{body['metadata']['namespace']}/{body['metadata'].get('name', '')}"
