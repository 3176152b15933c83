"""What stands in everybody's resolv.conf, and what a stub resolver makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nslab.api.objects import Body
from nslab.cluster.addons import DNS_NAME, NAMESPACE, NODE_LOCAL_IP, node_local
from nslab.cluster.ipv4 import parse_range, to_text
from nslab.cluster.model import Client, Cluster, Pod

MAX_SERVERS, MAX_SEARCHES = 3, 32
"""What kubelet (pkg/kubelet/network/dns) and resolv.conf(5) take at most."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """A resolv.conf: the servers' addresses, the domains that are searched, and options as written ("ndots:5")."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        """The file."""
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {server}" for server in self.servers]
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(f"{line}\n" for line in lines)

    @property
    def ndots(self) -> int:
        """So many dots make a name be tried as it is first."""
        for option in self.options:
            name, _, value = option.partition(":")
            if name == "ndots" and value.isdecimal():
                return min(int(value), 15)
        return 1

    def attempts(self, name: str) -> Iterator[str]:
        """The full names, without a dot at the end, that are asked for one after the other until one is there."""
        if name.endswith("."):
            yield name.removesuffix(".")
            return
        first = name.count(".") >= self.ndots
        if first:
            yield name
        for domain in self.searches:
            yield f"{name}.{domain}".rstrip(".")
        if not first:
            yield name


def internet_server(cluster: Cluster) -> str:
    """The address of the name server on the internet side, which nodes and clients ask."""
    return to_text(parse_range(cluster.lab.vpc.internet_range).first + 1)


Hosts = list[tuple[str, tuple[str, ...]]]
"""Lines of a hosts file beside those of localhost: an address and its names."""


def aliases_of(pod: Pod) -> Hosts:
    """The lines of a Pod's hostAliases."""
    spec: Body = pod.body.get("spec") or {}
    return [(alias["ip"], tuple(alias.get("hostnames") or ())) for alias in spec.get("hostAliases") or ()]


def pod_hosts(pod: Pod, domain: str) -> tuple[Hosts, Hosts]:
    """A Pod's own line (with the fully qualified name if it has a subdomain), and those of its hostAliases."""
    spec: Body = pod.body.get("spec") or {}
    hostname = spec.get("hostname") or pod.name
    names: tuple[str, ...] = (hostname,)
    if spec.get("subdomain"):
        names = f"{hostname}.{spec['subdomain']}.{pod.namespace}.svc.{domain}", hostname
    return [(pod.ip, names)], aliases_of(pod)


def machine_hosts(cluster: Cluster, client: Client | None = None) -> Hosts:
    """The lines of all nodes, which nodes and clients have; a client has its own before them."""
    own = [(client.ip, (client.name,))] if client else []
    return [*own, *((node.ip, (node.name,)) for node in cluster.nodes.values())]


class Resolvers:
    """Everybody's resolver in a Cluster. `machine` is a node's, and a client's; `server` is the address of the
    cluster's own name server, empty where it has none."""

    def __init__(self, cluster: Cluster) -> None:
        service = cluster.services.get(f"{NAMESPACE}/{DNS_NAME}")
        self._cluster = cluster
        self.machine = Resolver((internet_server(cluster),))
        self._domain = cluster.lab.cluster.domain
        self.server = service.cluster_ip if service else ""
        self._cached = node_local(cluster)
        self._known: dict[tuple[str, str], Resolver] = {}

    def hosts(self, pod: Pod | None, client: Client | None = None) -> dict[str, str]:
        """The addresses that the hosts file of a Pod, of a client or (with neither) of a node gives to names."""
        if pod is None or pod.host_network:
            lines = [*machine_hosts(self._cluster, client), *(aliases_of(pod) if pod else ())]
        else:
            own, aliases = pod_hosts(pod, self._domain)
            lines = [*own, *aliases]
        found = {"localhost": "127.0.0.1"}
        for ip, names in lines:
            for name in names:
                found.setdefault(name.lower(), ip)
        return found

    def of(self, pod: Pod) -> Resolver:
        """A Pod's, by dnsPolicy and dnsConfig (kubernetes.io/docs/concepts/services-networking/dns-pod-service)."""
        spec: Body = pod.body.get("spec") or {}
        policy = spec.get("dnsPolicy") or "ClusterFirst"
        resolver = self.machine
        if policy == "None":
            resolver = Resolver()
        elif policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pod.host_network):
            resolver = self._cluster_first(pod)
        config = spec.get("dnsConfig")
        return _configured(resolver, config) if config else resolver

    def asks_cluster(self, pod: Pod) -> bool:
        """Whether a Pod's first server is the cluster's."""
        return bool(self.server) and self.of(pod).servers[:1] in ((self.server,), (NODE_LOCAL_IP,))

    def _cluster_first(self, pod: Pod) -> Resolver:
        """The cluster's DNS Service, or the node's cache; where there is none, the node's own resolver."""
        server = NODE_LOCAL_IP if pod.node in self._cached else self.server
        if not server:
            return self.machine
        resolver = self._known.get((pod.namespace, server))
        if resolver is None:
            domain = self._domain
            searches = f"{pod.namespace}.svc.{domain}", f"svc.{domain}", domain
            resolver = self._known[pod.namespace, server] = Resolver((server,), searches, ("ndots:5",))
        return resolver


def _configured(resolver: Resolver, config: Body) -> Resolver:
    """A resolver with what dnsConfig adds: an option of the same name takes the other's place."""
    servers = dict.fromkeys((*resolver.servers, *(config.get("nameservers") or ())))
    searches = dict.fromkeys((*resolver.searches, *(config.get("searches") or ())))
    options = {option.partition(":")[0]: option for option in resolver.options}
    for option in config.get("options") or ():
        value = option.get("value")
        options[option["name"]] = option["name"] if value is None else f"{option['name']}:{value}"
    return Resolver(tuple(servers)[:MAX_SERVERS], tuple(searches)[:MAX_SEARCHES], tuple(options.values()))


def resolvers(cluster: Cluster) -> Resolvers:
    """Everybody's resolver, found once for a Cluster."""
    found = cluster.__dict__.get("resolvers")
    if not isinstance(found, Resolvers):
        found = cluster.__dict__["resolvers"] = Resolvers(cluster)
    return found
