"""Whether this process may build networks, told by its capabilities: root of a user namespace may, too."""

from __future__ import annotations

from pathlib import Path

from nslab.errors import PrivilegeError

CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21


def effective_capabilities() -> int:
    """The bit mask of this process's effective capabilities (proc_pid_status(5), CapEff)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))


def missing_capabilities(held: int) -> list[str]:
    """The names of the capabilities that building networks takes and the mask `held` lacks."""
    needed = (("CAP_NET_ADMIN", CAP_NET_ADMIN), ("CAP_SYS_ADMIN", CAP_SYS_ADMIN))
    return [name for name, bit in needed if not held >> bit & 1]


def has_privilege() -> bool:
    return not missing_capabilities(effective_capabilities())


def require_privilege(purpose: str) -> None:
    """Raise PrivilegeError, with the remedy, where this process may not do what `purpose` ("building a lab") says."""
    missing = missing_capabilities(effective_capabilities())
    if missing:
        raise PrivilegeError(
            f"{purpose} needs root ({' and '.join(missing)} missing)",
            hint="run it with sudo, or inside `unshare --user --map-root-user --net --mount` with a tmpfs on /run",
        )
