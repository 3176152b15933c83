"""The names of namespaces, links and files, derived from the lab's and the object's.

A dot separates the parts of a netns name: a lab's name is a DNS label and has none, so that one lab's prefix is
never another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nslab.cluster.model import Pod

STATE_ROOT = "/run/nslab"


def lab_prefix(lab: str) -> str:
    """The beginning of every netns name of the lab."""
    return f"{lab}."


def vpc_netns(lab: str) -> str:
    return f"{lab}.vpc"


def internet_netns(lab: str) -> str:
    return f"{lab}.internet"


def node_netns(lab: str, node: str) -> str:
    return f"{lab}.node.{node}"


def client_netns(lab: str, client: str) -> str:
    return f"{lab}.client.{client}"


def pod_netns(lab: str, pod: Pod) -> str:
    """The netns a Pod lives in: its own, or its node's with hostNetwork."""
    return node_netns(lab, pod.node) if pod.host_network else pod_files(lab, pod)


def pod_files(lab: str, pod: Pod) -> str:
    """The directory below /etc/netns with a Pod's own files: that of its netns, if it has one."""
    return _bounded(f"{lab}.pod.{pod.namespace}.{pod.name}")


def link_name(prefix: str, long_name: str) -> str:
    """`prefix` and a hash of the long name, within the kernel's 15 characters (IFNAMSIZ - 1)."""
    return f"{prefix}{_digest(long_name)}"[:15]


def short_digest(text: str) -> str:
    """Ten hexadecimal digits that stand for the text."""
    return _digest(text)[:10]


def _bounded(name: str, limit: int = 255) -> str:
    """A file name of at most `limit` octets; a longer one ends in a hash of the whole."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 11]}-{short_digest(name)}"


def object_uid(identity: str) -> str:
    """A UUID, as metadata.uid has one, that is the same for the same identity."""
    digest = _digest(identity)
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"


def _digest(text: str) -> str:
    """SHA-256 in hexadecimal. Its import loads OpenSSL, which commands that only need names of files can spare."""
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()
