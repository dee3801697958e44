"""What is read of plain answers is what dnspython says of them, whatever comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from relay.route import plain
from relay.route.first import FirstWord, Template
from relay.route.names import Answer, Kind, Mx, Trouble
from relay.route.resolver import Resolver

SERVER = "192.0.2.53"
NAME = "host.example.org"
RECORDS = {
    "MX": [
        "10 mx.example.org.",
        "10 MX.Example.ORG.",
        "0 .",
        "5 mx\\.a.example.",
        "20 a.host.example.org.",
        "7 ä.example.",
    ],
    "A": ["192.0.2.1", "192.0.2.2", "127.0.0.1"],
    "AAAA": ["2001:db8::1", "::ffff:192.0.2.1", "::", "::1.2.3.4"],
    "TXT": ['"v=STSv1; id=1;"', '"v=STSv1; " "id=1;"', '""', '"\\195\\164"', '"' + "x" * 255 + '"'],
    "TLSA": ["3 1 1 " + "ab" * 32, "2 0 2 " + "cd" * 64, "3 1 1 " + "ef" * 32],
    "CNAME": ["elsewhere.example."],
}
OWNERS = [NAME, "example.org", "HOST.example.org", "elsewhere.example", "", "ost.example.org"]
TTLS = [0, 1, 60, 3600, 2**31 - 1, 2**31]


def rrset(owner: str, ttl: int, kind: str, text: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(f"{owner}.", min(ttl, 2**31 - 1), "IN", kind, text)


def records(kinds: st.SearchStrategy[str]) -> st.SearchStrategy[list[dns.rrset.RRset]]:
    one = kinds.flatmap(
        lambda kind: st.builds(
            rrset,
            st.sampled_from([NAME] * 6 + OWNERS),
            st.sampled_from(TTLS),
            st.just(kind),
            st.sampled_from(RECORDS[kind]),
        )
    )
    return st.lists(one, max_size=3)


SOA = st.builds(
    lambda owner, ttl, least: rrset(owner, ttl, "SOA", f"ns.{owner or 'root'}. a.b. 1 2 3 4 {least}"),
    st.sampled_from(OWNERS),
    st.sampled_from(TTLS),
    st.sampled_from([0, 5, 60, 2**31 - 1]),
)
NS = st.just(rrset("example.org", 60, "NS", "ns.example.org."))


@st.composite
def messages(draw: Callable[[Any], Any]) -> tuple[str, bytes]:
    """The type asked for, and an answer."""
    kind = draw(st.sampled_from(["MX", "A", "AAAA", "TXT", "TLSA"]))
    query = dns.message.make_query(NAME, kind, use_edns=0, payload=1232)
    query.id = 0
    answer = dns.message.make_response(query)
    answer.use_edns(0 if draw(st.booleans()) else None, payload=1232)
    for flag in (dns.flags.RA, dns.flags.AA, dns.flags.AD):
        if draw(st.booleans()):
            answer.flags |= flag
    codes = [dns.rcode.NOERROR] * 4 + [dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.BADVERS]
    answer.set_rcode(draw(st.sampled_from(codes)))
    if draw(st.booleans()):
        answer.answer = draw(records(st.sampled_from([kind] * 6 + ["CNAME", "A"])))
    answer.authority = draw(st.lists(st.one_of(SOA, NS), max_size=2))
    answer.additional = draw(records(st.sampled_from(["A", "AAAA"])))
    return kind, answer.to_wire()


@st.composite
def broken(draw: Callable[[Any], Any]) -> tuple[str, bytes]:
    kind, wire = draw(messages())
    damaged = bytearray(wire)
    for _ in range(draw(st.integers(1, 3))):
        damaged[draw(st.integers(12, len(wire) - 1))] = draw(
            st.one_of(st.integers(0, 255), st.sampled_from([0, 12, 192]))
        )
    end = draw(st.one_of(st.just(len(wire)), st.integers(12, len(wire))))
    return kind, bytes(damaged[:end]) + draw(st.sampled_from([b"", b"", b"\0"]))


def judged(kind: str, wire: bytes, *, wholly: bool) -> Answer[Any]:
    """What the resolver makes of it; wholly: by dnspython alone."""
    resolver = Resolver(Clock(), servers=[(SERVER, 53)], trusted=[SERVER])
    word = mock.patch.object(FirstWord, "ask", lambda first: first._said(wire))
    read = mock.patch.object(plain, "read", (lambda *_: None) if wholly else plain.read)
    answers: list[Answer[Any]] = []
    with word, read:
        resolver.ask(NAME, Kind(kind)).addCallback(answers.append)
    assert answers, "it waits for more"
    return answers[0]


@given(messages())
def test_what_is_plain_is_read_as_dnspython_reads_it(said: tuple[str, bytes]) -> None:
    kind, wire = said
    assert judged(kind, wire, wholly=False) == judged(kind, wire, wholly=True)


@given(broken())
def test_what_is_broken_says_nothing_that_dnspython_would_not_say(said: tuple[str, bytes]) -> None:
    """It may be without a word on it: what was not asked for is not looked at."""
    kind, wire = said
    asked = plain.question(NAME, kind)
    assert asked is not None
    if not plain.is_answer(wire, wire, asked) or wire[2] & 2:  # another question, or truncated: it would ask once more
        return
    found, wholly = judged(kind, wire, wholly=False), judged(kind, wire, wholly=True)
    assert found == wholly or isinstance(wholly, Trouble)


@pytest.mark.parametrize("kind", ["MX", "A", "AAAA", "TXT", "TLSA"])
def test_a_query_is_the_one_that_dnspython_would_send(kind: str) -> None:
    resolver = Resolver(Clock(), servers=[(SERVER, 53)], trusted=[SERVER])
    stub = resolver._refreshed_stub()
    asked = plain.question(NAME, kind)
    assert asked is not None
    query = Template(stub).query(asked)
    wanted = dns.message.make_query(NAME, kind, use_edns=0, payload=stub.payload, id=int.from_bytes(query[:2]))
    wanted.flags = dns.flags.Flag(stub.flags or 0)
    assert query == wanted.to_wire()
    assert stub.flags == dns.flags.RD | dns.flags.AD


def test_usual_answers_are_read_here() -> None:
    """Else all of this would be for nothing, and no other test would see it."""
    query = dns.message.make_query(NAME, "MX", use_edns=0)
    answer = dns.message.make_response(query)
    answer.flags |= dns.flags.RA
    asked = plain.question(NAME, "MX")
    assert asked is not None
    answer.authority.append(rrset("example.org", 90, "SOA", "ns.example.org. a.b. 1 2 3 4 60"))
    assert plain.read(answer.to_wire(), asked) == plain.Said((), 60, True, False)
    answer.set_rcode(dns.rcode.NXDOMAIN)
    assert plain.read(answer.to_wire(), asked) == plain.Said((), 60, False, False)
    answer.set_rcode(dns.rcode.NOERROR)
    answer.authority.clear()
    answer.answer.append(
        dns.rrset.from_text(f"{NAME}.", 300, "IN", "MX", "20 b.example.org.", "10 a.host.example.org.")
    )
    answer.additional.append(rrset("b.example.org", 60, "A", "192.0.2.1"))
    answer.flags |= dns.flags.AD
    said = plain.read(answer.to_wire(), asked)  # dnspython writes records in any order
    assert said is not None and (said.ttl_s, said.name_exists, said.authentic) == (300, True, True)
    assert set(said.values) == {Mx(20, "b.example.org"), Mx(10, "a.host.example.org")}


def test_what_is_truncated_is_not_plain() -> None:
    query = dns.message.make_query(NAME, "MX")
    answer = dns.message.make_response(query)
    answer.flags |= dns.flags.RA | dns.flags.TC
    asked = plain.question(NAME, "MX")
    assert asked is not None and plain.read(answer.to_wire(), asked) is None


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", "straße.example", "a b", "x" * 64, ".".join(["label"] * 60), "a.", "Host.example", "a\n"]
)
def test_a_name_that_is_not_plain_is_left_to_dnspython(name: str) -> None:
    assert plain.question(name, "MX") is None


def test_a_type_that_is_not_plain_is_left_to_dnspython() -> None:
    assert plain.question(NAME, "CNAME") is None


def test_the_longest_name_that_there_can_be_is_asked_for() -> None:
    """RFC 1035 §2.3.4: 255 octets."""
    name = ".".join(["x" * 63] * 3 + ["x" * 61])
    asked = plain.question(name, "A")
    assert asked is not None and len(asked.octets) == 255 + 4
    assert plain.question(name + "x", "A") is None


@pytest.mark.parametrize(
    ("change", "is_one"),
    [
        (lambda answer: None, True),
        (lambda answer: setattr(answer, "id", 8), False),
        (lambda answer: setattr(answer, "flags", answer.flags & ~dns.flags.QR), False),
        (lambda answer: answer.set_opcode(dns.opcode.NOTIFY), False),
        (lambda answer: answer.question.clear(), False),
        (lambda answer: (answer.question.clear(), answer.set_rcode(dns.rcode.REFUSED)), True),
        (lambda answer: answer.question.__setitem__(0, dns.rrset.RRset(answer.question[0].name, 1, 1)), False),
        (lambda answer: answer.question.__setitem__(0, rrset("other.example.org", 0, "MX", "1 a.")), False),
        (lambda answer: answer.question.__setitem__(0, rrset(NAME.upper(), 0, "MX", "1 a.")), True),
    ],
)
def test_only_word_on_this_question_is_an_answer(change: Callable[[Any], Any], is_one: bool) -> None:
    """As dnspython decides it: RFC 5452 §9.1."""
    query = dns.message.make_query(NAME, "MX", id=7)
    answer = dns.message.make_response(query)
    change(answer)
    asked = plain.question(NAME, "MX")
    assert asked is not None
    wire = answer.to_wire()
    assert plain.is_answer(wire, query.to_wire(), asked) is is_one
    assert query.is_response(dns.message.from_wire(wire)) is is_one
