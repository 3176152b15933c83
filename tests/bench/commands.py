"""The commands as a user types them, from start to return."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from nslab.agent import client
from tests.bench import floor
from tests.bench.labs import topology

Measurement = tuple[str, float, float, str]
QUICKSTART = Path(__file__).parents[2] / "topologies" / "quickstart.yaml"
NSLAB = str(Path(sys.executable).with_name("nslab"))


def nslab(*arguments: str, stdin: str = "") -> tuple[float, str]:
    """Run a command to its end; returns its wall time in seconds and its stdout. Raises where it fails."""
    started = time.perf_counter()
    done = subprocess.run([NSLAB, *arguments], input=stdin, capture_output=True, text=True)
    elapsed = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"nslab {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return elapsed, done.stdout


def best(runs: int, *arguments: str) -> float:
    """The shortest of several runs: the rest is the machine's noise."""
    return min(nslab(*arguments)[0] for _ in range(runs))


def start() -> Iterator[Measurement]:
    """How long until something small is there."""
    yield "nslab version", best(7, "version"), 0.080, "s"
    ups, checks = [], []
    for _ in range(5):
        ups.append(nslab("up", str(QUICKSTART))[0])
        checks.append(nslab("check")[0])
        ls = best(5, "ls")
        nslab("down", "quickstart")
    yield "up of the quickstart", min(ups), 0.8, "s"
    yield "nslab ls", ls, 0.150, "s"


def thousand_pods() -> Iterator[Measurement]:
    """1,000 Pods on 20 nodes with 100 Services of 10 endpoints."""
    floors, ups, agains, downs = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "thousand.yaml")
        file.write_text(topology("thousand", nodes=20, services=100, endpoints=10))
        for _ in range(3):
            floors.append(floor.build(20, 50))
            floor.remove()
            _settle()
            available = psutil.virtual_memory().available
            ups.append(nslab("up", str(file))[0])
            client.settle("thousand", 60)  # its objects are stored
            agains.append(nslab("up", str(file))[0])
            used = available - psutil.virtual_memory().available
            processes = sum(
                process.memory_full_info().pss for process in psutil.process_iter() if _is_nslab(process)
            )
            downs.append(nslab("down", "thousand")[0])
            _settle()
    lowest = min(floors)
    yield f"floor: {lowest:.2f} s; up of 1,000 Pods as a multiple of it", min(ups) / lowest, 2.0, "x"
    yield "up of 1,000 Pods", min(ups), 3.0, "s"
    yield "up again, unchanged", min(agains), 1.0, "s"
    yield "down", min(downs), 1.5, "s"
    yield "memory, all told, a Pod", used / 1000 / 2**20, 0.5, "MB"
    yield "memory of nslab's processes (PSS)", processes / 2**20, 150, "MB"


def all_pairs() -> Iterator[Measurement]:
    """All pairs of 100 Pods over TCP, the responder's answer read."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "hundred.yaml")
        file.write_text(topology("hundred", nodes=5, services=10, endpoints=10))
        nslab("up", str(file))
        pods = [
            f"pod/{item['metadata']['namespace']}/{item['metadata']['name']}"
            for item in json.loads(nslab("get", "pods", "-o", "json")[1])["items"]
        ]
        flows = [
            {"id": f"{i}-{j}", "from": source, "to": f"{target}:8080"}
            for i, source in enumerate(pods) for j, target in enumerate(pods) if i != j
        ]
        times = []
        for _ in range(3):
            elapsed, answer = nslab("probe", "-f", "-", "-o", "json", stdin=json.dumps(flows))
            results = json.loads(answer)
            assert len(results) == 9900
            assert all(result["verdict"] == "open" for result in results)
            assert all(result["responders"] for result in results)
            times.append(elapsed)
        nslab("down", "hundred")
    yield "9,900 exchanges, the whole command", min(times), 2.0, "s"


def _is_nslab(process: psutil.Process) -> bool:
    return any("nslab" in part for part in process.cmdline()) and process.pid != psutil.Process().pid


def _settle() -> None:
    """Wait until the kernel has let go of the namespaces: it frees them after their names are gone."""
    deadline = time.monotonic() + 20
    former = -1
    while time.monotonic() < deadline:
        slabs = Path("/proc/slabinfo")
        present = psutil.virtual_memory().available >> 22
        if present == former and slabs:
            return
        former = present
        time.sleep(1)
