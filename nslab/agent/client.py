"""What commands ask of a lab: `up`, `down`, its snapshot. Cheap to import."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nslab.agent import messages, store
from nslab.agent.calls import (
    BUSY_TIMEOUT,
    POLL,
    AgentEndedError,
    Progress,
    StandbyAgent,
    agent_status,
    ask,
    busy,
    holder,
    live_agent,
    stop_agent,
)
from nslab.errors import BusyError, NotFoundError, NslabError, UsageError
from nslab.linux.lab_files import Paths

if TYPE_CHECKING:
    from nslab.api.objects import Body, Manifest
    from nslab.cluster.model import Cluster


@dataclass(frozen=True, slots=True)
class LabEntry:
    """One line of `nslab ls`. `agent_pid` is None when the agent is dead; `file` is what the lab was made from."""

    name: str
    nodes: int
    pods: int
    services: int
    created: float
    updated: float
    file: str
    agent_pid: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A lab as it is now. `ready` and `restarts` are by Pod key; `bodies` are its objects by kind."""

    cluster: Cluster
    created: float
    updated: float
    agent_pid: int | None = None
    responder_pid: int | None = None
    ready: dict[str, bool] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    bodies: Mapping[str, list[Body]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    programming: messages.Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpResult:
    """What an `up` did. `changed` has a line for each thing that differs; `seconds` is the whole time it took;
    `next_steps` are commands for whoever has just built the lab, none where it was there."""

    lab: str
    created: bool
    operations: int
    changed: list[str]
    warnings: list[str]
    not_ready: list[str]
    seconds: float
    next_steps: list[str]

    @property
    def ready(self) -> bool:
        return not self.not_ready


def up(
    manifest: Manifest, *, wait: float, progress: Progress | None = None, standby: StandbyAgent | None = None
) -> UpResult:
    """Build the lab, or converge it to the manifest. Waits up to `wait` seconds for every Pod to be ready.

    Raises KernelError, OwnershipError, CapacityError and their like from the agent, BusyError where another process
    holds the lab.
    """
    started = time.monotonic()
    lab = manifest.lab.name
    connection = live_agent(lab, standby)
    request = {"op": "up", "manifest": store.encode_manifest(manifest), "wait": wait}
    try:
        result = ask(lab, connection, request, progress)
    except AgentEndedError as error:  # such as one without a lab, which ends by itself
        if error.began:
            raise
        result = ask(lab, live_agent(lab, None), request, progress)
    return UpResult(
        result["lab"], result["created"], result["operations"], result["changed"], result["warnings"],
        result["not_ready"], time.monotonic() - started, result["next_steps"],
    )


def plan(manifest: Manifest) -> str:
    """The operations that `up` would do now, as command lines. Nothing is built. Raises as `up` does."""
    from nslab.agent.network import Network
    from nslab.agent.objects import Draft, read_journal
    from nslab.agent.rehearsal import rehearse
    from nslab.cluster.addons import with_addons
    from nslab.cluster.allocate import allocate
    from nslab.cluster.model import Leases
    from nslab.cluster.static_pods import with_static_pods
    from nslab.kubelet.nodes import wishes
    from nslab.linux.real import RealKernel

    lab = manifest.lab.name
    former = store.load(lab) if lab in store.labs() else None
    leases = former.leases if former else Leases()
    manifest = with_addons(manifest)
    cluster = allocate(with_static_pods(manifest), leases)
    if former:
        applied = replace(manifest, objects=wishes(manifest, cluster))
        _status_for_readers(lab)
        draft = Draft(tuple(read_journal(Paths(lab).journal)))
        cluster = rehearse(lab, draft, applied, former.manifest.objects, cluster, leases)
    _, batch = Network(RealKernel(), lab).plan(cluster)
    return batch.describe()


def drift(cluster: Cluster) -> list[str]:
    """What `up` would mend: the kernel against a lab as its objects have it, an operation a line."""
    from nslab.agent.network import Network
    from nslab.linux.real import RealKernel

    _, batch = Network(RealKernel(), cluster.lab.name).plan(cluster)
    return [operation.describe() for operation in batch]


def down(lab: str, progress: Progress | None = None) -> bool:
    """Remove the lab: its processes, namespaces, files and state. False when nothing of it was there.

    Waits for an `up` or another `down` that is at it; raises BusyError where that takes too long.
    """
    from nslab.agent.teardown import teardown

    known = Paths(lab).root.exists()
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        stop_agent(lab)
        lock = store.hold(lab, POLL)
        if lock is not None:
            break
        if time.monotonic() >= deadline:  # an agent that an `up` started meanwhile was asked to stop, too
            raise busy(lab)
    try:
        return bool(teardown(lab, progress)) or known
    finally:
        os.close(lock)


def wake(lab: str) -> None:
    """Have the lab's agent live and serve its API. Raises NotFoundError where there is no such lab."""
    store.load(lab)
    ask(lab, live_agent(lab, None), {"op": "serve"})


def settle(lab: str, wait: float) -> list[str]:
    """Wait, `wait` seconds at most, until nothing is under way in the lab. Returns the Pods that are not ready."""
    missing: list[str] = ask(lab, live_agent(lab, None), {"op": "settle", "wait": wait})["not_ready"]
    return missing


def events(lab: str, cursor: messages.Json | None = None) -> tuple[list[messages.Json], messages.Json]:
    """What happened in the lab (the lines of `history`), and the cursor with which the next call gets what is new.
    Raises NotFoundError where there is no such lab."""
    store.load(lab)
    answer = ask(lab, live_agent(lab, None), {"op": "events", "cursor": cursor or {}})
    return answer["lines"], answer["cursor"]


def queries(lab: str, since: int = 0) -> list[messages.Json]:
    """The last queries that the lab's name servers answered, those after number `since` (ResponderClient.queries).
    Raises NotFoundError where there is no such lab, NslabError where nothing serves it."""
    from nslab.servers.responder_client import ResponderClient

    store.load(lab)
    try:
        with ResponderClient(str(Paths(lab).responder_socket)) as responder:
            return responder.queries(since)
    except OSError as error:
        hint = f"its agent starts it again; its log: {Paths(lab).responder_log}"
        raise NslabError(f"the responder of lab {lab} does not answer: {error}", hint=hint) from error


def kubeconfig(lab: str) -> str:
    """A kubeconfig file for the lab's API. Raises NotFoundError where there is no such lab."""
    store.load(lab)
    content: str = ask(lab, live_agent(lab, None), {"op": "kubeconfig"})["kubeconfig"]
    return content


def gc() -> list[str]:
    """Remove what no lab holds any more; returns what was removed."""
    from nslab.agent.teardown import collect

    return collect()


def labs() -> list[LabEntry]:
    """The labs of this machine. One whose summary cannot be read has no counts."""
    entries = []
    for lab in store.labs():
        try:
            fields: dict[str, Any] = json.loads(Paths(lab).summary.read_bytes())
            entries.append(LabEntry(**fields, agent_pid=holder(lab)))
        except (OSError, ValueError, TypeError):
            entries.append(LabEntry(lab, 0, 0, 0, 0.0, 0.0, "", holder(lab)))
    return entries


def pick(lab: str | None) -> str:
    """The lab that a command is about: the named one, that of NSLAB_LAB, or the only one there is.

    Raises NotFoundError where there is none of that name, or none at all, and UsageError where there are several.
    """
    known = store.labs()
    wanted = lab or os.environ.get("NSLAB_LAB")
    if wanted:
        if wanted not in known:
            raise NotFoundError(f"there is no lab {wanted!r}", hint=f"labs: {', '.join(known) or 'none'}")
        return wanted
    if not known:
        raise NotFoundError("no lab is up", hint="`nslab up topology.yaml` builds one")
    if len(known) > 1:
        raise UsageError(f"several labs are up: {', '.join(known)}", hint="name one with --lab NAME or NSLAB_LAB")
    return known[0]


def snapshot(lab: str) -> Snapshot:
    """The lab as it is now: its state and its journal are on disk, whether its agent lives or not. Raises
    NotFoundError."""
    from nslab.agent.objects import manifest, objects, places, possible, read_journal, restarts, stored
    from nslab.controllers.metadata import key_of
    from nslab.controllers.pods import is_ready

    state = store.load(lab)
    status = _status_for_readers(lab)
    bodies = stored(read_journal(Paths(lab).journal))
    ready = {key_of(body): is_ready(body) for body in bodies.get("Pod", ())}
    found = manifest(state.manifest.lab, bodies, places(state.manifest.objects))
    cluster, _ = possible(found, state.leases, ready)
    return Snapshot(
        replace(cluster, objects=objects(bodies), warnings=state.warnings), state.created, state.updated,
        status.get("pid"), status.get("responder_pid"), ready, restarts(bodies.get("Pod", ())), bodies,
        status.get("failures", {}), status.get("programming", {}),
    )


def _status_for_readers(lab: str) -> messages.Json:
    """What the agent says of itself; nothing where it does not answer and the objects can be read all the same. Ask
    before reading the journal: a new lab's objects are in it once the agent has answered."""
    try:
        return agent_status(lab, whole=True) or {}
    except BusyError:
        journal = Paths(lab).journal
        if not journal.exists() or not journal.stat().st_size:
            raise
        return {}


def log_path(lab: str, pod_key: str, container: str) -> str:
    """The file with what an `image: host` container of the Pod NAMESPACE/NAME printed."""
    return str(Paths(lab).container_log(pod_key, container))
