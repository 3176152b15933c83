"""The files of every Pod, node and client below /etc: /etc/netns/NETNS/hosts and resolv.conf, which `ip netns exec`
shows as /etc/hosts and /etc/resolv.conf.

A Pod's hosts file is the one that kubelet writes (pkg/kubelet/kubelet_pods.go, managedHostsFileContent). A node's,
which its hostNetwork Pods share, and a client's name themselves and all nodes.
"""

from __future__ import annotations

from nslab.cluster import naming
from nslab.cluster.model import Cluster, Pod
from nslab.cluster.resolvers import Hosts, machine_hosts, pod_hosts, resolvers
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
    lab, domain, known = cluster.lab.name, cluster.lab.cluster.domain, resolvers(cluster)
    machine, nodes = known.machine.text(), LOCAL_NAMES + _lines(machine_hosts(cluster))
    texts = {node_identity(cluster, node)[0]: (nodes, machine) for node in cluster.nodes.values()}
    for client in cluster.clients.values():
        name = client_identity(cluster, client)[0]
        texts[name] = LOCAL_NAMES + _lines(machine_hosts(cluster, client)), machine
    for pod in cluster.pods.values():
        if not pod.host_network:
            texts[naming.pod_netns(lab, pod)] = hosts_file(pod, domain), known.of(pod).text()
    files: dict[str, str] = {}
    for name, (hosts, resolver) in texts.items():
        files[f"/etc/netns/{name}/hosts"] = hosts
        files[f"/etc/netns/{name}/resolv.conf"] = resolver
    return NetState(lab, files=files)


def hosts_file(pod: Pod, domain: str) -> str:
    """The hosts file of a Pod."""
    own, aliases = pod_hosts(pod, domain)
    text = f"# Kubernetes-managed hosts file.\n{LOCAL_NAMES}{_lines(own)}"
    return f"{text}\n# Entries added by HostAliases.\n{_lines(aliases)}" if aliases else text


def _lines(hosts: Hosts) -> str:
    return "".join("\t".join([ip, *names]) + "\n" for ip, names in hosts)
