from __future__ import annotations

from uuid import UUID

from nslab.cluster import naming

from .builders import a_cluster, a_pod


def test_a_pods_netns_is_its_own_or_its_nodes() -> None:
    own, shared = a_cluster(a_pod("a"), a_pod("b", hostNetwork=True)).pods.values()
    assert naming.pod_netns("lab", own) == "lab.pod.default.a"
    assert naming.pod_netns("lab", shared) == naming.node_netns("lab", shared.node)


def test_names_fit_where_the_kernel_keeps_them() -> None:
    long_pod = next(iter(a_cluster(a_pod("a" * 253)).pods.values()))
    assert len(naming.pod_netns("lab", long_pod)) == 255
    assert len(naming.link_name("veth", "x" * 300)) == 15
    assert naming.link_name("veth", "a") != naming.link_name("veth", "b")


def test_a_uid_is_a_uuid_and_the_same_for_the_same_identity() -> None:
    assert UUID(naming.object_uid("Pod/default/a")).version == 4
    assert naming.object_uid("a") == naming.object_uid("a") != naming.object_uid("b")
