"""The columns of the kinds beside those that `nslab get` shows: network, configuration, access, storage, events."""

from __future__ import annotations

from typing import Any, Final

from nslab.api import notation
from nslab.api.notation import NONE
from nslab.apiserver.tables import AGE, NAME, Body, Cell, Column, dig, field, limited, number, timestamp


def _size(*paths: str) -> Cell:
    """A cell that is how many entries the fields have together."""
    return lambda body, now: str(sum(len(body.get(path) or ()) for path in paths))


def _created(body: Body, now: float) -> str:
    return str(dig(body, "metadata", "creationTimestamp") or "<unknown>")


def _pod_selector(body: Body, now: float) -> str:
    wanted = dig(body, "spec", "podSelector") or {}
    return notation.labels(wanted.get("matchLabels") or {})


def _hosts(body: Body, now: float) -> str:
    return limited([rule["host"] for rule in dig(body, "spec", "rules") or [] if rule.get("host")], "*")


def _addresses(body: Body, now: float) -> str:
    entries = dig(body, "status", "loadBalancer", "ingress") or []
    return ",".join(entry.get("ip") or entry.get("hostname", "") for entry in entries)


def _parameters(body: Body, now: float) -> str:
    parameters = dig(body, "spec", "parameters")
    if not parameters:
        return NONE
    kind = parameters["kind"] + (f".{parameters['apiGroup']}" if parameters.get("apiGroup") else "")
    return f"{kind}/{parameters['name']}"


def _since(*paths: str) -> Cell:
    """A cell that is the time since the first of the fields that is there."""

    def cell(body: Body, now: float) -> str:
        times: Any = [body[path] for path in paths if body.get(path)]
        moment = times[0] if times else dig(body, "metadata", "creationTimestamp")
        return notation.age(now - timestamp(moment)) if moment else "<unknown>"

    return cell


def _involved(body: Body, now: float) -> str:
    involved = body.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _source(body: Body, now: float) -> str:
    source = body.get("source") or {}
    return ", ".join(filter(None, [source.get("component") or body.get("reportingComponent"), source.get("host")]))


def _scale_target(body: Body, now: float) -> str:
    target = dig(body, "spec", "scaleTargetRef") or {}
    return f"{target.get('kind', '')}/{target.get('name', '')}"


def _role(body: Body, now: float) -> str:
    role = body.get("roleRef") or {}
    return f"{role.get('kind', '')}/{role.get('name', '')}"


def _controlled_by(body: Body, now: float) -> str:
    owners = dig(body, "metadata", "ownerReferences") or []
    return next((f"{it['kind'].lower()}/{it['name']}" for it in owners if it.get("controller")), NONE)


CREATED: Final = Column("CREATED AT", _created)

MORE_COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "ingresses": (
        NAME,
        Column("CLASS", field("spec", "ingressClassName", default=NONE)),
        Column("HOSTS", _hosts),
        Column("ADDRESS", _addresses),
        Column("PORTS", lambda body, now: "80, 443" if dig(body, "spec", "tls") else "80"),
        AGE,
    ),
    "ingressclasses": (
        NAME, Column("CONTROLLER", field("spec", "controller")), Column("PARAMETERS", _parameters), AGE,
    ),
    "networkpolicies": (NAME, Column("POD-SELECTOR", _pod_selector), AGE),
    "clusternetworkpolicies": (
        NAME, Column("TIER", field("spec", "tier")), Column("PRIORITY", number("spec", "priority")), AGE,
    ),
    "adminnetworkpolicies": (NAME, Column("PRIORITY", number("spec", "priority")), AGE),
    "configmaps": (NAME, Column("DATA", _size("data", "binaryData")), AGE),
    "secrets": (NAME, Column("TYPE", field("type")), Column("DATA", _size("data")), AGE),
    "serviceaccounts": (NAME, Column("SECRETS", _size("secrets")), AGE),
    "events": (
        Column("LAST SEEN", _since("lastTimestamp", "eventTime")),
        Column("TYPE", field("type")),
        Column("REASON", field("reason")),
        Column("OBJECT", _involved),
        Column("SUBOBJECT", field("involvedObject", "fieldPath"), wide=True),
        Column("SOURCE", _source, wide=True),
        Column("MESSAGE", lambda body, now: str(body.get("message", "")).strip()),
        Column("FIRST SEEN", _since("firstTimestamp", "eventTime"), wide=True),
        Column("COUNT", lambda body, now: str(body.get("count") or 1), wide=True),
        Column("NAME", field("metadata", "name"), wide=True),
    ),
    "horizontalpodautoscalers": (
        NAME,
        Column("REFERENCE", _scale_target),
        Column("TARGETS", lambda body, now: "<unknown>"),
        Column("MINPODS", field("spec", "minReplicas", default="<unset>")),
        Column("MAXPODS", number("spec", "maxReplicas")),
        Column("REPLICAS", number("status", "currentReplicas")),
        AGE,
    ),
    "poddisruptionbudgets": (
        NAME,
        Column("MIN AVAILABLE", field("spec", "minAvailable", default="N/A")),
        Column("MAX UNAVAILABLE", field("spec", "maxUnavailable", default="N/A")),
        Column("ALLOWED DISRUPTIONS", number("status", "disruptionsAllowed")),
        AGE,
    ),
    "cronjobs": (
        NAME,
        Column("SCHEDULE", field("spec", "schedule")),
        Column("TIMEZONE", field("spec", "timeZone", default=NONE)),
        Column("SUSPEND", lambda body, now: str(bool(dig(body, "spec", "suspend")))),
        Column("ACTIVE", lambda body, now: str(len(dig(body, "status", "active") or ()))),
        Column("LAST SCHEDULE", field("status", "lastScheduleTime", default=NONE)),
        AGE,
    ),
    "persistentvolumeclaims": (
        NAME,
        Column("STATUS", field("status", "phase")),
        Column("VOLUME", field("spec", "volumeName")),
        Column("CAPACITY", field("status", "capacity", "storage")),
        Column("ACCESS MODES", lambda body, now: ",".join(dig(body, "status", "accessModes") or ())),
        Column("STORAGECLASS", field("spec", "storageClassName")),
        AGE,
    ),
    "storageclasses": (
        NAME,
        Column("PROVISIONER", field("provisioner")),
        Column("RECLAIMPOLICY", field("reclaimPolicy", default="Delete")),
        Column("VOLUMEBINDINGMODE", field("volumeBindingMode", default="Immediate")),
        Column("ALLOWVOLUMEEXPANSION", lambda body, now: str(bool(body.get("allowVolumeExpansion"))).lower()),
        AGE,
    ),
    "controllerrevisions": (
        NAME, Column("CONTROLLER", _controlled_by), Column("REVISION", number("revision")), AGE,
    ),
    "leases": (NAME, Column("HOLDER", field("spec", "holderIdentity")), AGE),
    "priorityclasses": (
        NAME, Column("VALUE", number("value")),
        Column("GLOBAL-DEFAULT", lambda body, now: str(bool(body.get("globalDefault"))).lower()), AGE,
    ),
    "roles": (NAME, CREATED),
    "clusterroles": (NAME, CREATED),
    "customresourcedefinitions": (NAME, CREATED),
    "rolebindings": (NAME, Column("ROLE", _role), AGE),
    "clusterrolebindings": (NAME, Column("ROLE", _role), AGE),
}  # fmt: skip
