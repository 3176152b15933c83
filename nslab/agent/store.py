"""A lab's state on disk: /run/nslab/LAB, on a tmpfs, so that it lives exactly as long as the namespaces do.

    store.journal    the objects, each change written before it is acknowledged
    state.json       the Lab, what `up` applied last, and leases, written before the kernel is touched (write-ahead)
    summary.json     counts and times, for `nslab ls`
    lock             held by the process that may change the lab (its pid is inside)
    api.sock         the Kubernetes API               ca.crt server.crt server.key token port   its TLS
    agent.sock       the agent's control socket          agent.log       its log
    responder.sock   the responder's control socket      responder.log   its log
    containers.json  processes of `image: host` containers
    readiness.json   which containers their probes found ready
    logs/            what those containers print
"""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nslab.cluster.naming import STATE_ROOT
from nslab.errors import NotFoundError, StateError, UsageError
from nslab.linux import locks

if TYPE_CHECKING:  # `nslab ls` reads summaries, and shall not wait for the nouns of what they sum up
    from nslab.api.objects import Manifest
    from nslab.cluster.memo import Memo
    from nslab.cluster.model import Leases

Json = dict[str, Any]

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def is_lab_name(text: str) -> bool:
    """Whether it is a DNS label (RFC 1123), of which names of namespaces, links and files can be made."""
    return _LABEL.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class State:
    """What a lab is beside its objects: its Lab and what `up` applied last, what was given out, the times (Unix
    seconds) of its first and its last `up`, and what that had to warn of."""

    manifest: Manifest
    leases: Leases
    created: float
    updated: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of one lab. Raises UsageError for a name that is no DNS label, which might lead anywhere."""

    lab: str

    def __post_init__(self) -> None:
        if not is_lab_name(self.lab):
            raise UsageError(
                f"{self.lab!r} cannot name a lab", hint="at most 63 of a-z, 0-9 and -, not at either end"
            )

    @property
    def root(self) -> Path:
        return Path(STATE_ROOT, self.lab)

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def journal(self) -> Path:
        return self.root / "store.journal"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def api_socket(self) -> Path:
        return self.root / "api.sock"

    @property
    def api_port(self) -> Path:
        return self.root / "port"

    @property
    def agent_socket(self) -> Path:
        return self.root / "agent.sock"

    @property
    def agent_log(self) -> Path:
        return self.root / "agent.log"

    @property
    def responder_socket(self) -> Path:
        return self.root / "responder.sock"

    @property
    def responder_log(self) -> Path:
        return self.root / "responder.log"

    @property
    def containers(self) -> Path:
        return self.root / "containers.json"

    @property
    def readiness(self) -> Path:
        return self.root / "readiness.json"

    def container_log(self, pod_key: str, container: str) -> Path:
        """The log of one container of the Pod NAMESPACE/NAME."""
        return self.root / "logs" / f"{pod_key.replace('/', '.')}.{container}.log"


def write_atomically(path: Path, content: str) -> None:
    """Replace the file's content so that a reader, or a crash, sees the old or the new one and nothing between."""
    import tempfile

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as file:
        file.write(content)
    os.rename(temporary, path)


def save(state: State, memo: Memo | None = None) -> None:
    """Write the lab's state; with a `memo`, in which the last manifest's JSON is kept, sooner where only leases are
    others. Raises OSError where the disk refuses."""
    encoded = {
        "leases": {each.name: getattr(state.leases, each.name) for each in fields(state.leases)},
        "created": state.created,
        "updated": state.updated,
        "warnings": state.warnings,
    }

    def manifest() -> str:
        return _dumps(encode_manifest(state.manifest))

    written = memo.one("manifest", (state.manifest,), manifest) if memo else manifest()
    write_atomically(Paths(state.manifest.lab.name).state, f'{{"manifest":{written},{_dumps(encoded)[1:]}')


def _dumps(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))


def load(lab: str) -> State:
    """Read the lab's state. Raises NotFoundError where there is none, StateError where it cannot be read."""
    from nslab.cluster.model import Leases

    path = Paths(lab).state
    try:
        encoded = json.loads(path.read_bytes())
        return State(
            decode_manifest(encoded["manifest"]), Leases(**encoded["leases"]), encoded["created"], encoded["updated"],
            tuple(encoded["warnings"]),
        )
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"there is no lab {lab!r}", hint="`nslab ls` lists the labs") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(
            f"the state of lab {lab} is damaged ({type(error).__name__}: {error})",
            hint=f"`nslab down {lab}` removes the lab all the same; `nslab up` then builds it anew", where=str(path),
        ) from error


def save_summary(lab: str, summary: Json) -> None:
    """Write what `nslab ls` shows without building the Cluster."""
    write_atomically(Paths(lab).summary, json.dumps(summary))


def save_readiness(lab: str, containers: dict[str, bool]) -> None:
    """Remember which containers are ready, by NAMESPACE/POD#UID#CONTAINER."""
    write_atomically(Paths(lab).readiness, json.dumps(containers))


def load_readiness(lab: str) -> dict[str, bool]:
    """What `save_readiness` wrote last; empty where that cannot be read."""
    try:
        containers = dict(json.loads(Paths(lab).readiness.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}
    return {str(key): ready for key, ready in containers.items() if isinstance(ready, bool)}


def ready_pods(containers: dict[str, bool]) -> dict[str, bool]:
    """The Ready condition, by Pod key, of Pods with such containers: all must be ready."""
    pods: dict[str, bool] = {}
    for key, ready in containers.items():
        pod = key.partition("#")[0]
        pods[pod] = pods.get(pod, True) and ready
    return pods


def hold(lab: str, timeout: float = 0.0) -> int | None:
    """Take the lab's lock, making its directory: an open file that holds it, or None where another process does for
    longer than `timeout` seconds."""
    paths = Paths(lab)
    deadline = time.monotonic() + timeout
    while True:
        with suppress(FileNotFoundError):  # a `down` of it takes the directory away
            paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = locks.lock(str(paths.lock))
            if lock is not None:
                return lock
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.01)


def labs() -> list[str]:
    """The labs with a state on disk, sorted."""
    root = Path(STATE_ROOT)
    if not root.is_dir():
        return []
    return sorted(
        entry.name for entry in root.iterdir() if is_lab_name(entry.name) and (entry / "state.json").exists()
    )


def remove(lab: str) -> None:
    """Remove the lab's state, and the root of all states when it was the last one. What is gone already is fine."""
    import shutil

    shutil.rmtree(Paths(lab).root, ignore_errors=True)
    with suppress(OSError):  # other labs live there, or it is gone
        os.rmdir(STATE_ROOT)


def encode_manifest(manifest: Manifest) -> Json:
    """The manifest as JSON, for the state on disk and for the control socket."""
    return {
        "lab": asdict(manifest.lab),
        "objects": [
            [item.api_version, item.kind, item.namespace, item.name, item.body, item.where]
            for item in manifest.objects
        ],
        "ignored": manifest.ignored,
        "warnings": manifest.warnings,
    }


def decode_manifest(encoded: Json) -> Manifest:
    """The inverse of `encode_manifest`."""
    from nslab.api.objects import ClientSpec, ClusterSpec, LabSpec, Manifest, NodeSpec, Object, VpcSpec

    lab = dict(encoded["lab"])
    lab["cluster"] = ClusterSpec(**lab["cluster"])
    lab["vpc"] = VpcSpec(**lab["vpc"])
    lab["nodes"] = tuple(NodeSpec(**node) for node in lab["nodes"])
    lab["clients"] = tuple(ClientSpec(**client) for client in lab["clients"])
    lab["checks"] = tuple(lab["checks"])
    return Manifest(
        LabSpec(**lab),
        tuple(Object(*item) for item in encoded["objects"]),
        tuple(encoded["ignored"]),
        tuple(encoded["warnings"]),
    )
