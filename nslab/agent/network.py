"""The walk from a Cluster to the kernel: desired, observe, diff, apply.

`up`, a readiness change, a repair and `down` are this one function with another wish.
"""

from __future__ import annotations

from dataclasses import replace

from nslab.cluster import naming
from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster
from nslab.cluster.static_pods import proxied
from nslab.components import kube_proxy
from nslab.components.desired import desired
from nslab.errors import OwnershipError
from nslab.linux.kernel import Kernel, Progress
from nslab.netstate.diff import diff
from nslab.netstate.model import NetState, neighbours_digest
from nslab.netstate.operations import Batch


class Network:
    """A lab's network in a kernel, kept equal to a wish.

    `reached` is the state that the last successful `converge` left. `follow` trusts it, so that one endpoint's change
    costs its difference and not an observation of the whole lab.
    """

    def __init__(self, kernel: Kernel, lab: str) -> None:
        self.kernel = kernel
        self.lab = lab
        self.reached: NetState | None = None
        self._memo = Memo()

    def plan(self, cluster: Cluster | None, *, observe: bool = True) -> tuple[NetState, Batch]:
        """The wished state and the operations that lead to it from what the kernel holds now, or, where it is not
        to be observed, from the state last reached, if that is known. No Cluster means nothing is wanted. Raises
        OwnershipError where a wanted name is somebody else's, and FeatureError where the kernel lacks what the
        operations need."""
        want = self._desired(cluster) if cluster else NetState(self.lab)
        if cluster and self.reached is not None and not observe:
            want = frozen(want, self.reached, cluster)
            return want, diff(want, self.reached)
        have = self.kernel.observe(self.lab, want.netns, want.files)
        _refuse_foreign(want, have)
        if cluster:
            want = frozen(want, have, cluster)
        if self.reached is not None:
            have = _recall_neighbours(have, self.reached)
        batch = diff(want, have)
        self.kernel.require(batch)
        return want, batch

    def converge(self, cluster: Cluster | None, progress: Progress | None = None) -> Batch:
        """Make the kernel hold what the Cluster wants; returns the operations done. Raises KernelError."""
        return self.apply(*self.plan(cluster), progress)

    def apply(self, want: NetState, batch: Batch, progress: Progress | None = None) -> Batch:
        """Carry a plan out; returns its operations. Raises KernelError, and then `reached` is not known any more."""
        self.reached = None
        self.kernel.apply(batch, progress)
        self.reached = want
        return batch

    def follow(self, cluster: Cluster) -> Batch:
        """As `converge`, from the state last reached: for changes that come often, such as readiness."""
        return self.apply(*self.plan(cluster, observe=False))

    def _desired(self, cluster: Cluster) -> NetState:
        lossy = any(fault.effect == "loss" for fault in cluster.faults)
        return desired(cluster, self._memo, netem=lossy and self.kernel.has_qdisc("netem"))


def frozen(want: NetState, have: NetState, cluster: Cluster) -> NetState:
    """The wish, less what kube-proxy would have to do where it does not work: there its table stays as it is. Nobody
    takes it away either, and a machine that is made anew has none until kube-proxy works again."""
    idle = cluster.nodes.keys() - set(proxied(cluster))
    netns = dict(want.netns)
    for name in (naming.node_netns(cluster.lab.name, node) for node in idle):
        there = have.netns.get(name)
        tables = {key: table for key, table in netns[name].tables.items() if key != kube_proxy.TABLE}
        if there is not None and there.uid == netns[name].uid and kube_proxy.TABLE in there.tables:
            tables[kube_proxy.TABLE] = there.tables[kube_proxy.TABLE]
        netns[name] = replace(netns[name], tables=tables)
    return replace(want, netns=netns) if idle else want


def _recall_neighbours(have: NetState, reached: NetState) -> NetState:
    """The observed state with the neighbours that its digests stand for, where we gave them ourselves: a new Pod is
    then told to the others of its node, and not all of them to all."""
    netns = dict(have.netns)
    for name, there in have.netns.items():
        given = reached.netns.get(name)
        if given is not None and there.digest and there.digest == neighbours_digest(given.neighbours):
            netns[name] = replace(there, neighbours=given.neighbours)
    return replace(have, netns=netns)


def _refuse_foreign(want: NetState, have: NetState) -> None:
    """Raise OwnershipError where a namespace of the lab's holds a link or table of a wanted name that is not its."""
    for name, there in have.netns.items():
        wanted = want.netns.get(name)
        if not there.foreign or wanted is None or wanted.uid != there.uid:
            continue
        links = {f"link delete {link}": f"ip -n {name} link delete {link}" for link in wanted.links}
        tables = {
            f"delete table {family} {table}": f"ip netns exec {name} nft delete table {family} {table}"
            for family, table in wanted.tables
        }
        for taken, remedy in sorted((links | tables).items()):
            if taken in there.foreign:
                raise OwnershipError(
                    f"{taken.replace('delete ', '')} exists and is not the lab's",
                    hint=f"remove it with `{remedy}`", where=f"netns {name}",
                )
