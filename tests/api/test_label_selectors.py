"""`-l` reads kubectl's grammar and refuses the rest."""

from __future__ import annotations

import pytest

from nslab.api.label_selectors import parse
from nslab.cluster.selectors import satisfies
from nslab.errors import UsageError


@pytest.mark.parametrize(("selector", "labels", "selected"), [
    ("", {}, True),
    ("app=web", {"app": "web"}, True),
    ("app==web", {"app": "db"}, False),
    ("app!=web", {}, True),
    ("app!=web", {"app": "web"}, False),
    ("app=web,tier=front", {"app": "web", "tier": "back"}, False),
    ("app in (web, db)", {"app": "db"}, True),
    ("app notin (web,db), zone", {"app": "x", "zone": "a"}, True),
    ("app notin (web,db)", {"app": "db"}, False),
    ("app", {"app": ""}, True),
    ("!app", {"app": ""}, False),
    ("app.kubernetes.io/name=web", {"app.kubernetes.io/name": "web"}, True),
    ("app=", {"app": ""}, True),
])
def test_a_selector_selects(selector: str, labels: dict[str, str], selected: bool) -> None:
    assert satisfies(parse(selector), labels) is selected


@pytest.mark.parametrize("selector", ["app=a b", "=web", "app in web", "app>1", "a in (b"])
def test_what_is_no_selector_is_a_usage_error(selector: str) -> None:
    with pytest.raises(UsageError, match="label selector"):
        parse(selector)
