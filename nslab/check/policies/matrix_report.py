"""A matrix of all pairs of Pods and ports, predicted against observed, as a table, as JSON and as a page of HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from nslab.check.model import BLOCKED, Check
from nslab.check.policies.why import is_dropped
from nslab.servers.flows import FlowResult

SIGNS: Final = {
    ("open", "open"): ".", ("blocked", "blocked"): "X", ("open", "refused"): "r", ("open", "lost"): "?",
}
"""What a cell shows by (predicted, observed); anything else is a mismatch. Who is refused was let through, and what
is lost although no rule of the policies dropped it is broken in another way."""

MISMATCH: Final = "!"
WIDTH: Final = 120
"""Columns of text that a grid takes at most with names above its columns."""

LEGEND: Final = {
    ".": "open", "X": "blocked", "r": "refused by the Pod", "?": "lost, but not to policies",
    MISMATCH: "predicted and observed differ",
}

_STYLE: Final = """
body { font: 14px sans-serif } table { border-collapse: collapse; margin: 1em 0 }
th, td { border: 1px solid #ccc; padding: 2px 6px; text-align: center } tbody th { text-align: left }
.open { background: #dff5df } .blocked { background: #f7dcdc } .refused, .lost { background: #f7f0c8 }
.mismatch { background: #d00; color: #fff }
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """One port of one Pod, tried from another. `predicted` and `observed` are open or blocked; observed may also be
    refused, lost (nothing came back, and no rule of the policies dropped it) or what else came of it."""

    source: str
    destination: str
    port: int
    protocol: str
    predicted: str
    observed: str
    detail: str = ""

    @property
    def agrees(self) -> bool:
        return self.sign != MISMATCH

    @property
    def sign(self) -> str:
        return SIGNS.get((self.predicted, self.observed), MISMATCH)

    def to_json(self) -> dict[str, Any]:
        return {
            "from": self.source, "to": self.destination, "port": self.port, "protocol": self.protocol,
            "predicted": self.predicted, "observed": self.observed, "agrees": self.agrees, "detail": self.detail,
        }


def cells(checks: Iterable[Check]) -> list[Cell]:
    """The cells of checks made of `matrix.between`."""
    found = []
    for check in checks:
        expectation, result = check.expectation, check.result
        assert result is not None  # none of these is skipped
        predicted = "blocked" if expectation.verdicts == BLOCKED else "open"
        found.append(Cell(
            expectation.source.removeprefix("pod/"),
            expectation.destination.removeprefix("pod/").rpartition(":")[0], expectation.flow.port,
            expectation.flow.transport.upper(), predicted, _observed(result, predicted), result.detail or check.why,
        ))
    return found


def _observed(result: FlowResult, predicted: str) -> str:
    if result.verdict != "timeout":
        return result.verdict
    return "blocked" if predicted == "blocked" or is_dropped(result) else "lost"


def summary(found: list[Cell]) -> str:
    """One line: how many are open and blocked, and how many differ from what was predicted."""
    wrong = sum(not cell.agrees for cell in found)
    counts = Counter(cell.observed for cell in found)
    told = [f"{counts[word]} {word}" for word in ("blocked", "refused", "lost") if counts[word] or word == "blocked"]
    agreed = "all as predicted" if not wrong else f"{wrong} NOT as predicted"
    return ", ".join([f"{len(found)} flows", *told, agreed])


def _legend(found: list[Cell]) -> str:
    shown = {".", "X", MISMATCH} | {cell.sign for cell in found}
    return "   ".join(f"{sign} {words}" for sign, words in LEGEND.items() if sign in shown)


def _grids(found: list[Cell]) -> Iterator[tuple[str, list[str], list[str], dict[tuple[str, str], Cell]]]:
    """For each port: its name, the sources, the destinations, and the cells by both."""
    for port, protocol in dict.fromkeys((cell.port, cell.protocol) for cell in found):
        mine = {(cell.source, cell.destination): cell for cell in found
                if (cell.port, cell.protocol) == (port, protocol)}
        sources = list(dict.fromkeys(source for source, _ in mine))
        yield f"{protocol} {port}", sources, list(dict.fromkeys(to for _, to in mine)), mine


def text(found: list[Cell]) -> str:
    """A grid for each port, sources down and destinations across; ends with a newline. Where the names of the
    destinations do not fit side by side, their numbers stand for them, which the sources have as well. What differs
    from its prediction is told in words below."""
    lines: list[str] = []
    wrong = [cell for cell in found if not cell.agrees]
    for name, sources, destinations, mine in _grids(found):
        heads, sources_told = destinations, {source: source for source in sources}
        if sum(len(each) + 2 for each in [max(sources, key=len), *destinations]) > WIDTH:
            numbers = {each: str(number) for number, each in enumerate(dict.fromkeys([*sources, *destinations]), 1)}
            heads = [numbers[to] for to in destinations]
            sources_told = {each: f"{numbers[each].rjust(len(str(len(numbers))))} {each}" for each in sources}
        width = max(map(len, [*sources_told.values(), name]))
        lines.append("  ".join([name.ljust(width), *heads]))
        for source in sources:
            signs = [mine[source, to].sign if (source, to) in mine else " " for to in destinations]
            row = [sign.ljust(len(head)) for sign, head in zip(signs, heads, strict=True)]
            lines.append("  ".join([sources_told[source].ljust(width), *row]).rstrip())
        lines.append("")
    return "\n".join([*lines, _legend(found), *map(_told, wrong), summary(found), ""])


def _told(cell: Cell) -> str:
    """A cell in which prediction and observation differ."""
    way = f"{cell.source} -> {cell.destination}:{cell.port}/{cell.protocol.lower()}"
    detail = f" ({cell.detail})" if cell.detail else ""
    return f"MISMATCH: {way}: predicted {cell.predicted}, observed {cell.observed}{detail}"


def html(lab: str, found: list[Cell]) -> str:
    """A page that needs nothing else."""
    parts = [f"<!doctype html><meta charset='utf-8'><title>Policies of {escape(lab)}</title><style>{_STYLE}</style>"]
    parts.append(f"<h1>Network policies of lab {escape(lab)}</h1>")
    parts.append(f"<p>{escape(summary(found))}; {escape(_legend(found))}</p>")
    for name, sources, destinations, mine in _grids(found):
        head = "".join(f"<th>{escape(to)}</th>" for to in destinations)
        parts.append(f"<table><thead><tr><th>{escape(name)}</th>{head}</tr></thead><tbody>")
        for source in sources:
            row = "".join(_td(mine.get((source, to))) for to in destinations)
            parts.append(f"<tr><th>{escape(source)}</th>{row}</tr>")
        parts.append("</tbody></table>")
    return "\n".join(parts) + "\n"


def _td(cell: Cell | None) -> str:
    if cell is None:
        return "<td></td>"
    title = f"predicted {cell.predicted}, observed {cell.observed}" + (f": {cell.detail}" if cell.detail else "")
    kind = cell.observed if cell.agrees else "mismatch"
    return f"<td class='{escape(kind)}' title='{escape(title)}'>{cell.sign}</td>"
