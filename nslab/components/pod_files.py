"""The files of every Pod, node and client below /etc: /etc/netns/NETNS/hosts and resolv.conf, which `ip netns exec`
shows as /etc/hosts and /etc/resolv.conf.

A Pod's hosts file is the one that kubelet writes (pkg/kubelet/kubelet_pods.go, managedHostsFileContent and
nodeHostsFileContent). A node's and a client's name themselves and all nodes. A hostNetwork Pod shares its node's,
unless its dnsPolicy or hostAliases ask for others: those lie beside, and nslab's own ways into the Pod show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nslab.cluster import naming
from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster, Pod
from nslab.cluster.resolvers import Hosts, Resolver, aliases_of, machine_hosts, pod_hosts, resolvers
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


def desired(cluster: Cluster, memo: Memo | None = None) -> NetState:
    """All files."""
    memo = memo or Memo()
    domain, known = cluster.lab.cluster.domain, resolvers(cluster)
    own = [(pod, known.of(pod), domain) for pod in cluster.pods.values() if not pod.host_network]
    pods = memo.row(
        "pod files", own, lambda pod, resolver, domain: (pod.key, (hosts_file(pod, domain), resolver.text()))
    )
    sharing = tuple((pod, known.of(pod)) for pod in cluster.pods.values() if pod.host_network)
    machines = tuple((node.name, node.ip) for node in cluster.nodes.values()), tuple(cluster.clients.values())
    causes = cluster.lab.name, known.machine, *machines, pods, sharing
    return memo.one("files", causes, lambda: _desired(cluster, {**dict(pods), **_of_hosts(cluster, sharing)}))


def _of_hosts(cluster: Cluster, sharing: Iterable[tuple[Pod, Resolver]]) -> dict[str, tuple[str, str]]:
    """Hosts and resolv.conf, by key, of hostNetwork Pods for which those of their node will not do."""
    nodes, machine = machine_hosts(cluster), resolvers(cluster).machine
    return {
        pod.key: (_managed(" (host network)", nodes, aliases_of(pod)), resolver.text())
        for pod, resolver in sharing if aliases_of(pod) or resolver != machine
    }


def _desired(cluster: Cluster, pods: Mapping[str, tuple[str, str]]) -> NetState:
    """All files, those of `pods` among them: hosts and resolv.conf by Pod key."""
    machine, nodes = resolvers(cluster).machine.text(), LOCAL_NAMES + _lines(machine_hosts(cluster))
    texts = {node_identity(cluster, node)[0]: (nodes, machine) for node in cluster.nodes.values()}
    for client in cluster.clients.values():
        name = client_identity(cluster, client)[0]
        texts[name] = LOCAL_NAMES + _lines(machine_hosts(cluster, client)), machine
    texts |= {naming.pod_files(cluster.lab.name, cluster.pods[key]): text for key, text in pods.items()}
    files: dict[str, str] = {}
    for name, (hosts, resolver) in texts.items():
        files[f"/etc/netns/{name}/hosts"] = hosts
        files[f"/etc/netns/{name}/resolv.conf"] = resolver
    return NetState(cluster.lab.name, files=files)


def hosts_file(pod: Pod, domain: str) -> str:
    """The hosts file of a Pod."""
    return _managed("", *pod_hosts(pod, domain))


def _managed(kind: str, own: Hosts, aliases: Hosts) -> str:
    text = f"# Kubernetes-managed hosts file{kind}.\n{LOCAL_NAMES}{_lines(own)}"
    return f"{text}\n# Entries added by HostAliases.\n{_lines(aliases)}" if aliases else text


def _lines(hosts: Hosts) -> str:
    return "".join("\t".join([ip, *names]) + "\n" for ip, names in hosts)
