"""An independent witness: pyroute2, with encoders and parsers of its own, finds in the kernel what was wanted."""

from __future__ import annotations

from typing import Any

from pyroute2 import NetNS

from nslab.linux.real import RealKernel
from nslab.netstate.model import Netns
from tests.linux.test_conformance import BUSY, converge
from tests.netstate.states import state


def seen(name: str) -> dict[str, Any]:
    """A netns as pyroute2 reads it, in the words of `netstate.model`."""
    with NetNS(name) as netns:
        links = {link["index"]: link for link in netns.get_links()}
        names = {index: link.get_attr("IFLA_IFNAME") for index, link in links.items()}
        return {
            "links": {
                names[index]: (
                    link.get_attr("IFLA_IFALIAS"), link.get_attr("IFLA_MTU"), link["state"],
                    names.get(link.get_attr("IFLA_MASTER"), ""),
                )
                for index, link in links.items() if names[index] != "lo"
            },
            "addresses": {
                (names[one["index"]], f"{one.get_attr('IFA_ADDRESS')}/{one['prefixlen']}")
                for one in netns.get_addr(family=2) if one.get_attr("IFA_ADDRESS") != "127.0.0.1"
            },
            "routes": {
                f"{route.get_attr('RTA_DST') or '0.0.0.0'}/{route['dst_len']}":
                (names.get(route.get_attr("RTA_OIF"), ""), route.get_attr("RTA_GATEWAY") or "")
                for route in netns.get_routes(family=2, table=254) if route["proto"] == 4
            },
            "neighbours": {
                (names[one["ifindex"]], one.get_attr("NDA_DST"), one.get_attr("NDA_LLADDR"))
                for one in netns.get_neighbours(family=2) if one["state"] == 0x80
            },
        }


def wanted(netns: Netns) -> dict[str, Any]:
    return {
        "links": {link.name: (link.alias, link.mtu, "up", link.master) for link in netns.links.values()},
        "addresses": {(one.link, one.address) for one in netns.addresses},
        "routes": {
            to: (route.link if route.kind == "unicast" else "", route.via) for to, route in netns.routes.items()
        },
        "neighbours": {tuple(one) for one in netns.neighbours},
    }


def test_pyroute2_sees_what_was_wanted(real: RealKernel) -> None:
    want = state(BUSY)
    converge(real, want)
    for name, netns in want.netns.items():
        found = seen(name)
        if name == "t.vpc":  # its multipath route has no single link
            assert found["routes"].keys() == netns.routes.keys()
            found["routes"] = wanted(netns)["routes"]
        assert found == wanted(netns), name
