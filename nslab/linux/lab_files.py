"""A lab's files: /run/nslab/LAB, on a tmpfs, so that they live exactly as long as the namespaces do.

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

import os
import re
from dataclasses import dataclass
from pathlib import Path

from nslab.cluster import naming
from nslab.errors import UsageError

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def is_lab_name(text: str) -> bool:
    """Whether it is a DNS label (RFC 1123), of which names of namespaces, links and files can be made."""
    return _LABEL.fullmatch(text) is not None


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
        return Path(naming.STATE_ROOT, self.lab)

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def journal(self) -> Path:
        return self.root / "store.journal"

    @property
    def unborn_journal(self) -> Path:
        """What becomes the journal once it tells of a whole new lab."""
        return self.root / ".store.journal.unborn"

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
