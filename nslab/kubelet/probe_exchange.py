"""A probe's network action as an exchange, and what its end means: httpGet, tcpSocket and grpc as the kubelet does
them (pkg/kubelet/prober/prober.go, pkg/probe), down to the words of its events."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from nslab.linux.netns import entered
from nslab.servers.answers import endpoint
from nslab.servers.exchanges import Exchange, StreamExchange
from nslab.servers.flows import Flow, FlowResult, HttpRequest
from nslab.servers.http_exchange import ConnectExchange, GrpcHealthExchange, HttpExchange

USER_AGENT = "kube-probe/1.31"
SUCCESS, WARNING, FAILURE, ERROR = "success", "warning", "failure", "error"
"""How an attempt of a probe ends. A warning is a success that the user is told of; an error changes nothing."""

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_MOST_REDIRECTS = 10


class ProbeOutcome(NamedTuple):
    """One attempt of a probe: SUCCESS, WARNING, FAILURE or ERROR, and what an event says of it."""

    result: str
    detail: str = ""


class ProbeGet(HttpExchange):
    """An httpGet. Redirects are followed on the same host, ten at most; one to another host ends it."""

    __slots__ = ("_hops", "first")

    def __init__(self, flow: Flow) -> None:
        super().__init__(flow, FlowResult(""))
        self.first = flow
        self._hops = 0

    @property
    def status(self) -> int:
        """Of the last answer."""
        return self._answer.status

    def _conclude(self) -> str:
        verdict = super()._conclude()
        location = self.result.headers.get("location", "")
        if not location or self.status not in _REDIRECTS:
            return verdict
        try:
            target = urlsplit(urljoin(_url(self.flow), location))
            if target.scheme not in ("http", "https") or target.hostname != self.first.ip:
                return verdict
            self._hops += 1
            if self._hops == _MOST_REDIRECTS:
                raise OSError(errno.ELOOP, f"stopped after {_MOST_REDIRECTS} redirects")
            query = f"?{target.query}" if target.query else ""
            return self._follow(target.scheme, target.port, f"{target.path or '/'}{query}")
        except ValueError as fault:  # a location that cannot be
            raise OSError(errno.EPROTO, str(fault)) from fault

    def _follow(self, scheme: str, port: int | None, path: str) -> str:
        request = replace(self.request, path=path)
        port = port or (443 if scheme == "https" else 80)
        self.flow = replace(self.flow, protocol=scheme, port=port, http=request)
        self.sock.close()
        self._expect(request)
        self.prepare()
        with entered(self.flow.netns):
            return self._begin(self.started)


def exchange_of(netns: str, pod_ip: str, probe: Mapping[str, Any], port_names: Mapping[str, int]) -> Exchange:
    """The exchange that a probe with a network action is, from the node's `netns`. Raises ValueError for an unknown
    port name or no action."""
    timeout = float(probe.get("timeoutSeconds") or 1)
    if "httpGet" in probe:
        return ProbeGet(_http_get(netns, pod_ip, probe["httpGet"], port_names, timeout))
    if "tcpSocket" in probe:
        tcp = probe["tcpSocket"]
        flow = Flow("", netns, "tcp", tcp.get("host") or pod_ip, _port(tcp["port"], port_names), timeout=timeout)
        return ConnectExchange(flow, FlowResult(""))
    if "grpc" in probe:
        call = probe["grpc"]
        request = HttpRequest(headers=(("user-agent", USER_AGENT),))
        query = (str(call.get("service") or ""), "")
        port = _port(call["port"], port_names)
        return GrpcHealthExchange(
            Flow("", netns, "grpc", pod_ip, port, timeout=timeout, http=request, query=query), FlowResult("")
        )
    raise ValueError("missing probe handler")


def _http_get(netns: str, pod_ip: str, get: Mapping[str, Any], port_names: Mapping[str, int], timeout: float) -> Flow:
    named = [(str(one["name"]), str(one["value"])) for one in get.get("httpHeaders") or ()]
    given = {name.lower() for name, _ in named}
    host = next((value for name, value in named if name.lower() == "host"), "")
    headers = [
        (name, value) for name, value in named
        if name.lower() != "host" and (value or name.lower() not in ("accept", "user-agent"))
    ]
    default = [("User-Agent", USER_AGENT), ("Accept", "*/*")]
    headers += [(name, value) for name, value in default if name.lower() not in given]
    path = str(get.get("path") or "/")
    path = path if path.startswith("/") else f"/{path}"
    request = HttpRequest(path=path, host=host, headers=tuple(headers), insecure=True)
    scheme = str(get.get("scheme") or "HTTP").lower()
    return Flow("", netns, scheme, get.get("host") or pod_ip, _port(get["port"], port_names), timeout=timeout,
                http=request)  # fmt: skip


def _port(port: object, names: Mapping[str, int]) -> int:
    number = names.get(str(port), port)
    if isinstance(number, str) and number.isdigit():
        number = int(number)
    if not isinstance(number, int):
        raise ValueError(f"strconv.Atoi: parsing {str(port)!r}: no container port has this name")
    if not 0 < number < 65536:
        raise ValueError(f"invalid port number: {number}")
    return number


def judge(exchange: Exchange, verdict: str, detail: str) -> ProbeOutcome:
    """What an ended exchange, with its verdict and the kernel's words for it, means for its probe."""
    if isinstance(exchange, ProbeGet):
        return _judge_get(exchange, verdict, detail)
    if verdict == "open":
        return ProbeOutcome(SUCCESS)
    if isinstance(exchange, GrpcHealthExchange):
        return ProbeOutcome(FAILURE, _grpc_failure(exchange, verdict, detail))
    return ProbeOutcome(FAILURE, _dial_failure(exchange.flow, "i/o timeout" if verdict == "timeout" else detail))


def _judge_get(exchange: ProbeGet, verdict: str, detail: str) -> ProbeOutcome:
    if verdict == "open":
        if 200 <= exchange.status < 300:
            return ProbeOutcome(SUCCESS)
        if 300 <= exchange.status < 400:
            return ProbeOutcome(WARNING, f"Probe terminated redirects, Response body: {exchange.result.body}")
        return ProbeOutcome(FAILURE, f"HTTP probe failed with statuscode: {exchange.status}")
    if verdict == "timeout":
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    else:
        why = detail if exchange.opened and exchange.connected else _dial_failure(exchange.flow, detail)
    return ProbeOutcome(FAILURE, f'Get "{_url(exchange.flow)}": {why}')


def _grpc_failure(exchange: StreamExchange, verdict: str, detail: str) -> str:
    flow = exchange.flow
    if exchange.opened and exchange.connected:
        return f"timeout: health rpc did not complete within {flow.timeout:g}s" if verdict == "timeout" else detail
    why = "context deadline exceeded" if verdict == "timeout" else _dial_failure(flow, detail)
    return f'timeout: failed to connect service "{endpoint(flow.ip, flow.port)}" within {flow.timeout:g}s: {why}'


def _dial_failure(flow: Flow, why: str) -> str:
    """As Go says that a connection could not be made. The kernel's words begin with a capital, Go's do not."""
    system = "" if why == "i/o timeout" else "connect: "
    return f"dial tcp {endpoint(flow.ip, flow.port)}: {system}{why[:1].lower()}{why[1:]}"


def _url(flow: Flow) -> str:
    path = flow.http.path if flow.http else "/"
    return f"{flow.protocol}://{endpoint(flow.ip, flow.port)}{path}"
