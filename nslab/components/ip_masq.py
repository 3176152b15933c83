"""Masquerade of what Pods send out of the cluster's world, as GKE's ip-masq-agent does it.

A packet from a Pod of the node, to an address that is in none of the non-masquerade ranges, leaves with the node's
address. The default ranges are GKE's, less those that play the public internet in a lab: vpc.externalRange and the
internet clients'. ConfigMap kube-system/ip-masq-agent, key `config`, replaces the list (README.md of
kubernetes-sigs/ip-masq-agent: nonMasqueradeCIDRs, masqLinkLocal; resyncInterval and IPv6 have no meaning here).
"""

from __future__ import annotations

from typing import Any

from nslab.api.objects import Object
from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster, Node
from nslab.components.part import node_identity, owner, part
from nslab.components.prefixes import merge, without
from nslab.errors import ManifestError
from nslab.netstate.model import Netns, NetState
from nslab.nft.datatypes import IPV4_ADDR
from nslab.nft.objects import Chain, Hook, Rule, Set, Table
from nslab.nft.statements import IP_DADDR, IP_SADDR, FibLocal, InPrefix, InSet, Masquerade

DEFAULT_NON_MASQUERADE = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
    "100.64.0.0/10",  # RFC 6598, carrier-grade NAT
    "192.0.0.0/24",  # RFC 6890, IETF protocol assignments
    "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",  # RFC 5737, documentation
    "192.88.99.0/24",  # RFC 7526, 6to4 relays
    "198.18.0.0/15",  # RFC 6815, benchmarks
    "240.0.0.0/4",  # RFC 5735, reserved
)
LINK_LOCAL = "169.254.0.0/16"
NON_MASQUERADE_SET = "non-masquerade-cidrs"


def desired(cluster: Cluster, memo: Memo | None = None) -> NetState:
    """The table `ip ip-masq` of every node. Raises ManifestError where the agent's ConfigMap makes no sense."""
    memo = memo or Memo()
    prefixes = memo.one(
        "ip-masq prefixes", (cluster.lab.vpc, _config_map(cluster)), lambda: Set(
            NON_MASQUERADE_SET, (IPV4_ADDR,), {(prefix,): None for prefix in non_masquerade_cidrs(cluster)},
            interval=True,
        ),
    )
    nodes = {node.name: (cluster.lab.name, node.pod_range, prefixes) for node in cluster.nodes.values()}
    netns = memo.each("ip-masq", nodes, lambda name: _node(cluster, cluster.nodes[name], prefixes))
    return NetState(cluster.lab.name, {each.name: each for each in netns.values()})


def _node(cluster: Cluster, node: Node, prefixes: Set) -> Netns:
    name, uid = node_identity(cluster, node)
    # Right after kube-proxy, whose decision about a Service's connection comes first.
    chain = Chain("postrouting", hook=Hook("nat", "postrouting", 101), rules=(
        Rule(
            (
                InPrefix(IP_SADDR, node.pod_range), FibLocal("daddr", negate=True),
                InSet((IP_DADDR,), NON_MASQUERADE_SET, negate=True), Masquerade(),
            ),
            "a Pod of this node to the outside: with the node's address",
        ),
    ))
    return part(name, uid, tables=[Table("ip", "ip-masq", (chain,), (prefixes,), owner(cluster.lab.name))])


def non_masquerade_cidrs(cluster: Cluster) -> list[str]:
    """The ranges towards which Pods keep their address, merged."""
    item = _config_map(cluster)
    config = _parse(item, (item.body.get("data") or {}).get("config", "")) if item else {}
    link_local = [] if config.get("masqLinkLocal") else [LINK_LOCAL]
    if "nonMasqueradeCIDRs" in config:
        return merge([*(config["nonMasqueradeCIDRs"] or []), *link_local])
    vpc = cluster.lab.vpc
    return without([*DEFAULT_NON_MASQUERADE, *link_local], [vpc.external_range, vpc.internet_range])


def _config_map(cluster: Cluster) -> Object | None:
    """What the agent is told."""
    found = (item for item in cluster.objects if item.kind == "ConfigMap" and item.name == "ip-masq-agent")
    return next((item for item in found if item.namespace == "kube-system"), None)


def _parse(item: Object, text: str) -> dict[str, Any]:
    import yaml  # It reads JSON too, and only this ConfigMap needs it.

    try:
        config = yaml.safe_load(text) or {}
        if not isinstance(config, dict):
            raise ValueError("not a mapping")
        merge(config.get("nonMasqueradeCIDRs") or [])
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as fault:
        line = " ".join(str(fault).split())
        raise ManifestError(
            [f"{item.where}: {item.reference}: data.config cannot be read: {line}"],
            hint='write it as YAML or JSON: {"nonMasqueradeCIDRs": ["10.0.0.0/8"], "masqLinkLocal": false}',
        ) from fault
    return config
