"""Mail hosts by RFC 5321 §5: what the answers of the DNS mean for a message."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import ip_network

import pytest

from relay.message.outcome import Deferred, Failed
from relay.route.mx import (
    ADDRESSES_LIMIT,
    HOSTS_LIMIT,
    LOOK_UP_LIMIT,
    Levels,
    Ourselves,
    acceptable,
    address_answer,
    levels,
    literal_hop,
    mail_hosts,
    one_order,
)
from relay.route.names import Answer, Found, Missing, Mx, Trouble
from relay.route.via import Hop, ToLiteral

OURSELVES = Ourselves(("relay.example",), frozenset({"198.51.100.1", "2001:db8::1"}))
THERE = 1000.0


def found(*values: str) -> Found[str]:
    return Found(values, THERE)


def mxs(*records: tuple[int, str]) -> Found[Mx]:
    return Found(tuple(Mx(*record) for record in records), THERE)


def planned(answer: Answer[Mx], addresses: dict[str, Answer[str]], ourselves: Ourselves = OURSELVES) -> object:
    hosts = mail_hosts("example.org", answer)
    return levels("example.org", hosts, addresses, ourselves) if isinstance(hosts, tuple) else hosts


def names(plan: object) -> list[list[str]]:
    assert isinstance(plan, tuple), plan
    return [[hop.host for hop in level] for level in plan]


def code(outcome: object) -> tuple[int, str]:
    assert isinstance(outcome, (Failed, Deferred)), outcome
    return outcome.reply.code, outcome.reply.enhanced


def test_hosts_are_in_order_of_preference() -> None:
    addresses: dict[str, Answer[str]] = {name: found("192.0.2.1") for name in ("a", "b", "c")}
    assert names(planned(mxs((20, "b"), (5, "a"), (20, "c")), addresses)) == [["a"], ["b", "c"]]


def test_equals_are_tried_in_random_order() -> None:
    """RFC 5321 §5.1: the sender-SMTP MUST randomize them."""
    plan: Levels = ((Hop("a", 25),), tuple(Hop(name, 25) for name in "bcd"))
    chance = random.Random(7)
    orders = Counter("".join(hop.host for hop in one_order(plan, chance)) for _ in range(600))
    assert set(orders) == {"abcd", "abdc", "acbd", "acdb", "adbc", "adcb"}
    assert min(orders.values()) > 60


def test_no_mx_makes_the_domain_its_own_mail_host() -> None:
    """RFC 5321 §5.1: an implicit MX, with a preference of 0."""
    assert names(planned(Missing(True, THERE), {"example.org": found("192.0.2.1")})) == [["example.org"]]


def test_an_mx_forbids_the_domains_own_address() -> None:
    """RFC 5321 §5.1: with MX records, the address of the name itself MUST NOT be used."""
    addresses: dict[str, Answer[str]] = {"mx.example": Missing(True, THERE), "example.org": found("192.0.2.1")}
    assert code(planned(mxs((10, "mx.example")), addresses)) == (550, "5.4.4")


def test_a_null_mx_fails() -> None:
    """RFC 7505 §4.2: 556 and 5.1.10."""
    assert code(planned(mxs((0, "")), {})) == (556, "5.1.10")
    assert isinstance(planned(mxs((0, "")), {}), Failed)


def test_a_null_mx_beside_others_is_passed_over() -> None:
    """RFC 7505 §3 forbids it; mail that could be delivered is not lost for it."""
    assert names(planned(mxs((0, ""), (10, "mx")), {"mx": found("192.0.2.1")})) == [["mx"]]


def test_a_domain_that_does_not_exist_fails() -> None:
    """RFC 5321 §5.1: a non-existent domain MUST be reported as an error; RFC 3463 §3.2 X.1.2."""
    assert code(planned(Missing(False, THERE), {})) == (550, "5.1.2")


def test_a_domain_with_neither_mx_nor_address_fails() -> None:
    """RFC 3463 §3.5 X.4.4 names this very case."""
    outcome = planned(Missing(True, THERE), {"example.org": Missing(True, THERE)})
    assert isinstance(outcome, Failed)
    assert code(outcome) == (550, "5.4.4")


def test_trouble_with_the_domain_is_temporary() -> None:
    """RFC 5321 §5.1: on a temporary error the message MUST be queued."""
    outcome = planned(Trouble("SERVFAIL from 192.0.2.53", THERE), {})
    assert isinstance(outcome, Deferred)
    assert outcome.whole_destination
    assert code(outcome) == (451, "4.4.3")
    assert "SERVFAIL from 192.0.2.53" in str(outcome.reply)


def test_trouble_with_one_host_leaves_the_others() -> None:
    addresses: dict[str, Answer[str]] = {"a": Trouble("time-out", THERE), "b": found("192.0.2.1")}
    assert names(planned(mxs((10, "a"), (20, "b")), addresses)) == [["b"]]


def test_trouble_with_the_only_host_that_could_be_is_temporary() -> None:
    addresses: dict[str, Answer[str]] = {"a": Trouble("time-out", THERE), "b": Missing(False, THERE)}
    assert code(planned(mxs((10, "a"), (20, "b")), addresses)) == (451, "4.4.3")


def test_we_cut_the_list_where_we_stand_by_name() -> None:
    """RFC 5321 §5.1: all records at that level and higher-numbered ones MUST be discarded."""
    addresses: dict[str, Answer[str]] = {name: found("192.0.2.1") for name in ("a", "b", "c", "relay.example")}
    plan = planned(mxs((5, "a"), (10, "b"), (10, "relay.example"), (20, "c")), addresses)
    assert names(plan) == [["a"]]


@pytest.mark.parametrize("ours", ["198.51.100.1", "2001:db8::1"])
def test_we_cut_the_list_where_we_stand_by_address(ours: str) -> None:
    addresses: dict[str, Answer[str]] = {
        "a": found("192.0.2.1"),
        "alias": found("192.0.2.9", ours),
        "c": found("192.0.2.3"),
    }
    assert names(planned(mxs((5, "a"), (10, "alias"), (20, "c")), addresses)) == [["a"]]


def test_mail_for_which_we_are_the_best_host_fails() -> None:
    """RFC 5321 §5.1: when no record is left the message MUST be returned as undeliverable."""
    addresses: dict[str, Answer[str]] = {"relay.example": found("198.51.100.1"), "b": found("192.0.2.1")}
    outcome = planned(mxs((5, "relay.example"), (10, "b")), addresses)
    assert isinstance(outcome, Failed)
    assert code(outcome) == (554, "5.4.6")
    assert "loops back to relay.example" in str(outcome.reply)
    assert code(planned(Missing(True, THERE), {"example.org": found("198.51.100.1")})) == (554, "5.4.6")


def test_a_backup_waits_for_a_primary_in_trouble() -> None:
    """We are the second of two: while the DNS is silent about the first, mail waits here."""
    addresses: dict[str, Answer[str]] = {"a": Trouble("time-out", THERE), "relay.example": found("198.51.100.1")}
    assert code(planned(mxs((5, "a"), (10, "relay.example")), addresses)) == (451, "4.4.3")


@pytest.mark.parametrize(
    "bad", ["127.0.0.1", "0.0.0.0", "169.254.1.1", "::1", "::", "fe80::1", "255.255.255.255", "224.0.0.1"]
)
def test_a_strangers_mail_host_is_not_on_this_machine(bad: str) -> None:
    """A stranger's DNS must not make us talk to what listens on our loopback."""
    outcome = planned(mxs((10, "mx")), {"mx": found(bad)})
    assert isinstance(outcome, Failed)
    assert code(outcome) == (550, "5.4.4")
    assert names(planned(mxs((10, "mx"), (20, "b")), {"mx": found(bad), "b": found("192.0.2.1")})) == [["b"]]


def test_a_laboratory_may_allow_loopback() -> None:
    laboratory = Ourselves(("relay.example",), unreachable=())
    assert names(planned(mxs((10, "mx")), {"mx": found("127.0.0.1")}, laboratory)) == [["mx"]]


def test_other_networks_can_be_refused() -> None:
    assert acceptable(("10.0.0.1", "192.0.2.1"), (ip_network("10.0.0.0/8"),)) == ("192.0.2.1",)


@pytest.mark.parametrize("host", ["192.0.2.1", "[192.0.2.1]", "a b", "-x.example", "mx\\032.example"])
def test_an_mx_that_is_no_host_name_is_passed_over(host: str) -> None:
    """An address in place of a name would get round the look at addresses."""
    assert code(planned(mxs((10, host)), {host: found("192.0.2.1")})) == (550, "5.4.4")


def test_a_host_that_is_named_twice_counts_once_at_its_best() -> None:
    addresses: dict[str, Answer[str]] = {"a": found("192.0.2.1"), "b": found("192.0.2.2")}
    assert names(planned(mxs((30, "a"), (20, "b"), (10, "a")), addresses)) == [["a"], ["b"]]


def test_the_number_of_hosts_is_bounded() -> None:
    """RFC 5321 §5.1 allows a limit; a domain with a thousand hosts must not keep us busy for a day."""
    hosts = mail_hosts("example.org", mxs(*((n, f"mx{n}") for n in range(1000))))
    assert isinstance(hosts, tuple)
    assert len(hosts) == LOOK_UP_LIMIT
    plan = levels("example.org", hosts, {mx.host: found("192.0.2.1") for mx in hosts}, OURSELVES)
    assert isinstance(plan, tuple)
    order = one_order(plan, random.Random(1))
    assert [hop.host for hop in order] == [f"mx{n}" for n in range(HOSTS_LIMIT)]


def test_hops_by_mx_say_so() -> None:
    plan = planned(mxs((10, "mx")), {"mx": found("192.0.2.1")})
    assert plan == ((Hop("mx", 25, by_mx=True),),)


def test_addresses_of_both_kinds_come_in_turns() -> None:
    """RFC 8305 §4: when one kind is broken, the other comes next and not last."""
    answer = address_answer([found("2001:db8::1", "2001:db8::2"), found("192.0.2.1")])
    assert answer == found("2001:db8::1", "192.0.2.1", "2001:db8::2")


def test_trouble_with_one_kind_of_address_does_not_hide_the_other() -> None:
    """RFC 4074: servers that know no AAAA often give no answer at all."""
    assert address_answer([Trouble("time-out", 15.0), found("192.0.2.1")]) == Found(("192.0.2.1",), 15.0)
    assert address_answer([Trouble("time-out", 15.0), Missing(True, THERE)]) == Trouble("time-out", 15.0)
    assert address_answer([Missing(True, 20.0), Missing(False, THERE)]) == Missing(True, 20.0)


def test_an_ipv4_mapped_address_is_the_ipv4_address() -> None:
    """Else ``::ffff:127.0.0.1`` would be a way to our loopback."""
    assert address_answer([found("::ffff:127.0.0.1"), found("127.0.0.1")]) == found("127.0.0.1")


def test_the_number_of_addresses_is_bounded() -> None:
    assert len(acceptable((f"192.0.2.{n}" for n in range(1, 200)), ())) == ADDRESSES_LIMIT


def test_a_literal_may_not_be_this_machine() -> None:
    assert literal_hop(ToLiteral("192.0.2.1"), OURSELVES) == (Hop("192.0.2.1", 25, by_mx=True),)
    assert code(literal_hop(ToLiteral("198.51.100.1"), OURSELVES)) == (554, "5.4.6")
    assert code(literal_hop(ToLiteral("127.0.0.1"), OURSELVES)) == (550, "5.4.4")
