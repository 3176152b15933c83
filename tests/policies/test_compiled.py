"""The compiled tables against the cases, their chains walked here instead of in a kernel: each step in a moment."""

from __future__ import annotations

import pytest

from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster
from nslab.components.network_policy import compile_policies
from nslab.nft import statements as s
from nslab.nft.objects import Key, Rule, Table
from nslab.nft.values import prefix_bounds
from tests.policies import fuzz
from tests.policies.test_evaluator import predicted
from tests.policies.world import FLOWS, Flow, Step, cluster, steps, topology

MEMO = Memo()


def number(value: object) -> int:
    return prefix_bounds(f"{value}/32")[0] if isinstance(value, str) and "." in value else int(str(value))


class Packet:
    """What the rules read of a connection's packet."""

    def __init__(self, table: Table, source: str, destination: str, port: int, protocol: str) -> None:
        self.read: dict[s.Selector, str | int] = {
            s.CT_ORIGINAL_SADDR: source, s.CT_REPLY_SADDR: destination, s.CT_REPLY_PROTO_SRC: port,
            s.META_L4PROTO: protocol,
        }
        self.chains = {chain.name: chain for chain in table.chains}
        self.sets = {item.name: item for item in table.sets}

    def passes(self, chain: str = "forward") -> bool:
        """Whether the packet comes back from a chain."""
        for rule in self.chains[chain].rules:
            assert isinstance(rule, Rule)
            verdict = self.verdict(rule)
            if verdict == s.DROP:
                return False
            if verdict == s.RETURN:
                return True
            if verdict and verdict.code == "goto":
                return self.passes(verdict.chain)
            if verdict and verdict.code == "jump" and not self.passes(verdict.chain):
                return False
        return True

    def verdict(self, rule: Rule) -> s.Verdict | None:
        for statement in rule.statements:
            match statement:
                case s.CtState():
                    return None
                case s.Verdict():
                    return statement
                case s.VerdictMap():
                    found = self.look_up(statement.map_name, statement.selectors)
                    assert found is None or isinstance(found, s.Verdict)
                    return found
                case s.InSet():
                    if self.look_up(statement.set_name, statement.selectors) is None:
                        return None
                case s.Compare():
                    if (self.read[statement.selector] == statement.value) == statement.negate:
                        return None
                case s.InPrefix():
                    first, last = prefix_bounds(statement.prefix)
                    if not first <= number(self.read[statement.selector]) <= last:
                        return None
        return None

    def look_up(self, name: str, selectors: tuple[s.Selector, ...]) -> object:
        """The element's value; True of a set's."""
        item, key = self.sets[name], tuple(self.read[selector] for selector in selectors)
        if not item.interval:
            return (item.elements[key] or True) if key in item.elements else None
        for wanted, value in item.elements.items():
            if all(low <= number(part) <= high for part, (low, high) in zip(key, map(ends, wanted), strict=True)):
                return value or True
        return None


def ends(value: object) -> tuple[int, int]:
    first, last = value if isinstance(value, tuple) else (value, value)
    return number(first), number(last)


def open_on(tables: dict[str, Table], lab: Cluster, flow: Flow) -> bool:
    """Whether the tables of both ends' nodes let the flow's connection pass."""
    ends = lab.pods[flow.source], lab.pods[flow.destination]
    return all(
        Packet(tables[pod.node], ends[0].ip, ends[1].ip, flow.port, flow.protocol.lower()).passes() for pod in ends
    )


@pytest.mark.parametrize("seeds", [range(start, start + 25) for start in range(0, 150, 25)], ids=str)
def test_random_policies(seeds: range) -> None:
    """What the evaluator says, the tables do; one after the other, and with nothing remembered."""
    for seed in seeds:
        lab = cluster(topology(fuzz.step(seed)))
        expected = predicted(lab)
        for memo in (MEMO, Memo()):
            tables = compile_policies(lab, memo).tables
            found = {flow for flow in FLOWS if not open_on(tables, lab, flow)}
            assert sorted(map(str, found ^ expected)) == [], f"seed {seed}"


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.name)
@pytest.mark.parametrize("memo", [MEMO, None], ids=["after others", "afresh"])
def test_case(step: Step, memo: Memo | None) -> None:
    lab = cluster(topology(step))
    tables = compile_policies(lab, memo or Memo()).tables
    found = {flow for flow in FLOWS if not open_on(tables, lab, flow)}
    assert sorted(map(str, found - step.flows)) == [], "blocked, and should be open"
    assert sorted(map(str, step.flows - found)) == [], "open, and should be blocked"


def keys(table: Table, name: str) -> list[Key]:
    return list(next(item.elements for item in table.sets if item.name == name))
