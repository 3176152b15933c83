"""Run every measurement and print one line each: what, how much, the limit, and whether it is kept.

    make bench                 all of them
    make bench ARGS='up rules' only those whose name begins so
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nslab.collection import collect_seldom
from tests.bench import api, change, commands, datapath, name_changes, names, policies, rules


@dataclass(frozen=True, slots=True)
class Subject:
    """A group of measurements that share their set-up."""

    name: str
    measure: Callable[[], Iterator[tuple[str, float, float, str]]]


SUBJECTS = (
    Subject("start", commands.start),
    Subject("up", commands.thousand_pods),
    Subject("pairs", commands.all_pairs),
    Subject("rules", rules.programming),
    Subject("change", change.changing),
    Subject("names", names.answering),
    Subject("names-follow", name_changes.following),
    Subject("api", api.accepting),
    Subject("yaml", rules.reading),
    Subject("latency", datapath.latency),
    Subject("throughput", datapath.throughput),
    Subject("policy-latency", policies.latency),
    Subject("policy-throughput", policies.throughput),
    Subject("policy-label", policies.relabelling),
)


def main(wanted: list[str]) -> int:
    """Print the measurements; returns 1 when a limit is not kept."""
    collect_seldom()  # as the agent and the commands do
    missed = 0
    for subject in SUBJECTS:
        if wanted and not any(subject.name.startswith(name) for name in wanted):
            continue
        for what, measured, limit, unit in subject.measure():
            kept = measured <= limit
            missed += not kept
            said = "ok" if kept else "MISSED"
            print(f"{subject.name:11} {what:58} {measured:9.3f} {unit:5} limit {limit:8.3f}  {said}")
            sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
