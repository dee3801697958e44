"""The account of an attempt: which way, when, what was said, also in the sessions that did not come to be."""

from __future__ import annotations

import pytest
from twisted.internet import error

from relay.deliver.settings import DeliverySettings
from relay.message.account import Account, Tried
from relay.message.address import parse_mailbox
from relay.message.envelope import Recipient
from relay.route.via import Hop
from tests.deliver.way_out import WayOut, message
from tests.fakes.next_hop import NextHop


def lines(account: Account) -> list[str]:
    return [text for _, _, text in account.lines()]


def hops(account: Account) -> list[str]:
    return list(dict.fromkeys(hop for hop, _, _ in account.parts))


def test_it_names_the_rule_and_the_time_and_is_about_all() -> None:
    way_out = WayOut(NextHop())
    way_out.clock.advance(1000)
    wanted = [Recipient(parse_mailbox(f"r{number}@example.net")) for number in range(3)]
    ended: list[Tried] = []
    way_out.deliverer.deliver(message(), wanted, "example.net").addCallback(ended.append)
    way_out.run()
    ((account, places),) = ended[0].accounts
    assert (account.began_at, account.rule, list(places)) == (1000, "test", [0, 1, 2])
    assert len(ended[0].outcomes) == 3


def test_ways_that_have_parted_have_an_account_each() -> None:
    first, second = NextHop(), NextHop()
    way_out = WayOut(first, second)
    one, other = way_out.routes.known_hops["example.net"]  # type: ignore[misc]
    way_out.routes.known_hops = {"one.example": (one,), "other.example": (other,)}
    wanted = [Recipient(parse_mailbox(each)) for each in ("a@one.example", "b@other.example", "c@one.example")]
    ended: list[Tried] = []
    way_out.deliverer.deliver(message(), wanted, "one.example").addCallback(ended.append)
    way_out.run()
    told = [(hops(account), list(places)) for account, places in ended[0].accounts]
    assert told == [(["mx0.example [10.0.0.1]"], [0, 2]), (["mx1.example [10.0.1.1]"], [1])]


def test_a_kept_connection_is_greeted_once() -> None:
    """What was said when it was opened belongs to who opened it."""
    way_out = WayOut(NextHop())
    way_out.send(message())
    way_out.send(message())
    first, second = way_out.accounts
    assert lines(first)[0].startswith("< 220 ")
    assert lines(second)[0].startswith("> MAIL FROM")
    assert lines(second)[-1].startswith("< 250 ")


def test_the_content_is_never_in_it() -> None:
    way_out = WayOut(NextHop())
    way_out.send(message(b"Subject: secret\r\n\r\nvery secret\r\n"))
    assert not any("secret" in line for line in lines(way_out.accounts[0]))
    assert "> ." in lines(way_out.accounts[0])


@pytest.mark.parametrize("greeting", ["421 4.3.2 busy", "554 5.7.1 no mail from you"])
def test_who_turns_us_away_at_every_address_is_heard(greeting: str) -> None:
    """Why there is no session is what people look for."""
    way_out = WayOut([NextHop(replies={"GREETING": greeting}), error.ConnectionRefusedError()])
    way_out.send(message(), within_s=40)
    (account,) = way_out.accounts
    assert hops(account) == ["mx0.example [10.0.0.1]", "mx0.example [10.0.0.2]"]
    assert lines(account)[0] == f"< {greeting}"
    assert "connection refused" in lines(account)[-1]


def test_an_address_that_failed_before_one_that_answered_is_told_of() -> None:
    way_out = WayOut([NextHop(replies={"EHLO": "garbage"}), NextHop()])
    way_out.send(message(), within_s=5)
    (account,) = way_out.accounts
    assert hops(account) == ["mx0.example [10.0.0.1]", "mx0.example [10.0.0.2]"]
    assert any(line.startswith("* the server sent") for line in lines(account))
    assert lines(account)[-1].startswith("< 250 ")
    way_out.send(message())
    assert hops(way_out.accounts[1]) == ["mx0.example [10.0.0.2]"]


def test_a_host_without_an_address_is_in_no_account_but_the_outcome_says_why() -> None:
    way_out = WayOut(NextHop())
    way_out.routes.known_hops = {"example.net": (Hop("nowhere.example", 25),)}
    way_out.routes.known_addresses = {"nowhere.example": ()}
    way_out.send(message())
    assert "no address to connect to" in lines(way_out.accounts[0])[0]


def test_each_host_in_its_turn() -> None:
    later = NextHop(recipients={"bob@example.net": "451 4.7.1 greylisted"})
    way_out = WayOut(error.NoRouteError(), later, NextHop(), settings=DeliverySettings())
    way_out.send(message())
    (account,) = way_out.accounts
    assert hops(account) == [f"mx{number}.example [10.0.{number}.1]" for number in range(3)]
    assert any("greylisted" in line for line in lines(account))
