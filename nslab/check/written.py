"""The checks that the user wrote into the Lab (interface section 4), as Expectations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Final

from nslab.api.objects import Body
from nslab.check import references
from nslab.check.flow_file import FIELDS, Asked, Faults, decode
from nslab.check.model import BLOCKED, BLOCKED_TIMEOUT, OPEN, Expectation
from nslab.check.names import normal
from nslab.check.semantics import is_identified, reachable
from nslab.cluster.model import Cluster, Service
from nslab.dns.wire import CODES
from nslab.errors import ManifestError, NotFoundError, UsageError

GROUP: Final = "Written checks"

_OWN_FIELDS: Final = ("name", "expect", "spread")
_FIELDS: Final = (*(field for field in FIELDS if field not in ("id", "type")), *_OWN_FIELDS)
_NAME_FIELDS: Final = ("name", "from", "dns", "type", "expect", "count", "timeout")
_EXPECT_FIELDS: Final = ("verdict", "status", "service", "pod", "client_ip")
# A person's "refused" is any answer that says no; a derived check asks for the exact one.
_VERDICTS: Final = {"open": OPEN, "refused": frozenset(["refused", "unreachable"]), "blocked": BLOCKED}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """`expect`, decoded. An empty field asks for nothing."""

    verdict: str = "open"
    status: int | None = None
    service: str = ""
    pod: str = ""
    client_ip: str = ""


def written(cluster: Cluster, checks: Sequence[Body] | None = None, where: str = "") -> list[Expectation]:
    """The Lab's checks, or those of another file (`where` is its name); a pattern in `from` is one for each source.

    Raises ManifestError with every fault, each with the check's number.
    """
    expectations: list[Expectation] = []
    faults: list[str] = []
    lab = cluster.lab
    place = where or (f"{lab.where}: Lab {lab.name}" if lab.where else f"Lab {lab.name}")
    for index, body in enumerate(lab.checks if checks is None else checks):
        found = Faults()
        expectations += _decode(cluster, body, found)
        faults += [f"{place}: checks[{index}]: {message}" for _, message in found.found]
    if faults:
        raise ManifestError(faults, hint="a check is {name, from, to, expect: open|refused|blocked, spread, proto}")
    return expectations


def _decode(cluster: Cluster, body: Body, faults: Faults) -> Iterator[Expectation]:
    if "dns" in body:
        yield from _name_checks(cluster, body, faults)
        return
    wanted = _expect(cluster, body.get("expect", "open"), faults)
    spread = faults.value(body, "spread", bool, "true or false", False)
    name = faults.value(body, "name", str, "a string", "")
    asked_for = {key: value for key, value in body.items() if key not in _OWN_FIELDS}
    if wanted.status is not None and "proto" not in body and "://" not in str(body.get("to", "")):
        asked_for["proto"] = "http"
    if wanted.verdict == "blocked":
        asked_for.setdefault("timeout", BLOCKED_TIMEOUT)
    flows = decode(cluster, asked_for, faults, _FIELDS)
    for asked in flows:
        title = name or f"{asked.source.reference} -> {asked.to.label}: {_told(wanted)}"
        if name and len(flows) > 1:
            title = f"{name} ({asked.source.reference})"
        expectation = _expectation(cluster, asked, wanted, title)
        yield _spread(cluster, asked, expectation, wanted, "count" in body, faults) if spread else expectation


def _name_checks(cluster: Cluster, body: Body, faults: Faults) -> Iterator[Expectation]:
    """A check of kind dns, {from, dns: NAME, type, expect: [records], count, timeout}; `expect` may also be a
    verdict, or {code: NXDOMAIN}."""
    faults.unknown(body, _NAME_FIELDS)
    expect = body.get("expect", "open")
    code, answers, verdict = "", None, "open"
    if isinstance(expect, list) and all(isinstance(each, str) for each in expect):
        answers = normal(expect)
    elif isinstance(expect, dict) and expect.keys() == {"code"} and expect["code"] in CODES.values():
        code = expect["code"]
    elif isinstance(expect, str) and expect in _VERDICTS:
        verdict = expect
    else:
        faults.add(("expect",), "expect: must be a list of records, open, refused, blocked or {code: NXDOMAIN}")
    name = faults.value(body, "name", str, "a string", "")
    asked_for = {key: value for key, value in body.items() if key in FIELDS} | {"proto": "dns", "to": body["dns"]}
    flows = decode(cluster, asked_for, faults)
    for asked in flows:
        label = f"{asked.source.reference} asks for {asked.to.label} {asked.flow.query[1]}"
        title = (f"{name} ({asked.source.reference})" if len(flows) > 1 else name) or label
        yield Expectation(
            GROUP, title, asked.source.reference, asked.to.label, asked.flow, _VERDICTS[verdict], code=code,
            answers=answers,
        )


def _told(wanted: _Wanted) -> str:
    parts = [wanted.verdict, str(wanted.status or ""), wanted.service and f"svc/{wanted.service}"]
    parts += [wanted.pod and f"pod/{wanted.pod}", wanted.client_ip and f"seen as {wanted.client_ip}"]
    return ", ".join(filter(None, parts))


def _expect(cluster: Cluster, value: Any, faults: Faults) -> _Wanted:
    body = {"verdict": value} if isinstance(value, str) else value
    if not isinstance(body, dict):
        faults.add(("expect",), f"expect: must be open, refused, blocked or a mapping, not {value!r}")
        return _Wanted()
    inner = Faults()
    inner.unknown(body, _EXPECT_FIELDS)
    verdict = inner.value(body, "verdict", str, "a string", "open")
    if verdict not in _VERDICTS:
        inner.add(("verdict",), f"{verdict!r} is none of {', '.join(_VERDICTS)}")
        verdict = "open"
    status = inner.value(body, "status", int, "an HTTP status")
    if len(body) > 1 and verdict != "open" and "verdict" in body:
        inner.add(("verdict",), f"{verdict} goes with no other field: nobody answers")
    keys = {key: _key(cluster, kind, body, key, inner) for key, kind in (("service", "svc"), ("pod", "pod"))}
    client_ip = inner.value(body, "client_ip", str, "an address", "")
    faults.found += [(("expect", *path), f"expect: {message}") for path, message in inner.found]
    return _Wanted(verdict, status, keys["service"], keys["pod"], client_ip)


def _key(cluster: Cluster, kind: str, body: Body, field: str, faults: Faults) -> str:
    """NAMESPACE/NAME of the Service or Pod that a field names with or without a namespace; empty without one."""
    name = faults.value(body, field, str, "a name", "")
    if not name:
        return ""
    try:
        return references.keys(cluster, references.parse(f"{kind}/{name}"))[0]
    except (NotFoundError, UsageError) as error:
        faults.add((field,), f"{field}: {error.message}; {error.hint}" if error.hint else f"{field}: {error.message}")
        return ""


def _expectation(cluster: Cluster, asked: Asked, wanted: _Wanted, name: str) -> Expectation:
    pods = None
    if wanted.pod:
        pods = frozenset([wanted.pod])
    elif wanted.service:
        service = cluster.services[wanted.service]
        pods = frozenset(each.pod for port in service.ports for each in reachable(service, port, None))
    return Expectation(
        GROUP, name, asked.source.reference, asked.to.label, asked.flow, _VERDICTS[wanted.verdict], pods,
        clients=frozenset([wanted.client_ip]) if wanted.client_ip else None, status=wanted.status,
    )


def _spread(
    cluster: Cluster, asked: Asked, expectation: Expectation, wanted: _Wanted, counted: bool, faults: Faults
) -> Expectation:
    """The same, and every endpoint of the Service that was asked must answer."""
    service = _service(cluster, asked, wanted)
    if service is None:
        hint = "name one in expect, as {service: NS/NAME}"
        faults.add(("spread",), f"spread: {asked.to.label} is no Service; {hint}")
        return expectation
    ports = [port for port in service.ports if asked.to.port in (port.port, port.node_port)] or service.ports
    endpoints = [(each, port.protocol) for port in ports for each in reachable(service, port, None)]
    pods = frozenset(each.pod for each, protocol in endpoints if is_identified(cluster, each, protocol))
    if not pods:
        return expectation
    # With policy Local a node's endpoints share what reaches that node; at worst one has but a part of one node's.
    places = len(cluster.nodes) if service.external_traffic_policy == "Local" else 1
    share = 1 / (len(pods) * places)
    flow = expectation.flow if counted else replace(expectation.flow, count=ceil(4 / share))
    return replace(expectation, flow=flow, spread=pods, share=share)


def _service(cluster: Cluster, asked: Asked, wanted: _Wanted) -> Service | None:
    key = wanted.service or asked.to.service
    if key:
        return cluster.services[key]
    for service in cluster.services.values():
        if asked.flow.ip in (service.cluster_ip, *service.load_balancer_ips, *service.external_ips):
            return service
    return None
