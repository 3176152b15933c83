"""The rules behind a Service or a node, as nft text that explains itself: what `nslab rules` prints.

Lines that begin with # are sentences; all others could be fed to `nft -f`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from nslab.cluster import naming
from nslab.cluster.model import Cluster, Service, ServicePort
from nslab.cluster.static_pods import proxied
from nslab.components import kube_proxy
from nslab.components.desired import desired
from nslab.nft.objects import Key, MapValue, Rule, Set, Table
from nslab.nft.operations import AddElements, AddRules
from nslab.nft.statements import META_L4PROTO, Compare, Verdict
from nslab.nft.text import table_text, transaction_text

Concerns = Callable[[Key, MapValue | None], bool]

STEPS = (
    # The packet's way; each map with what it does to this Service's connections.
    ("firewall-ips", "before translation: only the sources below may use the load balancer's address"),
    ("firewall-allowed", "the sources that may (loadBalancerSourceRanges)"),
    ("cluster-ips", "a cluster IP: its other ports are rejected; who is no Pod is masqueraded on the way to it"),
    ("service-ips", "address, protocol and port give the connection its ct mark: number x 4 + variant"),
    ("service-nodeports", "the same for the node port, on the node's own address"),
    ("external-local-services", "externalTrafficPolicy Local: chain external-local turns variant 2 into 0 or 1"),
    ("service-ports", "the mark leads to the chain that draws one of the endpoints"),
    ("endpoints", "mark and slot (or, with affinity, identity) give the address and port to translate to"),
    ("affinity-slots", "affinity: the identity of the endpoint in each slot, to remember for the client"),
    ("no-endpoint-services", "no endpoint at all: connections are rejected"),
    ("local-service-ports", "variant 1, this node's endpoints only: the chain that draws one"),
    ("local-endpoints", "the endpoints on this node"),
    ("local-affinity-slots", "and their identities"),
    ("no-local-endpoint-services", "a Local policy and no endpoint on this node: packets are dropped"),
    ("source-kept", "externalTrafficPolicy Local: the endpoint sees the client's address"),
    ("hairpin-connections", "an endpoint of this node that reaches itself is masqueraded, or no answer would come"),
)


def explain_service(cluster: Cluster, service: Service, node: str = "") -> str:
    """A Service's way through the table `ip kube-proxy` of `node` (by default the first): every element and chain
    that concerns it, with a sentence each; ends with a newline."""
    node = node or next(iter(cluster.nodes))
    lines = [f"# Service {service.key} ({service.type}) on node {node}", *_idle(cluster, node)]
    if not kube_proxy.is_proxied(service):
        lines.append("# has no rules: its name resolves to other names or addresses, which is for DNS to say.")
        return "\n".join(lines) + "\n"
    netns = kube_proxy.desired(cluster).netns[naming.node_netns(cluster.lab.name, node)]
    table = netns.tables["ip", "kube-proxy"]
    for port in service.ports:
        lines += _explain_port(table, service, port)
    return "\n".join(lines) + "\n"


def explain_node(cluster: Cluster, node: str) -> str:
    """All tables of a node as nft text. Raises KeyError where there is no such node."""
    netns = desired(cluster).netns[naming.node_netns(cluster.lab.name, cluster.nodes[node].name)]
    return "\n".join([*_idle(cluster, node), *(table_text(table) for table in netns.tables.values())])


def _idle(cluster: Cluster, node: str) -> list[str]:
    """A sentence where the rules of the wish are not those in force."""
    if node in proxied(cluster):
        return []
    return ["# kube-proxy does not work there: until it does, its table stays as it was, and these are not its rules"]


def _explain_port(table: Table, service: Service, port: ServicePort) -> Iterator[str]:
    name = f" {port.name}" if port.name else ""
    first = kube_proxy.mark(port, kube_proxy.ALL)
    yield f"\n# Port{name} {port.port}/{port.protocol}, number {port.number}: ct mark {first} for all endpoints,"
    yield f"# {first + 1} for this node's, {first + 2} from outside with policy Local, until it is known which"
    sets = {item.name: item for item in table.sets}
    concerns = _concerns(service, port)
    for set_name, sentence in STEPS:
        item = sets[set_name]
        elements = {key: value for key, value in item.elements.items() if concerns[set_name](key, value)}
        if elements:
            yield f"\n# {sentence}"
            yield _elements_text(table, item, elements)
            yield from _chains_text(table, elements, kube_proxy.PROTOCOLS[port.protocol])


def _concerns(service: Service, port: ServicePort) -> dict[str, Concerns]:
    """For each set, whether an element of it is this Service port's."""
    marks = {kube_proxy.mark(port, variant) for variant in range(4)}
    protocol = kube_proxy.PROTOCOLS[port.protocol]
    guarded = {(address, protocol, port.port) for address in service.load_balancer_ips}
    own_ips = {endpoint.ip for endpoint in port.endpoints}

    def by_mark(key: Key, value: MapValue | None) -> bool:
        return key[0] in marks

    def to_mark(key: Key, value: MapValue | None) -> bool:
        return isinstance(value, tuple) and value[0] in marks

    return dict.fromkeys((name for name, _ in STEPS), by_mark) | {
        "firewall-ips": lambda key, value: key in guarded,
        "firewall-allowed": lambda key, value: key[:3] in guarded,
        "cluster-ips": lambda key, value: key[0] == service.cluster_ip,
        "service-ips": to_mark,
        "service-nodeports": to_mark,
        "hairpin-connections": lambda key, value: key[0] in own_ips,
    }


def _elements_text(table: Table, item: Set, elements: dict[Key, MapValue | None]) -> str:
    few = replace(item, elements=elements)
    return transaction_text(table.family, table.name, [AddElements(few)]).rstrip("\n")


def _chains_text(table: Table, elements: dict[Key, MapValue | None], protocol: str) -> Iterator[str]:
    """The rules for the protocol in the chains that the elements lead to."""
    targets = {value.chain for value in elements.values() if isinstance(value, Verdict)}
    of_protocol = Compare(META_L4PROTO, protocol)
    for chain in table.chains:
        if chain.name in targets:
            rules = tuple(rule for rule in chain.rules if isinstance(rule, Rule) and of_protocol in rule.statements)
            yield transaction_text(table.family, table.name, [AddRules(replace(chain, rules=rules))]).rstrip("\n")
