"""What ConfigMap kube-system/kube-dns says about other servers (kubernetes.io/docs/tasks/administer-cluster/
dns-custom-nameservers). What cannot be read counts as not written, as kube-dns has it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nslab.api.objects import Object

CONFIG = ("ConfigMap", "kube-system", "kube-dns")


class DnsConfig(NamedTuple):
    """The servers that are asked for names outside the cluster, and for those of some domains instead, each written
    as IP or IP:PORT."""

    upstreams: tuple[str, ...] = ()
    stub_domains: Mapping[str, tuple[str, ...]] = {}


def dns_config(objects: Iterable[Object]) -> DnsConfig:
    """That of the ConfigMap among these objects; an empty one where there is none."""
    data = next((
        item.body.get("data") or {} for item in objects if (item.kind, item.namespace, item.name) == CONFIG
    ), {})
    stubs = _json(data, "stubDomains")
    return DnsConfig(
        _servers(_json(data, "upstreamNameservers")),
        {domain: _servers(each) for domain, each in stubs.items()} if isinstance(stubs, dict) else {},
    )


def _json(data: Mapping[str, str], field: str) -> object:
    try:
        return json.loads(data.get(field) or "null")
    except ValueError:
        return None


def _servers(listed: object) -> tuple[str, ...]:
    texts = [text for text in listed if isinstance(text, str)] if isinstance(listed, Iterable) else []
    return tuple(text for text in texts if ":" not in text or text.partition(":")[2].isdecimal())
