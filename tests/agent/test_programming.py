"""What is remembered of changes and of how soon the rules followed."""

from __future__ import annotations

from nslab.agent.programming import KEPT, Programming


def test_changes_are_remembered_once_the_network_has_followed() -> None:
    programming = Programming()
    programming.changed("Pod", "shop/web", "MODIFIED")
    programming.changed("Pod", "shop/web", "MODIFIED")
    programming.changed("Service", "shop/web", "ADDED")
    assert (list(programming.records), programming.percentile(99)) == ([], None)
    programming.in_force(3, ["lab.node.a", "lab.node.b", "lab.node.a"])
    pod, service = programming.records
    assert (pod.kind, pod.key, pod.what, pod.operations, pod.netns) == ("Pod", "shop/web", "MODIFIED", 3, 2)
    assert service.kind == "Service"
    assert pod.milliseconds >= service.milliseconds >= 0
    programming.in_force(1, ["lab.node.a"])
    assert programming.count == len(programming.records) == 2


def test_percentiles_are_those_of_changes_that_did_something() -> None:
    programming = Programming()
    programming.changed("ConfigMap", "shop/web", "ADDED")
    programming.in_force(0, [])
    assert programming.percentile(50) is None
    for number in range(100):
        programming.changed("Pod", f"shop/{number}", "ready")
        programming.in_force(1, ["lab.node.a"])
    took = sorted(record.milliseconds for record in programming.records if record.operations)
    found = [programming.percentile(percent) for percent in (0, 50, 99, 100)]
    assert found == [took[0], took[49], took[98], took[99]]


def test_what_was_in_force_already_took_no_time() -> None:
    programming = Programming()
    programming.changed("Pod", "shop/web", "ADDED")
    programming.discard()
    assert programming.in_force(1, ["lab.node.a"]) == []


def test_only_so_many_are_kept() -> None:
    programming = Programming()
    for number in range(3 * KEPT):
        programming.changed("Pod", f"shop/{number}", "ready")
    programming.in_force(1, ["lab.node.a"])
    for number in range(KEPT):
        programming.changed("Pod", f"shop/{number}", "not ready")
        programming.in_force(1, ["lab.node.a"])
    assert len(programming.records) == KEPT
    assert {record.what for record in programming.records} == {"not ready"}
    assert programming.count == 2 * KEPT
