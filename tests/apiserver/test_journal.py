"""The journal: what was acknowledged is there after the writer's death at any instant."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys

import pytest

from nslab.apiserver.errors import Gone, StatusError
from nslab.apiserver.journal import COMPACT_BYTES, Journal
from nslab.apiserver.store import Store
from nslab.errors import NslabError
from tests.apiserver.objects import changed, config_map, namespace, owned_by, pod, scene

KINDS = ("Namespace", "ConfigMap", "Pod")


def contents(store: Store) -> list[object]:
    return [store.revision, *(body for kind in KINDS for body in store.list(kind))]


def populate(store: Store) -> None:
    store.create("Namespace", namespace("shop"))
    owner = store.create("ConfigMap", config_map("owner", "shop", text="ä\n\u2028"))
    for number in range(3):
        store.create("Pod", owned_by(pod(f"p{number}", "shop"), owner))
    store.update("ConfigMap", changed(owner, data={"text": "other"}))
    store.create("ConfigMap", config_map("gone"))
    store.delete("ConfigMap", "default", "gone")


def test_a_store_is_read_back_whole(tmp_path):
    path = tmp_path / "journal"
    first = scene(Journal(path)).store
    populate(first)
    second = scene(Journal(path)).store
    assert contents(second) == contents(first)
    assert second.delete("ConfigMap", "shop", "owner") is None  # owners are known again
    assert second.list("Pod") == []
    assert contents(scene(Journal(path)).store) == contents(second)


def test_a_journal_goes_on_under_another_name(tmp_path):
    journal = Journal(tmp_path / "unborn")
    first = scene(journal).store
    populate(first)
    journal.rename(tmp_path / "journal")
    first.create("ConfigMap", config_map("later"))
    assert [path.name for path in tmp_path.iterdir()] == ["journal"]
    assert contents(scene(Journal(tmp_path / "journal")).store) == contents(first)


def test_events_before_the_start_are_gone(tmp_path):
    populate(scene(Journal(tmp_path / "journal")).store)
    store = scene(Journal(tmp_path / "journal")).store
    with pytest.raises(Gone):
        store.watch("Pod", lambda body: True, since=store.revision - 1)
    assert store.watch("Pod", lambda body: True, since=store.revision).take() == []


def test_a_journal_cut_at_any_octet_has_every_whole_line(tmp_path):
    path = tmp_path / "journal"
    store = scene(Journal(path)).store
    states = [(0, contents(store))]
    store.subscribe(lambda event: None)
    for step in (
        lambda: store.create("ConfigMap", config_map("a")),
        lambda: store.create("Pod", owned_by(pod("p"), store.get("ConfigMap", "default", "a"))),
        lambda: store.delete("ConfigMap", "default", "a"),
    ):
        step()
        states.append((path.stat().st_size, contents(store)))
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        journal = Journal(path)
        again = scene(journal).store
        assert contents(again) == [state for size, state in states if size <= cut][-1]
        again.create("ConfigMap", config_map("after"))
        journal.close()
        assert scene(Journal(path)).store.get("ConfigMap", "default", "after")


@pytest.mark.parametrize("line", [b"{}\n", b"[]\n", b"[1,\n", b'[{"a":1}]\n', b"\xff\n"])
def test_a_damaged_line_is_told_with_its_number(tmp_path, line):
    path = tmp_path / "journal"
    path.write_bytes(b"[1]\n" + line + b"[2]\n")
    with pytest.raises(NslabError, match="journal:2: is no line of a journal"):
        Store(Journal(path))


def test_compaction_keeps_the_objects_and_the_revision(tmp_path, monkeypatch):
    monkeypatch.setattr("nslab.apiserver.journal.COMPACT_BYTES", 5_000)
    path = tmp_path / "journal"
    store = scene(Journal(path)).store
    body = store.create("ConfigMap", config_map("a"))
    for number in range(500):
        body = store.update("ConfigMap", changed(body, data={"n": str(number)}))
    assert path.stat().st_size < 10_000
    assert list(tmp_path.iterdir()) == [path]
    assert contents(scene(Journal(path)).store) == contents(store)


def test_heartbeats_for_days_keep_it_small_and_cost_little(tmp_path, monkeypatch):
    """Twenty nodes, each heard of a thousand times: the file stays within its bound, and far less is written anew
    than was appended."""
    written = []
    compact = Journal.compact
    monkeypatch.setattr(Journal, "compact", lambda self, *given: (compact(self, *given), written.append(self._size)))
    path = tmp_path / "journal"
    store = Store(Journal(path))
    leases = [store.create("Lease", lease(f"node-{number:02}", -1)) for number in range(20)]
    appended, largest = 0, 0
    for beat in range(1000):
        before = path.stat().st_size
        leases = [store.update("Lease", {**body, **lease(body["metadata"]["name"], beat)}) for body in leases]
        size = path.stat().st_size
        appended += max(size - before, 0)
        largest = max(largest, size)
    assert len(written) > 2
    assert largest < COMPACT_BYTES + 3 * max(written)
    assert sum(written) < appended / 10
    again = Store(Journal(path))
    assert again.list("Lease") == leases
    assert again.revision == store.revision


def lease(name, beat):
    metadata = {"name": name, "namespace": "kube-node-lease"}
    return {"metadata": metadata, "spec": {"holderIdentity": name, "renewTime": f"{beat}"}}


def test_what_was_made_again_is_younger_than_what_stayed(tmp_path):
    path = tmp_path / "journal"
    store = Store(Journal(path))
    for name in ("a", "b", "c"):
        store.create("ConfigMap", config_map(name))
    store.delete("ConfigMap", "default", "a")
    store.create("ConfigMap", config_map("a"))
    store.update("ConfigMap", changed(store.get("ConfigMap", "default", "b"), data={"n": "1"}))
    names = [body["metadata"]["name"] for body in store.by_age("ConfigMap")]
    assert names == ["b", "c", "a"]
    assert [body["metadata"]["name"] for body in Store(Journal(path)).by_age("ConfigMap")] == names


class FullDisk(Journal):
    """A journal whose disk is full when `full` is set."""

    full = False
    cramped = False

    def append(self, changes, revision):
        if self.full:
            raise OSError(28, "No space left on device")
        super().append(changes, revision)

    def compact(self, objects, revision):
        if self.cramped:
            raise OSError(28, "No space left on device")
        super().compact(objects, revision)


def test_a_change_that_cannot_be_written_did_not_happen(tmp_path):
    journal = FullDisk(tmp_path / "journal")
    s = scene(journal)
    populate(s.store)
    before = contents(s.store)
    s.told()
    journal.full = True
    with pytest.raises(StatusError, match="No space left on device"):
        s.store.delete("Namespace", "", "shop")
    assert contents(s.store) == before
    assert s.told() == []
    journal.full = False
    assert s.store.delete("Namespace", "", "shop") is None
    assert s.store.list("Pod") == []


def test_a_journal_that_cannot_be_compacted_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("nslab.apiserver.journal.COMPACT_BYTES", 500)
    journal = FullDisk(tmp_path / "journal")
    journal.cramped = True
    store = scene(journal).store
    populate(store)
    assert "compacting the journal" in caplog.text
    assert contents(scene(Journal(tmp_path / "journal")).store) == contents(store)


def test_a_write_cut_short_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "journal"
    store = scene(Journal(path)).store
    store.create("ConfigMap", config_map("a"))
    before = path.read_bytes()
    write = os.write
    monkeypatch.setattr("nslab.apiserver.journal.os.write", lambda fd, data: write(fd, data[:20]))
    with pytest.raises(StatusError):
        store.create("ConfigMap", config_map("b"))
    monkeypatch.undo()
    assert path.read_bytes() == before
    store.create("ConfigMap", config_map("c"))
    assert [body["metadata"]["name"] for body in scene(Journal(path)).store.list("ConfigMap")] == ["a", "c"]


WRITER = """
import random, sys
from nslab.apiserver import journal
from nslab.apiserver.journal import COMPACT_BYTES, Journal
from nslab.apiserver.store import Store

journal.COMPACT_BYTES = 20_000
store = Store(Journal(sys.argv[1]))
draw = random.Random(int(sys.argv[2]))
names = [f"c{number}" for number in range(20)]
while True:
    name = draw.choice(names)
    body = store.get("ConfigMap", "default", name)
    if body is None:
        store.create("ConfigMap", {"metadata": {"name": name}, "data": {"n": "0"}})
    elif draw.random() < 0.2:
        store.delete("ConfigMap", "default", name)
    else:
        store.update("ConfigMap", {**body, "data": {"n": str(draw.random()) * draw.randrange(1, 50)}})
    body = store.get("ConfigMap", "default", name)
    value = body["data"]["n"] if body else "-"
    sys.stdout.write(f"{store.revision} {name} {value}\\n")
    sys.stdout.flush()
"""


def test_a_writer_killed_at_random_loses_nothing_acknowledged(tmp_path):
    path = tmp_path / "journal"
    draw = random.Random(7)
    expected: dict[str, str] = {}
    for seed in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(seed)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        told = [writer.stdout.readline() for _ in range(draw.randrange(100, 900))]
        writer.send_signal(signal.SIGKILL)
        told += writer.stdout.readlines()
        writer.wait()
        revision = 0
        for line in told:
            if line.endswith(b"\n"):
                number, name, value = line.decode().split()
                revision = int(number)
                expected[name] = value
        store = Store(Journal(path))
        assert revision <= store.revision <= revision + 1  # one more may have been written and not told
        stored = {body["metadata"]["name"]: body["data"]["n"] for body in store.list("ConfigMap")}
        differing = {name for name, value in expected.items() if stored.get(name, "-") != value}
        assert len(differing) <= store.revision - revision
        expected = {name: stored.get(name, "-") for name in expected.keys() | stored.keys()}
        assert json.loads(json.dumps(stored)) == stored
