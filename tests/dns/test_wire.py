"""Messages: what is malformed, what is refused, what has no room; dnspython reads every reply."""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nslab.dns import records, wire
from nslab.dns.answer import Referral, Server, answer
from nslab.dns.cluster_zone import ClusterZone, Member, NamedPort, Names, ServiceNames
from tests.dns.asking import Knowing, ask, refer, said, texts

MANY = tuple(Member(f"10.8.{number // 200}.{number % 200}", "", (80,)) for number in range(5000))
VIEW = Knowing(ClusterZone(Names("cluster.local", "10.12.0.10", frozenset(["n"]), {
    "n/web": ServiceNames("n", "web", "10.12.0.20", "", (NamedPort("http", "tcp", 80),)),
    "n/out": ServiceNames("n", "out", "", "www.example.com"),
    "n/many": ServiceNames("n", "many", "", "", (NamedPort("http", "tcp", 80),), MANY),
    "n/some": ServiceNames("n", "some", "", "", (NamedPort("http", "tcp", 80),), MANY[:8]),
})))
WEB = "web.n.svc.cluster.local"


def octets(**changes: int) -> bytes:
    """A query for the Service's address, with another header."""
    fields = {"number": 7, "flags": wire.RD, "questions": 1, "answers": 0, "authorities": 0, "additionals": 0}
    fields |= changes
    return struct.pack("!6H", *fields.values()) + wire.encode_name(WEB) + struct.pack("!HH", wire.A, wire.IN)


def code(packet: bytes) -> str:
    reply = answer(packet, VIEW)
    assert isinstance(reply, bytes)
    message = dns.message.from_wire(reply)
    assert message.id == int.from_bytes(packet[:2], "big")
    assert message.flags & dns.flags.QR
    return dns.rcode.to_text(message.rcode())


@pytest.mark.parametrize("packet", [b"", b"\0", octets()[:11], octets(flags=wire.QR)])
def test_what_gets_no_answer(packet: bytes) -> None:
    assert answer(packet, VIEW) == b""


OPT = b"\0" + struct.pack("!HHIH", wire.OPT, 1232, 0, 0)
CODES = {
    "an ordinary query": (octets(), "NOERROR"),
    "octets after the message": (octets() + b"junk", "NOERROR"),
    "no question": (octets(questions=0), "FORMERR"),
    "two questions": (octets(questions=2), "FORMERR"),
    "a header alone": (octets()[:12], "FORMERR"),
    "a question cut short": (octets()[:-1], "FORMERR"),
    "a name cut short": (octets()[:20], "FORMERR"),
    "a pointer for a name": (octets()[:12] + b"\xc0\x0c" + octets()[-4:], "FORMERR"),
    "a label of 64 octets": (octets()[:12] + b"\x40" + b"a" * 64 + b"\0" + octets()[-4:], "FORMERR"),
    "a name of 256 octets": (octets()[:12] + b"\x3f" + b"a" * 63 + b"\x3f" + b"b" * 63 + b"\x3f" + b"c" * 63
                             + b"\x3e" + b"d" * 62 + b"\0" + octets()[-4:], "FORMERR"),
    "a name of 255 octets": (octets()[:12] + b"\x3f" + b"a" * 63 + b"\x3f" + b"b" * 63 + b"\x3f" + b"c" * 63
                             + b"\x3d" + b"d" * 61 + b"\0" + octets()[-4:], "SERVFAIL"),
    "an additional record that is not there": (octets(additionals=1), "FORMERR"),
    "an additional record cut short": (octets(additionals=1) + OPT[:-1] + b"\x05", "FORMERR"),
    "an OPT that is not the root's": (octets(additionals=1) + b"\x01a" + OPT, "FORMERR"),
    "an OPT among the answers": (octets(answers=1) + OPT, "FORMERR"),
    "two OPT records": (octets(additionals=2) + OPT + OPT, "FORMERR"),
    "one OPT record": (octets(additionals=1) + OPT, "NOERROR"),
    "a status query": (octets(flags=2 << 11), "NOTIMP"),
    "a notification": (octets(flags=4 << 11), "NOTIMP"),
    "an update": (octets(flags=5 << 11), "NOTIMP"),
    "a question of class CH": (octets()[:-2] + struct.pack("!H", 3), "REFUSED"),
    "a zone transfer": (octets()[:-4] + struct.pack("!HH", wire.AXFR, 1), "REFUSED"),
    "an incremental zone transfer": (octets()[:-4] + struct.pack("!HH", wire.IXFR, 1), "REFUSED"),
    "a question for TSIG": (octets()[:-4] + struct.pack("!HH", 250, 1), "REFUSED"),
    "a question for OPT": (octets()[:-4] + struct.pack("!HH", wire.OPT, 1), "FORMERR"),
    "a name of others, with nobody to ask": (
        octets()[:12] + wire.encode_name("example.com") + octets()[-4:], "SERVFAIL"
    ),
    "a name of others, without recursion": (
        octets(flags=0)[:12] + wire.encode_name("example.com") + octets()[-4:], "REFUSED"
    ),
    "the root": (octets()[:12] + b"\0" + octets()[-4:], "SERVFAIL"),
}


@pytest.mark.parametrize("what", CODES)
def test_codes(what: str) -> None:
    packet, expected = CODES[what]
    assert code(packet) == expected


def test_the_header_is_repeated() -> None:
    reply = ask(VIEW, WEB, flags=dns.flags.RD | dns.flags.CD | dns.flags.AD)
    assert reply.flags == dns.flags.QR | dns.flags.AA | dns.flags.RD | dns.flags.RA | dns.flags.CD
    assert not ask(VIEW, WEB, flags=0).flags & dns.flags.RD


def test_edns() -> None:
    assert ask(VIEW, WEB).edns == -1
    reply = ask(VIEW, WEB, use_edns=0, want_dnssec=True, payload=4096)
    assert (reply.edns, reply.payload, bool(reply.ednsflags & dns.flags.DO)) == (0, 1232, True)
    later = ask(VIEW, WEB, use_edns=1)
    assert (later.rcode(), later.edns, later.answer) == (dns.rcode.BADVERS, 0, [])
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    assert said(ask(VIEW, WEB, use_edns=0, options=[cookie]))[0] == "NOERROR"


@pytest.mark.parametrize(("payload", "limit"), [(None, 512), (100, 512), (700, 700), (4096, 1232)])
def test_truncation(payload: int | None, limit: int) -> None:
    question = dns.message.make_query("many.n.svc.cluster.local", "A", **({"payload": payload} if payload else {}))
    reply = answer(question.to_wire(), VIEW)
    assert isinstance(reply, bytes)
    assert limit - 16 < len(reply) <= limit
    message = dns.message.from_wire(reply)
    assert message.flags & dns.flags.TC
    assert len(message.answer[0]) == (limit - 12 - 30 - (11 if payload else 0)) // 16


def test_tcp_has_room_for_more() -> None:
    reply = ask(VIEW, "some.n.svc.cluster.local", "SRV", tcp=True)
    assert not reply.flags & dns.flags.TC
    assert len(reply.answer[0]) == 8
    full = ask(VIEW, "many.n.svc.cluster.local", tcp=True)
    assert full.flags & dns.flags.TC
    assert len(full.to_wire(max_size=65535)) <= 65535


def test_additional_records_are_left_out_before_anything_is_truncated() -> None:
    reply = ask(VIEW, "some.n.svc.cluster.local", "SRV", use_edns=0, payload=600)
    assert not reply.flags & dns.flags.TC
    assert len(reply.answer[0]) == 8
    assert len(reply.additional) < 8


@settings(deadline=None, max_examples=400)
@given(st.binary(max_size=300))
@example(octets(additionals=1) + b"\xc0")
def test_no_packet_breaks_it(packet: bytes) -> None:
    check_reply(packet)


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_no_broken_query_breaks_it(data: st.DataObject) -> None:
    many = octets(answers=2, additionals=3) + OPT * 5
    whole = data.draw(st.sampled_from([octets(additionals=1) + OPT, octets(), many]))
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(2, len(whole) - 1))] = data.draw(st.integers(0, 255))
    check_reply(bytes(broken[: data.draw(st.integers(0, len(whole)))]))


def check_reply(packet: bytes) -> None:
    for tcp in (False, True):
        reply = answer(packet, Knowing(VIEW.authority, [Server("192.0.2.1")]), tcp=tcp)
        if isinstance(reply, Referral):
            reply = reply.complete(None)
        if reply:
            assert len(reply) <= (65535 if tcp else 1232)
            message = dns.message.from_wire(reply)
            assert message.id == int.from_bytes(packet[:2], "big")


LABEL = st.binary(min_size=1, max_size=63)


@settings(deadline=None)
@given(st.lists(LABEL, max_size=3), st.sampled_from(["A", "SRV", "TXT"]))
def test_any_label_is_a_name(labels: list[bytes], kind: str) -> None:
    name = b"".join([*(bytes([len(label)]) + label for label in labels), wire.encode_name(WEB)])
    reply = answer(wire.encode_query(1, name, wire.TYPES[kind]), VIEW)
    assert isinstance(reply, bytes)
    dns.message.from_wire(reply)
    assert wire.joined(wire.labels_of(name)) == name


# --- Replies of other servers


def upstream(question: dns.message.Message, *records_: str, code: int = 0) -> bytes:
    message = dns.message.make_response(question)
    message.set_rcode(code)
    for text in records_:
        message.answer.append(dns.rrset.from_text(*text.split(" ", 4)))
    return message.to_wire()


def test_an_alias_to_elsewhere_is_completed() -> None:
    view = Knowing(VIEW.authority, [Server("192.0.2.1")])
    question, referral = refer(view, "out.n.svc.cluster.local")
    assert wire.text_of(referral.name) == "www.example.com."
    assert referral.servers == [Server("192.0.2.1", 53)]
    asked = dns.message.make_query("www.example.com", "A")
    found = wire.decode_reply(upstream(asked, "www.example.com. 300 IN A 198.51.100.20"))[1]
    reply = dns.message.from_wire(referral.complete(found))
    assert question.is_response(reply)
    assert said(reply) == ("NOERROR", [
        "out.n.svc.cluster.local. 30 CNAME www.example.com.", "www.example.com. 300 A 198.51.100.20"
    ])
    denied = dns.message.from_wire(referral.complete(wire.Reply(wire.NXDOMAIN)))
    assert said(denied) == ("NXDOMAIN", ["out.n.svc.cluster.local. 30 CNAME www.example.com."])
    assert said(dns.message.from_wire(referral.complete(None)))[0] == "SERVFAIL"


def test_a_name_of_others_is_referred() -> None:
    view = Knowing(VIEW.authority, [Server("192.0.2.1")])
    question, referral = refer(view, "WWW.example.com")
    asked = dns.message.make_query("www.example.com", "A")
    found = wire.decode_reply(upstream(asked, "www.example.com. 300 IN A 192.0.2.7"))[1]
    reply = dns.message.from_wire(referral.complete(found))
    assert question.is_response(reply)
    assert said(reply)[1] == ["WWW.example.com. 300 A 192.0.2.7"]
    assert not reply.flags & dns.flags.AA
    assert referral.complete(wire.Reply(wire.BADVERS))[3] & 15 == 0


def test_every_type_of_data_survives() -> None:
    lines = [
        "a.example. 60 IN MX 10 mail.a.example.", "a.example. 60 IN SOA ns.a.example. me.a.example. 1 2 3 4 5",
        "a.example. 60 IN SRV 1 2 3 b.a.example.", "a.example. 60 IN TXT one", "a.example. 60 IN NS ns.a.example.",
        "a.example. 60 IN AAAA 2001:db8::1", "a.example. 60 IN PTR c.a.example.",
    ]
    query, reply, cut = wire.decode_reply(upstream(dns.message.make_query("a.example", "ANY"), *lines))
    assert not cut
    message = dns.message.from_wire(wire.encode_reply(query, reply, 1232, recursive=True))
    assert texts(message.answer) == [line.replace(" IN", "").replace(" one", ' "one"') for line in lines]
    assert [records.data_text(record) for record in reply.answer] == [
        text.split(" ", 3)[3] for text in texts(message.answer)
    ]
    assert records.data_text(wire.Record(b"\0", 99, 1, b"\1\2")) == "\\# 2 0102"


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_reply_breaks_it(data: st.DataObject) -> None:
    whole = upstream(dns.message.make_query("a.example", "A"), "a.example. 60 IN SRV 1 2 3 b.a.example.")
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 5))):
        broken[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        query, reply, _ = wire.decode_reply(bytes(broken[: data.draw(st.integers(0, len(whole)))]))
    except wire.MalformedError:
        return
    wire.encode_reply(query, reply, 1232, recursive=True)


@pytest.mark.parametrize("text", ["a..b", ".a", "a" * 64, ".".join(["a" * 60] * 5), "ä.example"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="is no domain name"):
        wire.encode_name(text)


def test_names_as_text() -> None:
    assert wire.text_of(wire.encode_name("")) == wire.text_of(wire.encode_name(".")) == "."
    assert wire.text_of(wire.encode_name("a.b.")) == "a.b."
    assert wire.text_of(b"\x03a.\x01\0") == "a\\.\\001."
    assert (records.type_name(1), records.type_name(65)) == ("A", "TYPE65")
