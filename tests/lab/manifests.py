"""Kubernetes objects for labs of tests, as short calls, and what such a lab says of its addresses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.running import Json, RunningLab, nslab


def topology(spec: Json, *objects: Json) -> str:
    """A topology file: the Lab and its objects, each a document. JSON is YAML."""
    lab = {"apiVersion": "nslab.dev/v1", "kind": "Lab", "metadata": {"name": "any"}, "spec": spec}
    return "".join(f"--- {json.dumps(item)}\n" for item in (lab, *objects))


def pod(name: str, node: str, *ports: str | int, labels: Json | None = None, **spec: Any) -> Json:
    """A Pod bound to a node. A port is a number, or "NAME:NUMBER/PROTOCOL" of which only the number must be there.
    `sidecars` are more containers; what else is given goes to the Pod's spec."""
    container = {"name": "main", "image": "any", "ports": [_container_port(each) for each in ports]}
    if "readinessProbe" in spec:
        container["readinessProbe"] = spec.pop("readinessProbe")
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {"app": name}},
        "spec": {"nodeName": node, "containers": [container, *spec.pop("sidecars", ())], **spec},
    }


def service(name: str, selector: Json | None, *ports: str, **spec: Any) -> Json:
    """A Service. A port is "NAME:NUMBER/PROTOCOL>TARGET", of which only the number must be there."""
    fields: Json = {"ports": [_service_port(each) for each in ports], **spec}
    if selector:
        fields["selector"] = selector
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": fields}


def endpoints(name: str, *addresses: str, ports: list[Json]) -> Json:
    """An Endpoints object with ready addresses."""
    subsets = [{"addresses": [{"ip": address} for address in addresses], "ports": ports}]
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name}, "subsets": subsets}


def endpoint_slice(service_name: str, *members: Json, ports: list[Json]) -> Json:
    """An EndpointSlice of a Service; each member is an endpoint as the API writes it."""
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": f"{service_name}-1", "labels": {"kubernetes.io/service-name": service_name}},
        "endpoints": list(members), "ports": ports,
    }


def _container_port(text: str | int) -> Json:
    name, _, rest = str(text).rpartition(":")
    number, _, protocol = rest.partition("/")
    return {"containerPort": int(number), "protocol": protocol or "TCP", **({"name": name} if name else {})}


def _service_port(text: str) -> Json:
    front, _, target = text.partition(">")
    name, _, rest = front.rpartition(":")
    number, _, protocol = rest.partition("/")
    fields: Json = {"port": int(number), "protocol": protocol or "TCP"}
    if name:
        fields["name"] = name
    if target:
        fields["targetPort"] = int(target) if target.isdigit() else target
    return fields


@contextmanager
def standing(directory: Path, name: str, text: str, *options: str) -> Iterator[RunningLab]:
    """A lab for as long as the block lasts."""
    file = directory / f"{name}.yaml"
    file.write_text(text)
    nslab("up", str(file), "--lab", name, *options)
    try:
        yield RunningLab(name, file)
    finally:
        nslab("down", name)


class Addresses:
    """The addresses of a lab, as `get` shows them: `pod["web"]`, `node["node-a"]`, `gateway["node-a"]` (of its Pods),
    `cluster_ip["web"]`, `node_port["web"]` (of its first port)."""

    def __init__(self, lab: RunningLab) -> None:
        self.pod = {item["metadata"]["name"]: item["status"]["podIP"] for item in lab.get("pods")["items"]}
        self.node: dict[str, str] = {}
        self.gateway: dict[str, str] = {}
        for item in lab.get("nodes")["items"]:
            self.node[item["metadata"]["name"]] = item["status"]["addresses"][0]["address"]
            self.gateway[item["metadata"]["name"]] = item["spec"]["podCIDR"].replace(".0/24", ".1")
        self.cluster_ip: dict[str, str] = {}
        self.node_port: dict[str, int] = {}
        for item in lab.get("services")["items"]:
            self.cluster_ip[item["metadata"]["name"]] = item["spec"].get("clusterIP", "")
            for port in item["spec"]["ports"][:1]:
                self.node_port[item["metadata"]["name"]] = port.get("nodePort", 0)
