"""The Events of the kubelets: what happened to a container, for `describe` (pkg/kubelet/events)."""

from __future__ import annotations

from collections.abc import Set

from nslab.apiserver.store import Store
from nslab.controllers.events import Recorder
from nslab.controllers.interface import Clock, Settings

BURST, REFILL = 25, 300.0
"""Events that a Pod may have at once, and seconds until it may have one more: a flapping probe fills no store
(client-go tools/record, EventSourceObjectSpamFilter)."""

LONGEST = 1024
"""Characters of a message that are kept (pkg/apis/core/validation/events.go)."""


class PodEvents:
    """Writes Events about the containers of stored Pods; those that come too fast are left out."""

    def __init__(self, store: Store, now: Clock) -> None:
        self._store = store
        self._now = now
        self._recorder = Recorder(store, now, Settings().event_ttl)
        self._budgets: dict[str, tuple[float, float]] = {}  # by uid: what is left, and when that was so

    def normal(self, pod_key: str, uid: str, container: str, reason: str, message: str) -> None:
        self._record("normal", pod_key, uid, container, reason, message)

    def warning(self, pod_key: str, uid: str, container: str, reason: str, message: str) -> None:
        self._record("warning", pod_key, uid, container, reason, message)

    def _record(self, kind: str, pod_key: str, uid: str, container: str, reason: str, message: str) -> None:
        pod = self._store.get("Pod", *pod_key.split("/"))
        if pod is None or pod["metadata"]["uid"] != uid or not self._affords(uid):
            return
        write = self._recorder.normal if kind == "normal" else self._recorder.warning
        node = pod["spec"].get("nodeName", "")
        path = f"spec.containers{{{container}}}"
        write(pod, reason, message[:LONGEST], "kubelet", field_path=path, host=node)

    def _affords(self, uid: str) -> bool:
        now = self._now()
        left, since = self._budgets.get(uid, (BURST, now))
        left = min(BURST, left + (now - since) / REFILL)
        self._budgets[uid] = (left - 1, now) if left >= 1 else (left, now)
        return left >= 1

    def forget_all_but(self, uids: Set[str]) -> None:
        """These Pods are there; of others nothing more comes."""
        self._budgets = {uid: budget for uid, budget in self._budgets.items() if uid in uids}
