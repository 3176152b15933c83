"""What of a Cluster its DNS has names for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nslab.cluster.addons import DNS_NAME, NAMESPACE
from nslab.cluster.dns_config import dns_config
from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster, Service
from nslab.cluster.render import SYSTEM_NAMESPACES
from nslab.cluster.resolvers import internet_server
from nslab.dns.answer import Server
from nslab.dns.cluster_zone import Member, NamedPort, Names, ServiceNames, changed, encode_rows
from nslab.dns.views import Outside, encode_outside


def names(cluster: Cluster, memo: Memo | None = None) -> Names:
    """All names of a Cluster. Rows of Services that are what they were the last time with this `memo` are the same
    objects."""
    namespaces = {item.name for item in cluster.objects if item.kind == "Namespace"}
    namespaces.update(item.namespace for item in cluster.objects if item.namespace)
    causes = {key: (service,) for key, service in cluster.services.items()}
    return Names(
        cluster.lab.cluster.domain, _dns_ip(cluster), frozenset((*namespaces, *SYSTEM_NAMESPACES)),
        (memo or Memo()).each("names", causes, lambda key: of_service(cluster.services[key])),
    )


def _dns_ip(cluster: Cluster) -> str:
    service = cluster.services.get(f"{NAMESPACE}/{DNS_NAME}")
    return service.cluster_ip if service else ""


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


def outside(cluster: Cluster, host: Sequence[str] = ()) -> Outside:
    """How names are resolved that are not the cluster's; `host` are the servers that the host itself asks.

    ConfigMap kube-system/kube-dns may name other servers, and some for domains of their own.
    """
    dns_ip = _dns_ip(cluster)
    config = dns_config(cluster.objects)
    asked = [server for server in _servers(config.upstreams) if server.ip != dns_ip]
    wanted = cluster.lab.dns.upstream == "host"
    return Outside(
        tuple(asked) or (Server(internet_server(cluster)),),
        {domain: _servers(each) for domain, each in config.stub_domains.items()},
        (Server(dns_ip, tcp=True),) if dns_ip else (), cluster.lab.zones, tuple(map(Server, host if wanted else ())),
    )


def _servers(texts: Iterable[str]) -> tuple[Server, ...]:
    parts = (text.partition(":") for text in texts)
    return tuple(Server(ip, int(port or 53)) for ip, _, port in parts)


def order(now: Names, resolved: Outside, former: Names | None, before: Outside | None) -> dict[str, object]:
    """What name servers that know `former` and `before` have to be told to know these instead (DnsServer.obey); empty
    where that is nothing."""
    if former is None or before != resolved or (former.domain, former.dns_ip) != (now.domain, now.dns_ip):
        return {
            "domain": now.domain, "dns_ip": now.dns_ip, "namespaces": sorted(now.namespaces),
            "services": encode_rows(now.services.values()), "outside": encode_outside(resolved),
        }
    rows, gone = changed(former.services, now.services)
    spaces = {} if former.namespaces == now.namespaces else {"namespaces": sorted(now.namespaces)}
    return {**spaces, "services": encode_rows(rows), "gone": gone} if rows or gone or spaces else {}
