"""The files of every Pod, node and client below /etc: /etc/netns/NETNS/hosts and resolv.conf, which `ip netns exec`
shows as /etc/hosts and /etc/resolv.conf.

A Pod's hosts file is the one that kubelet writes (pkg/kubelet/kubelet_pods.go, managedHostsFileContent). A node's,
which its hostNetwork Pods share, and a client's name themselves and all nodes.
"""

from __future__ import annotations

from typing import Any

from nslab.cluster import naming
from nslab.cluster.model import Cluster, Pod
from nslab.cluster.resolvers import Resolvers
from nslab.components.part import client_identity, node_identity
from nslab.netstate.model import NetState

LOCAL_NAMES = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def desired(cluster: Cluster) -> NetState:
    """All files."""
    resolvers = Resolvers(cluster)
    machine = resolvers.machine.text()
    nodes = [f"{node.ip}\t{node.name}" for node in cluster.nodes.values()]
    hosts = {node_identity(cluster, node)[0]: _machine_hosts(nodes) for node in cluster.nodes.values()}
    for client in cluster.clients.values():
        name = client_identity(cluster, client)[0]
        hosts[name] = _machine_hosts([f"{client.ip}\t{client.name}", *nodes])
    for pod in cluster.pods.values():
        if not pod.host_network:
            hosts[naming.pod_netns(cluster.lab.name, pod)] = pod_hosts(pod, cluster.lab.cluster.domain)
    files: dict[str, str] = {}
    for name, text in hosts.items():
        files[f"/etc/netns/{name}/hosts"] = text
        files[f"/etc/netns/{name}/resolv.conf"] = machine
    for pod in cluster.pods.values():
        if not pod.host_network:
            name = naming.pod_netns(cluster.lab.name, pod)
            files[f"/etc/netns/{name}/resolv.conf"] = resolvers.of(pod).text()
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
