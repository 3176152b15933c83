"""The plan is true: typed into a shell, what `--dry-run` prints builds the same network as `up` does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab.running import ROOT, nslab

POLICY = (
    "apiVersion: nslab.dev/v1\nkind: Lab\nmetadata: {name: typed}\nspec: {nodes: 3, cluster: {networkPolicy: true}}\n"
    "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
    "spec:\n  replicas: 4\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n"
    "    spec: {containers: [{name: web, image: web, ports: [{containerPort: 80}]}]}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  type: LoadBalancer\n"
    "  externalTrafficPolicy: Local\n  sessionAffinity: ClientIP\n  loadBalancerSourceRanges: [198.51.100.0/24]\n"
    "  selector: {app: web}\n  ports: [{port: 80}]\n"
)


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def network(lab: str) -> dict[str, object]:
    """All that ip(8) and nft(8) show of a lab's namespaces, less what is no choice of anybody's: indexes, the
    kernel's own hardware addresses, and the mark of a pair, which only nslab sets."""
    shown: dict[str, object] = {}
    for name in sorted(line.split()[0] for line in run("ip", "netns", "list").splitlines() if line.startswith(lab)):
        links = json.loads(run("ip", "-n", name, "-d", "-j", "link"))
        shown[name] = {
            "links": {
                link["ifname"]: (
                    link.get("ifalias"), link["mtu"], "UP" in link["flags"], link["num_tx_queues"],
                    link.get("master"),
                    link["address"] if link["address"].startswith(("0a:58", "42:01")) else "",
                    link.get("linkinfo", {}).get("info_slave_data", {}).get("hairpin"),
                )
                for link in links
            },
            "addresses": sorted(re.findall(r"inet .*", run("ip", "-n", name, "-4", "address"))),
            "routes": sorted(run("ip", "-n", name, "route").splitlines()),
            "neighbours": sorted(run("ip", "-n", name, "neigh", "show", "nud", "permanent").splitlines()),
            # Word by word: the kernel lists elements in an order of its own.
            "rules": sorted(re.split(r"[\s,{}]+", run("ip", "netns", "exec", name, "nft", "list", "ruleset"))),
            "forwarding": run("ip", "netns", "exec", name, "sysctl", "net.ipv4.ip_forward"),
        }
    shown["files"] = {str(path): path.read_text() for path in sorted(Path("/etc/netns").glob(f"{lab}.*/*"))}
    return shown


@pytest.mark.parametrize("lab", ["quickstart", "typed"])
def test_the_plan_typed_by_hand_builds_the_same_network(lab: str, tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    quickstart = (ROOT / "topologies" / "quickstart.yaml").read_text()
    # Without probes: Pods that become ready change the rules after `up`, which the plan cannot know.
    file.write_text(re.sub(r"\n *readinessProbe:.*", "", quickstart) if lab == "quickstart" else POLICY)
    plan = nslab("up", str(file), "--dry-run").stdout
    subprocess.run(["sh", "-e"], input=plan, text=True, check=True)
    typed = network(lab)
    for name in typed.keys() - {"files"}:
        run("ip", "netns", "delete", name)
        shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)
    with suppress(OSError):
        Path("/etc/netns").rmdir()
    nslab("up", str(file), "--wait", "0")
    built = network(lab)
    nslab("down", lab)
    assert len(built) > 10
    assert typed == built
