"""Every cluster in these tests ends with nothing failed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controllers.cluster import FakeCluster


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    made = FakeCluster()
    yield made
    assert made.control.failures == {}
