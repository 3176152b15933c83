"""FLOWS of interface section 5: a list of flows as YAML or JSON, decoded with every fault at once, and the answer.

The fields of one flow are read by `decode`, which the command's options and the Lab's written checks share.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from statistics import median
from typing import Any, Final

from nslab.api.objects import Body
from nslab.api.yaml_reader import Path, read
from nslab.check.references import Destination, Source, destination, name_of, sources
from nslab.cluster.model import Cluster, Service
from nslab.dns.wire import TYPES
from nslab.errors import ManifestError, NotFoundError, UsageError
from nslab.servers.flows import Flow, FlowResult, HttpRequest

PROTOCOLS: Final = ("tcp", "udp", "icmp", "http", "https", "dns")
FIELDS: Final = ("id", "from", "to", "proto", "count", "timeout", "http", "type")
_HTTP_FIELDS: Final = ("method", "path", "host", "headers", "sni", "insecure", "body")
_MAX_COUNT: Final = 1_000_000
_MAX_TIMEOUT: Final = 600


ServicesByPod = Mapping[str, Mapping[str, Service]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A flow with what was written: its source as a full reference and its destination's label."""

    flow: Flow
    source: Source
    to: Destination


class Faults:
    """Faults of one mapping, each at the path of a field."""

    def __init__(self) -> None:
        self.found: list[tuple[Path, str]] = []

    def add(self, path: Path, message: str) -> None:
        self.found.append((path, message))

    def value(self, body: Body, key: str, kind: type | tuple[type, ...], word: str, default: Any = None) -> Any:
        """The field's value, of type `kind` (called `word` in the fault), or the default where it is absent."""
        value = body.get(key, default)
        if key in body and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            self.add((key,), f"{key}: must be {word}, not {value!r}")
            return default
        return value

    def unknown(self, body: Body, known: Iterable[str], prefix: Path = ()) -> None:
        for key in body:
            if key not in (names := list(known)):
                close = get_close_matches(key, names, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
                self.add((*prefix, key), f"the field {key!r} is not known; {hint}")


def read_flows(file: str, text: str, cluster: Cluster) -> list[Asked]:
    """The flows of a FLOWS file; `file` is its name in messages. A pattern in `from` is one flow for each source, its
    id suffixed with the source.

    Raises ManifestError with every fault as FILE:LINE:COL: flow ID: what is wrong.
    """
    flows = _from_json(text, cluster)
    if flows:
        return flows
    faults: list[str] = []
    for document in read(file, text):
        faults += [f"{where}: {message}" for where, message in document.faults]
        if document.faults:
            continue
        if not isinstance(document.value, list):
            faults.append(f"{document.place.at()}: must be a list of flows")
            continue
        found, misfits = _decoded(cluster, document.value)
        flows += found
        faults += [f"{document.place.at(path, key=True)}: {message}" for path, message in misfits]
    if not flows and not faults:
        faults.append(f"{file}:1:1: there are no flows in it")
    if faults:
        raise ManifestError(faults, hint="a flow is {id, from, to, proto, count, timeout, http}")
    return flows


def _from_json(text: str, cluster: Cluster) -> list[Asked]:
    """The flows of a faultless JSON list, which json reads much faster than YAML's reader; none for anything else,
    for only that reader knows the places of faults."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(entries, list):
        return []
    flows, misfits = _decoded(cluster, entries)
    return [] if misfits else flows


def _decoded(cluster: Cluster, entries: list[Any]) -> tuple[list[Asked], list[tuple[Path, str]]]:
    """The flows of the entries, and each fault with its path."""
    flows: list[Asked] = []
    misfits: list[tuple[Path, str]] = []
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            misfits.append(((index,), f"a flow must be a mapping, not {entry!r}"))
            continue
        name = str(entry.get("id", len(seen) + 1))
        faults = Faults()
        if name in seen:
            faults.add(("id",), "the id is given twice")
        seen.add(name)
        flows += decode(cluster, {**entry, "id": name}, faults)
        misfits += [((index, *at), f"flow {name}: {message}") for at, message in faults.found]
    return flows, misfits


def decode(cluster: Cluster, body: Body, faults: Faults, fields: Iterable[str] = FIELDS) -> list[Asked]:
    """The flows of one mapping with interface section 5's fields, one for each source; none where `faults` grew."""
    before = len(faults.found)
    faults.unknown(body, fields)
    protocol = faults.value(body, "proto", str, "a protocol", "")
    if protocol and protocol not in PROTOCOLS:
        faults.add(("proto",), f"proto {protocol!r} is not known; one of {', '.join(PROTOCOLS)}")
    count = _number(body, faults, "count", 1, _MAX_COUNT)
    timeout = _number(body, faults, "timeout", 1.0, _MAX_TIMEOUT)
    http = _http(body, faults)
    kind = _record_type(body, protocol, faults)
    pairs = list(_pairs(cluster, body, faults))
    flows = [
        Asked(flow, source, to) for source, to in pairs
        if (flow := _flow(str(body.get("id", "")), source, to, protocol, int(count), timeout, http, kind, faults))
    ]
    if len(pairs) > 1:
        flows = [_suffixed(each) for each in flows]
    return flows if len(faults.found) == before else []


def _record_type(body: Body, protocol: str, faults: Faults) -> str:
    """The type of records that a DNS question is for."""
    kind: str = faults.value(body, "type", str, "a type of records", "A")
    if kind.upper() not in TYPES:
        faults.add(("type",), f"type: {kind!r} is not known; one of {', '.join(TYPES)}")
    elif "type" in body and protocol != "dns":
        faults.add(("type",), "type: goes with proto dns")
    return kind.upper()


def _suffixed(asked: Asked) -> Asked:
    """The flow with its source in its id: one of several of one entry."""
    return replace(asked, flow=replace(asked.flow, id=f"{asked.flow.id}/{asked.source.reference}"))


def _number(body: Body, faults: Faults, key: str, default: float, limit: int) -> float:
    kind, word = ((int,), "a whole number") if isinstance(default, int) else ((int, float), "a number of seconds")
    value: float = faults.value(body, key, kind, word, default)
    if not 0 < value <= limit:
        faults.add((key,), f"{key}: must be above 0 and at most {limit}, not {value}")
    return value


def _pairs(cluster: Cluster, body: Body, faults: Faults) -> Iterator[tuple[Source, Destination]]:
    for key in ("from", "to"):
        if key not in body:
            faults.add((), f"{key}: is missing")
        elif not isinstance(body[key], str):
            faults.add((key,), f"{key}: must be a string, not {body[key]!r}")
    if not isinstance(body.get("from"), str) or not isinstance(body.get("to"), str):
        return
    try:
        found = sources(cluster, body["from"])
    except (NotFoundError, UsageError) as error:
        faults.add(("from",), _said("from", error))
        return
    to = name_of if body.get("proto") == "dns" else destination
    try:
        for source in found:
            yield source, to(cluster, body["to"], source)
    except (NotFoundError, UsageError) as error:
        faults.add(("to",), _said("to", error))


def _said(key: str, error: NotFoundError | UsageError) -> str:
    return f"{key}: {error.message}; {error.hint}" if error.hint else f"{key}: {error.message}"


def _http(body: Body, faults: Faults) -> HttpRequest | None:
    asked = faults.value(body, "http", dict, "a mapping")
    if asked is None:
        return None
    inner = Faults()
    inner.unknown(asked, _HTTP_FIELDS)
    texts = {key: inner.value(asked, key, str, "a string", "") for key in ("method", "path", "host", "sni", "body")}
    headers = inner.value(asked, "headers", dict, "a mapping of names to values", {})
    insecure = inner.value(asked, "insecure", bool, "true or false", False)
    if texts["path"] and not texts["path"].startswith("/"):
        inner.add(("path",), "path: must begin with /")
    faults.found += [(("http", *path), f"http: {message}") for path, message in inner.found]
    return HttpRequest(
        texts["method"] or "GET", texts["path"], texts["host"],
        tuple((name, str(value)) for name, value in headers.items()), texts["sni"], insecure, texts["body"],
    )


def _flow(
    name: str, source: Source, to: Destination, asked: str, count: int, timeout: float, http: HttpRequest | None,
    kind: str, faults: Faults,
) -> Flow | None:
    """The flow, its protocol the one asked for, or what the destination and the fields imply."""
    protocol = asked or to.protocol or ("http" if http else "tcp")
    if to.protocol in ("http", "https") and protocol != to.protocol:
        faults.add(("proto",), f"proto {protocol} does not go with the URL {to.label}")
        return None
    if http and protocol not in ("http", "https"):
        faults.add(("http",), f"http: does not go with proto {protocol}")
        return None
    if protocol == "dns":
        question = to.label, kind
        return Flow(name, source.netns, protocol, "", 0, count, float(timeout), query=question, lookup=to.lookup)
    if not to.port and protocol != "icmp":
        faults.add(("to",), f"to: {to.label} has no port; write {to.label}:PORT")
        return None
    request = http or HttpRequest(path="")
    if protocol in ("http", "https"):
        http = replace(request, path=request.path or to.path or "/", host=request.host or to.host or _authority(to))
    return Flow(name, source.netns, protocol, to.ip, to.port, count, float(timeout), http=http, lookup=to.lookup)


def _authority(to: Destination) -> str:
    if to.lookup:
        return to.host
    return f"[{to.ip}]:{to.port}" if ":" in to.ip else f"{to.ip}:{to.port}"


def to_json(flow: Flow, source: str, to: str, result: FlowResult, behind: ServicesByPod) -> dict[str, Any]:
    """The answer of interface section 5 for one flow; `source` and `to` are what was asked for, `behind` the lab's
    `services_by_pod`."""
    milliseconds = [rtt * 1000 for rtt in result.rtts]
    return {
        "id": flow.id,
        "from": source,
        "to": to,
        "proto": flow.protocol,
        "attempts": flow.count,
        "verdict": result.verdict,
        "counts": result.counts,
        "responders": result.responders,
        "client_ips": result.client_ips,
        "http": {
            "status": {} if flow.protocol == "dns" else result.statuses, "headers": result.headers,
            "service": service_of(behind, flow, result),
        },
        "rtt_ms": {
            name: round(pick(milliseconds), 3) if milliseconds else None
            for name, pick in (("min", min), ("median", median), ("max", max))
        },
        "detail": result.detail,
        **({"dns": {"status": result.statuses, "answers": result.answers}} if flow.protocol == "dns" else {}),
    }


def services_by_pod(cluster: Cluster) -> ServicesByPod:
    """For each Pod (by key) the Services, by key, that have it behind them, in the Cluster's order."""
    found: dict[str, dict[str, Service]] = {}
    for key, service in cluster.services.items():
        for port in service.ports:
            for endpoint in port.endpoints:
                found.setdefault(endpoint.pod, {})[key] = service
    return found


def service_of(behind: ServicesByPod, flow: Flow, result: FlowResult) -> str | None:
    """The Service that was asked, if the address is one's; else the only one that has all responders behind it."""
    if not result.responders:
        return None
    first, *others = (behind.get(pod, {}) for pod in result.responders)
    common = [key for key in first if all(key in services for services in others)]
    for key in common:
        service = first[key]
        if flow.ip in (service.cluster_ip, *service.load_balancer_ips, *service.external_ips):
            return key
    return common[0] if len(common) == 1 else None
