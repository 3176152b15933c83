"""A running lab: its objects, its network, and what runs in its Pods; every change goes the same way.

    objects changed -> Cluster -> network -> listeners, processes, probes -> status in the objects

`up`, kubectl, a controller, a probe's verdict: each changes objects or readiness, and `converge` walks once.
"""

from __future__ import annotations

import gc
import logging
import time
from dataclasses import replace

from nslab import errors
from nslab.agent import coredns, store
from nslab.agent.kube_proxies import KubeProxies
from nslab.agent.listeners import listeners
from nslab.agent.network import Network
from nslab.agent.objects import Objects
from nslab.agent.programming import Programming
from nslab.agent.rehearsal import copied, rehearse
from nslab.agent.report import summary
from nslab.agent.responder import Responder
from nslab.agent.stale_udp import StaleUdp
from nslab.agent.store import State
from nslab.api.objects import Manifest, Object
from nslab.apiserver.journal import Journal
from nslab.cluster.addons import with_addons
from nslab.cluster.allocate import allocate, with_readiness
from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster, Leases
from nslab.cluster.static_pods import with_static_pods
from nslab.kubelet.containers import Containers
from nslab.kubelet.kubelet import Kubelet
from nslab.kubelet.nodes import mirror, register, wishes
from nslab.kubelet.readiness import Readiness
from nslab.linux.kernel import Progress
from nslab.linux.lab_files import Paths
from nslab.linux.real import RealKernel
from nslab.netstate.model import NetState
from nslab.netstate.operations import Batch, RemoveFile, WriteFile

log = logging.getLogger("nslab.agent")

SHARE = 0.02
"""Seconds that controllers work at least before the network follows again; as long as it took, if that is more."""

PASSING = 8
"""Attempts, over about a second, after which a controller's failure counts as lasting."""

LITTER = 10_000
"""New objects that the garbage collector looks through while nothing is due: left to itself it would do so in the
middle of a walk, which then takes some ten milliseconds longer."""

RETRY = 1.0
"""Seconds until a change that the kernel refused is tried again."""


class Lab:
    """The lab of that name. `state` is None until its first `up`. `operations` counts what was done to the kernel.

    The network of a new lab is built straight from its manifest, since nothing is there that controllers would have
    to respect; it stands, and `up` answers, while it is still `unborn`: without stored objects. `give_birth` stores
    them and lets the controllers make theirs, which are the very Pods that stand already.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.paths = Paths(name)
        self.network = Network(RealKernel(), name)
        self.responder = Responder(self.paths)
        self.containers = Containers(self.paths)
        self.readiness = Readiness(self.containers, store.load_readiness(name))
        self.state: State | None = None
        self.cluster: Cluster | None = None
        self.objects: Objects | None = None
        self.kubelet: Kubelet | None = None
        self.unborn = False
        self.programming = Programming()
        self.kube_proxies = KubeProxies(name)
        self.stale_udp = StaleUdp()
        self.operations = 0
        self.took = 0.0
        self.controllers_due = 0.0
        self.remembered: dict[str, bool] | None = None
        self._written = Memo()
        self.error = ""

    # --- Beginning

    def resume(self) -> None:
        """Take over a lab that a former agent left. What runs goes on; the next walk mends what is amiss. Raises
        StateError where its state cannot be read."""
        try:
            state = store.load(self.name)
        except errors.NotFoundError:
            return
        self.responder.start()
        self._open(state.manifest, Journal(self.paths.journal))
        assert self.objects is not None
        assert self.kubelet is not None
        self.state = state
        if self.objects.store.revision == 0:  # the former agent was killed before it had stored anything
            self.cluster = allocate(with_static_pods(state.manifest), state.leases, self.readiness.ready)
            self.give_birth()
            return
        self.cluster = self.objects.cluster(
            state.manifest.lab, state.leases, self.kubelet.ready(self.readiness.ready)
        )
        register(self.objects.store, self.cluster)
        self.objects.start(state.manifest.lab.cluster, self._hear)

    def _open(self, manifest: Manifest, journal: Journal) -> None:
        self.objects = Objects(self.name, journal, on_matter=self.programming.changed)
        self.objects.store.subscribe(self.kube_proxies.hear)
        self.objects.remember(manifest.objects)
        self.kubelet = Kubelet(self.objects, self.containers, self.readiness)

    def _hear(self) -> None:
        """Let the nodes' kubelets speak."""
        assert self.objects is not None
        assert self.cluster is not None
        register(self.objects.store, self.cluster)

    # --- `up`

    def up(self, manifest: Manifest, progress: Progress | None = None) -> None:
        """Apply the manifest, and walk. Raises CapacityError, OwnershipError and FeatureError, nothing being done in
        a lab that was not there, and KernelError."""
        if self.state is None:
            self.resume()  # once more: a state that could not be read is not overwritten
        former = self.state
        manifest = with_addons(manifest)
        allotted = allocate(with_static_pods(manifest), former.leases if former else Leases())
        applied = replace(manifest, objects=wishes(manifest, allotted))
        if former is None:
            self._first_up(applied, allotted, progress)
        elif self.unborn and applied == former.manifest:
            allotted = with_readiness(allotted, self.readiness.ready)
            self._build(allotted, *self.network.plan(allotted), progress)
        else:
            if self.unborn:
                self.give_birth()
            self._next_up(former, applied, allotted, progress)

    def _first_up(self, applied: Manifest, allotted: Cluster, progress: Progress | None) -> None:
        want, batch = self.network.plan(allotted)  # what is not ours is refused before there is a lab
        self.responder.begin()  # it imports its code while the network is built
        self.paths.journal.unlink(missing_ok=True)  # of an agent that was killed before there was a lab
        now = time.time()
        self._save(State(applied, allotted.leases, now, now, allotted.warnings), allotted)
        self.unborn = True
        self._build(allotted, want, batch, progress)

    def _build(self, allotted: Cluster, want: NetState, batch: Batch, progress: Progress | None) -> None:
        """Build the network of an unborn lab, or mend it, as planned."""
        self.cluster = allotted  # whatever happens now: from here on ticks lead there
        started = time.monotonic()
        self._in_force(self.network.apply(want, batch, progress), started, full=True)
        self.responder.know(allotted)
        self._listen(allotted)

    def give_birth(self) -> None:
        """Store the objects of a lab whose network stands, and have the controllers make of them what stands."""
        assert self.state is not None
        assert self.cluster is not None
        allotted, self.unborn = self.cluster, False
        self.paths.unborn_journal.unlink(missing_ok=True)  # of an agent that was killed here
        journal = Journal(self.paths.unborn_journal)
        self._open(self.state.manifest, journal)
        assert self.objects is not None
        assert self.kubelet is not None
        self.objects.promised.update({(pod.namespace, pod.name): pod for pod in allotted.pods.values()})
        self._apply(self.state.manifest, (), allotted)
        self.objects.promised.clear()
        journal.rename(self.paths.journal)  # not before all Pods are in it: of the others nobody knew their names
        self.kubelet.start(allotted, quiet=True)
        self.programming.discard()
        self.objects.changed = True  # the walk finds what controllers would have otherwise, and gives Services theirs
        self._follow()

    def _next_up(self, former: State, applied: Manifest, allotted: Cluster, progress: Progress | None) -> None:
        assert self.objects is not None
        if applied != former.manifest:  # what is not ours is refused before anything is written
            draft = copied(self.objects.store)
            self.network.plan(rehearse(self.name, draft, applied, former.manifest.objects, allotted, former.leases))
        last = former.manifest.objects
        wanted = {item.reference for item in applied.objects}
        going = tuple(item for item in last if item.reference not in wanted)
        now = time.time()
        self.state = State(applied, former.leases, former.created, now, allotted.warnings)
        if applied != former.manifest:  # killed from here on, the next `up` still knows what it may have to remove
            store.save(replace(self.state, manifest=replace(applied, objects=(*applied.objects, *going))))
        self._apply(applied, last, allotted)
        self.converge(observe=True, progress=progress)

    def _apply(self, applied: Manifest, last: tuple[Object, ...], allotted: Cluster) -> None:
        """Store the wishes, and let the controllers make of them what can be had at once."""
        assert self.objects is not None
        self.objects.apply(applied.objects, last)
        register(self.objects.store, allotted)
        if last:
            self.objects.controllers.set_grace(allotted.lab.cluster.node_monitor_grace_period)
        else:
            self.objects.start(allotted.lab.cluster, self._hear)
            self.objects.presume()
        self.controllers_due = time.monotonic() + self.objects.controllers.run()

    # --- The walk

    def converge(self, *, observe: bool = False, progress: Progress | None = None) -> None:
        """Make network, containers and status follow the objects; `observe`, for an `up`, asks the kernel first what
        is there. Raises KernelError and their like; the next walk then begins with a look at the kernel."""
        assert self.objects is not None
        assert self.kubelet is not None
        assert self.state is not None
        started = time.monotonic()
        former, followed = self.cluster, self.network.reached is not None
        if former is not None:
            mirror(self.objects.store, former)
        self.objects.changed = False
        ready = self.kubelet.ready(self.readiness.ready)
        cluster = self.objects.cluster(self.state.manifest.lab, self.state.leases, ready)
        want, batch = self.network.plan(cluster, observe=observe)
        self.responder.know(cluster)
        state = replace(self.state, leases=cluster.leases)
        if observe or not self.state.leases.include(cluster.leases):  # before the kernel has what new leases name
            self._save(state, cluster)
        try:
            self.network.apply(want, batch, progress)
        except errors.NslabError:
            self.objects.changed = True  # an `up` is told, and it is tried again
            raise
        self.cluster = cluster
        self._in_force(batch, started, full=observe or not followed)
        if state.leases != self.state.leases:
            self._save(state, cluster)
        self.stale_udp.follow(former if followed else None, cluster)
        self._run(cluster)
        self._report()
        self.took = time.monotonic() - started

    def _in_force(self, batch: Batch, started: float, *, full: bool = False) -> None:
        """Take note of what the network was just given, in a walk that `started` then (monotonic seconds)."""
        assert self.cluster is not None
        self.operations += len(batch)
        places = (operation.netns for operation in batch if not isinstance(operation, WriteFile | RemoveFile))
        followed = self.programming.in_force(len(batch), places)
        self.kube_proxies.in_force(self.cluster, batch, time.monotonic() - started, followed, full=full)

    def _run(self, cluster: Cluster) -> None:
        """Make listeners, processes and probes those of `cluster`, whose network stands. New Pods are ready, and get
        into their Services, once they listen."""
        assert self.kubelet is not None
        self._listen(cluster)
        self.readiness.changed = True
        self.kubelet.start(cluster)
        self.follow_readiness(dict.fromkeys(cluster.pods, True) | self.readiness.ready | self.kubelet.unheard())

    def _listen(self, cluster: Cluster) -> None:
        self.cluster = cluster
        coredns.configure(self.paths, cluster)
        self.containers.set(cluster)
        self._play(cluster)
        self.readiness.set(cluster)

    def _play(self, cluster: Cluster) -> None:
        """Have the responder be the containers that run."""
        self.containers.reshaped = False
        self.responder.set(listeners(cluster, self.containers.ended))

    def follow_readiness(self, ready: dict[str, bool]) -> None:
        """The fast way of a change of readiness alone. Raises KernelError."""
        assert self.cluster is not None
        self.readiness.changed = False
        started = time.monotonic()
        known = self.kubelet.gated(ready) if self.kubelet else ready
        former, self.cluster = self.cluster, with_readiness(self.cluster, known)
        if self.cluster is not former:
            self.responder.know(self.cluster)
            for key, pod in self.cluster.pods.items():
                if pod is not former.pods[key]:
                    self.programming.changed("Pod", key, "ready" if pod.ready else "not ready")
            self._in_force(self.network.follow(self.cluster), started)
            self.stale_udp.follow(former, self.cluster)
        remembered = self.readiness.remembered()
        if remembered != self.remembered:
            store.save_readiness(self.name, remembered)
            self.remembered = remembered

    def _report(self) -> None:
        assert self.kubelet is not None
        assert self.cluster is not None
        self.kubelet.report(self.cluster)

    def _save(self, state: State, cluster: Cluster) -> None:
        store.save_summary(self.name, summary(cluster, state))  # first: a lab with a state has a summary
        store.save(state, self._written)
        self.state = state

    # --- Time

    def tick(self) -> float:
        """What time, the controllers and the probes bring. Returns the seconds until it is due again."""
        self.responder.tick()
        self.kube_proxies.tick()
        due = [1.0, self.containers.tick(), self.readiness.tick()]
        if self.objects is None or self.kubelet is None or self.cluster is None:
            if self.unborn and self.readiness.changed:
                self._follow_unborn()
            return min(due)
        due.append(self._follow())  # before controllers make of the change what they will
        due.append(self.kubelet.beat(self.cluster))
        wait = self.objects.controllers.run(max(SHARE, self.took))
        self.controllers_due = time.monotonic() + wait
        due.append(0.0 if self.objects.changed else wait)
        if min(due) > 0.0 and gc.get_count()[0] > LITTER:
            gc.collect(0)
        return min(due)

    def _follow_unborn(self) -> None:
        """The first `up` waits for its Pods' probes, while there are no objects yet."""
        try:
            self.follow_readiness(self.readiness.ready)
        except errors.NslabError as error:
            log.error("following a change: %s", error)
            self.readiness.changed = True  # it is tried again

    def _follow(self) -> float:
        assert self.objects is not None
        assert self.kubelet is not None
        assert self.cluster is not None
        try:
            if self.containers.reshaped:
                self._play(self.cluster)
            if self.objects.changed:
                self.converge()
            elif self.readiness.changed:
                self.follow_readiness(self.readiness.ready)
                self._report()
            elif self.readiness.stale:
                self._report()
            self.error = ""
            self.kube_proxies.level()
        except errors.NslabError as error:
            self.kube_proxies.failed(error)
            if str(error) != self.error:
                log.error("following a change: %s", error)
            self.error = str(error)
            self.objects.changed = True
            return RETRY
        left = self.kubelet.end(self.cluster)
        return 0.0 if self.objects.changed else left

    # --- What is asked

    @property
    def settled(self) -> bool:
        """Whether nothing is under way: no controller works, no Pod comes or goes."""
        return (
            self.objects is not None and self.kubelet is not None and not self.objects.changed
            and not self.kubelet.ending and not self._trying and self.controllers_due > time.monotonic()
            and not self.not_ready() and not self.stale_udp.busy
        )

    @property
    def _trying(self) -> bool:
        """Whether a controller tries something again that may just have come too early."""
        assert self.objects is not None
        return any(failure.attempts <= PASSING for failure in self.objects.controllers.failures.values())

    def not_ready(self) -> list[str]:
        """The Pods, by key, that are not ready and not about to go, nor ended or broken on purpose; those without a
        node among them."""
        if self.cluster is None:
            return []
        broken = {key for key, pod in self.cluster.pods.items() if self.cluster.broken(pod)}
        if self.objects is None:
            return [key for key, pod in self.cluster.pods.items() if not pod.ready and key not in broken]
        missing = []
        for body in self.objects.store.list("Pod"):
            metadata = body["metadata"]
            key = f"{metadata['namespace']}/{metadata['name']}"
            pod = self.cluster.pods.get(key)
            ended = (body.get("status") or {}).get("phase") in ("Succeeded", "Failed")
            if ended or key in broken or "deletionTimestamp" in metadata:
                continue
            if not (pod and pod.ready and pod.uid == metadata["uid"]):
                missing.append(key)
        return missing

    def failures(self) -> dict[str, str]:
        """What is being tried again, by what failed: a controller and its object, an object that cannot be had, or
        "network"."""
        if self.objects is None:
            return {}
        found = {name: failure.error for name, failure in self.objects.controllers.failures.items()}
        found |= {f"{kind} {namespace}/{name}": why for (kind, namespace, name), why in self.objects.refused.items()}
        return found | ({"network": self.error} if self.error else {})
