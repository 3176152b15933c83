"""What a policy became on each node, as nft text that explains itself: what `nslab rules netpol/NAME` prints.

Lines that begin with # are sentences; all others could be fed to `nft -f`.
"""

from __future__ import annotations

from collections.abc import Iterator

from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster
from nslab.components.network_policy import TABLE, Compiled, GroupRules, compile_policies
from nslab.components.policies.chains import Elements, pods_map, ports_chain, ports_sets
from nslab.nft.operations import AddElements, AddRules, Operation
from nslab.nft.text import transaction_text


def explain_policy(cluster: Cluster, policy: str) -> str:
    """The maps and chains of every group of Pods that the policy ("NetworkPolicy shop/deny") bears on, node by node;
    ends with a newline."""
    if not cluster.lab.cluster.network_policy:
        return f"# {policy} is not enforced: spec.cluster.networkPolicy of the Lab is false\n"
    compiled = compile_policies(cluster, Memo())
    mine = {name: found for name, found in compiled.groups.items() if policy in found.group.policies}
    if not mine:
        return f"# {policy} restricts no Pod\n"
    lines = [f"# {policy} bears on {len(mine)} groups of Pods; a group is all Pods with the same policies"]
    for node in cluster.nodes:
        for name, found in mine.items():
            lines += _on_node(cluster, node, name, found, compiled)
    return "\n".join(lines) + "\n"


def _on_node(cluster: Cluster, node: str, name: str, found: GroupRules, compiled: Compiled) -> Iterator[str]:
    direction = found.group.direction
    pods = [pod for pod in cluster.pods_by_node[node] if compiled.group_names.get((pod.key, direction)) == name]
    if not pods:
        return
    yield f"\n# node/{node}, {direction} of {', '.join(f'pod/{pod.key}' for pod in pods)}"
    yield f"# by {', '.join(found.group.policies)}"
    held = next(item for item in compiled.tables[node].sets if item.name == pods_map(direction))
    own: Elements = {(pod.ip,): held.elements[pod.ip,] for pod in pods}
    yield _text([AddElements(held, own)])
    yield "\n# the peers' openings: return is open, goto denied is not, goto ports depends on the port"
    yield _text([*map(AddElements, found.sets), AddRules(found.chain)])
    for ports in found.ports:
        yield "\n# open ports"
        yield _text([*map(AddElements, ports_sets(ports)), AddRules(ports_chain(direction, ports))])


def _text(operations: list[Operation]) -> str:
    return transaction_text(*TABLE, operations).rstrip("\n")
