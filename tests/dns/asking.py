"""Questions to a zone without a network, and its answers as dnspython reads them."""

from __future__ import annotations

from collections.abc import Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from nslab.dns.answer import Referral, Server, answer
from nslab.dns.authority import Authority
from nslab.dns.wire import Reply


class Knowing:
    """A view of one authority, which asks `servers` for the rest."""

    def __init__(self, authority: Authority, servers: Sequence[Server] = ()) -> None:
        self.authority = authority
        self.others = servers

    def lookup(self, name: bytes, kind: int) -> tuple[Reply, bytes] | None:
        return self.authority.lookup(name, kind)

    def servers(self, name: bytes) -> Sequence[Server]:
        return self.others


def ask(
    view: Knowing, name: str, kind: str = "A", *, tcp: bool = False, turn: int = 0, **query: object
) -> dns.message.Message:
    """The answer, read by dnspython, which checks that it is one to this question."""
    question = dns.message.make_query(name, kind, **query)  # type: ignore[arg-type]
    octets = answer(question.to_wire(), view, tcp=tcp, turn=turn)
    assert isinstance(octets, bytes)
    read = dns.message.from_wire(octets)
    assert question.is_response(read)
    return read


def refer(view: Knowing, name: str, kind: str = "A") -> tuple[dns.message.Message, Referral]:
    """The question, and what has to be asked elsewhere to answer it."""
    question = dns.message.make_query(name, kind)
    referral = answer(question.to_wire(), view)
    assert isinstance(referral, Referral)
    return question, referral


def said(message: dns.message.Message) -> tuple[str, list[str]]:
    """The response code and the answer section's records as text: "A 10.3.0.1"."""
    return dns.rcode.to_text(message.rcode()), texts(message.answer)


def texts(section: Sequence[object]) -> list[str]:
    return [
        f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {data.to_text()}"  # type: ignore[attr-defined]
        for rrset in section for data in rrset  # type: ignore[attr-defined]
    ]
