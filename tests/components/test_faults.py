"""Faults as what of the wish is another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nslab.api.objects import Object
from nslab.cluster.model import Cluster
from nslab.components.desired import desired
from nslab.netstate.diff import diff
from nslab.netstate.model import Link, NetState, Qdisc
from nslab.nft.objects import Rule, Table
from nslab.nft.text import rule_text, table_text
from tests.cluster.builders import a_cluster, a_lab, a_pod, an_object

BLACKHOLE = Qdisc("blackhole")


def a_fault(target: str, effect: str, value: str = "") -> Object:
    spec = {"target": target, "effect": effect, **({"value": value} if value else {})}
    return an_object("Fault", f"{target}.{effect}".replace("/", "."), spec, namespace="")


def a_state(*faults: Object, routed: bool = False, netem: bool = False) -> NetState:
    return desired(_cluster(*faults, routed=routed), netem=netem)


def _cluster(*faults: Object, routed: bool = False) -> Cluster:
    lab = a_lab(2)
    lab = replace(lab, cluster=replace(lab.cluster, network_policy=routed))
    pods = [a_pod("a", nodeName="node-1"), a_pod("b", nodeName="node-1"), a_pod("c", nodeName="node-2"),
            a_pod("host", nodeName="node-1", hostNetwork=True)]
    return a_cluster(*pods, *faults, lab=lab)


def ends(state: NetState, netns: str) -> tuple[Link, Link]:
    """eth0 of a netns, and the other end."""
    near = state.netns[netns].links["eth0"]
    assert near.peer is not None
    return near, state.netns[near.peer[0]].links[near.peer[1]]


def qdiscs(state: NetState) -> dict[str, Qdisc]:
    """Those that there are, by NETNS/LINK."""
    return {
        f"{name}/{link.name}": link.qdisc
        for name, netns in state.netns.items() for link in netns.links.values() if link.qdisc
    }


def losses(state: NetState) -> dict[str, str]:
    """What nft loses, by netns."""
    tables = {name: netns.tables.get(("ip", "faults")) for name, netns in state.netns.items()}
    return {
        name: "; ".join(rule_text(rule) for rule in table.chains[0].rules if isinstance(rule, Rule))
        for name, table in tables.items() if table
    }


def test_nothing_is_broken_without_a_fault() -> None:
    state = a_state()
    assert not qdiscs(state)
    assert not losses(state)
    assert all(link.up for netns in state.netns.values() for link in netns.links.values())


@pytest.mark.parametrize("routed", [False, True])
def test_a_black_hole_takes_both_directions_of_one_pod(routed: bool) -> None:
    state = a_state(a_fault("pod/default/a", "blackhole"), routed=routed)
    assert [end.qdisc for end in ends(state, "lab.pod.default.a")] == [BLACKHOLE, BLACKHOLE]
    assert len(qdiscs(state)) == 2


@pytest.mark.parametrize("routed", [False, True])
def test_a_dead_machine_is_silent_and_so_are_its_pods(routed: bool) -> None:
    state = a_state(a_fault("node/node-1", "dead"), routed=routed)
    for netns in ("lab.node.node-1", "lab.pod.default.a", "lab.pod.default.b"):
        assert [end.qdisc for end in ends(state, netns)] == [BLACKHOLE, BLACKHOLE]
    assert len(qdiscs(state)) == 6


def test_a_link_that_is_down_has_no_routes_and_no_neighbours() -> None:
    state, whole = a_state(a_fault("pod/default/a", "down")), a_state()
    name = "lab.pod.default.a"
    near, far = ends(state, name)
    assert (near.up, far.up) == (False, True)
    assert not state.netns[name].routes
    assert not state.netns[name].neighbours
    assert state.netns[name].addresses == whole.netns[name].addresses
    assert state.netns["lab.pod.default.b"] == whole.netns["lab.pod.default.b"]


def test_a_node_without_its_uplink_still_knows_its_pods() -> None:
    state = a_state(a_fault("node/node-1", "down"))
    assert not state.netns["lab.node.node-1"].links["eth0"].up
    assert state.netns["lab.node.node-1"].links["cbr0"].up
    assert {one.link for one in state.netns["lab.node.node-1"].neighbours} == {"cbr0"}


@pytest.mark.parametrize("target", ["pod/default/a", "node/node-1", "client/laptop", "client/vm"])
def test_rates_hold_at_both_ends(target: str) -> None:
    state = a_state(a_fault(target, "rate", "10mbit"))
    assert [end.qdisc for end in ends(state, f"lab.{target.replace('/', '.')}")] == [Qdisc("tbf", 10_000_000)] * 2


def test_what_netem_does_it_does_at_once() -> None:
    faults = [
        a_fault("client/vm", "rate", "1mbit"), a_fault("client/vm", "delay", "50ms"),
        a_fault("client/vm", "loss", "12.5%"),
    ]
    netem = Qdisc("netem", 1_000_000, 50_000, 1250)
    for has_netem in (False, True):  # a delay is never stored where there is none
        state = a_state(*faults, netem=has_netem)
        assert set(qdiscs(state).values()) == {netem}
        assert losses(state) == {}


def test_loss_without_netem_is_nfts_at_either_receiver() -> None:
    state = a_state(a_fault("pod/default/a", "loss", "10%"), a_fault("client/laptop", "loss", "0.5%"))
    router = ends(state, "lab.client.laptop")[0].peer
    assert router is not None
    pod = state.netns["lab.pod.default.a"]
    address = next(iter(pod.addresses)).address.partition("/")[0]
    assert losses(state) == {
        "lab.pod.default.a": 'iifname "eth0" numgen random mod 10000 < 1000 counter drop '
                             'comment "10% to lab.pod.default.a"',
        "lab.node.node-1": f"ip saddr {address} numgen random mod 10000 < 1000 counter drop "
                           'comment "10% from lab.pod.default.a"',
        "lab.client.laptop": 'iifname "eth0" numgen random mod 10000 < 50 counter drop '
                             'comment "0.5% to lab.client.laptop"',
        "lab.internet": f'iifname "{router[1]}" numgen random mod 10000 < 50 counter drop '
                        'comment "0.5% from lab.client.laptop"',
    }
    assert qdiscs(state) == {}


def test_loss_on_a_route_of_its_own_goes_by_the_link() -> None:
    state = a_state(a_fault("pod/default/a", "loss", "10%"), routed=True)
    far = ends(state, "lab.pod.default.a")[1]
    assert losses(state)["lab.node.node-1"].startswith(f'iifname "{far.name}" numgen')


def test_losses_in_one_netns_share_its_table() -> None:
    state = a_state(
        a_fault("pod/default/a", "loss", "10%"), a_fault("pod/default/b", "loss", "20%"),
        a_fault("node/node-1", "loss", "30%"),
    )
    table = state.netns["lab.node.node-1"].tables["ip", "faults"]
    assert len(table.chains) == 1
    assert len(table.chains[0].rules) == 3
    assert "priority -400" in table_text(table)
    assert table.comment == "nslab:lab"


def test_loss_goes_to_netem_where_the_kernel_has_it() -> None:
    state = a_state(a_fault("node/node-2", "loss", "10%"), netem=True)
    assert set(qdiscs(state).values()) == {Qdisc("netem", loss=1000)}
    assert losses(state) == {}


def test_dead_and_black_hole_win_over_the_rest() -> None:
    faults = [a_fault("pod/default/a", effect, value) for effect, value in
              (("rate", "1mbit"), ("loss", "10%"), ("blackhole", ""), ("down", ""))]
    state = a_state(*faults)
    near, far = ends(state, "lab.pod.default.a")
    assert (near.qdisc, far.qdisc, near.up) == (BLACKHOLE, BLACKHOLE, False)
    assert losses(state) == {}


@pytest.mark.parametrize("target", ["pod/default/nobody", "node/nobody", "client/nobody", "pod/default/host"])
@pytest.mark.parametrize(("effect", "value"), [("down", ""), ("rate", "1mbit"), ("loss", "10%")])
def test_a_target_that_is_not_there_or_has_no_link_changes_nothing(target: str, effect: str, value: str) -> None:
    assert diff(a_state(a_fault(target, effect, value)), a_state()).describe() == ""


def test_a_healed_lab_is_as_it_was() -> None:
    faults = [
        a_fault("pod/default/a", "down"), a_fault("node/node-2", "dead"), a_fault("client/vm", "loss", "10%"),
        a_fault("pod/default/b", "rate", "1mbit"),
    ]
    there = diff(a_state(*faults), a_state())
    back = diff(a_state(), a_state(*faults))
    kinds = {type(operation).__name__ for operation in (*there, *back)}
    assert kinds == {
        "SetLink", "ReplaceQdisc", "DeleteQdisc", "ApplyTransaction", "ReplaceRoute", "AddNeighbours",
    }
    assert isinstance(a_state(*faults).netns["lab.client.vm"].tables["ip", "faults"], Table)
