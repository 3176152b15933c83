"""Services as kube-proxy makes them, told by packets: who answers, and which source address it saw.

One lab with every kind of Service, once with the bridge and once with a route for each Pod (networkPolicy true).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.manifests import Addresses, endpoint_slice, endpoints, pod, service, standing, topology
from tests.lab.running import Json, RunningLab

VIP, LOCAL_VIP, GUARDED_VIP, EMPTY_VIP, EXTERNAL_IP = (f"203.0.113.{host}" for host in (10, 11, 12, 13, 200))
LAPTOP, STRANGER, VM = "198.51.100.7", "198.51.100.8", "10.128.0.100"
NODES = ("node-a", "node-b", "node-c")
WEB = {"app": "web"}
MANY = 40
"""Attempts after which two endpoints have both been met, but for one time in 10 ** 11. Three nodes take twice these,
and two endpoints by each of three nodes four times."""

SPEC: Json = {
    "nodes": [{"name": name} for name in NODES],
    "clients": [
        {"name": "laptop", "network": "internet", "address": LAPTOP},
        {"name": "stranger", "network": "internet", "address": STRANGER},
        {"name": "vm", "network": "vpc", "address": VM},
    ],
}
OBJECTS = (
    # "http" and "dgram" are other numbers on each; "plain" is the same on both.
    pod("web-a", "node-a", "http:8080", "dgram:8080/UDP", 7000, labels=WEB | {"place": "a"}),
    pod("web-b", "node-b", "http:9090", "dgram:9090/UDP", 7000, labels=WEB | {"place": "b"}),
    pod("sick", "node-a", "http:8888", labels=WEB | {"health": "sick"},
        readinessProbe={"httpGet": {"path": "/status/500", "port": "http"}, "periodSeconds": 1}),
    pod("caller-a", "node-a", 6000), pod("caller-b", "node-b", 6000), pod("caller-c", "node-c", 6000),
    pod("guest", "node-b", 7777, hostNetwork=True),
    service("web", WEB, "http:80>http", "dgram:80/UDP>dgram", "plain:90>7000", type="LoadBalancer",
            loadBalancerIP=VIP, externalIPs=[EXTERNAL_IP]),
    service("local", {"place": "a"}, "80>http", type="LoadBalancer", loadBalancerIP=LOCAL_VIP,
            externalTrafficPolicy="Local"),
    service("inside", {"place": "a"}, "80>http", internalTrafficPolicy="Local"),
    service("sticky", WEB, "80>http", type="NodePort", sessionAffinity="ClientIP"),
    service("forgetful", WEB, "80>http", sessionAffinity="ClientIP",
            sessionAffinityConfig={"clientIP": {"timeoutSeconds": 1}}),
    service("guarded", WEB, "80>http", type="LoadBalancer", loadBalancerIP=GUARDED_VIP,
            loadBalancerSourceRanges=[f"{LAPTOP}/32"]),
    service("eager", {"health": "sick"}, "80>http", publishNotReadyAddresses=True),
    service("patient", {"health": "sick"}, "80>http"),
    service("empty", {"app": "nobody"}, "http:80", "dgram:80/UDP", type="LoadBalancer", loadBalancerIP=EMPTY_VIP),
    service("self", {"app": "caller-a"}, "80>6000"),
    service("guest", {"app": "guest"}, "80>7777"),
    service("written", None, "http:8000", "dgram:8000/UDP"),
    endpoints("written", VM, ports=[{"name": "http", "port": 80}, {"name": "dgram", "port": 80, "protocol": "UDP"}]),
    service("sliced", None, "http:8000"),
    endpoint_slice("sliced", {"addresses": [VM], "conditions": {"ready": True}},
                   {"addresses": [LAPTOP], "conditions": {"ready": False}}, ports=[{"name": "http", "port": 80}]),
    service("headless", WEB, "80>http", clusterIP="None"),
    service("elsewhere", None, type="ExternalName", externalName="example.com"),
)


@pytest.fixture(scope="module", params=[False, True], ids=["bridged", "routed"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    spec = SPEC | {"cluster": {"networkPolicy": request.param}}
    name = "routed" if request.param else "bridged"
    # One Pod is never ready, and waiting for it would be in vain.
    with standing(tmp_path_factory.mktemp(name), name, topology(spec, *OBJECTS), "--wait", "0s") as running:
        yield running


@pytest.fixture(scope="module")
def at(lab: RunningLab) -> Addresses:
    return Addresses(lab)


def ask(source: str, to: str, proto: str = "tcp", count: int = 4, timeout: float = 5.0) -> Json:
    """A flow that must be answered; a SYN that is lost on a busy machine is sent again within its time."""
    return {"from": source, "to": to, "proto": proto, "count": count, "timeout": timeout}


def silence(source: str, to: str, proto: str = "tcp", count: int = 4) -> Json:
    """A flow of which nothing may come back."""
    return ask(source, to, proto, count, timeout=0.5)


def outcome(answer: Json) -> tuple[str, set[str], set[str]]:
    """Verdict, Pods that answered, sources that they saw."""
    return answer["verdict"], set(answer["responders"]), set(answer["client_ips"])


def verdicts(lab: RunningLab, *flows: Json) -> dict[str, str]:
    return {f"{each['from']} {each['to']} {each['proto']}": each["verdict"] for each in lab.probes(*flows)}


def seen_by_node(at: Addresses, endpoint: str, via: str) -> str:
    """The source that a Pod on node `endpoint` sees of a connection that node `via` masqueraded."""
    return at.gateway[via] if endpoint == via else at.node[via]


@pytest.mark.parametrize(("proto", "port"), [("tcp", "http"), ("udp", "dgram"), ("tcp", "plain")])
def test_cluster_ip_from_pods_spreads_and_keeps_the_source(
    lab: RunningLab, at: Addresses, proto: str, port: str
) -> None:
    callers = ("caller-a", "caller-b", "caller-c")
    answers = lab.probes(*(ask(f"pod/{name}", f"svc/web:{port}", proto, MANY) for name in callers))
    for name, answer in zip(callers, answers, strict=True):
        assert outcome(answer) == ("open", {"default/web-a", "default/web-b"}, {at.pod[name]})


@pytest.mark.parametrize(("proto", "port"), [("tcp", "http"), ("udp", "dgram")])
def test_cluster_ip_from_nodes_is_masqueraded(lab: RunningLab, at: Addresses, proto: str, port: str) -> None:
    answers = lab.probes(*(ask(f"node/{name}", f"svc/web:{port}", proto, MANY) for name in NODES))
    for name, answer in zip(NODES, answers, strict=True):
        seen = {seen_by_node(at, endpoint, via=name) for endpoint in ("node-a", "node-b")}
        assert outcome(answer) == ("open", {"default/web-a", "default/web-b"}, seen)


def test_a_named_target_port_is_each_pods_own_number(lab: RunningLab, at: Addresses) -> None:
    subsets = lab.get("endpoints", "web")["subsets"]
    numbers = {
        (address["ip"], port["name"], port["port"])
        for subset in subsets for address in subset.get("addresses", ()) for port in subset["ports"]
    }
    assert {number for ip, name, number in numbers if ip == at.pod["web-a"] and name == "http"} == {8080}
    assert {number for ip, name, number in numbers if ip == at.pod["web-b"] and name == "http"} == {9090}


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_node_ports_of_every_node(lab: RunningLab, at: Addresses, proto: str) -> None:
    ports = {each["name"]: each["nodePort"] for each in lab.get("services", "web")["spec"]["ports"]}
    number = ports["http" if proto == "tcp" else "dgram"]
    sources = ("client/vm", "pod/caller-a", "pod/caller-c", "node/node-a", "node/node-c")
    asked = [(source, node) for source in sources for node in NODES]
    answers = lab.probes(*(ask(source, f"node/{node}:{number}", proto, MANY) for source, node in asked))
    for (source, node), answer in zip(asked, answers, strict=True):
        seen = {seen_by_node(at, endpoint, via=node) for endpoint in ("node-a", "node-b")}
        assert outcome(answer) == ("open", {"default/web-a", "default/web-b"}, seen), source


def test_node_ports_are_not_on_other_addresses(lab: RunningLab, at: Addresses) -> None:
    """Only the node's primary address has them: neither loopback nor the Pods' gateway."""
    number = at.node_port["web"]
    flows = (ask("node/node-a", f"127.0.0.1:{number}"), ask("pod/caller-a", f"{at.gateway['node-a']}:{number}"))
    assert set(verdicts(lab, *flows).values()) == {"refused"}


@pytest.mark.parametrize("address", [VIP, EXTERNAL_IP])
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_external_addresses_from_outside_spread_over_all_nodes(
    lab: RunningLab, at: Addresses, address: str, proto: str
) -> None:
    """node-c has no Pod of the Service, and forwards all the same. The five-tuple chooses the node."""
    answers = lab.probes(*(ask(f"client/{name}", f"{address}:80", proto, 4 * MANY) for name in ("laptop", "vm")))
    both = [seen_by_node(at, endpoint, via=node) for node in NODES for endpoint in ("node-a", "node-b")]
    for answer in answers:
        assert outcome(answer) == ("open", {"default/web-a", "default/web-b"}, set(both))


@pytest.mark.parametrize("address", [VIP, EXTERNAL_IP])
def test_external_addresses_from_inside_never_leave_the_node(lab: RunningLab, at: Addresses, address: str) -> None:
    asked = [("pod/caller-a", "node-a"), ("pod/caller-c", "node-c"), ("node/node-c", "node-c")]
    answers = lab.probes(*(ask(source, f"{address}:80", count=MANY) for source, _ in asked))
    for (_, node), answer in zip(asked, answers, strict=True):
        seen = {seen_by_node(at, endpoint, via=node) for endpoint in ("node-a", "node-b")}
        assert outcome(answer) == ("open", {"default/web-a", "default/web-b"}, seen)


def test_an_unready_pod_is_nobodys_endpoint_unless_published(lab: RunningLab, at: Addresses) -> None:
    sources = ("pod/caller-c", "node/node-a")
    published = lab.probes(*(ask(source, "svc/eager:80") for source in sources))
    assert [set(each["responders"]) for each in published] == [{"default/sick"}] * 2
    assert set(verdicts(lab, *(ask(source, "svc/patient:80") for source in sources)).values()) == {"refused"}
    subset = lab.get("endpoints", "patient")["subsets"][0]
    assert "addresses" not in subset
    assert subset["notReadyAddresses"][0]["ip"] == at.pod["sick"]


def test_a_service_without_endpoints_refuses(lab: RunningLab, at: Addresses) -> None:
    inside = [
        ask(source, f"svc/empty:{port}", proto)
        for source in ("pod/caller-a", "pod/caller-c", "node/node-b")
        for proto, port in (("tcp", "http"), ("udp", "dgram"))
    ]
    number = at.node_port["empty"]
    outside = [
        *(ask(source, f"node/node-b:{number}") for source in ("client/vm", "node/node-b", "node/node-c")),
        ask("client/laptop", f"{EMPTY_VIP}:80"), ask("client/laptop", f"{EMPTY_VIP}:80", "udp"),
        ask("pod/caller-b", f"{EMPTY_VIP}:80"), ask("node/node-b", f"{EMPTY_VIP}:80", "udp"),
    ]
    found = verdicts(lab, *inside, *outside)
    assert set(found.values()) == {"refused"}, found


def test_http_to_a_service_without_endpoints_is_refused(lab: RunningLab, at: Addresses) -> None:
    url = f"http://{at.cluster_ip['empty']}/"
    found = verdicts(lab, *(ask(source, url, "http") for source in ("node/node-a", "pod/caller-a")))
    assert set(found.values()) == {"refused"}, found


def test_an_undefined_port_is_refused_and_an_unused_cluster_ip_is_silent(lab: RunningLab, at: Addresses) -> None:
    unused = next(f"10.12.0.{host}" for host in range(200, 255) if f"10.12.0.{host}" not in at.cluster_ip.values())
    sources = ("pod/caller-a", "node/node-c")
    undefined = f"{at.cluster_ip['web']}:81"
    each = [(source, proto) for source in sources for proto in ("tcp", "udp")]
    refused = verdicts(lab, *(ask(source, undefined, proto) for source, proto in each))
    assert set(refused.values()) == {"refused"}, refused
    silent = verdicts(lab, *(silence(source, f"{unused}:80", proto) for source, proto in each))
    assert set(silent.values()) == {"timeout"}, silent


def test_a_pod_that_reaches_itself_sees_its_node(lab: RunningLab, at: Addresses) -> None:
    answer = lab.probe("pod/caller-a", "svc/self:80", count=4, timeout=5)
    assert outcome(answer) == ("open", {"default/caller-a"}, {at.gateway["node-a"]})


def test_endpoints_in_the_nodes_network(lab: RunningLab, at: Addresses) -> None:
    """hostNetwork: the Pod is asked at its node's address, and as a client it is its node."""
    answers = lab.probes(
        ask("pod/caller-a", "svc/guest:80"), ask("pod/caller-b", "svc/guest:80"),
        ask("node/node-b", "svc/guest:80"), ask("node/node-c", "svc/guest:80"),
        ask("pod/guest", "svc/self:80"), ask("pod/guest", "svc/web:http", count=MANY),
    )
    assert [set(each["responders"]) for each in answers[:4]] == [{"default/guest"}] * 4
    clients = [set(each["client_ips"]) for each in answers]
    assert clients[:5] == [
        {at.pod["caller-a"]}, {at.pod["caller-b"]}, {at.node["node-b"]}, {at.node["node-c"]}, {at.node["node-b"]},
    ]
    assert clients[5] == {at.node["node-b"], at.gateway["node-b"]}


@pytest.mark.parametrize(("destination", "proto"), [
    ("svc/written:http", "tcp"), ("svc/written:dgram", "udp"), ("svc/sliced:8000", "tcp"),
])
def test_services_without_selector_lead_where_their_endpoints_say(
    lab: RunningLab, at: Addresses, destination: str, proto: str
) -> None:
    """To a host of the VPC. The Pod's address is kept, also on the way out of the cluster: 10.0.0.0/8."""
    answers = lab.probes(ask("pod/caller-a", destination, proto), ask("node/node-c", destination, proto))
    assert outcome(answers[0]) == ("open", {"client/vm"}, {at.pod["caller-a"]})
    assert outcome(answers[1]) == ("open", {"client/vm"}, {at.node["node-c"]})


def test_headless_and_external_name_have_no_rules(lab: RunningLab, at: Addresses) -> None:
    assert at.cluster_ip["headless"] == "None"
    assert not at.cluster_ip["elsewhere"]
    rules = lab.nslab("rules", "node/node-a").stdout
    assert at.cluster_ip["web"] in rules
    for name in ("headless", "elsewhere"):
        assert lab.nslab("rules", f"svc/{name}").stdout


def test_external_policy_local_keeps_the_source_and_has_no_second_hop(lab: RunningLab, at: Addresses) -> None:
    number = at.node_port["local"]
    kept, lost_b, lost_c = lab.probes(
        ask("client/vm", f"node/node-a:{number}"),
        silence("client/vm", f"node/node-b:{number}"), silence("client/vm", f"node/node-c:{number}"),
    )
    assert outcome(kept) == ("open", {"default/web-a"}, {VM})
    assert (lost_b["verdict"], lost_c["verdict"]) == ("timeout", "timeout")


def test_external_policy_local_at_the_load_balancer(lab: RunningLab) -> None:
    """Without health checks the VPC still spreads over nodes that have no endpoint: those connections are lost."""
    answer = lab.probes(silence("client/laptop", f"{LOCAL_VIP}:80", count=2 * MANY))[0]
    assert set(answer["counts"]) == {"open", "timeout"}
    assert (set(answer["responders"]), set(answer["client_ips"])) == ({"default/web-a"}, {LAPTOP})


def test_external_policy_local_does_not_bind_pods_and_nodes(lab: RunningLab, at: Addresses) -> None:
    """Short-circuit: from inside, all endpoints are used wherever they are."""
    number = at.node_port["local"]
    answers = lab.probes(
        ask("pod/caller-c", f"{LOCAL_VIP}:80"), ask("pod/caller-a", f"{LOCAL_VIP}:80"),
        ask("pod/caller-c", f"node/node-c:{number}"),
        ask("node/node-c", f"{LOCAL_VIP}:80"), ask("node/node-c", f"node/node-c:{number}"),
        ask("node/node-a", f"{LOCAL_VIP}:80"),
    )
    sources = [
        at.pod["caller-c"], at.pod["caller-a"], at.pod["caller-c"], at.node["node-c"], at.node["node-c"],
        at.gateway["node-a"],
    ]
    for answer, source in zip(answers, sources, strict=True):
        assert outcome(answer) == ("open", {"default/web-a"}, {source})


def test_internal_policy_local(lab: RunningLab, at: Addresses) -> None:
    near, node = lab.probes(ask("pod/caller-a", "svc/inside:80"), ask("node/node-a", "svc/inside:80"))
    assert outcome(near) == ("open", {"default/web-a"}, {at.pod["caller-a"]})
    assert outcome(node) == ("open", {"default/web-a"}, {at.gateway["node-a"]})
    far = verdicts(lab, silence("pod/caller-b", "svc/inside:80"), silence("node/node-c", "svc/inside:80"))
    assert set(far.values()) == {"timeout"}, far


def test_source_ranges_guard_the_load_balancer_only(lab: RunningLab, at: Addresses) -> None:
    laptop = lab.probes(ask("client/laptop", f"{GUARDED_VIP}:80", count=MANY))[0]
    assert laptop["counts"] == {"open": MANY}
    found = verdicts(
        lab, silence("client/stranger", f"{GUARDED_VIP}:80"), silence("client/vm", f"{GUARDED_VIP}:80"),
        silence("pod/caller-a", f"{GUARDED_VIP}:80"), silence("node/node-a", f"{GUARDED_VIP}:80"),
    )
    assert set(found.values()) == {"timeout"}, found
    around = verdicts(
        lab, ask("client/vm", f"node/node-c:{at.node_port['guarded']}"), ask("pod/caller-a", "svc/guarded:80"),
    )
    assert set(around.values()) == {"open"}, around


def test_client_ip_affinity_is_each_clients_own(lab: RunningLab, at: Addresses) -> None:
    callers = [f"pod/{name}" for name in ("caller-a", "caller-b", "caller-c")]
    for _ in range(2):
        answers = lab.probes(*(ask(source, "svc/sticky:80", count=MANY) for source in callers))
        assert [len(each["responders"]) for each in answers] == [1, 1, 1]
        assert {each["verdict"] for each in answers} == {"open"}
    again = lab.probes(*(ask(source, "svc/sticky:80") for source in callers))
    assert [set(each["responders"]) for each in again] == [set(each["responders"]) for each in answers]
    # Kept at the node, so that it holds for the node port of one node as well.
    (outside,) = lab.probes(ask("client/vm", f"node/node-c:{at.node_port['sticky']}", count=MANY))
    assert len(outside["responders"]) == 1


def test_affinity_ends_with_its_timeout(lab: RunningLab) -> None:
    """Asked at longer intervals than its second, the other endpoint comes up sooner or later."""
    first = set(lab.probe("pod/caller-b", "svc/forgetful:80", count=8, timeout=5)["responders"])
    assert len(first) == 1
    met = set(first)
    for _ in range(30):
        lab.nslab("exec", "pod/caller-b", "--", "sleep", "1.1")
        met |= set(lab.probe("pod/caller-b", "svc/forgetful:80", count=2, timeout=5)["responders"])
        if len(met) == 2:
            return
    raise AssertionError(f"only {met} in 30 turns")


def test_every_derived_check_holds(lab: RunningLab) -> None:
    lab.nslab("check")
