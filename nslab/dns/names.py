"""What of a Cluster its DNS has names for."""

from __future__ import annotations

from nslab.cluster.model import Cluster, Service
from nslab.dns.cluster_zone import Member, NamedPort, Names, ServiceNames

DNS_SERVICE = "kube-system/kube-dns"
"""The Service that every Pod asks, by key."""


def names(cluster: Cluster) -> Names:
    """All names of a Cluster."""
    services = cluster.services
    dns = services.get(DNS_SERVICE)
    namespaces = {item.name for item in cluster.objects if item.kind == "Namespace"}
    namespaces.update(item.namespace for item in cluster.objects if item.namespace)
    return Names(
        cluster.lab.cluster.domain, dns.cluster_ip if dns else "", frozenset(namespaces),
        {key: of_service(service) for key, service in services.items()},
    )


def of_service(service: Service) -> ServiceNames:
    """The row of a Service."""
    ports = tuple(NamedPort(port.name, port.protocol.lower(), port.port) for port in service.ports)
    members: tuple[Member, ...] = ()
    if service.headless:
        numbers = [{each.ip: each.port for each in port.endpoints} for port in service.ports]
        members = tuple(
            Member(each.ip, each.hostname, tuple(known.get(each.ip, 0) for known in numbers))
            for each in service.addresses if each.ready and ":" not in each.ip
        )
    return ServiceNames(service.namespace, service.name, service.cluster_ip, service.external_name, ports, members)
