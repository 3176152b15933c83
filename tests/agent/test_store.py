"""What is kept of a lab on disk, and what goes over its socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nslab import errors
from nslab.agent import messages, store
from nslab.agent.store import State
from nslab.api.decode import decode
from nslab.cluster import naming
from nslab.cluster.allocate import allocate
from nslab.cluster.memo import Memo
from nslab.cluster.model import Leases
from nslab.kubelet.readiness import ready_pods
from nslab.linux import lab_files, locks
from nslab.linux.lab_files import Paths
from tests.lab.topologies import PAIR


def test_a_state_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "states"
    monkeypatch.setattr(naming, "STATE_ROOT", str(root))  # nobody else's labs are here
    file = tmp_path / "pair.yaml"
    file.write_text(PAIR)
    manifest = decode([str(file)])
    state = State(manifest, allocate(manifest, Leases()).leases, 1.0, 2.0)
    store.save(state)
    assert store.load("unnamed") == state
    assert store.labs() == ["unnamed"]
    store.remove("unnamed")
    assert not root.exists()
    store.remove("unnamed")
    with pytest.raises(errors.NotFoundError):
        store.load("unnamed")


def test_a_state_with_other_leases_is_written_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "STATE_ROOT", str(tmp_path / "states"))
    file, memo = tmp_path / "pair.yaml", Memo()
    for text in (PAIR, PAIR.replace("image: web", "image: other")):
        file.write_text(text)
        manifest = decode([str(file)])
        for leases in (Leases(), allocate(manifest, Leases()).leases):
            state = State(manifest, leases, 1.0, 2.0, ("a warning",))
            store.save(state, memo)
            assert store.load("unnamed") == state


@pytest.mark.parametrize("content", ["", "{}", "[1]", "7", '{"manifest": null}', "\0"])
def test_a_damaged_state_says_so_and_what_to_do(content: str) -> None:
    lab_files.write_atomically(Paths("bad").state, content)
    lab_files.write_atomically(Paths("bad").readiness, content)
    try:
        with pytest.raises(errors.StateError, match="nslab down bad"):
            store.load("bad")
        assert store.load_readiness("bad") == {}
    finally:
        store.remove("bad")


def test_a_pod_is_ready_with_all_its_containers() -> None:
    containers = {"d/a#1#x": True, "d/a#1#y": False, "d/b#2#x": True}
    assert ready_pods(containers) == {"d/a": False, "d/b": True}
    store.save_readiness("kept", containers)
    assert store.load_readiness("kept") == containers
    store.remove("kept")


def test_a_lock_whose_file_was_removed_is_taken_anew() -> None:
    first = store.hold("held")
    assert first is not None
    assert store.hold("held", 0.01) is None
    store.remove("held")
    second = store.hold("held")
    assert second is not None
    assert locks.lock_holder(str(Paths("held").lock)) == os.getpid()
    os.close(first)
    os.close(second)
    store.remove("held")


@pytest.mark.parametrize("error", [
    errors.KernelError("ip link add x", 17, "t.vpc", detail="d", hint="h"),
    errors.OwnershipError("m", hint="h", where="w"),
    errors.ManifestError(["one", "two"]),
    errors.StateError("m"),
], ids=lambda error: type(error).__name__)
def test_an_error_arrives_as_it_was_raised(error: errors.NslabError) -> None:
    arrived = messages.decode_error(messages.encode_error(error))
    assert type(arrived) is type(error)
    assert (vars(arrived), str(arrived)) == (vars(error), str(error))


def test_messages_arrive_one_by_one_until_the_other_side_closes() -> None:
    here, there = socket.socketpair()
    for number in range(3):
        messages.send(here, {"number": number})
    here.close()
    assert list(messages.receive(there)) == [{"number": number} for number in range(3)]
    there.close()


@pytest.mark.parametrize("line", [b"", b"x\n", b"[]\n", b"{}\n", b'{"op": 7}\n', b"\xff\n"])
def test_nonsense_is_no_request(line: bytes) -> None:
    with pytest.raises(errors.NslabError, match="no request"):
        messages.decode_request(line)


def test_a_request_is_an_operation() -> None:
    assert messages.decode_request(b'{"op": "stop"}\n') == {"op": "stop"}
