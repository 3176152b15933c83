"""The checks that a user writes into the Lab."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nslab.api.objects import LabSpec
from nslab.check.expectations import expectations
from nslab.check.model import Check, Expectation
from nslab.check.run import run
from nslab.check.written import GROUP, written
from nslab.cluster.model import Cluster
from nslab.errors import ManifestError
from nslab.servers.flows import FlowResult
from tests.check.network import Attempt, Network
from tests.check.shop import SHOP


def with_checks(*checks: dict[str, Any]) -> Cluster:
    return replace(SHOP, lab=LabSpec("shop", checks=checks, where="lab.yaml:3:1"))


def one(**check: Any) -> Expectation:
    return written(with_checks(check))[0]


def outcome(cluster: Cluster, **attempt: str) -> Check:
    network = Network(cluster, (lambda _, right: right._replace(**attempt)) if attempt else None)
    return run(cluster, written(cluster), network).checks[0]


CART_TO_WEB = {"from": "pod/shop/cart", "to": "svc/shop/web:80"}


@pytest.mark.parametrize(("expect", "right", "wrong"), [
    ("open", "open", ["timeout", "refused", "unreachable"]),
    ("refused", "refused", ["open", "timeout"]),
    ("refused", "unreachable", ["error"]),
    ("blocked", "timeout", ["open", "refused", "unreachable"]),
])
def test_verdicts(expect: str, right: str, wrong: list[str]) -> None:
    cluster = with_checks({**CART_TO_WEB, "expect": expect})
    assert outcome(cluster, verdict=right).outcome == "passed"
    assert [outcome(cluster, verdict=verdict).outcome for verdict in wrong] == ["failed"] * len(wrong)


def test_open_is_the_default_and_the_name_tells_the_flow() -> None:
    check = one(**CART_TO_WEB)
    assert check.verdicts == {"open"}
    assert check.name == "pod/shop/cart -> svc/shop/web:80: open"
    assert (check.group, check.flow.timeout) == (GROUP, 1.0)
    assert one(**CART_TO_WEB, expect="blocked").flow.timeout == 0.5
    assert one(**CART_TO_WEB, expect="blocked", timeout=2).flow.timeout == 2.0
    assert one(**CART_TO_WEB, name="cart reaches web", proto="udp", count=3).name == "cart reaches web"


def test_http() -> None:
    check = one(**{"from": "client/laptop", "to": "http://203.0.113.10/", "expect": {
        "status": 200, "service": "shop/web"}})
    assert (check.flow.protocol, check.status, check.responders) == ("http", 200, {"shop/web-1", "shop/web-2"})
    assert one(**CART_TO_WEB, expect={"status": 404}).flow.protocol == "http"

    def answer(flows: Any) -> list[FlowResult]:
        return [FlowResult(flow.id, {"open": 1}, {"shop/web-1": 1}, statuses={"500": 1}) for flow in flows]

    report = run(SHOP, [check], answer)
    assert report.checks[0].why == "expected status 200, got 500 (1x)"

    def mute(flows: Any) -> list[FlowResult]:
        return [FlowResult(flow.id, {"open": 1}, {"shop/web-1": 1}) for flow in flows]

    assert run(SHOP, [check], mute).checks[0].why == "expected status 200, got no HTTP answer"


def test_who_answers_and_what_it_sees() -> None:
    cluster = with_checks({**CART_TO_WEB, "expect": {"pod": "web-1", "client_ip": "10.8.0.3"}})
    assert outcome(cluster, responder="shop/web-1").outcome == "passed"
    wrong = outcome(cluster, responder="shop/web-2", client="10.8.0.1")
    assert "answered by shop/web-2 (1x), which is no endpoint of it; expected shop/web-1" in wrong.why
    assert "seen as coming from 10.8.0.1 (1x); expected 10.8.0.3" in wrong.why


@pytest.mark.parametrize("target", ["svc/shop/web:80", "10.12.0.20:80", "http://203.0.113.10/"])
def test_spread(target: str) -> None:
    cluster = with_checks({"from": "client/laptop", "to": target, "spread": True})
    if target.startswith("http"):
        assert outcome(cluster).outcome == "failed"  # the network of the mind speaks no HTTP
    check = written(cluster)[0]
    assert check.spread == {"shop/web-1", "shop/web-2"}
    assert (check.flow.count, check.attempts) == (8, 31)


def test_spread_is_not_met_by_one_endpoint() -> None:
    cluster = with_checks({**CART_TO_WEB, "spread": True})
    assert outcome(cluster).outcome == "passed"
    assert outcome(cluster, responder="shop/web-1").why == "never answered by shop/web-2 in 31 attempts"


def test_spread_over_a_local_policy_asks_often_enough() -> None:
    check = one(**{"from": "client/laptop", "to": "203.0.113.11:7070", "spread": True})
    assert (check.spread, check.share, check.attempts) == ({"shop/cart"}, 0.5, 30)


def test_spread_keeps_the_count_that_is_written() -> None:
    assert one(**CART_TO_WEB, spread=True, count=3).flow.count == 3


def test_spread_over_no_endpoint_is_no_spread() -> None:
    assert one(**{"from": "pod/cart", "to": "svc/shop/none:80", "expect": "refused", "spread": True}).spread == set()


def test_pattern_is_a_check_for_each_source() -> None:
    checks = written(with_checks({"from": "pod/shop/web-*", "to": "svc/shop/cart:7070", "name": "web to cart"}))
    assert [each.name for each in checks] == [f"web to cart (pod/shop/web-{n})" for n in (1, 2, 3)]


def test_faults() -> None:
    cluster = with_checks(
        {"from": "pod/shop/card", "to": "svc/shop/web:80", "exepct": "open"},
        {**CART_TO_WEB, "expect": "closed"},
        {**CART_TO_WEB, "expect": 7},
        {**CART_TO_WEB, "expect": {"service": "shop/wep", "pod": 3, "state": 1}},
        {**CART_TO_WEB, "expect": {"verdict": "refused", "status": 200}},
        {"from": "pod/cart", "to": "10.9.9.9:80", "spread": True},
        {"from": "pod/cart", "dns": "web.shop.svc.cluster.local", "expect": {"code": "WHO"}, "spread": True},
        {**CART_TO_WEB, "id": "x", "spread": "yes"},
    )
    with pytest.raises(ManifestError) as caught:
        written(cluster)
    start = "lab.yaml:3:1: Lab shop: checks"
    assert caught.value.faults == [
        f"{start}[0]: the field 'exepct' is not known; did you mean 'expect'?",
        f"{start}[0]: from: pod/shop/card: not found in the lab; did you mean pod/shop/cart?",
        f"{start}[1]: expect: 'closed' is none of open, refused, blocked",
        f"{start}[2]: expect: must be open, refused, blocked or a mapping, not 7",
        f"{start}[3]: expect: the field 'state' is not known; did you mean 'status'?",
        f"{start}[3]: expect: service: svc/shop/wep: not found in the lab; did you mean svc/shop/web?",
        f"{start}[3]: expect: pod: must be a name, not 3",
        f"{start}[4]: expect: refused goes with no other field: nobody answers",
        f"{start}[5]: spread: 10.9.9.9:80 is no Service; name one in expect, as {{service: NS/NAME}}",
        f"{start}[6]: the field 'spread' is not known; "
        "known: name, from, dns, type, expect, count, timeout",
        f"{start}[6]: expect: must be a list of records, open, refused, blocked or {{code: NXDOMAIN}}",
        f"{start}[7]: spread: must be true or false, not 'yes'",
        f"{start}[7]: the field 'id' is not known; "
        "known: from, to, proto, count, timeout, http, name, expect, spread",
    ]


def test_checks_of_another_file() -> None:
    assert written(SHOP, [CART_TO_WEB])[0].source == "pod/shop/cart"
    with pytest.raises(ManifestError, match=r"^more.yaml: checks\[0\]: to: is missing"):
        written(SHOP, [{"from": "pod/cart"}], "more.yaml")


def test_written_checks_come_last() -> None:
    assert expectations(with_checks(CART_TO_WEB))[-1].group == GROUP
    assert Attempt("open").responder == ""


@pytest.mark.parametrize(("expect", "code", "answers", "verdicts"), [
    (["10.12.0.20"], "", {"10.12.0.20"}, {"open"}),
    (["WWW.example.com."], "", {"www.example.com"}, {"open"}),
    ([], "", set(), {"open"}),
    ({"code": "NXDOMAIN"}, "NXDOMAIN", None, {"open"}),
    ("blocked", "", None, {"timeout"}),
])
def test_a_check_of_a_name(expect: object, code: str, answers: set[str] | None, verdicts: set[str]) -> None:
    check = one(**{"from": "pod/shop/cart", "dns": "web", "type": "a", "expect": expect})
    assert (check.code, check.answers, check.verdicts) == (code, answers, verdicts)
    assert check.name == "pod/shop/cart asks for web A"
    assert (check.flow.protocol, check.flow.query) == ("dns", ("web", "A"))
