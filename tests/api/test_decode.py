"""Files to a Manifest: names, Labs, folders, manifests of a Lab, unknown kinds, progress."""

from __future__ import annotations

import io
from pathlib import Path
from time import monotonic

import pytest

from nslab.api.decode import decode
from nslab.api.objects import ClientSpec, LabSpec, Manifest, NodeSpec
from nslab.errors import ManifestError

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [{port: 80}]}\n"
LAB = "apiVersion: nslab.dev/v1\nkind: Lab\nmetadata: {name: shop}\nspec: %s\n"


def read(text: str, *, ignore_unknown: bool = False) -> Manifest:
    return decode(["-"], stdin=io.StringIO(text), ignore_unknown=ignore_unknown)


def faults(*paths: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        decode(list(paths))
    assert caught.value.exit_code == 3
    return caught.value.faults


@pytest.mark.parametrize(
    ("file", "name"),
    [("web.yaml", "web"), ("My_Shop v2.yml", "my-shop-v2"), ("---.json", "lab"), ("a" * 80 + ".yaml", "a" * 63)],
)
def test_a_lab_without_a_lab_is_named_after_its_file(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).write_text(SERVICE % "web")
    assert decode([str(tmp_path / file)]).lab == LabSpec(name=name)


def test_the_lab_of_standard_input() -> None:
    assert read(SERVICE % "web").lab.name == "lab"
    assert read("").objects == ()
    assert decode(["-"]).lab.name == "lab"


def test_a_folder_is_read_sorted_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "Shop"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.yml").write_text(SERVICE % "b")
    (folder / "a.yaml").write_text(SERVICE % "a")
    (folder / "sub" / "c.json").write_text('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "c"}}')
    (folder / "notes.txt").write_text("not: [yaml")
    (folder / "kustomization.yaml").write_text("resources: [a.yaml]")
    manifest = decode([str(folder)])
    assert manifest.lab.name == "shop"
    assert [thing.name for thing in manifest.objects] == ["a", "b", "c"]
    assert manifest.objects[0].where == f"{folder}/a.yaml:1:1"
    assert len(manifest.warnings) == 1
    assert "kustomization" in manifest.warnings[0]


def test_files_that_cannot_be_read_are_all_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    (tmp_path / "kustomization.yaml").write_text("")
    paths = [str(tmp_path / name) for name in ("none.yaml", "empty", "latin.yaml", "kustomization.yaml")]
    assert faults(*paths) == [
        f"{paths[0]}:1:1: file: cannot be read: No such file or directory",
        f"{paths[1]}:1:1: folder: has no *.yaml, *.yml, *.json file",
        f"{paths[2]}:2:7: file: is not UTF-8 text; save it as UTF-8",
        f"{paths[3]}:1:1: file: is a kustomization: `kubectl kustomize` renders it to objects",
    ]


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + (SERVICE % "web").encode())
    assert decode([str(tmp_path / "a.yaml")]).objects[0].where.endswith(":1:1")


def test_manifests_are_relative_to_their_lab(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "p.yaml").write_text(SERVICE % "in-folder")
    (tmp_path / "web.yaml").write_text(SERVICE % "web")
    (tmp_path / "lab.yaml").write_text(LAB % "{manifests: [web.yaml, policies/]}")
    manifest = decode([str(tmp_path / "lab.yaml")])
    assert manifest.lab.name == "shop"
    assert [thing.name for thing in manifest.objects] == ["web", "in-folder"]


def test_standard_input_that_is_not_utf8() -> None:
    with pytest.raises(ManifestError, match="-:1:1: standard input: is not UTF-8 text"):
        decode(["-"], stdin=io.TextIOWrapper(io.BytesIO(b"a: caf\xe9"), encoding="utf-8"))


def test_a_file_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB % "{manifests: [., web.yaml]}")
    (tmp_path / "web.yaml").write_text(SERVICE % "web")
    manifest = decode([str(tmp_path / "lab.yaml"), str(tmp_path / "web.yaml")])
    assert [thing.name for thing in manifest.objects] == ["web"]


def test_a_manifest_with_an_impossible_name_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB % f"{{manifests: [{'x' * 300}]}}")
    assert "there is no file or folder" in faults(str(tmp_path / "lab.yaml"))[0]
    assert "cannot be read" in faults("x" * 300)[0]


def test_an_empty_list_holds_nothing() -> None:
    assert read("apiVersion: v1\nkind: List\n").objects == ()


def test_faults_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml"):
        (tmp_path / name).write_text("kind: X\n---\nno\n")
    places = [fault.split(": ")[0] for fault in faults(str(tmp_path / "b.yaml"), str(tmp_path / "a.yaml"))]
    assert places == [f"{tmp_path}/{name}:{line}:1" for name in ("b.yaml", "a.yaml") for line in (1, 3)]


def test_a_list_is_expanded_with_places() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- " + (SERVICE % "a").replace("\n", "\n  ").rstrip()
    (thing,) = read(text).objects
    assert (thing.name, thing.where) == ("a", "-:4:3")
    with pytest.raises(ManifestError, match=r"-:7:25: Service default/a: spec.ports\[0\].port: 0 is below 1"):
        read(text.replace("port: 80", "port: 0"))


def test_unknown_kinds_pass_on_demand() -> None:
    text = "apiVersion: example.com/v1\nkind: Sprocket\nmetadata: {name: a}\n"
    manifest = read(text, ignore_unknown=True)
    assert manifest.objects == ()
    assert manifest.warnings == ('-:2:7: Sprocket a: unknown kind "Sprocket" (example.com/v1), ignored',)
    with pytest.raises(ManifestError):
        read(text.replace("example.com/v1", "v1").replace("Sprocket", "Deployment"), ignore_unknown=True)


def test_kinds_without_network_are_listed() -> None:
    manifest = read("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'system:x'}\n")
    assert manifest.ignored == ("ClusterRole system:x",)
    assert manifest.objects == ()


def test_the_labs_fields_reach_the_spec() -> None:
    spec = (
        "{cluster: {mode: RoutesBased, networkPolicy: true, domain: lab.test, maxPodsPerNode: 16},"
        " vpc: {nodeRange: 10.1.0.0/24, podRange: 10.2.0.0/16, serviceRange: 10.3.0.0/24,"
        " proxyOnlyRange: 10.4.0.0/24, externalRange: 192.0.2.0/24, mtu: 1500}, nodes: 3,"
        " clients: [{name: a, network: vpc, address: 10.1.0.9}], checks: [{from: client/a, to: 'web:80'}]}"
    )
    lab = read(LAB % spec).lab
    assert (lab.name, lab.cluster.mode, lab.cluster.network_policy) == ("shop", "RoutesBased", True)
    assert (lab.cluster.domain, lab.cluster.max_pods_per_node) == ("lab.test", 16)
    assert (lab.vpc.node_range, lab.vpc.pod_range) == ("10.1.0.0/24", "10.2.0.0/16")
    assert lab.vpc.service_range == "10.3.0.0/24"
    assert (lab.vpc.proxy_only_range, lab.vpc.external_range, lab.vpc.mtu) == ("10.4.0.0/24", "192.0.2.0/24", 1500)
    assert [node.name for node in lab.nodes] == ["node-1", "node-2", "node-3"]
    assert lab.clients == (ClientSpec("a", "vpc", "10.1.0.9"),)
    assert lab.checks == ({"from": "client/a", "to": "web:80"},)
    assert lab.where == "-:1:1"


NODE = (
    "---\napiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {disk: ssd, topology.kubernetes.io/zone: z}}\n"
    "spec: {podCIDR: 10.8.1.0/24}\nstatus: {addresses: [{type: InternalIP, address: 10.128.0.5}]}\n"
)


def test_node_objects_are_the_nodes_of_a_lab_that_names_none() -> None:
    node = NodeSpec("n1", {"disk": "ssd", "topology.kubernetes.io/zone": "z"}, "z", "10.8.1.0/24", "10.128.0.5")
    assert read(NODE % "n1").lab.nodes == (node,)
    assert read(LAB % "{}" + NODE % "n1").lab.nodes == (node,)


def test_node_objects_join_the_labs_nodes() -> None:
    nodes = "{nodes: [{name: n0, zone: a}, {name: n1, zone: a, labels: {disk: hdd, b: c}}]}"
    lab = read(LAB % nodes + NODE % "n1").lab
    assert lab.nodes[0] == NodeSpec("n0", {}, "a")
    assert lab.nodes[1].labels == {"disk": "ssd", "b": "c", "topology.kubernetes.io/zone": "z"}
    assert (lab.nodes[1].zone, lab.nodes[1].pod_cidr, lab.nodes[1].address) == ("z", "10.8.1.0/24", "10.128.0.5")


def test_a_node_that_the_lab_has_not_is_a_fault() -> None:
    with pytest.raises(ManifestError, match=r'the Lab has no node "n1": the Lab.s nodes are node-1, node-2'):
        read(LAB % "{nodes: 2}" + NODE % "n1")


def test_a_pod_names_a_node_that_the_default_lab_has_not() -> None:
    pod = (
        "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
        "spec: {nodeName: gone, containers: [{name: a, image: a}]}"
    )
    with pytest.raises(ManifestError, match='there is no node "gone"; the nodes are node-1, node-2'):
        read(SERVICE % "s" + pod)


def test_too_many_services_for_the_default_range() -> None:
    with pytest.raises(ManifestError, match=r"serviceRange \S+ has 4096 addresses, too few for 4100 Services"):
        read("---\n".join(SERVICE % f"s{number}" for number in range(4100)))


def test_ten_thousand_services_are_read_in_time() -> None:
    lab = LAB % "{vpc: {serviceRange: 10.64.0.0/16}}"
    text = "---\n".join([lab, *(SERVICE % f"s{number}" for number in range(10_000))])
    start = monotonic()
    assert len(read(text).objects) == 10_000
    assert monotonic() - start < 6


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    text = "---\n".join(SERVICE % f"s{number}" for number in range(1000))
    decode(["-"], stdin=io.StringIO(text), progress=lambda done, known: told.append((done, known)))
    assert len(told) >= 5
    assert told == sorted(told)
    assert told[-1] == (len(text), len(text))
