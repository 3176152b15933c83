"""Kernels to test with."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from nslab.linux import netns
from nslab.linux.real import RealKernel
from nslab.netstate.diff import diff
from nslab.netstate.model import NetState
from tests.netstate.states import LAB


@pytest.fixture
def real() -> Iterator[RealKernel]:
    """The real kernel, which holds nothing before and must hold nothing after; the test's thread stays at home."""
    home = os.readlink("/proc/thread-self/ns/net")
    assert netns.names() == []
    kernel = RealKernel()
    yield kernel
    assert os.readlink("/proc/thread-self/ns/net") == home
    kernel.apply(diff(NetState(LAB), kernel.observe(LAB, [], [])))
    left = netns.names()
    for name in left:
        netns.delete(name)
    assert left == []
