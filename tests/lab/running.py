"""Labs for tests: brought up with the command a user types, looked at from outside, taken away at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NSLAB = str(Path(sys.executable).with_name("nslab"))
ROOT = Path(__file__).parents[2]

Json = dict[str, Any]


def nslab(*arguments: str, stdin: str = "", code: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run the command; `code` is the exit code that it must have (None: any)."""
    done = subprocess.run([NSLAB, *arguments], input=stdin, capture_output=True, text=True, timeout=120)
    if code is not None:
        assert done.returncode == code, (
            f"nslab {' '.join(arguments)}: exit {done.returncode}, expected {code}\n{done.stdout}\n{done.stderr}"
        )
    return done


@dataclass(slots=True)
class RunningLab:
    """A lab that is up. `file` is what it was made from; `up` with another text converges it."""

    name: str
    file: Path

    def up(self, text: str, *options: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        self.file.write_text(text)
        return nslab("up", str(self.file), "--lab", self.name, *options, code=code)

    def nslab(self, *arguments: str, stdin: str = "", code: int | None = 0) -> subprocess.CompletedProcess[str]:
        return nslab("--lab", self.name, *arguments, stdin=stdin, code=code)

    def json(self, *arguments: str, stdin: str = "") -> Any:
        """The stdout of a command, decoded."""
        return json.loads(self.nslab(*arguments, "-o", "json", stdin=stdin).stdout)

    def probe(self, source: str, destination: str, **fields: Any) -> Json:
        """One flow's answer (interface section 5). `fields` are the flow's: proto, count, timeout, http."""
        return self.probes({"from": source, "to": destination, **fields})[0]

    def probes(self, *flows: Json) -> list[Json]:
        """Many flows at once."""
        listed = [{"id": str(number), **flow} for number, flow in enumerate(flows)]
        answer: list[Json] = self.json("probe", "-f", "-", stdin=json.dumps(listed))
        assert [result["id"] for result in answer] == [flow["id"] for flow in listed]
        return answer

    def get(self, *arguments: str) -> Any:
        return self.json("get", *arguments)

    def netns(self) -> list[str]:
        """The names of the lab's namespaces, as iproute2 sees them."""
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        return [line.split()[0] for line in listed.splitlines() if line.startswith(f"{self.name}.")]


NETWORK = """
ip -details link; ip address; ip route show table all; ip rule; ip neighbour; nft list ruleset
sysctl -a 2>/dev/null | grep '^net[.]' | grep -vE 'nf_conntrack_count|_time_stamp|random'
"""

EVERYTHING = f"""{NETWORK}
find /run /etc -printf '%p %y %m %s\\n' | sed '/[.]journal f /s/ [0-9]*$//' | sort
sort /proc/self/mounts
ps -eo stat,args --no-headers | grep -vE '^[^ ]+ +\\[?(ps|sh|find|grep|sed|sort)\\]?( |$)' \\
  | sed 's/^[^Z ]* *//' | sort
"""


def host_state(what: str = EVERYTHING) -> str:
    """All that a lab must leave as it was: links, addresses, routes, rules, nft, sysctls, files, mounts, processes.
    The size of a journal does not count: it grows by the nodes' heartbeats.

    With NETWORK the part of it that must stay the same while a lab is up.
    """
    return subprocess.run(["sh", "-c", what], capture_output=True, text=True, check=False).stdout
