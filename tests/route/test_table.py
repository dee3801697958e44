"""The routing table: the first rule that matches wins, however many there are."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message.address import Address, parse_mailbox
from relay.route.table import REMEMBERED_LIMIT, RouteRule, RouteTable, parse_pattern, parse_rule
from relay.route.via import ByMx, Discard, Hop, HopList, Reject, ToLiteral

ANN = parse_mailbox("ann@sender.example")


def table(*rules: tuple[str, str] | tuple[str, str, str]) -> RouteTable:
    return RouteTable([parse_rule(rule[0], rule[1], *rule[2:]) for rule in rules])


def lane(routes: RouteTable, recipient: str, sender: Address | None = ANN) -> str:
    return routes.route(sender, parse_mailbox(recipient)).lane


def test_without_a_rule_mail_goes_by_mx() -> None:
    route = RouteTable().route(ANN, parse_mailbox("bob@Example.ORG"))
    assert route.way == ByMx("example.org")
    assert (route.lane, route.rule) == ("example.org", "default: by MX")


def test_without_a_rule_an_address_literal_is_gone_to_straight() -> None:
    """RFC 5321 §4.1.3: an address literal stands for the host itself."""
    assert RouteTable().route(None, parse_mailbox("bob@[192.0.2.1]")).way == ToLiteral("192.0.2.1")
    assert RouteTable().route(None, parse_mailbox("bob@[IPv6:2001:DB8::1]")).lane == "[2001:db8::1]"


def test_the_first_rule_that_matches_wins() -> None:
    routes = table(("example.org", "smtp://one"), ("example.org", "smtp://two"), ("*", "smtp://rest"))
    assert lane(routes, "a@example.org") == "smtp:one:25"
    assert lane(routes, "a@example.net") == "smtp:rest:25"
    assert lane(table(("*", "smtp://rest"), ("example.org", "smtp://one")), "a@example.org") == "smtp:rest:25"


def test_a_domain_is_matched_exactly_and_without_case() -> None:
    routes = table(("Example.ORG", "smtp://one"))
    assert lane(routes, "a@eXample.org") == "smtp:one:25"
    assert lane(routes, "a@sub.example.org") == "sub.example.org"
    assert lane(routes, "a@notexample.org") == "notexample.org"


def test_a_leading_dot_matches_all_below_and_not_the_domain_itself() -> None:
    routes = table((".example.org", "smtp://below"))
    assert lane(routes, "a@sub.example.org") == "smtp:below:25"
    assert lane(routes, "a@deep.sub.example.org") == "smtp:below:25"
    assert lane(routes, "a@example.org") == "example.org"
    assert lane(routes, "a@xexample.org") == "xexample.org"


def test_an_address_is_matched_without_case() -> None:
    routes = table(("Ann@example.org", "smtp://ann"), ("example.org", "smtp://others"))
    assert lane(routes, "aNN@EXAMPLE.org") == "smtp:ann:25"
    assert lane(routes, "bob@example.org") == "smtp:others:25"
    assert lane(routes, "ann@example.org") == "smtp:ann:25"  # and not what was remembered for bob


def test_a_domain_in_unicode_is_the_one_in_a_labels() -> None:
    """RFC 5891: one domain, two spellings."""
    routes = table(("bücher.example", "smtp://books"))
    assert lane(routes, "a@xn--bcher-kva.example") == lane(routes, "a@bücher.example") == "smtp:books:25"


def test_a_literal_can_have_a_rule_and_a_star_matches_it() -> None:
    assert lane(table(("[IPv6:2001:db8::1]", "smtp://one")), "a@[ipv6:2001:DB8:0::1]") == "smtp:one:25"
    assert lane(table(("*", "smtp://smart")), "a@[192.0.2.1]") == "smtp:smart:25"


def test_a_rule_by_mx_keeps_its_domain_out_of_a_star() -> None:
    routes = table(("example.org", "mx:"), ("example.net", "mx:mail.example"), ("*", "smtp://smart"))
    assert routes.route(None, parse_mailbox("a@example.org")).way == ByMx("example.org")
    assert routes.route(None, parse_mailbox("a@example.net")).way == ByMx("mail.example")
    assert routes.route(None, parse_mailbox("a@[192.0.2.1]")).way == HopList((Hop("smart", 25),))
    assert table(("*", "mx:")).route(None, parse_mailbox("a@[192.0.2.1]")).way == ToLiteral("192.0.2.1")


def test_mail_is_discarded_or_rejected_by_rule() -> None:
    routes = table(("a@example.org", "discard:"), ("example.org", "reject:550 5.7.1 No"))
    assert isinstance(routes.route(None, parse_mailbox("a@example.org")).way, Discard)
    assert isinstance(routes.route(None, parse_mailbox("b@example.org")).way, Reject)
    assert lane(routes, "b@example.org") == "reject:550 5.7.1 No"


def test_the_domain_called_discard_is_not_discarded() -> None:
    """Equal lane, equal way: a domain must not be able to take the name of another way."""
    routes = table(("a@example.org", "discard:"))
    assert lane(routes, "x@discard") != lane(routes, "a@example.org")


def test_routes_by_sender() -> None:
    routes = table(
        ("*", "smtp://bounces", "<>"),
        ("vip.example", "smtp://vip", "*"),
        ("*", "smtp://of-ann", "ann@sender.example"),
        ("*", "smtp://of-domain", "sender.example"),
    )
    assert lane(routes, "x@example.org", None) == "smtp:bounces:25"
    assert lane(routes, "x@vip.example") == "smtp:vip:25"
    assert lane(routes, "x@example.org") == "smtp:of-ann:25"
    assert lane(routes, "x@example.org", parse_mailbox("bob@sender.example")) == "smtp:of-domain:25"
    assert lane(routes, "x@example.org", parse_mailbox("bob@other.example")) == "example.org"
    assert lane(routes, "x@example.org") == "smtp:of-ann:25"


def test_the_route_tells_which_rule_decided() -> None:
    rules = [parse_rule("example.org", "smtp://one", place="routes[0], relay.yaml:31"), parse_rule("*", "smtp://two")]
    assert RouteTable(rules).route(None, parse_mailbox("a@example.org")).rule == "routes[0], relay.yaml:31"
    assert RouteTable(rules).route(None, parse_mailbox("a@example.net")).rule == "routes[1]"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("*.example.org", "write .example.org"),
        ("@example.org", "write example.org"),
        ("ann@", "not an address"),
        ("exa mple.org", "is none of"),
        (".[192.0.2.1]", "is none of"),
        ("[192.0.2.300]", "is none of"),
        ("", "is none of"),
        ("<>", "is none of"),
    ],
)
def test_a_slip_in_a_pattern_is_answered_with_what_would_be_right(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(hint)):
        parse_pattern(text)


PATTERNS = st.sampled_from(["*", "a.b", ".b", ".a.b", "b", "c.a.b", "x@a.b", "X@b", "y@c.a.b"])
SENDERS = st.sampled_from(["*", "*", "s.example", "<>", "x@s.example", ".example"])
ADDRESSES = st.sampled_from(["x@a.b", "y@a.b", "x@b", "y@c.a.b", "z@C.A.b", "x@d.a.b", "x@q"]).map(parse_mailbox)
REVERSE_PATHS = st.sampled_from([None, parse_mailbox("x@s.example"), parse_mailbox("y@s.example")])


def matches(pattern: str, address: Address | None) -> bool:
    if pattern == "*":
        return True
    if address is None:
        return pattern == "<>"
    if "@" in pattern:
        return address.key == pattern
    return address.domain_key.endswith(pattern) if pattern.startswith(".") else address.domain_key == pattern


def first_match(rules: Sequence[RouteRule], sender: Address | None, recipient: Address) -> str:
    for number, rule in enumerate(rules):
        if matches(rule.to, recipient) and matches(rule.sender, sender):
            return f"smtp:h{number}:25"
    return recipient.domain_key


@given(st.lists(st.tuples(PATTERNS, SENDERS), max_size=8), st.lists(st.tuples(REVERSE_PATHS, ADDRESSES), max_size=8))
def test_the_index_gives_what_a_walk_through_the_rules_gives(
    patterns: list[tuple[str, str]], mails: list[tuple[Address | None, Address]]
) -> None:
    rules = [parse_rule(to, f"smtp://h{number}", sender) for number, (to, sender) in enumerate(patterns)]
    routes = RouteTable(rules)
    for sender, recipient in mails * 2:  # the second time from what is remembered
        assert routes.route(sender, recipient).lane == first_match(rules, sender, recipient)


def test_ten_thousand_rules_cost_as_much_as_ten() -> None:
    rules = [parse_rule(f"d{number}.example", f"smtp://h{number}") for number in range(10_000)]
    routes = RouteTable(rules)
    recipients = [Address("a", f"d{number}.example") for number in range(5_000, 6_000)]
    began = time.process_time()
    lanes = [routes.route(None, recipient).lane for recipient in recipients]
    assert lanes[7] == "smtp:h5007:25"
    assert time.process_time() - began < 0.5  # a walk through the rules would take several seconds


def test_what_is_remembered_is_bounded() -> None:
    """Memory is bounded whatever domains a peer makes up."""
    routes = RouteTable()
    by_address = table(("a@example.org", "discard:"))
    for number in range(REMEMBERED_LIMIT + 10):
        routes.route(None, Address("a", f"d{number}.example"))
        by_address.route(None, Address(f"u{number}", "example.org"))
    assert len(routes._by_domain) <= REMEMBERED_LIMIT
    assert len(by_address._by_pair) <= REMEMBERED_LIMIT


@pytest.mark.parametrize(
    ("rules", "lanes"),
    [
        ((), ["example.org"]),
        ((("*", "smtp://one"),), ["smtp:one:25"]),
        ((("example.org", "smtp://one"), ("*", "smtp://two")), ["smtp:one:25"]),
        ((("bob@example.org", "smtp://one"), ("Example.org", "smtp://two")), ["smtp:one:25", "smtp:two:25"]),
        ((("*", "smtp://one", "x@y.example"),), ["smtp:one:25", "example.org"]),
        (
            ((".example.org", "smtp://one"), ("bob@example.net", "smtp://two"), ("example.net", "discard:")),
            ["example.org"],
        ),
        (((".org", "smtp://one"),), ["smtp:one:25"]),
    ],
)
def test_all_ways_of_a_domain_are_those_up_to_a_rule_that_takes_all_of_it(
    rules: Sequence[tuple[str, str]], lanes: list[str]
) -> None:
    assert table(*rules).lanes_for(parse_mailbox("postmaster@example.org")) == lanes


@given(st.lists(st.tuples(st.sampled_from(["*", "a.example", ".example", "bob@a.example"]), st.sampled_from("xyz"))))
def test_the_way_of_each_message_is_among_those_of_its_domain(rules: list[tuple[str, str]]) -> None:
    routes = table(*((to, f"smtp://{host}") for to, host in rules))
    for recipient in ("ann@a.example", "bob@a.example"):
        assert lane(routes, recipient) in routes.lanes_for(parse_mailbox("postmaster@a.example"))
