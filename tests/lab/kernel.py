"""What the kernel holds of a lab, read with iproute2, nft, sysctl and ss, in a form that two kernels' answers can be
compared in.

    python -m tests.lab.kernel LAB    prints it as JSON

Everything counts that these tools tell, but for what differs between two kernels that were told the same, each with
its reason beside its name here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Entry = dict[str, Any]
State = dict[str, dict[str, list[str]]]
"""By namespace and by what was asked: lines, sorted."""

_JSON = {
    "link": "ip -d -j link show",
    "addr": "ip -j addr show",
    "route": "ip -d -j -4 route show table all",
    "route6": "ip -d -j -6 route show table all",
    "neigh": "ip -j neigh show",
    "rule": "ip -j -4 rule show",
    "rule6": "ip -j -6 rule show",
    "nexthop": "ip -j nexthop show",
    "maddr": "ip -j maddr show",
    "qdisc": "tc -d -j qdisc show",
    "fdb": "bridge -j fdb show",
    "nsid": "ip -j netns list-id",
    "elements": "nft -j list ruleset 2>/dev/null",
}
_TEXT = {
    "nft": "nft --stateless --terse list ruleset",  # its JSON lacks the maps that a rule looks into
    "listeners": "ss -Hlntu",
    "sysctl": "sysctl -a 2>/dev/null | grep ^net",
}
_SCRIPT = " && ".join(f"{{ {command}; }} && printf '\\0'" for command in (_JSON | _TEXT).values())

_NUMBERS = {
    "ifindex", "link_index", "link_netnsid",  # of links and namespaces; a link's other end is compared by name
    "id", "no", "designated_port",  # of a bridge's ports
    "handle",  # of nft's objects and of queueing disciplines
}
"""What is counted up as it is made: the same things bear others, made in another order."""

_CLOCK = re.compile("_timer$")
"""Those of a bridge and its ports go on all the time, and nothing comes of them: there is no spanning tree."""

_PASSING = re.compile(
    r"net\.(netfilter\.nf_conntrack_count"  # the connections of this moment
    r"|ipv4\.tcp_fastopen_key)"  # drawn for each namespace
)


def held(lab: str) -> State:
    """The state of every namespace of the lab, and of the files that `ip netns exec` shows in them."""
    listed = _run("ip", "netns", "list").splitlines()
    names = sorted(line.split()[0] for line in listed if line.startswith(f"{lab}."))
    answers = {name: _answers(name) for name in names}
    return {name: _namespace(name, answers) for name in names}


def differences(soaked: State, fresh: State) -> list[str]:
    """What one of two kernels holds and the other does not. A neighbour that is gone may be known still: whoever gets
    its address has the same hardware address."""
    found = [f"{name}: only in one of them" for name in soaked.keys() ^ fresh.keys()]
    for name in soaked.keys() & fresh.keys():
        for what, lines in soaked[name].items():
            left, right = Counter(lines), Counter(fresh[name][what])
            found += [f"{name} {what}: - {line}" for line in sorted(left - right) if what != "neigh"]
            found += [f"{name} {what}: + {line}" for line in sorted(right - left)]
    return found


def _answers(name: str) -> dict[str, Any]:
    """What each tool says in a namespace: entries, or lines."""
    *said, _ = _run("ip", "netns", "exec", name, "sh", "-c", _SCRIPT).split("\0")
    answers = dict(zip(_JSON | _TEXT, said, strict=True))
    decoded = {what: json.loads(answers[what].strip() or "[]") for what in _JSON}
    return {**decoded, **{what: answers[what].splitlines() for what in _TEXT}}


def _namespace(name: str, answers: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    mine = answers[name]
    drawn = {link["address"] for link in mine["link"] if link["ifname"].startswith("veth")}
    found = {what: [_line(entry, drawn) for entry in mine[what]] for what in _JSON.keys() - {"nsid", "elements"}}
    found["fdb"] = [line for line in found["fdb"] if '"permanent"' in line]  # others are learned from packets
    found["maddr"] = [f"{link['ifname']} {_line(each, drawn)}" for link in mine["maddr"] for each in link["maddr"]]
    found["link"] += [f"{link['ifname']} to {_other_end(link, answers, mine['nsid'])}" for link in mine["link"]]
    found["elements"] = [*_elements(mine["elements"]["nftables"][1:])]
    found["nft"] = [*_in_place(mine["nft"])]
    found["listeners"] = [" ".join(line.split()[0:5:4]) for line in mine["listeners"]]  # protocol and address
    found["sysctl"] = [line for line in mine["sysctl"] if not _PASSING.match(line)]
    found["files"] = [f"{path.name}: {path.read_text()!r}" for path in Path("/etc/netns", name).glob("*")]
    return {what: sorted(lines) for what, lines in found.items()}


def _line(entry: Entry, drawn: set[str]) -> str:
    """One thing, without what differs by nature. The kernel draws the hardware address of a Pod's veth on the node,
    and nobody sends to it. That a link has its carrier (LOWER_UP) shows in its state once the kernel's link watch has
    come to it, which may be a second later (net/core/link_watch.c)."""
    if "LOWER_UP" in entry.get("flags", ()):
        entry = {**entry, "operstate": "UP", "flags": sorted({*entry["flags"]} - {"NO-CARRIER"})}
    text = json.dumps(_plain(entry), sort_keys=True)
    for address in drawn:
        text = text.replace(address, "drawn")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items() if key not in _NUMBERS and not _CLOCK.search(key)}
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _other_end(link: Entry, answers: dict[str, dict[str, Any]], numbered: list[Entry]) -> str:
    """The namespace and the name of the other end of a veth pair."""
    there = [entry.get("name") for entry in numbered if entry["nsid"] == link.get("link_netnsid")]
    found = [
        f"{name} {other['ifname']}" for name in there if name in answers
        for other in answers[name]["link"] if other["ifindex"] == link["link_index"]
    ]
    return found[0] if found else "nothing"


def _elements(ruleset: list[Entry]) -> Iterator[str]:
    """A line for each element of a set or map, in whichever order it lists them; but for those that packets leave
    behind (affinity)."""
    for entry in ruleset:
        (kind, body), = entry.items()
        for element in body.get("elem", ()):
            if "timeout" not in str(element):
                yield json.dumps([kind, body["table"], body["name"], element], sort_keys=True)


def _in_place(lines: list[str]) -> Iterator[str]:
    """Each line of a ruleset with what it stands in, and each rule with its place there."""
    above: list[str] = []
    places: Counter[str] = Counter()
    for line in filter(None, map(str.strip, lines)):
        if line == "}":
            above.pop()
            continue
        block = " ".join(above)
        if line.endswith("{"):
            yield f"{block} {line}"
            above.append(line)
        else:
            places[block] += 1
            yield f"{block} {places[block]} {line}"


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    print(json.dumps(held(sys.argv[1])))
