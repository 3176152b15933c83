"""A lab's state on disk: its Lab, what was given out, what was found ready."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nslab.cluster import naming
from nslab.errors import NotFoundError, StateError
from nslab.linux import locks
from nslab.linux.lab_files import Paths, is_lab_name, write_atomically

if TYPE_CHECKING:  # `nslab ls` reads summaries, and shall not wait for the nouns of what they sum up
    from nslab.api.objects import Manifest
    from nslab.cluster.memo import Memo
    from nslab.cluster.model import Leases

Json = dict[str, Any]

@dataclass(frozen=True, slots=True)
class State:
    """What a lab is beside its objects: its Lab and what `up` applied last, what was given out, the times (Unix
    seconds) of its first and its last `up`, and what that had to warn of."""

    manifest: Manifest
    leases: Leases
    created: float
    updated: float
    warnings: tuple[str, ...] = ()


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
    root = Path(naming.STATE_ROOT)
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
        os.rmdir(naming.STATE_ROOT)


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
    from nslab.api.objects import ClientSpec, ClusterSpec, DnsSpec, LabSpec, Manifest, NodeSpec, Object, VpcSpec

    lab = dict(encoded["lab"])
    lab["cluster"] = ClusterSpec(**lab["cluster"])
    lab["vpc"] = VpcSpec(**lab["vpc"])
    lab["nodes"] = tuple(NodeSpec(**node) for node in lab["nodes"])
    lab["clients"] = tuple(ClientSpec(**client) for client in lab["clients"])
    lab["checks"] = tuple(lab["checks"])
    lab["dns"] = DnsSpec(**lab["dns"])
    lab["zones"] = {
        zone: {name: tuple(values) for name, values in names.items()} for zone, names in lab["zones"].items()
    }
    return Manifest(
        LabSpec(**lab),
        tuple(Object(*item) for item in encoded["objects"]),
        tuple(encoded["ignored"]),
        tuple(encoded["warnings"]),
    )
