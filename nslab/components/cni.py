"""The network inside a node: one veth pair for each Pod, as the node's CNI plugin makes it.

Without network policy (the bridge plugin of GKE's older nodes)      With it (ptp: a route for each Pod)

    pod eth0 10.8.0.2/24   pod eth0 10.8.0.3/24                      pod eth0 10.8.0.2/32   pod eth0 10.8.0.3/32
         |                      |                                         |                      |
    veth1f..               veth2a..                                  veth1f.. 10.8.0.1/32   veth2a.. 10.8.0.1/32
         +------- cbr0 ---------+                                         |                      |
               10.8.0.1/24                                           10.8.0.2/32 dev veth1f..  10.8.0.3/32 dev ..
                  |  the node routes                                      the node routes
                eth0                                                    eth0

On the bridge two Pods of a node talk without the node's IP layer; with routes every packet crosses the node's forward
hook, where policies are enforced. A hostNetwork Pod lives in its node's netns and gets nothing here.

Neighbours are permanent: hardware addresses follow from IP addresses, so nobody needs ARP to learn them. Learned
ones would share one table of 1,024 entries with every namespace of the machine (net.ipv4.neigh.default.gc_thresh3 is
the host's), which the Pods of one busy node fill; packets to the next neighbour are then lost. Permanent ones do not
count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nslab.cluster import naming
from nslab.cluster.memo import Causes, Memo
from nslab.cluster.model import Cluster, Node, Pod
from nslab.components.part import first_host, node_identity, part, pod_mac
from nslab.netstate.model import Address, Link, Neighbour, Netns, NetState, Route, stamp

BRIDGE = "cbr0"
POD_LINK = "eth0"

BRIDGE_SYSCTLS = {
    # The answer of a Service's endpoint to a Pod of the same node is bridged. It must meet conntrack all the same,
    # or it would reach the client with the endpoint's address instead of the Service's.
    "bridge/bridge-nf-call-iptables": "1",
    # A Pod that reached a neighbour through a Service must not be told of the shorter way: that is no Service.
    f"ipv4/conf/{BRIDGE}/send_redirects": "0",
    f"ipv4/conf/{BRIDGE}/rp_filter": "0",
}


def desired(cluster: Cluster, memo: Memo | None = None) -> NetState:
    """Every Pod's netns and link, and what its node needs to reach it."""
    memo = memo or Memo()
    lab, routed = cluster.lab, cluster.lab.cluster.network_policy
    common = (lab.name, lab.vpc.mtu, routed)
    where = tuple((node.name, node.pod_range) for node in cluster.nodes.values())
    wired = memo.row("cni pods", [(pod,) for pod in cluster.pods.values()], _wired)
    return memo.one("cni all", (common, where, wired), lambda: _desired(cluster, common, memo))


def _wired(pod: Pod) -> tuple[str, str, str, str]:
    """All of a Pod that its netns and its link depend on; no address where it has neither."""
    return pod.node, pod.key, pod.uid, "" if pod.host_network else pod.ip


def _desired(cluster: Cluster, common: Causes, memo: Memo) -> NetState:
    on_node = {
        name: [pod for pod in pods if not pod.host_network] for name, pods in cluster.pods_by_node.items()
    }
    causes = {
        node.name: (common, node.pod_range, tuple(map(_wired, on_node[node.name])))
        for node in cluster.nodes.values()
    }
    found = memo.each("cni", causes, lambda name: _on_node(cluster, cluster.nodes[name], on_node[name]))
    return NetState(cluster.lab.name, {each.name: each for those in found.values() for each in those})


def _on_node(cluster: Cluster, node: Node, pods: list[Pod]) -> tuple[Netns, ...]:
    """A node's netns and those of its Pods."""
    routed = cluster.lab.cluster.network_policy
    inside = _routed_node(cluster, node, pods) if routed else _bridged_node(cluster, node, pods)
    beside = _beside(node, pods, routed)
    return inside, *(_pod(cluster, node, pod, routed, beside) for pod in pods)


def _beside(node: Node, pods: list[Pod], routed: bool) -> frozenset[Neighbour]:
    """Whom the Pods of a node know: their gateway, and on a bridge each other."""
    gateway = _neighbours(POD_LINK, [first_host(node.pod_range)])
    return gateway if routed else gateway | _neighbours(POD_LINK, [pod.ip for pod in pods])


def host_link(pod: Pod) -> str:
    """The name, in the node's netns, of the link to a Pod."""
    return naming.link_name("veth", pod.key)


def _bridged_node(cluster: Cluster, node: Node, pods: list[Pod]) -> Netns:
    name, uid = node_identity(cluster, node)
    lab, mtu = cluster.lab.name, cluster.lab.vpc.mtu
    mac = pod_mac(first_host(node.pod_range))
    links = [Link(BRIDGE, "bridge", stamp(lab, f"node {node.name} {BRIDGE}"), mtu, mac=mac)]
    # Hairpin: a Pod that reaches itself through its Service gets the frame back by the port that it came from.
    links += _host_links(cluster, pods, master=BRIDGE, hairpin=True)
    gateway = Address(BRIDGE, f"{first_host(node.pod_range)}/{_length(node.pod_range)}")
    known = _neighbours(BRIDGE, [pod.ip for pod in pods])
    return part(name, uid, links=links, addresses=[gateway], sysctls=BRIDGE_SYSCTLS, neighbours=known)


def _routed_node(cluster: Cluster, node: Node, pods: list[Pod]) -> Netns:
    name, uid = node_identity(cluster, node)
    gateway = first_host(node.pod_range)
    # An address of the range that no Pod has would else go out by the default route and be sent back by the VPC.
    routes = [Route(node.pod_range, kind="blackhole")]
    routes += [Route(f"{pod.ip}/32", link=host_link(pod)) for pod in pods]
    # Masquerade takes the address of the link that a packet leaves by: every link has the gateway's.
    addresses = [Address(host_link(pod), f"{gateway}/32") for pod in pods]
    known = frozenset(Neighbour(host_link(pod), pod.ip, pod_mac(pod.ip)) for pod in pods)
    links = _host_links(cluster, pods, mac=pod_mac(gateway))
    return part(name, uid, links=links, addresses=addresses, routes=routes, neighbours=known)


def _host_links(
    cluster: Cluster, pods: list[Pod], *, master: str = "", hairpin: bool = False, mac: str = ""
) -> Iterator[Link]:
    lab, mtu = cluster.lab.name, cluster.lab.vpc.mtu
    for pod in pods:
        yield Link(
            host_link(pod), "veth", stamp(lab, f"to pod {pod.key}"), mtu, master, hairpin,
            peer=(naming.pod_netns(lab, pod), POD_LINK), creates_peer=True, mac=mac,
        )


def _pod(cluster: Cluster, node: Node, pod: Pod, routed: bool, beside: frozenset[Neighbour]) -> Netns:
    lab = cluster.lab.name
    link = Link(
        POD_LINK, "veth", stamp(lab, f"pod {pod.key} eth0"), cluster.lab.vpc.mtu,
        peer=(node_identity(cluster, node)[0], host_link(pod)), mac=pod_mac(pod.ip),
    )
    length = "32" if routed else _length(node.pod_range)
    default = Route("0.0.0.0/0", link=POD_LINK, via=first_host(node.pod_range), onlink=routed)
    return part(
        naming.pod_netns(lab, pod), pod.uid, links=[link], addresses=[Address(POD_LINK, f"{pod.ip}/{length}")],
        routes=[default], neighbours=beside,
    )


def _neighbours(link: str, ips: Iterable[str]) -> frozenset[Neighbour]:
    return frozenset(Neighbour(link, ip, pod_mac(ip)) for ip in ips)


def _length(prefix: str) -> str:
    return prefix.partition("/")[2]
