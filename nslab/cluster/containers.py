"""A Pod template's containers: which run, what they listen on, and with which environment."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from nslab.api.objects import Body, Object
from nslab.cluster.model import Container, ContainerPort

HOST_IMAGE = "host"
_PROBES = {"readiness": "readinessProbe", "liveness": "livenessProbe", "startup": "startupProbe"}
_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")

Values = Mapping[tuple[str, str, str], Mapping[str, str]]
"""Contents of ConfigMaps and Secrets by (kind, namespace, name)."""


class PodFields(NamedTuple):
    """What the downward API of a Pod can tell (kubernetes.io/docs/concepts/workloads/pods/downward-api)."""

    name: str
    namespace: str
    uid: str
    node: str
    pod_ip: str
    host_ip: str
    service_account: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    def value(self, path: str) -> str:
        """The field at `path` ("status.podIP"), empty for an unknown one."""
        subscript = _SUBSCRIPT.fullmatch(path)
        if subscript:
            mapping = self.labels if subscript[1] == "labels" else self.annotations
            return mapping.get(subscript[2], "")
        return {
            "metadata.name": self.name, "metadata.namespace": self.namespace, "metadata.uid": self.uid,
            "spec.nodeName": self.node, "spec.serviceAccountName": self.service_account,
            "status.podIP": self.pod_ip, "status.podIPs": self.pod_ip, "status.hostIP": self.host_ip,
            "status.hostIPs": self.host_ip,
        }.get(path, "")


def running(spec: Body) -> list[Body]:
    """The containers that stay: sidecars (init containers that restart always, KEP-753), then the containers. Other
    init containers have completed."""
    sidecars = [body for body in spec.get("initContainers") or () if body.get("restartPolicy") == "Always"]
    return sidecars + list(spec.get("containers") or ())


def parse(spec: Body) -> tuple[Container, ...]:
    """The running containers of a Pod spec, their environment not yet resolved."""
    return tuple(_container(body) for body in running(spec))


def is_dynamic(body: Body) -> bool:
    """Whether a container's nouns differ from Pod to Pod of one template, or need other objects."""
    return bool(body.get("envFrom")) or any("valueFrom" in variable for variable in body.get("env") or ())


def _container(body: Body) -> Container:
    ports = tuple(
        ContainerPort(port["containerPort"], port.get("protocol", "TCP"), port.get("name", ""))
        for port in body.get("ports") or ()
    )
    image = body.get("image", "")
    env = {variable["name"]: variable.get("value", "") for variable in body.get("env") or ()}
    command = tuple(body.get("command") or ()) + tuple(body.get("args") or ()) if image == HOST_IMAGE else ()
    return _expanded(
        Container(
            body["name"], image, ports, command, (), body.get("workingDir", ""),
            {name: body[field] for name, field in _PROBES.items() if body.get(field)},
        ),
        env,
    )


def resolve(container: Container, body: Body, fields: PodFields, values: Values) -> Container:
    """The container with the environment that its Pod gives it. References to objects that are not in the manifests
    leave their variable out, as an optional reference does."""
    env: dict[str, str] = {}
    for source in body.get("envFrom") or ():
        for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            name = (source.get(key) or {}).get("name", "")
            for variable, value in values.get((kind, fields.namespace, name), {}).items():
                env[source.get("prefix", "") + variable] = value
    for variable in body.get("env") or ():
        resolved = _value(variable, fields, values)
        if resolved is not None:
            env[variable["name"]] = resolved
    command = tuple(body.get("command") or ()) + tuple(body.get("args") or ()) if container.command else ()
    return _expanded(replace(container, command=command), env)


def _value(variable: Body, fields: PodFields, values: Values) -> str | None:
    source: dict[str, Any] | None = variable.get("valueFrom")
    if source is None:
        return str(variable.get("value", ""))
    if "fieldRef" in source:
        return fields.value(source["fieldRef"]["fieldPath"])
    for kind, key in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
        if key in source:
            reference = source[key]
            return values.get((kind, fields.namespace, reference.get("name", "")), {}).get(reference["key"])
    return None


def _expanded(container: Container, env: Mapping[str, str]) -> Container:
    """With `$(NAME)` in values and command replaced, each value seeing those before it (kubernetes/third_party
    forked/golang/expansion: `$$` is a dollar sign, an unknown name stays as written)."""
    known: dict[str, str] = {}
    for name, value in env.items():
        known[name] = _expand(value, known) if "$" in value else value
    command = tuple(_expand(word, known) for word in container.command)
    return replace(container, command=command, env=tuple(known.items()))


def _expand(text: str, known: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda match: known.get(match[1], match[0]) if match[1] else "$", text)


def contents(objects: Iterable[Object]) -> Values:
    """What ConfigMaps and Secrets hold, Secrets decoded; binary values are left out."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for item in objects:
        if item.kind == "ConfigMap":
            found[item.kind, item.namespace, item.name] = dict(item.body.get("data") or {})
        elif item.kind == "Secret":
            found[item.kind, item.namespace, item.name] = {
                key: b64decode(value).decode(errors="replace") for key, value in (item.body.get("data") or {}).items()
            }
    return found
