"""The subresources `scale` and `log`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from nslab.api.notation import NONE
from nslab.api.objects import Body
from nslab.apiserver.errors import BadRequest, invalid
from nslab.apiserver.rest.messages import Request
from nslab.apiserver.tables import selector

MAX_REPLICAS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What of a container's log is asked for (core/v1 PodLogOptions). `tail` is a number of lines, `since` a Unix
    time, `limit` a number of octets; each is None for all."""

    container: str
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: float | None = None
    limit: int | None = None


Logs = Callable[[Body, LogOptions], bytes | AsyncIterator[bytes]]
"""The log of a container of a Pod; an iterator with `follow`. May raise StatusError."""


def log_options(request: Request, pod: Body, now: float) -> LogOptions:
    """The options of a request for a Pod's log. Raises BadRequest where it is unclear whose."""
    spec, name = pod.get("spec", {}), pod["metadata"]["name"]
    names = [container["name"] for container in (*spec.get("initContainers", ()), *spec.get("containers", ()))]
    container = request.query.get("container", "")
    if container and container not in names:
        raise BadRequest(f"container {container} is not valid for pod {name}")
    if not container and len(names) > 1:
        listed = " ".join(names)
        raise BadRequest(f"a container name must be specified for pod {name}, choose one of: [{listed}]")
    seconds = request.number("sinceSeconds")
    return LogOptions(
        container or names[0],
        follow=request.flag("follow"),
        previous=request.flag("previous"),
        timestamps=request.flag("timestamps"),
        tail=request.number("tailLines"),
        since=now - seconds if seconds is not None else None,
        limit=request.number("limitBytes"),
    )


def scale_of(body: Body) -> Body:
    """The Scale of a workload (autoscaling/v1)."""
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    chosen = selector(body, 0.0)
    return {
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {key: body["metadata"][key] for key in kept},
        "spec": {"replicas": body.get("spec", {}).get("replicas", 0)},
        "status": {
            "replicas": body.get("status", {}).get("replicas", 0), "selector": "" if chosen == NONE else chosen,
        },
    }  # fmt: skip


def scaled(body: Body, scale: Body) -> Body:
    """The workload with the replicas of a Scale. Raises Invalid for what is no number of replicas."""
    spec = scale.get("spec")
    replicas = spec.get("replicas", 0) if isinstance(spec, dict) else None
    if not isinstance(replicas, int) or isinstance(replicas, bool) or not 0 <= replicas <= MAX_REPLICAS:
        message = "Invalid value: must be a whole number, at least 0"
        cause = {"reason": "FieldValueInvalid", "message": message, "field": "spec.replicas"}
        raise invalid(body["kind"], body["metadata"]["name"], [cause])
    metadata = scale.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    kept = {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}
    return {
        **body, "spec": {**body.get("spec", {}), "replicas": replicas},
        "metadata": {**kept, "resourceVersion": version} if version else kept,
    }  # fmt: skip
