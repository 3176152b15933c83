"""CoreDNS in the place of kube-dns: the objects that kubeadm gives it, and its Corefile.

It runs from the user's own program, as `image: host`, and learns the cluster's names as on any cluster: from the API,
which the Service default/kubernetes leads to (`api_objects`). What differs from kubeadm's Corefile:

- `kubeconfig`: a program of the host has no service account mounted that could tell it where the API is;
- no `lameduck`: a Pod is asked to end once no Service leads to it any more;
- `nsid`: who answered is known, so that checks can tell that all Pods do;
- the servers that ConfigMap kube-dns names are asked, as kube-dns itself would.
"""

from __future__ import annotations

from collections.abc import Iterator

from nslab.api.objects import Body, LabSpec
from nslab.cluster.dns_config import DnsConfig
from nslab.cluster.ipam import KUBERNETES, service_addresses
from nslab.cluster.ipv4 import parse_range, to_text
from nslab.cluster.model import ADDON
from nslab.cluster.naming import STATE_ROOT

CONFIG_NAME = "coredns"
"""The ConfigMap kube-system/coredns with the Corefile, kubeadm's name for it. The user's own replaces it."""
API_PORT = 443
_HEALTH, _READY, _METRICS = 8080, 8181, 9153


def directory(lab: str) -> str:
    """Where the Corefile and the kubeconfig of a lab's CoreDNS are."""
    return f"{STATE_ROOT}/{lab}/coredns"


def api_address(lab: LabSpec) -> str:
    """Where the API listens: at the VPC's gateway, which nodes and Pods reach and the internet does not."""
    return to_text(parse_range(lab.vpc.node_range).first + 1)


def api_names(lab: LabSpec) -> tuple[str, ...]:
    """What clients inside the cluster may call the API: names and addresses, as on any cluster."""
    namespace, _, name = KUBERNETES.partition("/")
    own = f"{name}.{namespace}"
    service = to_text(service_addresses(lab.vpc.service_range)[KUBERNETES])
    return own, f"{own}.svc", f"{own}.svc.{lab.cluster.domain}", service, api_address(lab)


def api_objects(lab: LabSpec) -> Iterator[Body]:
    """Service default/kubernetes, and the address behind it."""
    namespace, _, name = KUBERNETES.partition("/")
    labels = {"component": "apiserver", "provider": "kubernetes", **ADDON}
    yield {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"ports": [{"name": "https", "port": API_PORT, "protocol": "TCP"}]},
    }
    yield {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4", "ports": [{"name": "https", "port": API_PORT, "protocol": "TCP"}],
        "endpoints": [{"addresses": [api_address(lab)], "conditions": {"ready": True}}],
    }


def config(lab: LabSpec, others: DnsConfig) -> Body:
    """The ConfigMap."""
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_NAME, "namespace": "kube-system"},
        "data": {"Corefile": corefile(lab, others)},
    }


def corefile(lab: LabSpec, others: DnsConfig) -> str:
    """The Corefile (coredns.io/manual/configuration). Without upstreams of `others` its own resolv.conf has them."""
    upstreams = " ".join(others.upstreams) or "/etc/resolv.conf"
    kubeconfig = f"{directory(lab.name)}/kubeconfig"
    main = _MAIN.format(domain=lab.cluster.domain, kubeconfig=kubeconfig, upstreams=upstreams, metrics=_METRICS)
    stubs = others.stub_domains.items()
    return main + "".join(_STUB.format(domain=domain, servers=" ".join(servers)) for domain, servers in stubs)


_MAIN = """\
.:53 {{
    errors
    health
    ready
    nsid kube-system/{{$HOSTNAME}}
    kubernetes {domain} in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    prometheus :{metrics}
    forward . {upstreams} {{
        max_concurrent 1000
    }}
    cache 30 {{
        disable success {domain}
        disable denial {domain}
    }}
    loop
    reload
    loadbalance
}}
"""

_STUB = """\
{domain}:53 {{
    errors
    cache 30
    forward . {servers}
}}
"""


def container(lab: LabSpec) -> Body:
    """CoreDNS's container; its ports for DNS are the caller's."""
    def probe(path: str, port: int, **times: int) -> Body:
        return {"httpGet": {"path": path, "port": port, "scheme": "HTTP"}, **times}

    return {
        "name": "coredns", "image": "host", "command": [lab.dns.coredns],
        "args": ["-conf", f"{directory(lab.name)}/Corefile"],
        "ports": [{"name": "metrics", "containerPort": _METRICS, "protocol": "TCP"}],
        "livenessProbe": probe("/health", _HEALTH, initialDelaySeconds=60, timeoutSeconds=5, failureThreshold=5),
        "readinessProbe": probe("/ready", _READY, periodSeconds=1),
    }
