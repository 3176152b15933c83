"""What `nslab events` tells, from Events and followed changes."""

from __future__ import annotations

from datetime import datetime

from nslab.agent.history import lines
from nslab.agent.programming import Programmed

AT = datetime.fromisoformat("2030-01-01T00:00:05.250Z").timestamp()
EVENT = {
    "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "web-0"}, "type": "Warning",
    "reason": "FailedScheduling", "message": "no node", "count": 3, "lastTimestamp": "2030-01-01T00:00:05Z",
}


def test_a_followed_change_says_how_soon_the_rules_were_in_force() -> None:
    (line,) = lines([], [Programmed(AT, "Service", "shop/web", "MODIFIED", 3.25, 5, 2)])
    assert line == {
        "time": "2030-01-01T00:00:05.250Z", "type": "Normal", "reason": "Programmed", "object": "service/shop/web",
        "message": "modified: in force after 3.2 ms", "change": "MODIFIED", "in_force_ms": 3.25, "operations": 5,
        "namespaces": 2,
    }


def test_a_change_that_no_rule_follows_says_so() -> None:
    (line,) = lines([], [Programmed(AT, "ConfigMap", "shop/colours", "ADDED", 1.0, 0, 0)])
    assert line["message"] == "added: nothing had to follow"


def test_events_and_changes_come_in_the_order_of_time() -> None:
    earlier = Programmed(AT - 3, "Node", "node-1", "ADDED", 1.0, 4, 1)
    later = Programmed(AT, "Pod", "shop/web-0", "not ready", 1.0, 4, 1)
    told = lines([EVENT], [earlier, later])
    assert [(line["object"], line["reason"]) for line in told] == [
        ("node/node-1", "Programmed"), ("pod/shop/web-0", "FailedScheduling"), ("pod/shop/web-0", "Programmed"),
    ]
    assert told[1] == {
        "time": "2030-01-01T00:00:05Z", "type": "Warning", "reason": "FailedScheduling", "object": "pod/shop/web-0",
        "message": "no node", "count": 3,
    }
