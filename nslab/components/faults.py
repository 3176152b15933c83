"""Faults of the network: what is lost, late or cut off on purpose.

    pod/x --blackhole   root qdisc blackhole at both ends of the Pod's link
    node/n              the same at both ends of the node's uplink, and of the links of its Pods
    link r --down       r's own end of the link is down
    link r --rate       root qdisc tbf at both ends
    link r --delay      root qdisc netem at both ends, with rate and loss in it
    link r --loss       the same where the kernel has netem, else nft's `numgen random` in the netns of both ends

A qdisc acts on what leaves by its link; that of the far end stands for what would arrive. The blackhole takes a
packet as if it were sent, so that the sender meets silence as before a dead machine; a drop in nft's output hook
would tell it EPERM. For the same reason nft loses a packet where it arrives, before conntrack (-200) and any other
rule (-300) has seen it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from nslab.api.faults import bits, hundredths, microseconds
from nslab.cluster import naming
from nslab.cluster.model import Cluster
from nslab.components.part import owner
from nslab.netstate.model import Link, Netns, NetState, Qdisc
from nslab.nft.objects import Chain, Hook, ObservedRule, Rule, Table
from nslab.nft.statements import DROP, IP_SADDR, META_IIFNAME, Below, Compare, Counter, numgen_random

TABLE = "faults"
LINK = "eth0"
"""The link of a Pod, a node or a client to its network."""

QDISCS = {"blackhole": "blackhole", "dead": "blackhole", "rate": "tbf", "delay": "netem"}
"""The queueing discipline that an effect cannot do without."""

BEFORE_ALL = -400
BLACKHOLE = Qdisc("blackhole")
_WHOLE = 10_000
_COMMENT = 120


@dataclass(frozen=True, slots=True)
class _Broken:
    """What befalls the link of one netns. `loss` is in hundredths of a percent, as far as nft has to cause it;
    `address` is the source of all that the netns sends, where its far end cannot be told by its link."""

    netns: str
    qdisc: Qdisc | None = None
    down: bool = False
    loss: int = 0
    address: str = ""


def broken(state: NetState, cluster: Cluster, netem: bool) -> NetState:
    """The wish with the Cluster's faults in it; the very same where there are none. `netem` says whether the kernel
    can lose packets by that."""
    if not cluster.faults:
        return state
    netns = dict(state.netns)
    for one in _faults(cluster, netem):
        here = netns.get(one.netns)
        link = here.links.get(LINK) if here is not None else None
        if here is None or link is None:  # the target is not there, or has no link of its own
            continue
        assert link.peer is not None
        far = link.peer
        netns[one.netns] = _near(here, link, one, cluster.lab.name)
        netns[far[0]] = _far(netns[far[0]], far[1], one, cluster.lab.name)
    return replace(state, netns=netns)


def _faults(cluster: Cluster, netem: bool) -> Iterator[_Broken]:
    lab, of = cluster.lab.name, cluster.faults_of
    bridged = not cluster.lab.cluster.network_policy
    for pod in cluster.pods.values():
        dead = cluster.suffers(f"node/{pod.node}", "dead")
        effects = of.get(f"pod/{pod.key}", {})
        if not pod.host_network and (dead or effects):
            # A bridge shows its ports' packets as its own.
            address = pod.ip if bridged else ""
            yield _of_link(naming.pod_netns(lab, pod), effects, netem, dead or "blackhole" in effects, address)
    for node in cluster.nodes:
        effects = of.get(f"node/{node}", {})
        if effects:
            yield _of_link(naming.node_netns(lab, node), effects, netem, "dead" in effects)
    for client in cluster.clients:
        effects = of.get(f"client/{client}", {})
        if effects:
            yield _of_link(naming.client_netns(lab, client), effects, netem, False)


def _of_link(netns: str, effects: Mapping[str, str], netem: bool, silent: bool, address: str = "") -> _Broken:
    rate = bits(effects["rate"]) if "rate" in effects else 0
    loss = hundredths(effects["loss"]) if "loss" in effects else 0
    delay = microseconds(effects["delay"]) if "delay" in effects else 0
    qdisc = None
    by_netem = bool(delay) or (netem and bool(loss))
    if silent:
        qdisc = BLACKHOLE
    elif by_netem:
        qdisc = Qdisc("netem", rate, delay, loss)
    elif rate:
        qdisc = Qdisc("tbf", rate)
    return _Broken(netns, qdisc, "down" in effects, 0 if silent or by_netem else loss, address)


def _near(here: Netns, link: Link, one: _Broken, lab: str) -> Netns:
    """The target's own netns. A link that is down has lost its routes and neighbours."""
    links = {**here.links, LINK: replace(link, qdisc=one.qdisc or link.qdisc, up=not one.down)}
    changed = replace(here, links=links)
    if one.loss:
        changed = _losing(changed, lab, Compare(META_IIFNAME, LINK), one.loss, f"to {one.netns}")
    if one.down:
        routes = {to: route for to, route in here.routes.items() if LINK not in route.links}
        kept = frozenset(each for each in here.neighbours if each.link != LINK)
        changed = replace(changed, routes=routes, neighbours=kept)
    return changed


def _far(there: Netns, link: str, one: _Broken, lab: str) -> Netns:
    """The netns at the other end."""
    changed = there
    if one.qdisc is not None:
        changed = replace(there, links={**there.links, link: replace(there.links[link], qdisc=one.qdisc)})
    if one.loss:
        match = Compare(IP_SADDR, one.address) if one.address else Compare(META_IIFNAME, link)
        changed = _losing(changed, lab, match, one.loss, f"from {one.netns}")
    return changed


def _losing(netns: Netns, lab: str, match: Compare, loss: int, whose: str) -> Netns:
    """The netns with one more rule of what it loses."""
    rule = Rule((match, Below(numgen_random(_WHOLE), loss), Counter(), DROP), f"{loss / 100:g}% {whose}"[:_COMMENT])
    present = netns.tables.get(("ip", TABLE))
    rules = [*(present.chains[0].rules if present else ()), rule]
    return replace(netns, tables={**netns.tables, ("ip", TABLE): _table(lab, rules)})


def _table(lab: str, rules: Iterable[Rule | ObservedRule]) -> Table:
    chain = Chain("prerouting", tuple(rules), Hook("filter", "prerouting", BEFORE_ALL))
    return Table("ip", TABLE, (chain,), comment=owner(lab))
