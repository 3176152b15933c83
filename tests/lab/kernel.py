"""What the kernel holds of a lab, read with iproute2 and nft, in a form that two kernels' answers can be compared in.

    python -m tests.lab.kernel LAB    prints it as JSON

Left out is what differs between two kernels that hold the same: interface indexes, handles, lifetimes, what packets
have left (affinity) and the size that its map got by them, and the order in which a set lists its elements. Of a link
there is what is asked for, and not what the kernel makes of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

State = dict[str, dict[str, list[str]]]
"""By namespace and by what was asked: lines, sorted."""

_PASSING = {"ifindex", "handle", "size", "valid_life_time", "preferred_life_time"}
_OF_LINK = ("ifname", "mtu", "master", "group", "ifalias", "altnames", "address")
_QUESTIONS = (
    ("link", "-d", "-j", "link", "show"), ("addr", "-j", "-4", "addr", "show"),
    ("route", "-d", "-j", "-4", "route", "show", "table", "all"), ("neigh", "-j", "-4", "neigh", "show"),
    ("rule", "-j", "-4", "rule", "show"),
)


def held(lab: str) -> State:
    """The links, addresses, routes, neighbours, rules and nftables of every namespace of the lab."""
    listed = _run("ip", "netns", "list").splitlines()
    names = sorted(line.split()[0] for line in listed if line.startswith(f"{lab}."))
    return {name: _namespace(name) for name in names}


def differences(soaked: State, fresh: State) -> list[str]:
    """What one of two kernels holds and the other does not. A neighbour that is gone may be known still: whoever gets
    its address has the same hardware address."""
    found = [f"{name}: only in one of them" for name in soaked.keys() ^ fresh.keys()]
    for name in soaked.keys() & fresh.keys():
        for what, lines in soaked[name].items():
            left, right = set(lines), set(fresh[name][what])
            found += [f"{name} {what}: - {line}" for line in sorted(left - right) if what != "neigh"]
            found += [f"{name} {what}: + {line}" for line in sorted(right - left)]
    return found


def _namespace(name: str) -> dict[str, list[str]]:
    found = {}
    for what, *arguments in _QUESTIONS:
        answer = json.loads(_run("ip", "-n", name, *arguments) or "[]")
        plain = {"link": _link, "addr": _address}.get(what, _lasting)
        found[what] = sorted(json.dumps(plain(entry), sort_keys=True) for entry in answer)
    ruleset = json.loads(_run("ip", "netns", "exec", name, "nft", "-j", "list", "ruleset"))["nftables"][1:]
    return {**found, "nft": sorted(_rules(ruleset))}


def _rules(ruleset: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each thing of a ruleset: rules with their place in their chain, maps element by element."""
    places: Counter[str] = Counter()
    for entry in ruleset:
        (kind, body), = entry.items()
        place = [kind, body["family"], body.get("table"), body.get("chain") or body["name"]]
        chain = json.dumps(place)
        places[chain] += 1
        for element in body.pop("elem", ()):
            if "timeout" not in str(element):
                yield json.dumps([*place, _lasting(element)])
        yield json.dumps([*place, places[chain], _lasting(body)], sort_keys=True)


def _link(entry: dict[str, Any]) -> dict[str, Any]:
    wished = {key: entry[key] for key in _OF_LINK if key in entry}
    if entry["ifname"].startswith("veth"):
        del wished["address"]  # the kernel draws it; nobody sends to it
    kind = entry.get("linkinfo", {})
    hairpin = kind.get("info_slave_data", {}).get("hairpin")
    return {**wished, "up": "UP" in entry["flags"], "kind": kind.get("info_kind"), "hairpin": hairpin}


def _address(entry: dict[str, Any]) -> dict[str, Any]:
    return {"ifname": entry["ifname"], "addresses": _lasting(entry["addr_info"])}


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(part) for key, part in value.items() if key not in _PASSING}
    return [_lasting(part) for part in value] if isinstance(value, list) else value


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    print(json.dumps(held(sys.argv[1])))
