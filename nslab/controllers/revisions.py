"""ControllerRevisions: the templates that a StatefulSet or DaemonSet had (pkg/controller/history)."""

from __future__ import annotations

from hashlib import sha256
from json import dumps

from nslab.api.objects import Body
from nslab.cluster.workloads import safe_hash
from nslab.controllers.index import Index
from nslab.controllers.interface import Store
from nslab.controllers.metadata import (
    annotations_of,
    controller_of,
    key_of,
    namespace_of,
    owner_reference,
    owners_of,
    split,
    uid_of,
    with_metadata,
)  # fmt: skip

REVISION_LABEL = "controller-revision-hash"


def revision_hash(template: Body) -> str:
    """What tells one template from another in names and labels."""
    return safe_hash(sha256(dumps(template, sort_keys=True).encode()).hexdigest(), 10)


class Revisions:
    """The history of workloads, kept in the store."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store = store
        self._index = index

    def current(self, owner: Body) -> str:
        """The name of the revision of the present template, which is written if it is new; one that was there before
        becomes the latest again. One of that name that another workload owns has the same template, as the hash in
        its name says, and serves both (history.CreateControllerRevision)."""
        template = owner["spec"]["template"]
        name = f"{owner['metadata']['name']}-{revision_hash(template)}"
        self._adopt(owner)
        latest = max((body["revision"] for body in self.history(owner)), default=0)
        known = self._store.get("ControllerRevision", namespace_of(owner), name)
        if known is None:
            labels = (template.get("metadata") or {}).get("labels") or {}
            self._store.create("ControllerRevision", {
                "apiVersion": "apps/v1", "kind": "ControllerRevision",
                "metadata": {
                    "name": name, "namespace": namespace_of(owner), "annotations": annotations_of(owner),
                    "labels": {**labels, REVISION_LABEL: revision_hash(template)},
                    "ownerReferences": [owner_reference(owner)],
                },
                "data": {"spec": {"template": template}}, "revision": latest + 1,
            })
        elif known["revision"] < latest and (controller_of(known) or {}).get("uid") == uid_of(owner):
            self._store.update("ControllerRevision", {**known, "revision": latest + 1})
        return name

    def _adopt(self, owner: Body) -> None:
        """Take over the revisions that its selector selects and nobody owns: those of a workload of its name that was
        deleted without them."""
        for body in self._index.orphans["ControllerRevision"].select(namespace_of(owner), owner["spec"]["selector"]):
            owners = [*owners_of(body), owner_reference(owner)]
            self._store.update("ControllerRevision", with_metadata(body, ownerReferences=owners))

    def history(self, owner: Body) -> list[Body]:
        """The revisions of a workload, oldest first."""
        owned = self._index.owned(uid_of(owner), "ControllerRevision")
        return sorted(owned, key=lambda body: int(body["revision"]))

    def template(self, owner: Body, name: str) -> Body:
        """The template of a revision, the present one if that revision is gone."""
        body = self._store.get("ControllerRevision", namespace_of(owner), name)
        template: Body = body["data"]["spec"]["template"] if body else owner["spec"]["template"]
        return template

    def trim(self, owner: Body, live: set[str]) -> None:
        """Remove the oldest revisions beyond revisionHistoryLimit that are not in `live` (names)."""
        idle = [body for body in self.history(owner) if body["metadata"]["name"] not in live]
        limit = owner["spec"].get("revisionHistoryLimit", 10)
        for body in idle[: max(len(idle) - limit, 0)]:
            self._store.delete("ControllerRevision", *split(key_of(body)))
