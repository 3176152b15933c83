"""The nouns of checking: what is expected of a flow, what came of it, and the report of all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, log, log1p
from typing import Final

from nslab.servers.flows import Flow, FlowResult

MISSED: Final = 1e-9
"""The probability, at most, that an endpoint which does get its share of the flows is not seen by a check."""

OPEN_TIMEOUT: Final = 3.0
"""Seconds for an attempt that must be answered: a SYN lost under load is sent again after one (RFC 6298)."""

BLOCKED_TIMEOUT: Final = 0.5
"""Seconds without anything after which an attempt that must not be answered is taken to be lost."""

QUIET: Final = 0.3
"""Seconds that a peer may be silent once it has accepted, if it need not say who it is."""

OPEN: Final = frozenset(["open"])
REFUSED: Final = frozenset(["refused"])
BLOCKED: Final = frozenset(["timeout"])


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one flow must find.

    `group` is the subject it is reported under, `source` a full reference, `destination` the text of where to.
    Every attempt must end in one of `verdicts` (FlowResult's words). `responders` are the Pods (keys) that may
    answer, None for anyone; unless `anonymous`, every answer must say who gave it. Each of `spread` must answer at
    least once; `share` is the part of the flows that the least favoured of them gets, so that the attempts needed
    are known. `sticky` says that one Pod gives all answers. `clients` are the source addresses that the answering
    side may see, None where Kubernetes does not fix it. `status` is the HTTP status that every answer must have;
    `code` and `answers` the response code and the records' data (names.normal) of a DNS answer, None for any.
    `skipped` is the reason why no packet can tell; the flow is then not sent.
    """

    group: str
    name: str
    source: str
    destination: str
    flow: Flow
    verdicts: frozenset[str] = OPEN
    responders: frozenset[str] | None = None
    anonymous: bool = False
    spread: frozenset[str] = frozenset()
    share: float = 1.0
    sticky: bool = False
    clients: frozenset[str] | None = None
    status: int | None = None
    code: str = ""
    answers: frozenset[str] | None = None
    skipped: str = ""

    @property
    def attempts(self) -> int:
        """The most attempts ever made: enough for every endpoint of `spread` to be seen, but for `MISSED`."""
        if not self.spread or self.share >= 1:
            return self.flow.count
        # Union bound: n attempts miss some endpoint with probability at most N * (1 - share) ** n.
        return max(self.flow.count, ceil(log(MISSED / len(self.spread)) / log1p(-self.share)))


@dataclass(frozen=True, slots=True)
class Check:
    """An expectation and what came of it. `why` is empty where it holds; `result` is None where it was skipped."""

    expectation: Expectation
    result: FlowResult | None
    why: str = ""

    @property
    def outcome(self) -> str:
        """passed, failed or skipped."""
        if self.result is None:
            return "skipped"
        return "failed" if self.why else "passed"


@dataclass(frozen=True)
class Report:
    """All checks of one run, in order; `seconds` is how long the packets took and `attempts` how many were made."""

    lab: str
    checks: tuple[Check, ...]
    seconds: float
    attempts: int

    @cached_property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.outcome == "failed")

    @cached_property
    def skipped(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.outcome == "skipped")

    @property
    def passed(self) -> int:
        """How many checks hold."""
        return len(self.checks) - len(self.failed) - len(self.skipped)

    @property
    def ok(self) -> bool:
        return not self.failed
