"""Expectations become packets, and what came back is judged.

All flows of a run go in one call of the prober. Only where endpoints are chosen at random and some have not been
seen yet, further rounds follow, each as large as all before it, until seen or beyond doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Final

from nslab.check.model import Check, Expectation, Report
from nslab.check.names import normal
from nslab.cluster.model import Cluster
from nslab.servers import prober
from nslab.servers.flows import Flow, FlowResult

Progress = Callable[[int, int], None]
Probe = Callable[..., list[FlowResult]]
"""`servers.prober.probe`: flows, and a progress function where there is one, to results in the same order."""

_NAMED: Final = 6
"""So many Pods or addresses are named in a sentence; of more, the rest is counted."""

_WORDS: Final = {"timeout": "nothing came back", "open": "answered"}


def run(
    cluster: Cluster, expectations: Sequence[Expectation], probe: Probe = prober.probe,
    progress: Progress | None = None,
    filter: str = "",  # noqa: A002 - the command's own word for it
) -> Report:
    """Send what the expectations ask for and judge what comes back.

    `filter` keeps those whose subject or name contains it, in any case. `progress` is called with (attempts done,
    attempts in all); the latter grows when a further round is needed.
    """
    wanted = filter.casefold()
    chosen = [each for each in expectations if wanted in f"{each.group} {each.name}".casefold()]
    sent = [each for each in chosen if not each.skipped]
    start = perf_counter()
    results = _probe(sent, probe, progress)
    seconds = perf_counter() - start
    judged = iter([Check(each, result, judge(each, result)) for each, result in zip(sent, results, strict=True)])
    checks = tuple(Check(each, None, each.skipped) if each.skipped else next(judged) for each in chosen)
    return Report(cluster.lab.name, checks, seconds, sum(sum(each.counts.values()) for each in results))


def _probe(expectations: Sequence[Expectation], probe: Probe, progress: Progress | None) -> list[FlowResult]:
    """One result for each expectation, summed over all rounds."""
    results = [FlowResult(str(index)) for index in range(len(expectations))]
    wanted = {index: each.flow.count for index, each in enumerate(expectations)}
    made = 0
    while wanted:
        flows = [replace(expectations[index].flow, id=str(index), count=count) for index, count in wanted.items()]
        for index, result in zip(wanted, _round(flows, probe, progress, made), strict=True):
            add(results[index], result)
        made += sum(wanted.values())
        wanted = {index: more for index in wanted if (more := _further(expectations[index], results[index]))}
    return results


def _round(flows: list[Flow], probe: Probe, progress: Progress | None, made: int) -> list[FlowResult]:
    if progress is None:
        return probe(flows)
    return probe(flows, lambda done, total: progress(made + done, made + total))


def _further(expectation: Expectation, result: FlowResult) -> int:
    """How many more attempts could still show what has not been seen: none once all is seen, or a fault is."""
    made = sum(result.counts.values())
    if expectation.spread <= result.responders.keys() or not expectation.verdicts >= result.counts.keys():
        return 0
    return max(0, min(made, expectation.attempts - made))


def add(total: FlowResult, part: FlowResult) -> None:
    """Add the attempts of `part` to `total`, whose last answer it becomes."""
    for mine, more in (
        (total.counts, part.counts), (total.responders, part.responders), (total.client_ips, part.client_ips),
        (total.statuses, part.statuses),
    ):
        for key, number in more.items():
            mine[key] = mine.get(key, 0) + number
    total.rtts += part.rtts
    total.answers = part.answers or total.answers
    total.headers = part.headers or total.headers
    total.body = part.body or total.body
    total.detail = part.detail or total.detail


def judge(expectation: Expectation, result: FlowResult) -> str:
    """Why the result is not what was expected, in a sentence; empty where it is."""
    faults = [
        _verdict_fault(expectation, result), _responder_fault(expectation, result),
        _spread_fault(expectation, result), _client_fault(expectation, result), _status_fault(expectation, result),
        _names_fault(expectation, result),
    ]
    return "; ".join(filter(None, faults))


def _verdict_fault(expectation: Expectation, result: FlowResult) -> str:
    attempts = sum(result.counts.values())
    wrong = {verdict: number for verdict, number in result.counts.items() if verdict not in expectation.verdicts}
    if attempts and not wrong:
        return ""
    wanted = " or ".join(sorted("blocked" if verdict == "timeout" else verdict for verdict in expectation.verdicts))
    came = ", ".join(
        f"{_WORDS.get(verdict, verdict)}{'' if number == attempts else f' in {number} of {attempts} attempts'}"
        for verdict, number in wrong.items()
    )
    by = f" by {_some(result.responders)}" if "open" in wrong and result.responders else ""
    detail = f" ({result.detail})" if result.detail else ""
    return f"expected {wanted}, but {came or 'no attempt was made'}{by}{detail}"


def _responder_fault(expectation: Expectation, result: FlowResult) -> str:
    if expectation.responders is None or not expectation.verdicts >= result.counts.keys():
        return ""
    strangers = {pod: number for pod, number in result.responders.items() if pod not in expectation.responders}
    if strangers:
        return f"answered by {_some(strangers)}, which is no endpoint of it; expected {_some(expectation.responders)}"
    unnamed = result.counts.get("open", 0) - sum(result.responders.values())
    if unnamed > 0 and not expectation.anonymous:
        return f"{unnamed} answers did not say which Pod gave them; expected {_some(expectation.responders)}"
    return ""


def _spread_fault(expectation: Expectation, result: FlowResult) -> str:
    if not expectation.verdicts >= result.counts.keys():
        return ""
    if expectation.sticky and len(result.responders) > 1:
        return f"session affinity asks for one endpoint, but {_some(result.responders)} answered"
    missing = [pod for pod in sorted(expectation.spread) if pod not in result.responders]
    attempts = sum(result.counts.values())
    return f"never answered by {_some(missing)} in {attempts} attempts" if missing else ""


def _client_fault(expectation: Expectation, result: FlowResult) -> str:
    if expectation.clients is None or "open" not in result.counts:
        return ""
    wrong = {ip: number for ip, number in result.client_ips.items() if ip not in expectation.clients}
    if wrong:
        return f"seen as coming from {_some(wrong)}; expected {' or '.join(sorted(expectation.clients))}"
    unseen = not result.client_ips and not expectation.anonymous
    return "the answers did not say which source address they saw" if unseen else ""


def _status_fault(expectation: Expectation, result: FlowResult) -> str:
    if expectation.status is None:
        return ""
    wrong = {status: number for status, number in result.statuses.items() if status != str(expectation.status)}
    if wrong or not result.statuses:
        return f"expected status {expectation.status}, got {_some(wrong) if wrong else 'no HTTP answer'}"
    return ""


def _names_fault(expectation: Expectation, result: FlowResult) -> str:
    if "open" not in result.counts:
        return ""
    if expectation.code and result.statuses.keys() != {expectation.code}:
        return f"expected {expectation.code}, got {_some(result.statuses)}"
    if expectation.answers is not None and expectation.answers != normal(result.answers):
        found = _some(result.answers) if result.answers else "no records"
        return f"expected {_some(expectation.answers)}, got {found}"
    return ""


def _some(values: Mapping[str, int] | Sequence[str] | frozenset[str]) -> str:
    names = [f"{name} ({values[name]}x)" for name in values] if isinstance(values, Mapping) else sorted(values)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}" if names else "nobody"
