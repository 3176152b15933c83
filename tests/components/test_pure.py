"""The components as pure functions: what no packet shows, or shows only with much ado."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nslab.api.objects import LabSpec, Object
from nslab.cluster.model import Cluster, Endpoint, Fault, Leases, Node, Pod, Service, ServicePort
from nslab.components import cni, ip_masq, kube_proxy, pod_files, vpc
from nslab.components.desired import desired
from nslab.components.explain import explain_node, explain_service
from nslab.components.prefixes import merge, without
from nslab.components.service_endpoints import cluster_endpoints, local_endpoints
from nslab.errors import ManifestError
from nslab.nft.objects import Set, Table


def _endpoint(number: int, **fields: object) -> Endpoint:
    node = f"node-{number % 2 + 1}"
    return replace(Endpoint(f"10.8.{number % 2}.{number + 2}", 8080, node, f"d/p{number}"), **fields)  # type: ignore[arg-type]


def _port(*endpoints: Endpoint, number: int = 1, node_port: int = 0) -> ServicePort:
    return ServicePort("", "TCP", 80, 8080, node_port, number, endpoints)


def _service(name: str, port: ServicePort, **fields: object) -> Service:
    base = Service("d", name, "ClusterIP", f"10.12.0.{port.number}", (port,), {})
    return replace(base, **fields)  # type: ignore[arg-type]


def _cluster(*services: Service, objects: tuple[Object, ...] = (), zones: tuple[str, str] = ("", "")) -> Cluster:
    nodes = {
        f"node-{number + 1}": Node(f"node-{number + 1}", f"10.128.0.{number + 2}", f"10.8.{number}.0/24", zone=zone)
        for number, zone in enumerate(zones)
    }
    pod = Pod("d", "p0", "uid-0", "10.8.0.2", "node-1", {}, ())
    return Cluster(
        LabSpec("x"), objects, nodes, {pod.key: pod}, {each.key: each for each in services}, {}, Leases()
    )


def _table(cluster: Cluster, node: str) -> Table:
    return kube_proxy.desired(cluster).netns[f"x.node.{node}"].tables["ip", "kube-proxy"]


def _set(cluster: Cluster, node: str, name: str) -> Set:
    return next(item for item in _table(cluster, node).sets if item.name == name)


# Endpoints


def test_where_datagrams_to_a_service_may_go() -> None:
    serving = _endpoint(1, ready=False, serving=True, terminating=True)
    gone = _endpoint(2, ready=False, serving=False)
    port = replace(_port(_endpoint(0), serving, gone, node_port=30001), protocol="UDP", port=53)
    first = _service("first", port, load_balancer_ips=("203.0.113.1",), external_ips=("203.0.113.2",))
    other = _service("other", replace(port, number=2, node_port=0, endpoints=()), external_ips=("203.0.113.2",))
    tcp = _service("tcp", _port(_endpoint(0), number=3, node_port=30002))
    targets = frozenset([("10.8.0.2", 8080), ("10.8.1.3", 8080)])
    assert kube_proxy.udp_backends(_cluster(first, other, tcp)) == {
        ("10.12.0.1", 53): targets, ("203.0.113.1", 53): targets, ("203.0.113.2", 53): targets, ("", 30001): targets,
        ("10.12.0.2", 53): frozenset(),
    }


def test_ready_endpoints_come_before_terminating_ones_that_serve() -> None:
    gone = _endpoint(0, ready=False, serving=False, terminating=True)
    last = _endpoint(1, ready=False, serving=True, terminating=True)
    starting = _endpoint(2, ready=False, serving=False)
    ready = _endpoint(3)
    assert cluster_endpoints(_port(gone, last, starting, ready), "") == [ready]
    assert cluster_endpoints(_port(gone, last, starting), "") == [last]
    assert cluster_endpoints(_port(gone, starting), "") == []


def test_the_local_choice_is_each_nodes_own() -> None:
    last, ready, foreign = _endpoint(0, ready=False, terminating=True), _endpoint(1), _endpoint(2, node="")
    assert local_endpoints(_port(last, ready, foreign)) == {"node-1": [last], "node-2": [ready]}
    assert local_endpoints(_port(_endpoint(0, ready=False, serving=False))) == {}


@pytest.mark.parametrize(("zone", "count"), [("a", 1), ("b", 1), ("c", 2), ("", 2)])
def test_hints_count_where_one_names_the_zone(zone: str, count: int) -> None:
    port = _port(_endpoint(0, zone_hints=("a",)), _endpoint(1, zone_hints=("b",)))
    assert len(cluster_endpoints(port, zone)) == count


def test_hints_count_only_if_every_ready_endpoint_has_some() -> None:
    port = _port(_endpoint(0, zone_hints=("a",)), _endpoint(1))
    assert len(cluster_endpoints(port, "a")) == 2


# kube-proxy


def test_nodes_share_what_is_equal_on_them() -> None:
    """Shared objects are encoded once for the whole lab."""
    cluster = _cluster(_service("web", _port(_endpoint(0), _endpoint(1))))
    tables = kube_proxy.desired(cluster).netns
    one, two = (tables[f"x.node.node-{number}"].tables["ip", "kube-proxy"] for number in (1, 2))
    assert all(mine is theirs for mine, theirs in zip(one.chains, two.chains, strict=True))
    own = {mine.name for mine, theirs in zip(one.sets, two.sets, strict=True) if mine is not theirs}
    assert own == {"nodeport-ips", "hairpin-connections"}


def test_a_local_policy_sets_only_the_local_maps_apart() -> None:
    service = _service("web", _port(_endpoint(0), _endpoint(1)), internal_traffic_policy="Local")
    tables = kube_proxy.desired(_cluster(service)).netns
    one, two = (tables[f"x.node.node-{number}"].tables["ip", "kube-proxy"].sets for number in (1, 2))
    own = {mine.name for mine, theirs in zip(one, two, strict=True) if mine is not theirs}
    assert {name for name in own if not name.startswith(("local-", "no-local-"))} == {
        "nodeport-ips", "hairpin-connections",
    }


def test_zones_have_their_own_endpoints_only_with_hints() -> None:
    hinted = _service("web", _port(_endpoint(0, zone_hints=("a",)), _endpoint(1, zone_hints=("b",))))
    cluster = _cluster(hinted, zones=("a", "b"))
    assert dict(_set(cluster, "node-1", "endpoints").elements) == {(4, 0): ("10.8.0.2", 8080)}
    assert dict(_set(cluster, "node-2", "endpoints").elements) == {(4, 0): ("10.8.1.3", 8080)}


@pytest.mark.parametrize("fields", [
    {"cluster_ip": ""},
    {"cluster_ip": "None"},
    {"body": {"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": "mine"}}}},
    {"body": {"metadata": {"labels": {"service.kubernetes.io/headless": ""}}}},
])
def test_services_without_rules(fields: dict[str, object]) -> None:
    cluster = _cluster(_service("web", _port(_endpoint(0)), **fields))
    assert not any(item.elements for item in _table(cluster, "node-1").sets if item.name != "nodeport-ips")
    assert "has no rules" in explain_service(cluster, cluster.services["d/web"])


def test_source_ranges_are_merged_for_the_interval_set() -> None:
    service = _service(
        "web", _port(_endpoint(0)), load_balancer_ips=("203.0.113.1",),
        source_ranges=(" 10.0.0.0/9", "10.128.0.0/9 ", "10.1.2.0/24", "fd00::/8"),
    )
    allowed = _set(_cluster(service), "node-1", "firewall-allowed")
    assert list(allowed.elements) == [("203.0.113.1", "tcp", 80, "10.0.0.0/8")]


def test_without_endpoints_there_is_no_firewall_but_a_reject() -> None:
    service = _service("web", _port(), load_balancer_ips=("203.0.113.1",), source_ranges=("10.0.0.0/8",))
    cluster = _cluster(service)
    assert not _set(cluster, "node-1", "firewall-ips").elements
    assert list(_set(cluster, "node-1", "no-endpoint-services").elements) == [(4,), (5,)]


def test_the_older_service_keeps_an_external_ip_that_two_claim() -> None:
    first = _service("a", _port(_endpoint(0), number=1), external_ips=("203.0.113.9",))
    second = _service("b", _port(_endpoint(1), number=2), external_ips=("203.0.113.9",))
    assert _set(_cluster(first, second), "node-1", "service-ips").elements["203.0.113.9", "tcp", 80] == (4,)


# The VPC and the nodes


def test_one_node_needs_no_multipath_route() -> None:
    service = _service("web", _port(_endpoint(0)), load_balancer_ips=("203.0.113.1",))
    cluster = _cluster(service)
    two = vpc.desired(cluster).netns["x.vpc"].routes["203.0.113.1/32"]
    assert [via for via, _, _ in two.nexthops] == ["10.128.0.2", "10.128.0.3"]
    single = replace(cluster, nodes={"node-1": cluster.nodes["node-1"]})
    one = vpc.desired(single).netns["x.vpc"].routes["203.0.113.1/32"]
    assert (one.via, one.nexthops) == ("10.128.0.2", ())
    none = vpc.desired(replace(cluster, nodes={}, pods={})).netns["x.vpc"].routes
    assert "203.0.113.1/32" not in none


def test_external_ips_are_routed_only_if_they_are_the_labs() -> None:
    service = _service("web", _port(_endpoint(0)), external_ips=("203.0.113.1", "192.0.2.1"))
    assert vpc.external_addresses(_cluster(service)) == ("203.0.113.1",)


def test_a_host_network_pod_has_neither_netns_nor_link() -> None:
    cluster = _cluster()
    pod = replace(cluster.pods["d/p0"], host_network=True, ip="10.128.0.2")
    state = cni.desired(replace(cluster, pods={pod.key: pod}))
    assert set(state.netns) == {"x.node.node-1", "x.node.node-2"}
    assert set(state.netns["x.node.node-1"].links) == {"cbr0"}


def test_every_link_is_stamped_and_fits_the_kernel() -> None:
    for netns in desired(_cluster()).netns.values():
        for link in netns.links.values():
            assert len(link.name) < 16
            assert link.alias.startswith("nslab:x ")
        for table in netns.tables.values():
            assert table.comment == "nslab:x"
            assert all(len(rule.comment) <= 120 for chain in table.chains for rule in chain.rules)  # type: ignore[union-attr]


# Prefixes and masquerade


def test_prefixes_merge_and_subtract() -> None:
    assert merge(["10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/9", "192.168.0.1/24", "fd00::/8"]) == [
        "10.0.0.0/8", "192.168.0.0/24",
    ]
    assert without(["10.0.0.0/30"], ["10.0.0.1/32"]) == ["10.0.0.0/32", "10.0.0.2/31"]
    assert without(["10.0.0.0/24"], ["10.0.0.0/8"]) == []
    assert without(["10.0.0.0/24"], ["10.1.0.0/24"]) == ["10.0.0.0/24"]


def _agent(text: str) -> tuple[Object, ...]:
    body = {"data": {"config": text}}
    return (Object("v1", "ConfigMap", "kube-system", "ip-masq-agent", body, "lab.yaml:3:1"),)


def test_the_labs_internet_is_public_by_default() -> None:
    ranges = ip_masq.non_masquerade_cidrs(_cluster())
    assert "10.0.0.0/8" in ranges
    assert "192.0.2.0/24" in ranges
    assert "169.254.0.0/16" in ranges
    assert not {"203.0.113.0/24", "198.51.100.0/24"} & set(ranges)


@pytest.mark.parametrize(("text", "ranges"), [
    ("nonMasqueradeCIDRs: [10.0.0.0/8, 10.1.0.0/16]\nresyncInterval: 60s", ["10.0.0.0/8", "169.254.0.0/16"]),
    ('{"nonMasqueradeCIDRs": ["198.51.100.0/24"], "masqLinkLocal": true}', ["198.51.100.0/24"]),
    ("nonMasqueradeCIDRs: []\nmasqLinkLocal: true", []),
])
def test_the_agents_config_map_replaces_the_list(text: str, ranges: list[str]) -> None:
    assert ip_masq.non_masquerade_cidrs(_cluster(objects=_agent(text))) == ranges


def test_a_config_map_without_a_list_keeps_the_default() -> None:
    ranges = ip_masq.non_masquerade_cidrs(_cluster(objects=_agent("masqLinkLocal: true")))
    assert "10.0.0.0/8" in ranges
    assert "169.254.0.0/16" not in ranges


@pytest.mark.parametrize("text", ["[1, 2]", "nonMasqueradeCIDRs: [10.0.0.0/99]", "a: [", "nonMasqueradeCIDRs: 7"])
def test_a_config_map_that_makes_no_sense_is_named(text: str) -> None:
    with pytest.raises(ManifestError, match=r"lab.yaml:3:1: ConfigMap kube-system/ip-masq-agent: data.config"):
        desired(_cluster(objects=_agent(text)))


# Files


def test_a_pods_hosts_file_is_kubelets() -> None:
    spec = {"subdomain": "db", "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["foo.local", "bar.local"]}]}
    pod = Pod("shop", "db-0", "u", "10.8.0.9", "node-1", {}, (), body={"spec": spec})
    assert pod_files.hosts_file(pod, "cluster.local") == (
        "# Kubernetes-managed hosts file.\n"
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\n"
        "fe00::0\tip6-mcastprefix\n"
        "fe00::1\tip6-allnodes\n"
        "fe00::2\tip6-allrouters\n"
        "10.8.0.9\tdb-0.db.shop.svc.cluster.local\tdb-0\n"
        "\n# Entries added by HostAliases.\n"
        "10.1.2.3\tfoo.local\tbar.local\n"
    )


def test_nodes_know_each_other_by_name() -> None:
    files = pod_files.desired(_cluster()).files
    assert "10.128.0.3\tnode-2\n" in files["/etc/netns/x.node.node-1/hosts"]
    assert "10.8.0.2\tp0\n" in files["/etc/netns/x.pod.d.p0/hosts"]
    assert files["/etc/netns/x.pod.d.p0/resolv.conf"] == "nameserver 198.51.100.1\n"  # there is no cluster DNS


def test_pods_of_the_nodes_network_have_files_where_they_ask_for_others() -> None:
    specs = {"alike": {}, "aliased": {"hostAliases": [{"ip": "10.1.2.3", "hostnames": ["foo.local"]}]},
             "own": {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"]}}}
    pods = {
        f"d/{name}": Pod("d", name, name, "10.128.0.2", "node-1", {}, (), host_network=True, body={"spec": spec})
        for name, spec in specs.items()
    }
    files = pod_files.desired(replace(_cluster(), pods=pods)).files
    own = {path.removeprefix("/etc/netns/x.pod.d."): text for path, text in files.items() if ".pod." in path}
    assert sorted(own) == ["aliased/hosts", "aliased/resolv.conf", "own/hosts", "own/resolv.conf"]
    nodes = files["/etc/netns/x.node.node-1/hosts"]
    managed = f"# Kubernetes-managed hosts file (host network).\n{nodes}"
    assert own["own/hosts"] == managed
    assert own["aliased/hosts"] == f"{managed}\n# Entries added by HostAliases.\n10.1.2.3\tfoo.local\n"
    assert (own["own/resolv.conf"], own["aliased/resolv.conf"]) == (
        "nameserver 192.0.2.1\n", files["/etc/netns/x.node.node-1/resolv.conf"]
    )


# Explanations


def test_a_services_way_is_explained_on_the_node_asked_for() -> None:
    port = _port(_endpoint(0), _endpoint(1), node_port=30080)
    service = _service("web", port, type="LoadBalancer", load_balancer_ips=("203.0.113.1",),
                       external_traffic_policy="Local", affinity_timeout=60, source_ranges=("10.0.0.0/8",))
    cluster = _cluster(service, _service("other", _port(_endpoint(0), number=2)))
    text = explain_service(cluster, service, "node-2")
    for element in (
        "cluster-ips { 10.12.0.1 }", "service-ips { 10.12.0.1 . tcp . 80 : 4 }",
        "service-ips { 203.0.113.1 . tcp . 80 : 6 }", "service-nodeports { tcp . 30080 : 6 }",
        "service-ports { 4 : goto affinity-2-60 }", "endpoints { 4 . 1 : 10.8.1.3 . 8080 }",
        "local-service-ports { 5 : goto local-affinity-1-60 }", "external-local-services { 6 }",
        "firewall-allowed { 203.0.113.1 . tcp . 80 . 10.0.0.0/8 }", "add rule ip kube-proxy affinity-2-60 ",
        "hairpin-connections { 10.8.1.3 . 10.8.1.3 }",
    ):
        assert element in text
    assert "10.12.0.2" not in text


def test_a_node_is_explained_by_all_its_tables() -> None:
    text = explain_node(_cluster(), "node-1")
    assert "add table ip kube-proxy" in text
    assert "add table ip ip-masq" in text
    with pytest.raises(KeyError):
        explain_node(_cluster(), "node-9")


def test_rules_that_are_not_in_force_are_told_as_such() -> None:
    service = _service("web", _port(_endpoint(0)))
    cluster = replace(_cluster(service), faults=(Fault("node/node-1", "dead"),))
    for text in (explain_node(cluster, "node-1"), explain_service(cluster, service, "node-1")):
        assert "# kube-proxy does not work there: " in text
    assert "does not work" not in explain_node(cluster, "node-2")
