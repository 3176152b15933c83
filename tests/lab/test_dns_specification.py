"""The examples of the Kubernetes DNS specification 1.1.0 (github.com/kubernetes/dns, docs/specification.md), asked
with dig and with dnspython through the Service kube-dns. The service range holds the specification's own address.
TTLs, and the names of endpoints without a hostname, are the server's choice."""

from __future__ import annotations

import subprocess
from collections import defaultdict

import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from tests.lab.conftest import LabFactory
from tests.lab.manifests import endpoint_slice, pod, service, topology
from tests.lab.running import Json
from tests.lab.test_dns import ask

SERVER = "10.3.0.10"
ZONE = "cluster.local."
SVC = f"default.svc.{ZONE}"
HTTPS = {"name": "https", "port": 443, "protocol": "TCP"}


def member(address: str, hostname: str = "", *, ready: bool = True) -> Json:
    return {
        "addresses": [address], "conditions": {"ready": ready}, **({"hostname": hostname} if hostname else {}),
    }


LAB = topology(
    {"vpc": {"serviceRange": "10.3.0.0/20"}, "internet": {"zones": {"example.com": {"www": "198.51.100.20"}}}},
    service("kubernetes", None, "https:443", clusterIP="10.3.0.1"),
    service("headless", None, "https:443", clusterIP="None"),
    endpoint_slice("headless", member("10.9.0.1"), member("10.9.0.2"), member("10.9.0.3"),
                   member("10.9.0.100", "my-pet"), member("10.9.0.101", "my-pet-2"),
                   member("10.9.0.9", "absent", ready=False), ports=[HTTPS]),
    service("empty", None, "https:443", clusterIP="None"),
    endpoint_slice("empty", member("10.9.0.8", ready=False), ports=[HTTPS]),
    {**service("foo", None, "80"), "spec": {"type": "ExternalName", "externalName": "www.example.com"}},
    pod("cart", "node-1", 80),
)

MEMBERS = ("10-9-0-1", "10-9-0-2", "10-9-0-3", "my-pet", "my-pet-2")

EXAMPLES: dict[tuple[str, str], set[str]] = {
    # 2.2 Record for Schema Version
    (f"dns-version.{ZONE}", "TXT"): {f'dns-version.{ZONE} TXT "1.1.0"'},
    # 2.3 Records for a Service with ClusterIP: A/AAAA, SRV, PTR
    (f"kubernetes.{SVC}", "A"): {f"kubernetes.{SVC} A 10.3.0.1"},
    (f"kubernetes.{SVC}", "AAAA"): set(),
    (f"_https._tcp.kubernetes.{SVC}", "SRV"): {
        f"_https._tcp.kubernetes.{SVC} SRV 0 100 443 kubernetes.{SVC}", f"kubernetes.{SVC} A 10.3.0.1",
    },
    ("1.0.3.10.in-addr.arpa.", "PTR"): {f"1.0.3.10.in-addr.arpa. PTR kubernetes.{SVC}"},
    # 2.4 Records for a Headless Service: A/AAAA, SRV, PTR
    (f"headless.{SVC}", "A"): {
        f"headless.{SVC} A 10.9.0.{number}" for number in (1, 2, 3, 100, 101)
    },
    (f"my-pet.headless.{SVC}", "A"): {f"my-pet.headless.{SVC} A 10.9.0.100"},
    (f"_https._tcp.headless.{SVC}", "SRV"): {
        *(f"_https._tcp.headless.{SVC} SRV 0 20 443 {name}.headless.{SVC}" for name in MEMBERS),
        *(f"{name}.headless.{SVC} A 10.9.0.{number}"
          for name, number in zip(MEMBERS, (1, 2, 3, 100, 101), strict=True)),
    },
    ("100.0.9.10.in-addr.arpa.", "PTR"): {f"100.0.9.10.in-addr.arpa. PTR my-pet.headless.{SVC}"},
    # 2.5 Records for External Name Services
    (f"foo.{SVC}", "A"): {f"foo.{SVC} CNAME www.example.com.", "www.example.com. A 198.51.100.20"},
    (f"foo.{SVC}", "CNAME"): {f"foo.{SVC} CNAME www.example.com."},
}

DENIED = {
    (f"empty.{SVC}", "A"): "NXDOMAIN",  # no endpoint is ready
    (f"absent.headless.{SVC}", "A"): "NXDOMAIN",
    (f"nothing.{SVC}", "A"): "NXDOMAIN",
    (f"nothing.nowhere.svc.{ZONE}", "A"): "NXDOMAIN",
    (f"_http._tcp.kubernetes.{SVC}", "SRV"): "NXDOMAIN",
    (f"_https._udp.kubernetes.{SVC}", "SRV"): "NXDOMAIN",
    (f"kubernetes.{SVC}", "MX"): "NOERROR",
    (f"_tcp.kubernetes.{SVC}", "A"): "NOERROR",  # an empty non-terminal
    (f"default.svc.{ZONE}", "A"): "NOERROR",
    (f"svc.{ZONE}", "A"): "NOERROR",
}


@pytest.fixture
def cart(lab: LabFactory) -> str:
    return f"{lab('spec', LAB).name}.pod.default.cart"


def test_examples(cart: str) -> None:
    assert by_dig(cart) == EXAMPLES
    for tcp in (False, True):
        found = {question: ask(cart, *question, server=SERVER, tcp=tcp) for question in EXAMPLES}
        assert {question: records(message) for question, message in found.items()} == EXAMPLES
        assert all(message.rcode() == dns.rcode.NOERROR for message in found.values())
    for question, code in DENIED.items():
        message = ask(cart, *question, server=SERVER)
        assert (dns.rcode.to_text(message.rcode()), message.answer) == (code, []), question
        assert [rrset.rdtype for rrset in message.authority] == [dns.rdatatype.SOA], question
        assert message.flags & dns.flags.AA


def records(message: dns.message.Message) -> set[str]:
    """The answer's and the additional records, without their TTLs."""
    return {
        f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)} {item.to_text()}"
        for rrset in (*message.answer, *message.additional) for item in rrset
    }


def by_dig(netns: str) -> dict[tuple[str, str], set[str]]:
    """What dig prints for each of the examples."""
    asked = [word for question in EXAMPLES for word in question]
    command = ["ip", "netns", "exec", netns, "dig", f"@{SERVER}", "+nostats", "+noedns", "+noauthority", *asked]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in printed.splitlines():
        words = line.split()
        if line.startswith(";") and len(words) == 3 and words[1] == "IN":
            question = words[0].removeprefix(";"), words[2]
            found[question] = set()
        elif words and not line.startswith(";"):
            found[question].add(" ".join([words[0], *words[3:]]))
    return dict(found)


def policy(name: str, **egress: object) -> Json:
    """A NetworkPolicy for the egress of pod/cart; without one, nothing may leave it."""
    rules = [egress] if egress else []
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name},
        "spec": {"podSelector": {"matchLabels": {"app": "cart"}}, "policyTypes": ["Egress"], "egress": rules},
    }


def test_policies_hold_for_questions(lab: LabFactory) -> None:
    """A Pod that may not go out resolves nothing, until a policy lets it ask kube-dns; over UDP, and not over TCP."""
    kube_dns = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    objects = pod("cart", "node-1", 80), pod("free", "node-2", 80), service("web", {"app": "free"}, "80")
    spec = {"cluster": {"networkPolicy": True}}
    running = lab("held", topology(spec, *objects, policy("closed")))
    asked = {"proto": "dns", "timeout": 1}
    assert running.probe("pod/cart", "web", **asked)["verdict"] == "timeout"
    assert running.probe("pod/free", "web", **asked)["verdict"] == "open"
    opened = policy("dns", to=[kube_dns], ports=[{"protocol": "UDP", "port": 53}])
    running.up(topology(spec, *objects, policy("closed"), opened))
    assert running.probe("pod/cart", "web", **asked, count=20)["counts"] == {"open": 20}
    with pytest.raises(TimeoutError):
        ask("held.pod.default.cart", f"web.{SVC}", server="10.12.0.10", tcp=True, seconds=1)
