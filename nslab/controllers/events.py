"""Events: what a controller did, and why it could not, for `describe` and `get events` (client-go tools/record)."""

from __future__ import annotations

from collections import deque
from hashlib import sha256

from nslab.api.objects import Body
from nslab.controllers.interface import Clock, Store
from nslab.controllers.metadata import created, key_of, namespace_of, seconds, split, timestamp, uid_of


class Recorder:
    """Writes Events beside the objects they are about, and removes those older than `ttl` seconds. The same Event
    again counts up the one that is there."""

    def __init__(self, store: Store, now: Clock, ttl: float) -> None:
        self._store = store
        self._now = now
        self._ttl = ttl
        written = sorted(store.list("Event"), key=created)
        self._known = deque((created(body), key_of(body)) for body in written)

    def normal(self, about: Body, reason: str, message: str, component: str, **place: str) -> None:
        """`place` is where in the object or the cluster it happened: field_path ("spec.containers{web}"), host."""
        self._record(about, "Normal", reason, message, component, **place)

    def warning(self, about: Body, reason: str, message: str, component: str, **place: str) -> None:
        self._record(about, "Warning", reason, message, component, **place)

    def _record(
        self, about: Body, kind: str, reason: str, message: str, component: str,
        *, field_path: str = "", host: str = "",
    ) -> None:
        self._expire()
        identity = f"{uid_of(about)}/{kind}/{reason}/{message}/{component}{field_path}{host}"
        name = f"{about['metadata']['name']}.{sha256(identity.encode()).hexdigest()[:16]}"
        namespace = namespace_of(about) or "default"
        time = timestamp(self._now())
        known = self._store.get("Event", namespace, name)
        if known is not None:
            self._store.update("Event", {**known, "count": known.get("count", 1) + 1, "lastTimestamp": time})
            return
        involved = {
            "apiVersion": about["apiVersion"], "kind": about["kind"], "name": about["metadata"]["name"],
            "uid": uid_of(about), **({"fieldPath": field_path} if field_path else {}),
        }
        if namespace_of(about):
            involved["namespace"] = namespace
        self._store.create("Event", {
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace},
            "involvedObject": involved, "reason": reason, "message": message, "type": kind, "count": 1,
            "firstTimestamp": time, "lastTimestamp": time,
            "source": {"component": component, **({"host": host} if host else {})},
            "reportingComponent": component, "reportingInstance": host,
        })
        self._known.append((self._now(), f"{namespace}/{name}"))

    def _expire(self) -> None:
        while self._known and self._known[0][0] < self._now() - self._ttl:
            _, key = self._known.popleft()
            body = self._store.get("Event", *split(key))
            if body is None:
                continue
            last = seconds(body["lastTimestamp"])
            if last < self._now() - self._ttl:
                self._store.delete("Event", *split(key))
            else:
                self._known.append((last, key))
