"""`nslab status`: one lab at a glance, and what it costs the host; with --watch also what happens in it."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from nslab.cli import columns
from nslab.cli.options import lab_option, output_option
from nslab.cli.privilege import has_privilege
from nslab.errors import NotFoundError

if TYPE_CHECKING:
    from nslab.agent.client import Snapshot
    from nslab.cluster.model import Cluster

Json = dict[str, Any]

NETNS_ROOT = "/run/netns"
REFRESH = 1.0
"""Seconds between two pictures of `--watch`."""
NAMED = 10
"""Up to so many Pods, Services or operations are listed; more are counted."""


@click.command(short_help="Show one lab: health, drift, what it costs the host.")
@click.option("-w", "--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@output_option("text", "json")
@lab_option
def status(watch: bool, output: str, lab: str | None) -> None:
    """Show a lab's nodes, Pods and Services, their health, drift, and the host's share in it."""
    from nslab.agent import client

    name = client.pick(lab)
    while True:
        snapshot = client.snapshot(name)
        picture = health(snapshot, drift(snapshot), footprint(snapshot))
        if watch and snapshot.agent_pid:
            picture["events"] = client.events(name)[0][-NAMED:]
        if watch and sys.stdout.isatty():
            click.clear()
        if output == "json":
            from nslab.cli.output import print_json

            print_json(picture)
        else:
            click.echo(text(picture, time.time()), nl=False)
        if not watch:
            return
        time.sleep(REFRESH)
        if name not in [entry.name for entry in client.labs()]:
            raise NotFoundError(f"lab {name} is down")


def drift(snapshot: Snapshot) -> list[str] | None:
    """What was changed behind nslab's back; None where this process may not look."""
    from nslab.agent import client

    return client.drift(snapshot.cluster) if has_privilege() else None


def footprint(snapshot: Snapshot) -> Json:
    """The lab's share of the host: its namespaces, and its processes' resident memory in octets."""
    import psutil

    prefix = f"{snapshot.cluster.lab.name}."
    names = os.listdir(NETNS_ROOT) if os.path.isdir(NETNS_ROOT) else []
    processes = []
    for role, pid in (("agent", snapshot.agent_pid), ("responder", snapshot.responder_pid)):
        try:
            if pid is not None:
                processes.append({"role": role, "pid": pid, "rss": psutil.Process(pid).memory_info().rss})
        except psutil.NoSuchProcess:  # it ended after the snapshot
            pass
    return {"namespaces": sum(name.startswith(prefix) for name in names), "processes": processes}


def health(snapshot: Snapshot, drifted: list[str] | None, share: Json) -> Json:
    """The whole status as JSON; `share` is the lab's `footprint`."""
    cluster = snapshot.cluster
    return {
        "lab": cluster.lab.name,
        "mode": cluster.lab.cluster.mode,
        "file": cluster.lab.where.rsplit(":", 2)[0],
        "created": snapshot.created,
        "updated": snapshot.updated,
        "nodes": [_node(snapshot, name) for name in cluster.nodes],
        "pods": _pods(snapshot),
        "services": [_service(cluster, key) for key in cluster.services],
        "faults": [{"target": target, "effect": effect, "value": value} for target, effect, value in cluster.faults],
        "warnings": list(cluster.warnings),
        "drift": drifted,
        "failures": snapshot.failures,
        "programming": snapshot.programming,
        "footprint": share,
        "agent_pid": snapshot.agent_pid,
    }


def _node(snapshot: Snapshot, name: str) -> Json:
    node = snapshot.cluster.nodes[name]
    pods = [pod for pod in snapshot.cluster.pods_by_node[name] if not pod.is_static]
    return {
        "name": name, "ip": node.ip, "pod_range": node.pod_range, "pods": len(pods),
        "ready": sum(pod.ready for pod in pods),
    }


def _pods(snapshot: Snapshot) -> Json:
    pods = snapshot.cluster.asked_pods
    not_ready = [key for key, pod in snapshot.cluster.pods.items() if not pod.ready]
    return {"total": len(pods), "ready": sum(pod.ready for pod in pods.values()), "not_ready": not_ready,
            "restarts": sum(snapshot.restarts.values())}


def _service(cluster: Cluster, key: str) -> Json:
    service = cluster.services[key]
    endpoints = [endpoint for port in service.ports for endpoint in port.endpoints]
    return {
        "name": key, "type": service.type, "cluster_ip": service.cluster_ip,
        "endpoints": len(endpoints), "ready": sum(endpoint.ready for endpoint in endpoints),
    }


def text(picture: Json, now: float) -> str:
    """The status for a person."""
    origin = f", from {picture['file']}" if picture["file"] else ""
    lines = [f"Lab {picture['lab']}: {picture['mode']}, up for {columns.age(now - picture['created'])}{origin}", ""]
    pods, services = picture["pods"], picture["services"]
    ready = sum(service["ready"] for service in services)
    total = sum(service["endpoints"] for service in services)
    facts = [
        ("nodes", str(len(picture["nodes"]))),
        ("pods", f"{pods['ready']}/{pods['total']} ready, {columns.count(pods['restarts'], 'restart')}"),
        ("services", f"{len(services)}, {ready}/{total} endpoints ready"),
        ("rules", _programming(picture["programming"])),
        ("drift", _drift(picture["drift"])),
        ("agent", str(picture["agent_pid"] or "dead: forwarding goes on, and `nslab up` starts another")),
        ("host", _footprint(picture["footprint"])),
    ]
    lines += [columns.table([], facts, padding=2), _nodes(picture["nodes"])]
    lines += _listed("Not ready", [f"pod/{key}" for key in pods["not_ready"]])
    lines += _listed("Services without a ready endpoint", [
        f"svc/{service['name']}" for service in services
        if not service["ready"] and service["type"] != "ExternalName"
    ])
    lines += _listed("Tried again", [f"{what}: {error}" for what, error in picture["failures"].items()])
    lines += _listed("Faults (`nslab heal` mends them)", [
        " ".join(filter(None, fault.values())) for fault in picture["faults"]
    ])
    lines += _listed("Drift (`nslab up` mends it)", picture["drift"] or [])
    lines += _listed("Warnings", picture["warnings"])
    lines += _listed("Last events", [
        "  ".join([event["time"], event["reason"], event["object"], event["message"]])
        for event in picture.get("events", ())
    ])
    return "\n".join(lines).rstrip("\n") + "\n"


def _programming(programming: Json) -> str:
    if not programming:
        return "not followed: the agent is dead"
    told = f"{columns.count(programming['changes'], 'change')} followed"
    if programming["p50_ms"] is None:
        return told
    return f"{told}, in force after {programming['p50_ms']:.1f} ms (p50), {programming['p99_ms']:.1f} ms (p99)"


def _drift(operations: list[str] | None) -> str:
    if operations is None:
        return "not looked at: that needs root"
    return f"{columns.count(len(operations), 'operation')} to mend" if operations else "none"


def _footprint(footprint: Json) -> str:
    parts = [columns.count(footprint["namespaces"], "namespace")]
    parts += [f"{each['role']} {each['pid']} ({each['rss'] / 1e6:.0f} MB)" for each in footprint["processes"]]
    return ", ".join(parts)


def _nodes(nodes: list[Json]) -> str:
    rows = [(node["name"], node["ip"], node["pod_range"], f"{node['ready']}/{node['pods']}") for node in nodes]
    return columns.table(("NODE", "IP", "POD RANGE", "PODS READY"), rows)


def _listed(heading: str, items: list[str]) -> list[str]:
    if not items:
        return []
    more = [f"  and {len(items) - NAMED} more"] if len(items) > NAMED else []
    return [f"{heading}:", *(f"  {item}" for item in items[:NAMED]), *more, ""]
