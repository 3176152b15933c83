"""What a policy became on each node, as nft text that explains itself: what `nslab rules netpol/NAME` prints.

Lines that begin with # are sentences; all others could be fed to `nft -f`.
"""

from __future__ import annotations

from collections.abc import Iterator

from nslab.cluster.ipv4 import to_text
from nslab.cluster.memo import Memo
from nslab.cluster.model import Cluster
from nslab.components.network_policy import TABLE, Compiled, GroupRules, compile_policies
from nslab.components.policies.chains import Elements, by_protocol, is_whole, pods_map, ports_chain, ports_sets
from nslab.components.policies.rules import ALL_PORTS, OTHERS
from nslab.components.policies.spans import NOTHING, Spans
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
    groups = f"{len(mine)} {'group' if len(mine) == 1 else 'groups'} of Pods"
    lines = [f"# {policy} bears on {groups}; a group is all Pods with the same policies, which share a chain"]
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
    yield from _openings(cluster, found)
    held = next(item for item in compiled.tables[node].sets if item.name == pods_map(direction))
    own: Elements = {(pod.ip,): held.elements[pod.ip,] for pod in pods}
    yield _text([AddElements(held, own)])
    yield "\n# by the peer's address: return is open, goto denied is not, goto ports depends on the port"
    yield _text([*map(AddElements, found.sets), AddRules(found.chain)])
    for ports in found.ports:
        yield "\n# open ports"
        yield _text([*map(AddElements, ports_sets(ports)), AddRules(ports_chain(direction, ports))])


def _openings(cluster: Cluster, found: GroupRules) -> Iterator[str]:
    """What is open to whom, in words."""
    word, opened = ("from" if found.group.direction == "ingress" else "to"), found.opening
    for ip, ports in opened.pods.items():
        yield f"#   {word} pod/{cluster.pods_by_ip[ip].key} ({ip}): {_ports(ports)}"
    for first, last, ports in opened.blocks:
        yield f"#   {word} {to_text(first)}-{to_text(last)}: {_ports(ports)}"
    yield f"#   {word} anybody{' else' if opened.pods or opened.blocks else ''}: {_ports(opened.others)}"
    yield f"#   {word} the Pod's own node: everything, for nothing of it is forwarded"


def _ports(ports: Spans) -> str:
    """`TCP 80, UDP 1000-1010, all SCTP`."""
    if ports in (ALL_PORTS, NOTHING):
        return "everything" if ports else "nothing"
    told = []
    for protocol, numbers in by_protocol(ports):
        spans = (str(first) if first == last else f"{first}-{last}" for first, last in numbers)
        told += [f"all {protocol}"] if is_whole(numbers) else [f"{protocol} {span}" for span in spans]
    return ", ".join(told + (["other protocols"] if ports[-1][1] == OTHERS else []))


def _text(operations: list[Operation]) -> str:
    return transaction_text(*TABLE, operations).rstrip("\n")
