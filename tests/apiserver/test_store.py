"""The store's rules: versions, deletion, owners, namespaces, watch."""

from __future__ import annotations

import pytest

from nslab.apiserver.errors import AlreadyExists, Conflict, Gone, NotFound
from nslab.apiserver.events import Event
from tests.apiserver.objects import changed, config_map, namespace, owned_by, pod, scene


def names(bodies):
    return [body["metadata"]["name"] for body in bodies]


def test_creation_stamps_the_object_and_leaves_the_given_one_alone():
    s = scene()
    given = pod("web")
    made = s.store.create("Pod", given)
    assert "uid" not in given["metadata"]
    assert made["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert (made["metadata"]["resourceVersion"], made["metadata"]["generation"]) == ("1", 1)
    assert s.store.get("Pod", "default", "web") is made
    assert s.told() == [("ADDED", "Pod", "web")]


def test_a_name_is_taken_once():
    s = scene()
    s.store.create("Pod", pod("web"))
    with pytest.raises(AlreadyExists) as caught:
        s.store.create("Pod", pod("web"))
    assert caught.value.message == 'pods "web" already exists'
    assert caught.value.status()["details"] == {"name": "web", "kind": "pods"}
    assert s.store.revision == 1


def test_generated_names_are_short_and_differ():
    s = scene()
    body = pod("")
    del body["metadata"]["name"]
    body["metadata"]["generateName"] = "x" * 80
    first, second = (s.store.create("Pod", body)["metadata"]["name"] for _ in range(2))
    assert first != second
    assert len(first) == 63


def test_a_generated_name_that_is_taken_is_drawn_again():
    s = scene()
    body = config_map("")
    body["metadata"] = {"generateName": "a-", "namespace": "default"}
    made = s.store.create("ConfigMap", body)
    again = scene()
    again.store.create("ConfigMap", config_map(made["metadata"]["name"]))
    drawn = again.store.create("ConfigMap", body)
    assert drawn["metadata"]["name"].startswith("a-")


def test_lists_are_sorted_and_selected():
    s = scene()
    for name, space in (("b", "one"), ("a", "two"), ("c", "one"), ("a", "one-more")):
        s.store.create("Pod", pod(name, space, labels={"is": name}))
    assert names(s.store.list("Pod")) == ["b", "c", "a", "a"]
    assert names(s.store.list("Pod", "one")) == ["b", "c"]
    assert names(s.store.list("Pod", "one", {"matchLabels": {"is": "c"}})) == ["c"]
    expression = {"key": "is", "operator": "NotIn", "values": ["a"]}
    assert names(s.store.list("Pod", selector={"matchExpressions": [expression]})) == ["b", "c"]
    assert s.store.list("Node") == []


def test_an_equal_update_is_no_change():
    s = scene()
    made = s.store.create("Pod", pod("web"))
    s.told()
    assert s.store.update("Pod", {**pod("web"), "metadata": {**made["metadata"], "managedFields": []}}) is made
    assert s.store.revision == 1
    assert s.told() == []


def test_generation_counts_wishes_alone():
    s = scene()
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "default"}}
    made = s.store.create("Deployment", {**body, "spec": {"replicas": 1}})
    labelled = s.store.update("Deployment", changed(made, metadata={"labels": {"a": "b"}}))
    assert labelled["metadata"]["generation"] == 1
    reported = s.store.update("Deployment", changed(labelled, status={"replicas": 1}, spec={}), status=True)
    assert reported["metadata"]["generation"] == 1
    assert reported["spec"] == {"replicas": 1}
    scaled = s.store.update("Deployment", changed(reported, spec={"replicas": 2}, status={}))
    assert scaled["metadata"]["generation"] == 2
    assert scaled["status"] == {"replicas": 1}


def test_an_old_version_conflicts():
    s = scene()
    first = s.store.create("ConfigMap", config_map("a"))
    s.store.update("ConfigMap", changed(first, data={"x": "1"}))
    with pytest.raises(Conflict, match="the object has been modified"):
        s.store.update("ConfigMap", changed(first, data={"x": "2"}))
    with pytest.raises(Conflict, match="Precondition failed: UID"):
        s.store.delete("ConfigMap", "default", "a", preconditions={"uid": "another"})
    unversioned = config_map("a", x="3")
    assert s.store.update("ConfigMap", unversioned)["data"] == {"x": "3"}


def test_what_is_not_there_is_not_found():
    s = scene()
    with pytest.raises(NotFound, match=r'deployments\.apps "d" not found'):
        s.store.delete("Deployment", "default", "d")
    with pytest.raises(NotFound):
        s.store.update("Pod", pod("web"))
    s.store.finish("Pod", "default", "web")


def test_a_pod_on_a_node_is_given_its_grace_period():
    s = scene()
    s.store.create("Pod", pod("web", node="n1"))
    held = s.store.delete("Pod", "default", "web")
    assert held["metadata"]["deletionTimestamp"] == "2023-11-14T22:13:50Z"
    assert held["metadata"]["deletionGracePeriodSeconds"] == 30
    assert s.store.delete("Pod", "default", "web") is held
    sooner = s.store.delete("Pod", "default", "web", grace=5)
    assert sooner["metadata"]["deletionGracePeriodSeconds"] == 5
    s.store.finish("Pod", "default", "web")
    assert s.store.get("Pod", "default", "web") is None
    assert [event[0] for event in s.told()] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]


def test_a_pod_without_a_node_and_a_finished_one_go_at_once():
    s = scene()
    s.store.create("Pod", pod("new"))
    assert s.store.delete("Pod", "default", "new") is None
    s.store.create("Pod", pod("done", node="n1"))
    s.store.update("Pod", changed(pod("done"), status={"phase": "Succeeded"}), status=True)
    assert s.store.delete("Pod", "default", "done") is None


def test_finalizers_hold_until_they_are_gone():
    s = scene()
    s.store.create("ConfigMap", changed(config_map("a"), metadata={"finalizers": ["x/y"]}))
    held = s.store.delete("ConfigMap", "default", "a")
    assert held["metadata"]["deletionTimestamp"]
    s.store.finish("ConfigMap", "default", "a")
    assert s.store.get("ConfigMap", "default", "a") is held
    s.store.update("ConfigMap", changed(held, metadata={"finalizers": []}))
    assert s.store.get("ConfigMap", "default", "a") is None


def owners_and_owned(s, *, block=False):
    owner = s.store.create("ConfigMap", config_map("owner"))
    other = s.store.create("ConfigMap", config_map("other"))
    s.store.create("Pod", owned_by(pod("only"), owner, block=block))
    s.store.create("Pod", owned_by(pod("shared"), owner, other))
    s.told()


def test_what_an_owner_alone_owned_goes_with_it():
    s = scene()
    owners_and_owned(s)
    assert s.store.delete("ConfigMap", "default", "owner") is None
    assert s.told() == [("DELETED", "ConfigMap", "owner"), ("DELETED", "Pod", "only"), ("MODIFIED", "Pod", "shared")]
    assert len(s.store.get("Pod", "default", "shared")["metadata"]["ownerReferences"]) == 1


def test_orphans_stay():
    s = scene()
    owners_and_owned(s)
    s.store.delete("ConfigMap", "default", "owner", propagation="Orphan")
    assert names(s.store.list("Pod")) == ["only", "shared"]
    assert "ownerReferences" not in s.store.get("Pod", "default", "only")["metadata"]


def test_in_the_foreground_the_owner_goes_last():
    s = scene()
    owner = s.store.create("ConfigMap", config_map("owner"))
    s.store.create("Pod", owned_by(pod("only", node="n1"), owner, block=True))
    s.told()
    held = s.store.delete("ConfigMap", "default", "owner", propagation="Foreground")
    assert held["metadata"]["finalizers"] == ["foregroundDeletion"]
    s.store.finish("Pod", "default", "only")
    assert s.told()[-2:] == [("MODIFIED", "ConfigMap", "owner"), ("DELETED", "ConfigMap", "owner")]


def test_a_namespace_takes_its_objects():
    s = scene()
    s.store.create("Namespace", namespace("shop"))
    s.store.create("ConfigMap", config_map("a", "shop"))
    s.store.create("Pod", pod("web", "shop", node="n1"))
    s.store.create("ConfigMap", config_map("a"))
    held = s.store.delete("Namespace", "", "shop")
    assert held["status"]["phase"] == "Terminating"
    assert s.store.list("ConfigMap", "shop") == []
    s.store.finish("Pod", "shop", "web")
    assert s.store.get("Namespace", "", "shop") is None
    assert names(s.store.list("ConfigMap")) == ["a"]


def test_a_change_by_a_subscriber_is_told_after_the_first_one():
    s = scene()
    later: list[tuple[str, str]] = []

    def react(event: Event) -> None:
        if event.kind == "ConfigMap":
            s.store.create("Pod", pod("from-" + event.body["metadata"]["name"]))

    s.store.subscribe(react)
    s.store.subscribe(lambda event: later.append((event.kind, event.body["metadata"]["name"])))
    s.store.create("ConfigMap", config_map("a"))
    assert later == [("ConfigMap", "a"), ("Pod", "from-a")]


def test_a_failing_subscriber_stops_nobody(caplog):
    s = scene()
    s.store.subscribe(lambda event: 1 / 0)
    s.store.create("ConfigMap", config_map("a"))
    s.store.create("ConfigMap", config_map("b"))
    assert len(s.told()) == 2
    assert "a subscriber failed on ADDED ConfigMap" in caplog.text


def taken(watcher):
    return [(event.type, event.body["metadata"]["name"]) for event in watcher.take()]


def test_a_watch_resumes_where_it_ended():
    s = scene()
    first = s.store.create("Pod", pod("a"))
    s.store.create("ConfigMap", config_map("x"))
    s.store.create("Pod", pod("b"))
    watcher = s.store.watch("Pod", lambda body: True, since=int(first["metadata"]["resourceVersion"]))
    s.store.delete("Pod", "default", "a")
    assert taken(watcher) == [("ADDED", "b"), ("DELETED", "a")]
    s.store.unwatch("Pod", watcher)
    s.store.unwatch("Pod", watcher)
    s.store.create("Pod", pod("c"))
    assert taken(watcher) == []


def test_a_watch_sees_objects_enter_and_leave_its_selector():
    s = scene()
    watcher = s.store.watch("Pod", lambda body: body["metadata"]["labels"].get("on") == "y", since=0)
    made = s.store.create("Pod", pod("a"))
    made = s.store.update("Pod", changed(made, metadata={"labels": {"on": "y"}}))
    made = s.store.update("Pod", changed(made, metadata={"labels": {"on": "y", "more": "x"}}))
    gone = s.store.update("Pod", changed(made, metadata={"labels": {}}))
    events = watcher.take()
    assert [event.type for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert events[-1].body["metadata"]["labels"] == {"on": "y", "more": "x"}
    assert events[-1].revision == int(gone["metadata"]["resourceVersion"])
    s.store.delete("Pod", "default", "a")
    assert taken(watcher) == []


def test_a_watch_from_before_the_window_or_from_the_future_is_gone():
    s = scene(window=2)
    for name in "abcd":
        s.store.create("Pod", pod(name))
    with pytest.raises(Gone, match="too old resource version"):
        s.store.watch("Pod", lambda body: True, since=1)
    with pytest.raises(Gone):
        s.store.watch("Pod", lambda body: True, since=5)
    assert taken(s.store.watch("Pod", lambda body: True, since=2)) == [("ADDED", "c"), ("ADDED", "d")]


def test_large_events_are_bounded_by_their_octets(monkeypatch):
    monkeypatch.setattr("nslab.apiserver.events.WINDOW_OCTETS", 30_000)
    monkeypatch.setattr("nslab.apiserver.events.QUEUE_OCTETS", 50_000)
    s = scene()
    idle, lively = (s.store.watch("ConfigMap", lambda body: True, since=0) for _ in range(2))
    for number in range(10):
        s.store.create("ConfigMap", config_map(f"m{number}", text="x" * 9_000))
        assert [event.body["metadata"]["name"] for event in lively.take()] == [f"m{number}"]
    assert idle.overflowed
    assert not lively.overflowed
    assert idle.take() == []
    with pytest.raises(Gone):
        s.store.watch("ConfigMap", lambda body: True, since=s.store.revision - 4)
    resumed = s.store.watch("ConfigMap", lambda body: True, since=s.store.revision - 3)
    assert [event.body["metadata"]["name"] for event in resumed.take()] == ["m7", "m8", "m9"]


def test_a_watcher_that_takes_nothing_is_cut_off_alone():
    s = scene()
    slow = s.store.watch("Pod", lambda body: True, since=0, bound=2)
    quick = s.store.watch("Pod", lambda body: True, since=0)
    woken: list[bool] = []
    slow.wake = lambda: woken.append(slow.overflowed)
    for name in "abcd":
        s.store.create("Pod", pod(name))
    assert woken == [False, False, True]
    assert slow.take() == []
    assert [name for _, name in taken(quick)] == list("abcd")
