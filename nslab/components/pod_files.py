"""The files of every Pod, node and client below /etc: /etc/netns/NETNS/hosts and resolv.conf, which `ip netns exec`
shows as /etc/hosts and /etc/resolv.conf.

A Pod's hosts file is the one that kubelet writes (pkg/kubelet/kubelet_pods.go, managedHostsFileContent). A node's,
which its hostNetwork Pods share, and a client's name themselves and all nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nslab.cluster import naming
from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster, Pod
from nslab.components.part import client_identity, node_identity
from nslab.netstate.model import NetState

NO_NAME_SERVER = """\
# There is no cluster DNS yet. Without a name server here look-ups fail at once; the host's cannot be reached.
"""
"""The resolver asks 127.0.0.1 where no name server is given (resolv.conf(5)), and is refused."""

LOCAL_NAMES = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def desired(cluster: Cluster, memo: Memo | None = None) -> NetState:
    """All files."""
    memo = memo or Memo()
    domain = cluster.lab.cluster.domain
    own = [(pod, domain) for pod in cluster.pods.values() if not pod.host_network]
    pods = memo.row("hosts", own, lambda pod, domain: (pod.key, pod_hosts(pod, domain)))
    machines = (
        tuple((node.name, node.ip) for node in cluster.nodes.values()), tuple(cluster.clients.values())
    )
    return memo.one("files", (cluster.lab.name, *machines, pods), lambda: _desired(cluster, dict(pods)))


def _desired(cluster: Cluster, pods: Mapping[str, str]) -> NetState:
    """All files, those of `pods` among them, by Pod key."""
    nodes = [f"{node.ip}\t{node.name}" for node in cluster.nodes.values()]
    hosts = {node_identity(cluster, node)[0]: _machine_hosts(nodes) for node in cluster.nodes.values()}
    for client in cluster.clients.values():
        name = client_identity(cluster, client)[0]
        hosts[name] = _machine_hosts([f"{client.ip}\t{client.name}", *nodes])
    hosts |= {naming.pod_netns(cluster.lab.name, cluster.pods[key]): text for key, text in pods.items()}
    files: dict[str, str] = {}
    for name, text in hosts.items():
        files[f"/etc/netns/{name}/hosts"] = text
        files[f"/etc/netns/{name}/resolv.conf"] = NO_NAME_SERVER
    return NetState(cluster.lab.name, files=files)


def pod_hosts(pod: Pod, domain: str) -> str:
    """The hosts file of a Pod: its own name (with the fully qualified one if it has a subdomain) and hostAliases."""
    spec: dict[str, Any] = pod.body.get("spec") or {}
    hostname = spec.get("hostname") or pod.name
    names = hostname
    if spec.get("subdomain"):
        names = f"{hostname}.{spec['subdomain']}.{pod.namespace}.svc.{domain}\t{hostname}"
    text = f"# Kubernetes-managed hosts file.\n{LOCAL_NAMES}{pod.ip}\t{names}\n"
    aliases = spec.get("hostAliases") or []
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join("\t".join([alias["ip"], *alias.get("hostnames", [])]) + "\n" for alias in aliases)
    return text


def _machine_hosts(lines: list[str]) -> str:
    return LOCAL_NAMES + "".join(f"{line}\n" for line in lines)
