"""Deployments: a ReplicaSet for each template, replaced step by step (pkg/controller/deployment)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nslab.api.objects import Body, Object
from nslab.cluster.selectors import matches
from nslab.cluster.workload_objects import replica_set
from nslab.cluster.workloads import HASH_LABEL, Template, replica_set_name
from nslab.controllers.deployment_status import deployment_status
from nslab.controllers.index import Selector
from nslab.controllers.interface import Event
from nslab.controllers.metadata import (
    annotations_of,
    controller_of,
    created,
    is_terminating,
    key_of,
    labels_of,
    namespace_of,
    owner_reference,
    rounded,
    split,
    status_of,
    uid_of,
    with_annotations,
    with_metadata,
    with_spec,
)  # fmt: skip
from nslab.controllers.pods import PodControl, is_finished

REVISION = "deployment.kubernetes.io/revision"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"


class DeploymentController:
    """Owns ReplicaSets; the Pods are theirs."""

    name = "deployment-controller"

    def __init__(self, pods: PodControl) -> None:
        self._pods = pods
        self._store = pods.store
        self._index = pods.index

    def keys(self, event: Event) -> Iterable[str]:
        if event.kind == "Deployment":
            return (key_of(event.body),) if event.type != "DELETED" else ()
        if event.kind == "ReplicaSet":
            owner = controller_of(event.body)
            return (f"{namespace_of(event.body)}/{owner['name']}",) if owner else ()
        # Recreate waits for the last old Pod to be gone, which its ReplicaSet's status does not show.
        return self._keys_of_gone(event.body) if event.kind == "Pod" and event.type == "DELETED" else ()

    def _keys_of_gone(self, pod: Body) -> Iterable[str]:
        owner = controller_of(pod)
        if owner and owner["kind"] == "ReplicaSet":
            found = self._store.get("ReplicaSet", namespace_of(pod), owner["name"])
            deployment = controller_of(found) if found else None
            if deployment:
                yield f"{namespace_of(pod)}/{deployment['name']}"

    def sync(self, key: str) -> float | None:
        deployment = self._store.get("Deployment", *split(key))
        if deployment is None:
            return None
        owned = self._claim(deployment)
        if not is_terminating(deployment):
            self._step(deployment, owned)
        return self._report(key)

    def _step(self, deployment: Body, owned: list[Body]) -> None:
        """One step towards the wish. What it changes comes back as an event of a ReplicaSet."""
        paused = bool(deployment["spec"].get("paused"))
        new = self._new(deployment, owned)
        if paused or self._is_scaling(deployment, owned):
            self._scale_all(deployment, new, _without(owned, new))
        elif _strategy(deployment) == "Recreate":
            self._recreate(deployment, new, _without(owned, new))
        else:
            self._roll(deployment, new, _without(owned, new))
        if not paused:
            self._clean_up(deployment, _without(owned, new))

    # --- ReplicaSets

    def _claim(self, deployment: Body) -> list[Body]:
        """Its ReplicaSets, oldest first; orphans that it selects are adopted."""
        selector: Selector = deployment["spec"]["selector"]
        claimed = self._index.owned(uid_of(deployment), "ReplicaSet")
        if not is_terminating(deployment):
            for body in self._index.orphans["ReplicaSet"].select(namespace_of(deployment), selector):
                if not is_terminating(body) and matches(selector, labels_of(body)):
                    owners = [owner_reference(deployment)]
                    claimed.append(self._store.update("ReplicaSet", with_metadata(body, ownerReferences=owners)))
        return sorted(claimed, key=created)

    def _new(self, deployment: Body, owned: list[Body]) -> Body | None:
        """The ReplicaSet of the present template, if there is one."""
        template = deployment["spec"]["template"]
        known = [body for body in owned if _plain(body["spec"]["template"]) == _plain(template)]
        if known:
            return known[0]
        item = _object(deployment)
        name, _ = replica_set_name(Template(item, template))
        return next((body for body in owned if body["metadata"]["name"] == name), None)

    def _ensured(self, deployment: Body, new: Body | None, old: Sequence[Body]) -> Body:
        """The ReplicaSet of the present template, made if need be, with the latest revision."""
        latest = max((_revision(body) for body in old), default=0)
        min_ready = deployment["spec"].get("minReadySeconds", 0)
        if new is None:
            body = replica_set(_object(deployment), uid_of(deployment), _first_step(deployment, old), latest + 1)
            body = with_annotations(body, **_scale_annotations(deployment))
            new = self._store.create("ReplicaSet", with_spec(body, minReadySeconds=min_ready))
            self._told(deployment, new, 0, _size(new))
        elif _revision(new) <= latest or new["spec"].get("minReadySeconds", 0) != min_ready:
            revision = str(max(_revision(new), latest + 1))
            body = with_spec(with_annotations(new, **{REVISION: revision}), minReadySeconds=min_ready)
            new = self._store.update("ReplicaSet", body)
        if annotations_of(deployment).get(REVISION) != str(_revision(new)):
            self._store.update("Deployment", with_annotations(deployment, **{REVISION: str(_revision(new))}))
        return new

    def _scale(self, deployment: Body, body: Body, replicas: int) -> bool:
        """Give a ReplicaSet its number; whether that was another one than before."""
        annotations = _scale_annotations(deployment)
        before = _size(body)
        if before == replicas and annotations.items() <= annotations_of(body).items():
            return False
        self._store.update("ReplicaSet", with_spec(with_annotations(body, **annotations), replicas=replicas))
        if before != replicas:
            self._told(deployment, body, before, replicas)
        return before != replicas

    def _told(self, deployment: Body, body: Body, before: int, after: int) -> None:
        if before != after:
            verb = "up" if after > before else "down"
            message = f"Scaled {verb} replica set {body['metadata']['name']} from {before} to {after}"
            self._pods.recorder.normal(deployment, "ScalingReplicaSet", message, self.name)

    def _clean_up(self, deployment: Body, old: list[Body]) -> None:
        """Remove old ReplicaSets beyond revisionHistoryLimit, once the rollout is complete."""
        fresh = self._store.get("Deployment", *split(key_of(deployment)))
        if fresh is None or not _is_complete(fresh):
            return
        idle = [
            body for body in old
            if not _size(body) and not status_of(body).get("replicas") and not is_terminating(body)
        ]
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        for body in sorted(idle, key=_revision)[: max(len(idle) - limit, 0)]:
            self._store.delete("ReplicaSet", *split(key_of(body)))

    # --- Scaling

    def _is_scaling(self, deployment: Body, owned: Sequence[Body]) -> bool:
        """Whether the user changed `replicas` since the ReplicaSets got their numbers."""
        desired = str(_replicas(deployment))
        active = (body for body in owned if _size(body))
        return any(annotations_of(body).get(DESIRED, desired) != desired for body in active)

    def _scale_all(self, deployment: Body, new: Body | None, old: list[Body]) -> None:
        """A change of `replicas`: to the only active ReplicaSet, or in proportion to several (sync.go scale)."""
        every = [*old, new] if new else old
        active = [body for body in every if _size(body)]
        if len(active) <= 1:
            only = active[0] if active else new or (old[-1] if old else None)
            if only is not None:
                self._scale(deployment, only, _replicas(deployment))
            return
        if new is not None and _size(new) == _available(new) == _replicas(deployment):
            for body in old:
                self._scale(deployment, body, 0)
            return
        if _strategy(deployment) != "Recreate":
            self._scale_in_proportion(deployment, active)

    def _scale_in_proportion(self, deployment: Body, active: list[Body]) -> None:
        total = sum(_size(body) for body in active)
        desired = _replicas(deployment)
        allowed = desired + _surge(deployment) if desired else 0
        rest = allowed - total
        sign = 1 if rest < 0 else -1
        ordered = sorted(active, key=lambda body: (-_size(body), created(body) * sign))
        wanted = []
        for body in ordered:
            share = _share(body, desired, allowed, rest)
            rest -= share
            wanted.append(_size(body) + share)
        wanted[0] = max(wanted[0] + rest, 0)  # what rounding left over
        for body, replicas in zip(ordered, wanted, strict=True):
            self._scale(deployment, body, replicas)

    # --- Strategies

    def _recreate(self, deployment: Body, new: Body | None, old: list[Body]) -> None:
        scaled = [self._scale(deployment, body, 0) for body in old if _size(body)]
        if any(scaled) or any(
            not is_finished(pod) for body in old for pod in self._index.owned(uid_of(body), "Pod")
        ):
            return
        new = self._ensured(deployment, new, old)
        self._scale(deployment, new, _replicas(deployment))

    def _roll(self, deployment: Body, new: Body | None, old: list[Body]) -> None:
        new = self._ensured(deployment, new, old)
        if not self._scale(deployment, new, _next_size(deployment, new, old)):
            self._shrink(deployment, new, old)

    def _shrink(self, deployment: Body, new: Body, old: list[Body]) -> None:
        """Take from old ReplicaSets what is not needed for availability: first Pods that serve nobody, then others
        (rolling.go reconcileOldReplicaSets)."""
        total = sum(_size(body) for body in [*old, new])
        needed = _replicas(deployment) - _unavailable(deployment) + _size(new) - _available(new)
        spare = max(total - needed, 0)
        wanted = {uid_of(body): _size(body) for body in old}
        useless = {uid_of(body): _size(body) - _available(body) for body in old}
        for takeable in (useless, wanted):
            for uid in wanted:
                taken = min(spare, takeable[uid])
                wanted[uid] -= taken
                spare -= taken
        for body in old:
            if _size(body):
                self._scale(deployment, body, wanted[uid_of(body)])

    # --- Status

    def _report(self, key: str) -> float | None:
        deployment = self._store.get("Deployment", *split(key))
        if deployment is None:
            return None
        owned = self._claim(deployment)
        new = self._new(deployment, owned)
        status, delay = deployment_status(deployment, new, owned, self._pods.now(), _unavailable(deployment))
        if status != status_of(deployment):
            self._store.update("Deployment", {**deployment, "status": status}, status=True)
        return delay


def _replicas(deployment: Body) -> int:
    return int(deployment["spec"].get("replicas", 1))


def _strategy(deployment: Body) -> str:
    kind: str = (deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate")
    return kind


def _limits(deployment: Body) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in Pods; not both can be none, or nothing would ever move (ResolveFenceposts)."""
    if _strategy(deployment) == "Recreate":
        return 0, 0
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    replicas = _replicas(deployment)
    surge: int = rounded(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = rounded(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    return surge, min(unavailable or (0 if surge else 1), replicas)


def _surge(deployment: Body) -> int:
    return _limits(deployment)[0]


def _unavailable(deployment: Body) -> int:
    return _limits(deployment)[1]


def _size(body: Body) -> int:
    """How many Pods a ReplicaSet shall have."""
    return int(body["spec"]["replicas"])


def _available(body: Body) -> int:
    """The available Pods of a ReplicaSet, as far as it shall have them still."""
    return min(int(status_of(body).get("availableReplicas", 0)), _size(body))


def _first_step(deployment: Body, old: Sequence[Body]) -> int:
    """How many Pods a new ReplicaSet begins with."""
    if _strategy(deployment) == "Recreate":
        return _replicas(deployment)
    room = _replicas(deployment) + _surge(deployment) - sum(map(_size, old))
    return max(min(room, _replicas(deployment)), 0)


def _next_size(deployment: Body, new: Body, old: Sequence[Body]) -> int:
    """How many Pods the new ReplicaSet shall have now (deployment_util.go NewRSNewReplicas)."""
    size = _size(new)
    desired = _replicas(deployment)
    if size >= desired:
        return desired
    room = desired + _surge(deployment) - size - sum(map(_size, old))
    return size + max(min(room, desired - size), 0)


def _share(body: Body, desired: int, allowed: int, rest: int) -> int:
    """What of a change of size falls to one ReplicaSet (deployment_util.go GetReplicaSetProportion)."""
    size = _size(body)
    before = int(annotations_of(body).get(MAXIMUM, "0")) or desired
    if not desired:
        return -size
    share = int(size * allowed / before + 0.5) - size
    return min(share, rest) if rest > 0 else max(share, rest)


def _scale_annotations(deployment: Body) -> dict[str, str]:
    return {DESIRED: str(_replicas(deployment)), MAXIMUM: str(_replicas(deployment) + _surge(deployment))}


def _revision(body: Body) -> int:
    return int(annotations_of(body).get(REVISION, "0"))


def _is_complete(deployment: Body) -> bool:
    status, replicas = status_of(deployment), _replicas(deployment)
    counts = [status.get(field, 0) for field in ("updatedReplicas", "replicas", "availableReplicas")]
    return counts == [replicas] * 3 and status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]


def _plain(template: Body) -> Body:
    """A template without the hash that a ReplicaSet adds (EqualIgnoreHash)."""
    metadata = template.get("metadata") or {}
    labels = {name: value for name, value in (metadata.get("labels") or {}).items() if name != HASH_LABEL}
    return {**template, "metadata": {**metadata, "labels": labels}}


def _without(owned: Iterable[Body], new: Body | None) -> list[Body]:
    return [body for body in owned if new is None or uid_of(body) != uid_of(new)]


def _object(deployment: Body) -> Object:
    name = deployment["metadata"]["name"]
    return Object(deployment["apiVersion"], "Deployment", namespace_of(deployment), name, deployment)
