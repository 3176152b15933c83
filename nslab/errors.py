"""Every error nslab raises on purpose.

An error says what is wrong (`message`), where (`where`) and what to do about it (`hint`). The subclasses differ
by who must act, and with that by the exit code of the command (docs: "Exit codes").
"""

from __future__ import annotations


class NslabError(Exception):
    """Base of all errors with a place and a remedy. `exit_code` is the command's exit status."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  {self.hint}" if self.hint else text


class CheckError(NslabError):
    """A check failed, or a probe did not find what was expected."""

    exit_code = 1


class UsageError(NslabError):
    """The command line cannot be understood or combined so."""

    exit_code = 2


class ManifestError(NslabError):
    """The user's files are at fault. Carries every fault found in one pass."""

    exit_code = 3

    def __init__(self, faults: list[str], *, hint: str = "") -> None:
        super().__init__("\n".join(faults), hint=hint)
        self.faults = faults


class CapacityError(NslabError):
    """A range, a node or a pool has no room left for what the objects ask for."""

    exit_code = 3


class PrivilegeError(NslabError):
    """The caller lacks a privilege (root, or CAP_NET_ADMIN and CAP_SYS_ADMIN)."""

    exit_code = 4


class FeatureError(NslabError):
    """The kernel or the host lacks a feature or a tool."""

    exit_code = 4


class KernelError(NslabError):
    """The kernel refused an operation.

    `operation` is the refused operation as `ip`, `nft` or `sysctl` lines, of which the message quotes the first;
    `errno` is the kernel's answer and
    `netns` the network namespace it was meant for.
    """

    exit_code = 5

    def __init__(self, operation: str, errno: int, netns: str, *, detail: str = "", hint: str = "") -> None:
        from errno import errorcode
        from os import strerror

        name = errorcode.get(errno, str(errno))
        first, _, more = operation.partition("\n")
        text = f"the kernel refused `{first}{' ..' if more else ''}`: {strerror(errno)} ({name})"
        super().__init__(f"{text}: {detail}" if detail else text, hint=hint, where=f"netns {netns}")
        self.operation = operation
        self.errno = errno
        self.netns = netns


class OwnershipError(NslabError):
    """Something with a wanted name exists and is not the lab's: it is refused, never taken or deleted."""

    exit_code = 5


class NotFoundError(NslabError):
    """There is no such lab or object."""

    exit_code = 6


class BusyError(NslabError):
    """Somebody else holds the lab."""

    exit_code = 5


class StateError(NslabError):
    """What nslab keeps of a lab on disk cannot be read."""

    exit_code = 5
