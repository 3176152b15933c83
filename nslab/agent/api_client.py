"""The lab's Kubernetes API as a client on this machine sees it: HTTP over the unix socket."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException
from typing import Any

from nslab.agent import client
from nslab.agent.merging import merged, wish
from nslab.api.kinds import Kind
from nslab.errors import ManifestError, NotFoundError, NslabError
from nslab.linux.lab_files import Paths

Body = dict[str, Any]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MERGE_PATCH = "application/merge-patch+json"
TIMEOUT = 60.0
"""Seconds for one answer."""


class _ConflictError(NslabError):
    """Somebody else, such as a controller, changed the object since it was read."""


class _Connection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self.path)


class ApiClient:
    """The API of a running lab, whose agent is started where it is dead. Methods raise NotFoundError, ManifestError
    (the object is refused) and NslabError as the API answers."""

    def __init__(self, lab: str) -> None:
        client.wake(lab)
        self.lab = lab
        self._connection = _Connection(str(Paths(lab).api_socket))

    def request(self, method: str, path: str, body: Body | None = None, *, form: str = "application/json") -> Body:
        """The decoded answer to one request."""
        content = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, path, content, {"Content-Type": form})
            answer = self._connection.getresponse()
            decoded: Body = json.loads(answer.read())
        except (OSError, HTTPException, ValueError) as error:
            raise NslabError(f"lab {self.lab} does not answer: {error}", hint="run the command again") from error
        if answer.status < 400:
            return decoded
        message = decoded.get("message", answer.reason)
        if answer.status == 404:
            raise NotFoundError(message)
        if answer.status == 422:
            raise ManifestError([message])
        if decoded.get("reason") == "Conflict":
            raise _ConflictError(message)
        raise NslabError(message)

    def list(self, kind: Kind, namespace: str = "") -> list[Body]:
        """The objects of a kind, of one namespace or of all."""
        items: list[Body] = self.request("GET", _path(kind, namespace))["items"]
        return items

    def get(self, kind: Kind, namespace: str, name: str) -> Body:
        return self.request("GET", _path(kind, namespace, name))

    def patch(self, kind: Kind, namespace: str, name: str, patch: Body, subresource: str = "") -> Body:
        """Merge `patch` into an object (RFC 7386)."""
        path = _path(kind, namespace, name) + (f"/{subresource}" if subresource else "")
        return self.request("PATCH", path, patch, form=MERGE_PATCH)

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        self.request("DELETE", _path(kind, namespace, name))

    def apply(self, kind: Kind, body: Body) -> str:
        """Create or change an object as `kubectl apply` does: "created", "configured" or "unchanged"."""
        metadata = body["metadata"]
        namespace = metadata.get("namespace", "default") if kind.namespaced else ""
        new = wish(body)
        told = json.dumps(new, separators=(",", ":"), sort_keys=True)
        annotations = {**(metadata.get("annotations") or {}), LAST_APPLIED: told}
        annotated = {**new, "metadata": {**new["metadata"], "annotations": annotations}}
        while True:
            try:
                return self._merge(kind, namespace, annotated)
            except NotFoundError:
                self.request("POST", _path(kind, namespace), annotated)
                return "created"
            except _ConflictError:
                continue

    def _merge(self, kind: Kind, namespace: str, annotated: Body) -> str:
        """Merge a wish into the stored object. Raises NotFoundError where there is none, _ConflictError where it was
        changed meanwhile."""
        metadata = annotated["metadata"]
        stored = self.get(kind, namespace, metadata["name"])
        last = json.loads((stored["metadata"].get("annotations") or {}).get(LAST_APPLIED, "{}"))
        result = merged(last, annotated, stored)
        version = stored["metadata"]["resourceVersion"]
        after = self.request("PUT", _path(kind, namespace, metadata["name"]), result)
        return "unchanged" if after["metadata"]["resourceVersion"] == version else "configured"


def _path(kind: Kind, namespace: str, name: str = "") -> str:
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
    within = f"/namespaces/{namespace}" if kind.namespaced and namespace else ""
    return f"{root}{within}/{kind.plural}" + (f"/{name}" if name else "")
