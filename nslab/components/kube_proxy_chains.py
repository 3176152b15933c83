"""The chains of the table `ip kube-proxy`: the same objects on every node. `kube_proxy` draws the packet's path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nslab.api.objects import VpcSpec
from nslab.nft.objects import Chain, Hook, Rule
from nslab.nft.statements import (
    CT_MARK,
    CT_ORIGINAL_DADDR,
    DROP,
    IP_DADDR,
    IP_SADDR,
    META_L4PROTO,
    META_MARK,
    META_OIFNAME,
    RETURN,
    TH_DPORT,
    Compare,
    CtState,
    CtStatus,
    DnatToMap,
    FibLocal,
    InPrefix,
    InSet,
    Masquerade,
    Reject,
    Remember,
    SetMark,
    SetMarkBits,
    SetMarkFromMap,
    VerdictMap,
    goto,
    jump,
    numgen_random,
)

FRONTEND = (IP_DADDR, META_L4PROTO, TH_DPORT)
SLOT = (CT_MARK, META_MARK)
VARIANT_MASK = 0xFFFFFFFC
NEW = CtState(("new",))
MASQUERADE = Masquerade()


@dataclass(frozen=True)
class Balancer:
    """The names of one variant's maps and chains: `prefix` is "" for all endpoints, "local-" for the node's own."""

    prefix: str
    missing: str

    @property
    def service_ports(self) -> str:
        return f"{self.prefix}service-ports"

    @property
    def endpoints(self) -> str:
        return f"{self.prefix}endpoints"

    @property
    def affinity_slots(self) -> str:
        return f"{self.prefix}affinity-slots"

    def chain(self, count: int, affinity_timeout: int) -> str:
        """The chain that chooses among `count` endpoints, with a memory of `affinity_timeout` seconds if not 0."""
        if affinity_timeout:
            return f"{self.prefix}affinity-{count}-{affinity_timeout}"
        return f"{self.prefix}endpoints-{count}"


ALL_ENDPOINTS = Balancer("", "no-endpoint-services")
LOCAL_ENDPOINTS = Balancer("local-", "no-local-endpoint-services")


Need = tuple[str, int, int]
"""A balancing chain: the balancer's prefix, the number of endpoints, and the affinity timeout."""


def chains(vpc: VpcSpec, needs: Iterable[Need]) -> tuple[Chain, ...]:
    """All chains, with one balancing chain for each of `needs`."""
    balancers = {balancer.prefix: balancer for balancer in (ALL_ENDPOINTS, LOCAL_ENDPOINTS)}
    balancing = [_balancing(balancers[prefix], count, timeout) for prefix, count, timeout in sorted(needs)]
    return (*_base_chains(), *_service_chains(vpc), *balancing)


def _base_chains() -> Iterator[Chain]:
    """Hooks and priorities are kube-proxy's promise to everybody else on the node (its README.md)."""
    for name, hook, priority, targets in (
        # Before DNAT, while the packet still has the load balancer's address.
        ("filter-prerouting-pre-dnat", "prerouting", -110, ("firewall-check",)),
        ("filter-output-pre-dnat", "output", -110, ("firewall-check",)),
        # After it, so that a connection which external-local has helped to an endpoint is not taken for hopeless.
        ("filter-input", "input", 0, ("no-endpoints-check",)),
        ("filter-forward", "forward", 0, ("no-endpoints-check", "cluster-ips-check")),
        ("filter-output", "output", 0, ("no-endpoints-check", "cluster-ips-check")),
    ):
        # What was translated to an endpoint has passed all checks; it is spared the look-ups of the others.
        first = (NEW,) if priority < 0 else (NEW, CtStatus("dnat", negate=True))
        rules = tuple(Rule((*first, jump(target))) for target in targets)
        yield Chain(name, rules, Hook("filter", hook, priority))
    for name, hook, priority, target in (
        ("nat-prerouting", "prerouting", -100, "services"),
        # What the node itself sends, hostNetwork Pods included, passes no prerouting.
        ("nat-output", "output", -100, "services"),
        ("nat-postrouting", "postrouting", 100, "masquerading"),
    ):
        yield Chain(name, (Rule((jump(target),)),), Hook("nat", hook, priority))


def _service_chains(vpc: VpcSpec) -> Iterator[Chain]:
    yield Chain("firewall-check", (
        Rule(
            (InSet(FRONTEND, "firewall-ips"), InSet((*FRONTEND, IP_SADDR), "firewall-allowed", negate=True), DROP),
            "loadBalancerSourceRanges: the source is in none of them",
        ),
    ))
    yield Chain("services", (
        Rule((SetMarkFromMap("ct", FRONTEND, "service-ips"), goto("balance")), "ClusterIP, VIP, externalIP"),
        Rule(
            (
                InSet((IP_DADDR,), "nodeport-ips"), SetMarkFromMap("ct", FRONTEND[1:], "service-nodeports"),
                goto("balance"),
            ),
            "node ports, on the node's primary address only",
        ),
    ))
    yield Chain("balance", (
        Rule((InSet((CT_MARK,), "external-local-services"), jump("external-local")), "externalTrafficPolicy Local"),
        Rule((VerdictMap((CT_MARK,), "service-ports"),), "by how many endpoints to draw from"),
        Rule((VerdictMap((CT_MARK,), "local-service-ports"),), "the same among this node's endpoints"),
    ))
    to_all = SetMarkBits("ct", VARIANT_MASK, 0)
    yield Chain("external-local", (
        Rule((InPrefix(IP_SADDR, vpc.pod_range), to_all, RETURN), "short-circuit Pods to all endpoints"),
        Rule((FibLocal("saddr"), to_all, RETURN), "short-circuit this node to all endpoints"),
        Rule((SetMarkBits("ct", VARIANT_MASK, 1),), "all others: endpoints of this node"),
    ))
    yield Chain("no-endpoints-check", (
        Rule((InSet((CT_MARK,), ALL_ENDPOINTS.missing), Reject()), "the Service has no endpoint"),
        Rule((InSet((CT_MARK,), LOCAL_ENDPOINTS.missing), DROP), "a Local policy, and no endpoint on this node"),
    ))
    yield Chain("cluster-ips-check", (
        Rule((InSet((IP_DADDR,), "cluster-ips"), Reject()), "a cluster IP, but not one of its ports"),
        Rule((InPrefix(IP_DADDR, vpc.service_range), DROP), "a cluster IP that no Service has"),
    ))
    yield _masquerading(vpc)


def _masquerading(vpc: VpcSpec) -> Chain:
    """kube-proxy marks packets to be masqueraded on their way; here postrouting asks conntrack how they came."""
    to_cluster_ip = InSet((CT_ORIGINAL_DADDR,), "cluster-ips")
    from_pod = InPrefix(IP_SADDR, vpc.pod_range)
    return Chain("masquerading", (
        Rule((Compare(CT_MARK, 0), RETURN), "no Service's connection"),
        Rule((CtStatus("dnat", negate=True), RETURN), "a Service's, but not translated"),
        # Masquerade by lo would take the address of the link that happens to be the namespace's oldest.
        Rule((Compare(META_OIFNAME, "lo"), RETURN), "the node to itself: it has its own address already"),
        Rule(
            (InSet((IP_SADDR, IP_DADDR), "hairpin-connections"), MASQUERADE),
            "to oneself: the answer must come back this way",
        ),
        Rule((to_cluster_ip, from_pod, RETURN), "Pod to cluster IP: the endpoint sees the Pod"),
        Rule((to_cluster_ip, MASQUERADE), "others to a cluster IP"),
        Rule(
            (InSet((CT_MARK,), "source-kept", negate=True), MASQUERADE),
            "from outside, policy Cluster: the answer must come back by this node",
        ),
        Rule((from_pod, RETURN), "policy Local, a Pod: the source is kept"),
        Rule((FibLocal("saddr"), MASQUERADE), "policy Local, this node itself"),
    ))


def _balancing(balancer: Balancer, count: int, timeout: int) -> Chain:
    """The chain that draws one of `count` endpoints. A rule a protocol: nft(8) takes a port in `dnat to` only where
    the rule says which protocol's it is."""
    draw = SetMark("meta", numgen_random(count))
    dnat = DnatToMap(SLOT, balancer.endpoints)
    rules: list[Rule] = []
    for protocol in ("tcp", "udp", "sctp"):
        of_protocol = Compare(META_L4PROTO, protocol)
        if not timeout:
            rules.append(Rule((of_protocol, draw, dnat), f"one of {count}, all alike"))
            continue
        remember = Remember("affinity", (IP_SADDR, CT_MARK), META_MARK, timeout)
        rules.append(Rule(
            (of_protocol, SetMarkFromMap("meta", (IP_SADDR, CT_MARK), "affinity"), remember, dnat),
            "this client's last endpoint, while it is one",
        ))
        rules.append(Rule(
            (of_protocol, draw, SetMarkFromMap("meta", SLOT, balancer.affinity_slots), remember, dnat),
            f"a new client: one of {count}, remembered for {timeout} s",
        ))
    return Chain(balancer.chain(count, timeout), tuple(rules))
