"""Every statement and every form of set, and tables made of them."""

from __future__ import annotations

from nslab.nft import statements as s
from nslab.nft.datatypes import ETHER_ADDR, IFNAME, INET_PROTO, INET_SERVICE, IPV4_ADDR, MARK, VERDICT
from nslab.nft.objects import Chain, Hook, Rule, Set, Table

TCP = s.Compare(s.META_L4PROTO, "tcp")
SERVICE = (s.IP_DADDR, s.META_L4PROTO, s.TH_DPORT)

NAT_RULES = (
    Rule((s.Compare(s.IP_SADDR, "10.8.0.4"),), "from one Pod"),
    Rule((s.Compare(s.IP_DADDR, "10.8.0.4", negate=True), s.ACCEPT)),
    Rule((s.Compare(s.TH_SPORT, 1024), s.Compare(s.TH_DPORT, 53, negate=True))),
    Rule((s.Compare(s.META_MARK, 0x4000), s.RETURN)),
    Rule((s.Compare(s.META_IIFNAME, "eth0"), s.Compare(s.META_OIFNAME, "cbr0", negate=True))),
    Rule((TCP, s.Compare(s.CT_ORIGINAL_PROTO_DST, 80), s.Compare(s.CT_ORIGINAL_DADDR, "203.0.113.7"))),
    Rule((s.Compare(s.CT_MARK, 7),)),
    *(Rule((s.InPrefix(s.IP_DADDR, prefix),)) for prefix in ("10.0.0.0/8", "10.64.0.0/10", "10.8.0.4/32")),
    *(Rule((s.InPrefix(s.IP_SADDR, prefix, negate=True),)) for prefix in ("10.8.0.0/16", "10.8.9.0/23")),
    Rule((s.InPrefix(s.CT_ORIGINAL_DADDR, "10.0.0.0/12"),)),
    Rule((s.InPrefix(s.CT_ORIGINAL_DADDR, "10.0.0.0/8"),)),
    Rule((s.InSet((s.IP_SADDR,), "ranges"), s.InSet((s.IP_DADDR, s.TH_DPORT), "ports", negate=True))),
    Rule((s.CtState(("new",)), s.CtStatus("dnat"))),
    Rule((s.Below(s.numgen_random(10_000), 1250), s.DROP)),
    Rule((s.CtState(("established", "related")), s.CtStatus("dnat", negate=True))),
    Rule((s.FibLocal("daddr"), s.FibLocal("saddr", negate=True))),
    Rule((s.SetMark("meta", s.numgen_random(3)), s.SetMark("ct", s.META_MARK), s.SetMark("meta", s.CT_MARK))),
    Rule((s.SetMarkFromMap("meta", (s.IP_SADDR, s.CT_MARK), "affinity"),)),
    Rule((s.SetMarkFromMap("ct", SERVICE, "service-ips"),)),
    Rule((s.SetMarkBits("meta", 0xFFFFBFFF, 0), s.SetMarkBits("meta", 0xFFFFBFFF, 0x4000))),
    Rule((s.SetMarkBits("ct", 0xFFF, 0), s.SetMarkBits("ct", 0xFFF, 0x4000))),
    Rule((s.Remember("affinity", (s.IP_SADDR, s.CT_MARK), s.META_MARK, 10800),)),
    Rule((TCP, s.Record("drops", (
        s.CT_ORIGINAL_SADDR, s.CT_ORIGINAL_DADDR, s.META_L4PROTO, s.CT_ORIGINAL_PROTO_SRC, s.CT_ORIGINAL_PROTO_DST,
    ), 30))),
    Rule((TCP, s.InSet((s.CT_REPLY_PROTO_SRC,), "port-ranges"), s.RETURN)),
    Rule((s.InPrefix(s.CT_REPLY_SADDR, "10.8.0.0/24"), s.VerdictMap((s.CT_ORIGINAL_SADDR,), "by-range"))),
    Rule((s.VerdictMap((s.CT_ORIGINAL_SADDR, s.CT_REPLY_SADDR), "by-pair"),)),
    Rule((TCP, s.DnatToMap((s.CT_MARK, s.META_MARK), "endpoints"))),
    Rule((s.VerdictMap((s.CT_MARK,), "service-ports"),)),
    Rule((s.VerdictMap((s.META_IIFNAME, s.IP_DADDR), "by-link"),)),
    Rule((s.VerdictMap((s.IP_DADDR,), "by-range"),)),
    Rule((s.jump("endpoints-of-a-service"),)),
)
FILTER_RULES = (
    Rule((s.Counter(), s.Reject()), "nobody answers here"),
    Rule((s.DROP,)),
    Rule((s.ACCEPT,)),
    Rule((s.goto("other"),)),
)
JUMP = s.jump("endpoints-of-a-service")
SETS = (
    Set("service-ips", (IPV4_ADDR, INET_PROTO, INET_SERVICE),
        {("10.8.0.1", "tcp", 443): (7,), ("10.8.0.1", "udp", 53): (8,)}, (MARK,), comment="of all Services"),
    Set("service-ports", (MARK,), {(7,): s.goto("endpoints-of-a-service"), (8,): s.DROP, (9,): JUMP}, (VERDICT,)),
    Set("endpoints", (MARK, MARK), {(7, 0): ("10.0.0.1", 80), (7, 1): ("10.0.0.2", 8080)}, (IPV4_ADDR, INET_SERVICE)),
    Set("affinity", (IPV4_ADDR, MARK), value_type=(MARK,), dynamic=True, timeout=10800),
    Set("seen", (IPV4_ADDR,), dynamic=True),
    Set("drops", (IPV4_ADDR, IPV4_ADDR, INET_PROTO, INET_SERVICE, INET_SERVICE), dynamic=True, size=4096),
    Set("by-pair", (IPV4_ADDR, IPV4_ADDR), {("10.8.0.4", "10.8.0.4"): s.RETURN}, (VERDICT,)),
    Set("few", (IPV4_ADDR, INET_SERVICE), {("10.8.0.0/24", 80): None}, interval=True, size=16),
    Set("kept", (IPV4_ADDR,), timeout=60),
    Set("ranges", (IPV4_ADDR,), dict.fromkeys([
        ("10.8.0.0/24",), ("10.8.1.0/24",), ("10.9.0.1",), (("10.9.0.4", "10.9.0.6"),), ("255.255.255.0/24",),
        ("0.0.0.0/8",),
    ]), interval=True),
    Set("ports", (IPV4_ADDR, INET_SERVICE), dict.fromkeys([
        ("10.8.0.0/24", (100, 200)), ("10.9.0.1", 80), (("10.9.0.4", "10.9.0.6"), 81),
    ]), interval=True),
    Set("by-link", (IFNAME, IPV4_ADDR), {("eth0", "10.0.0.0/8"): JUMP, ("eth1", "10.0.0.0/8"): s.DROP}, (VERDICT,),
        interval=True),
    Set("by-range", (IPV4_ADDR,), {("10.0.0.0/8",): JUMP, ("192.168.0.0/16",): s.DROP}, (VERDICT,), interval=True),
    Set("marks-of-ranges", (IPV4_ADDR,), {("10.0.0.0/8",): (1,)},
        (MARK,), interval=True),
    Set("port-ranges", (INET_SERVICE,), dict.fromkeys([((30000, 32767),), (80,), ((60000, 65535),)]), interval=True),
    Set("links", (IFNAME,), dict.fromkeys([("eth0",), ("cbr0",)])),
    Set("protocols", (INET_PROTO,), dict.fromkeys([("tcp",), ("udp",), (47,)])),
    Set("addresses", (IPV4_ADDR,), dict.fromkeys([("10.0.0.1",), ("10.0.0.2",)])),
    Set("hosts", (ETHER_ADDR, IPV4_ADDR), dict.fromkeys([("02:00:00:00:00:01", "10.0.0.1")])),
    Set("macs", (ETHER_ADDR,), dict.fromkeys([("02:00:00:00:00:01",)])),
    Set("empty", (INET_SERVICE,)),
)
TABLE = Table(
    "ip", "kube-proxy",
    (
        Chain("endpoints-of-a-service", comment="default/web:http"),
        Chain("other"),
        Chain("nat-prerouting", NAT_RULES, Hook("nat", "prerouting", -100)),
        Chain("nat-postrouting", (Rule((s.Masquerade(),)),), Hook("nat", "postrouting", 100)),
        Chain("filter-forward", FILTER_RULES, Hook("filter", "forward", -10, "drop")),
    ),
    SETS,
    "nslab:vocabulary",
)
