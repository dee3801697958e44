"""``via:``: what it may say, and what a slip in it is answered with."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from relay.message.reply import reply
from relay.route.credentials import Login, OAuth
from relay.route.tls import NO_TLS, OPPORTUNISTIC, Level, Policed, Security
from relay.route.via import (
    ByMx,
    Discard,
    Hop,
    HopList,
    Reject,
    ToLiteral,
    is_ip,
    leads_to,
    literal_way,
    on_terms,
    parse_via,
    written,
)


@pytest.mark.parametrize(
    ("text", "hop", "lane"),
    [
        ("smtp://mail.example:587", Hop("mail.example", 587), "smtp:mail.example:587"),
        ("smtp://Mail.Example", Hop("mail.example", 25), "smtp:mail.example:25"),
        ("SMTP://mail.example:25/", Hop("mail.example", 25), "smtp:mail.example:25"),
        ("smtp://mailhost", Hop("mailhost", 25), "smtp:mailhost:25"),
        ("smtp://10.0.0.5", Hop("10.0.0.5", 25), "smtp:[10.0.0.5]:25"),
        ("smtp://[10.0.0.5]:2525", Hop("10.0.0.5", 2525), "smtp:[10.0.0.5]:2525"),
        ("smtp://[2001:DB8:0::1]:25", Hop("2001:db8::1", 25), "smtp:[2001:db8::1]:25"),
        ("smtp://bücher.example", Hop("xn--bcher-kva.example", 25), "smtp:xn--bcher-kva.example:25"),
        ("smtps://mail.example", Hop("mail.example", 465, implicit_tls=True), "smtps:mail.example:465"),
        ("smtps://mail.example:25", Hop("mail.example", 25, implicit_tls=True), "smtps:mail.example:25"),
        ("lmtp://10.0.0.5", Hop("10.0.0.5", 24, "lmtp"), "lmtp:[10.0.0.5]:24"),
        ("lmtp+unix:/run/lmtp.sock", Hop("", 0, "lmtp", "/run/lmtp.sock"), "lmtp:/run/lmtp.sock"),
        ("lmtp+unix:///run/lmtp.sock", Hop("", 0, "lmtp", "/run/lmtp.sock"), "lmtp:/run/lmtp.sock"),
    ],
)
def test_a_host_is_read_and_named(text: str, hop: Hop, lane: str) -> None:
    way = parse_via(text)
    assert way == HopList((hop,))
    assert way.lane == lane
    assert parse_via(written(way)) == way


@pytest.mark.parametrize(
    "via", ["mx:", "mx:example.net", "discard:", "reject:550 5.1.2 gone", ["smtps://a.example:465", "smtp://[::1]:25"]]
)
def test_what_was_read_can_be_written_again(via: str | list[str]) -> None:
    assert written(parse_via(via)) == via


def test_several_hosts_keep_their_order() -> None:
    way = parse_via(["smtp://smart.example:587", "lmtp://b.example"])
    assert way == HopList((Hop("smart.example", 587), Hop("b.example", 24, "lmtp")))
    assert way.lane == "smtp:smart.example:587,lmtp:b.example:24"


VERIFY, REQUIRE = Security(Level.VERIFY), Security(Level.REQUIRE)
ANN, BOB = Login("ann", "/etc/relay/ann"), Login("bob", "/etc/relay/bob")


def test_ways_on_other_terms_have_other_lanes() -> None:
    """Equal lane, equal way: one lane's mail must not go out with another's credentials."""
    vias: list[str | list[str]] = [
        "smtp://a.example:587",
        "smtps://a.example:587",
        ["smtp://a.example:587", "smtp://b.example"],
    ]
    terms = [
        (None, None),
        (VERIFY, None),
        (REQUIRE, None),
        (NO_TLS, None),
        (VERIFY, ANN),
        (VERIFY, BOB),
        (VERIFY, replace(ANN, mechanisms=("PLAIN",))),
        (VERIFY, replace(ANN, secret_file="/etc/relay/other")),
        (VERIFY, replace(ANN, oauth=OAuth("https://login.example/token", "us"))),
        (VERIFY, replace(ANN, oauth=OAuth("https://login.example/token", "us", scope="smtp"))),
        (REQUIRE, replace(ANN, unverified=True)),
    ]
    lanes = [on_terms(parse_via(via), *term).lane for via in vias for term in terms]
    assert len(set(lanes)) == len(vias) * len(terms)
    assert lanes[0] == "smtp:a.example:587"
    assert lanes[4] == "smtp:a.example:587;tls=verify;login=ann,/etc/relay/ann"


def test_mail_by_mx_on_other_terms_has_other_lanes() -> None:
    lanes = [on_terms(ByMx("example.org"), security).lane for security in (None, VERIFY, NO_TLS, OPPORTUNISTIC)]
    assert lanes[0] == "example.org"
    assert len(set(lanes)) == 4


def test_a_hop_is_equal_only_on_equal_terms() -> None:
    """It is the key of the connections."""
    hop = Hop("a.example", 587)
    others = [replace(hop, security=VERIFY), replace(hop, login=ANN), replace(hop, implicit_tls=True)]
    assert len({hop, *others}) == 4
    assert {hop: 1}[Hop("a.example", 587)] == 1


def others(one: Any) -> Iterator[tuple[str, Any]]:
    """The same thing with each of its fields another, one at a time, and those of what it holds."""
    for field in fields(one):
        value = getattr(one, field.name)
        if is_dataclass(value):
            for name, other in others(value):
                yield f"{field.name}.{name}", replace(one, **{field.name: other})
        else:
            yield field.name, replace(one, **{field.name: ELSE[type(value)](value)})


ELSE: dict[type, Callable[[Any], object]] = {
    str: lambda one: one + "else",
    int: lambda one: one + 1,
    bool: operator.not_,
    tuple: lambda one: (*one, "else"),
    Level: lambda one: Level.NONE,
    type(None): lambda one: "else",
}


def test_a_connection_is_the_same_hops_only_when_every_term_is_the_same() -> None:
    """Hop, TLS, identity and credentials are the key under which connections are kept: none of it may be left out."""
    login = Login("ann@provider.example", "/etc/secret", oauth=OAuth("https://login.example/token", "us"))
    policed = Policed("example.org", "sts")
    hop = Hop("mx.example", 25, security=Security(Level.VERIFY, "routes[0]", policed=policed), login=login)
    hop = replace(hop, security=replace(hop.security, knows_name=False))
    told = {name: other == hop for name, other in others(hop)}
    assert told.pop("security.whence") is True, "words for people make no difference"
    assert {name for name, is_same in told.items() if is_same} == set()
    assert {"security.tlsa", "login.secret_file", "login.oauth.scope", "implicit_tls", "protocol"} <= set(told)


def test_the_other_ways() -> None:
    assert parse_via("mx:") == ByMx()
    assert parse_via("mx:Example.ORG") == ByMx("example.org")
    assert parse_via("discard:") == Discard()
    assert parse_via("reject:550 5.7.1 Not here") == Reject(reply(550, "5.7.1", "Not here"))
    assert parse_via("reject: 450 4.7.1 Later") == Reject(reply(450, "4.7.1", "Later"))


@pytest.mark.parametrize(
    ("via", "hint"),
    [
        ("mail.example:25", "write smtp://mail.example:25"),
        ("mail.example", "write smtp://mail.example"),
        ("smtp://", "the host is missing"),
        ("smtp://:25", "the host is missing"),
        ("smtp://mail.example:", "1 to 65535"),
        ("smtp://mail.example:0", "1 to 65535"),
        ("smtp://mail.example:70000", "1 to 65535"),
        ("smtp://mail.example:²⁵", "1 to 65535"),
        ("smtp://me:secret@mail.example", "password_file"),
        ("smtp://2001:db8::1", "brackets"),
        ("smtp://[2001:db8::g]", "not an IP address"),
        ("smtp://10.0.0.300", "neither a host name nor an IP address"),
        ("smtp://mail_.example.:25", "neither a host name"),
        ("smtpss://mail.example", "is none of smtp://host:25"),
        ("lmtp+unix:run/lmtp.sock", "absolute"),
        ("mx:[192.0.2.1]", "smtp://host:25"),
        ("mx:192.0.2.1", "smtp://host:25"),
        ("discard:now", "nothing follows"),
        ("reject:", "reject:550 5.7.1"),
        ("reject:go away", "reject:550 5.7.1"),
        ("reject:250 2.0.0 OK", "reject:550 5.7.1"),
        ("reject:550 4.7.1 text", "do not go together"),
        ("", "is none of"),
        ([], "one or more"),
        (["smtp://a.example", "discard:"], "cannot stand in a list"),
        (["smtp://a.example", "b.example"], "write smtp://b.example"),
    ],
)
def test_a_slip_is_answered_with_what_would_be_right(via: str | list[str], hint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(hint)):
        parse_via(via)


def test_a_fault_does_not_show_a_password() -> None:
    """The text of a fault goes to a terminal and a log."""
    with pytest.raises(ValueError, match="password_file") as fault:
        parse_via("smtp://me:pa:ss@mail.example:587")
    assert "pa:ss" not in str(fault.value)


def test_one_literal_has_one_lane() -> None:
    """Equal lane, equal way, and the other way round for address literals in their many spellings."""
    assert literal_way("[IPv6:2001:DB8:0:0::1]") == literal_way("[ipv6:2001:db8::1]") == ToLiteral("2001:db8::1")
    assert literal_way("[IPv6:::ffff:192.0.2.1]") == literal_way("[192.0.2.1]") == ToLiteral("192.0.2.1")
    assert literal_way("example.org") is None


@pytest.mark.parametrize("host", ["192.0.2.1", "::1", "fe80::1%eth0"])
def test_an_address_is_not_a_name(host: str) -> None:
    assert is_ip(host)


@pytest.mark.parametrize("host", ["mail.example", "mail1", "host.7", "", "face"])
def test_a_name_is_not_an_address(host: str) -> None:
    assert not is_ip(host)


@pytest.mark.parametrize(
    ("lane", "hosts"),
    [
        ("example.org", ["example.org", "EXAMPLE.org"]),
        ("smtp:mail.example:587;tls=verify", ["mail.example", "mail.example:587", "smtp:mail.example:587"]),
        ("smtp:[10.0.0.5]:25,smtp:two.example:25", ["10.0.0.5", "[10.0.0.5]:25", "two.example"]),
        ("lmtp:/run/lmtp.sock", ["/run/lmtp.sock"]),
        ("[192.0.2.1]", ["192.0.2.1", "[192.0.2.1]"]),
    ],
)
def test_an_operator_may_name_a_lane_by_its_host(lane: str, hosts: list[str]) -> None:
    assert [host for host in hosts if not leads_to(lane, host)] == []
    assert not any(leads_to(lane, host) for host in ("example", "org", "25", "smtp", "other.example", ""))
