"""The addresses of a host: in order, and quickly past those that do not answer."""

from __future__ import annotations

import pytest
from twisted.internet import error

from relay.deliver.settings import DeliverySettings
from relay.message.outcome import Deferred
from relay.route.via import Hop
from tests.deliver.way_out import WayOut, message, shown
from tests.fakes.next_hop import NextHop

DELIVERED = ["Delivered 250 2.0.0"]


def test_the_first_address_is_used_when_it_answers() -> None:
    first, second = NextHop(), NextHop()
    way_out = WayOut([first, second])
    assert shown(way_out.send(message(), within_s=5)) == DELIVERED
    assert way_out.network.dialled == ["10.0.0.1"]


def test_a_refused_address_leads_to_the_next_at_once() -> None:
    way_out = WayOut([error.ConnectionRefusedError(), NextHop()])
    assert shown(way_out.send(message())) == DELIVERED


def test_a_silent_address_has_the_next_beside_it_after_a_quarter_second() -> None:
    """RFC 8305 §5: broken IPv6 must not cost half a minute for each message."""
    way_out = WayOut([None, NextHop()])
    assert shown(way_out.send(message(), within_s=0.3)) == DELIVERED
    assert way_out.network.dialled == ["10.0.0.1", "10.0.0.2"]
    way_out.run(60)
    assert not way_out.clock.getDelayedCalls()


@pytest.mark.parametrize("greeting", ["421 4.3.2 busy", "554 5.7.1 no", "garbage"])
def test_a_host_that_turns_us_away_on_one_address_is_asked_on_the_next(greeting: str) -> None:
    """RFC 5321 §5.1: the addresses of a multihomed host are tried in turn."""
    way_out = WayOut([NextHop(replies={"GREETING": greeting}), NextHop()])
    assert shown(way_out.send(message())) == DELIVERED


def test_an_address_that_lost_the_race_is_still_there_when_it_is_needed() -> None:
    """The first is slow, the second quick to connect and then turns us away."""
    slow, rude = NextHop(), NextHop(replies={"GREETING": "554 5.7.1 no"})
    way_out = WayOut([None, rude])
    sending = way_out.start(message())
    way_out.network.hosts["10.0.0.1"] = slow
    way_out.run(1)
    assert shown(sending.outcomes) == DELIVERED
    assert way_out.network.dialled == ["10.0.0.1", "10.0.0.2", "10.0.0.1"]


def test_a_host_of_which_no_address_answers() -> None:
    way_out = WayOut([None, None, error.NoRouteError()])
    assert shown(way_out.send(message(), within_s=40)) == ["Deferred 451 4.4.1!"]
    assert way_out.deliverer.pool.count == 0
    assert not way_out.clock.getDelayedCalls()


def test_at_most_so_many_addresses_of_a_host_are_tried() -> None:
    way_out = WayOut([error.ConnectionRefusedError()] * 20, settings=DeliverySettings(addresses_per_host=4))
    way_out.send(message())
    assert len(way_out.network.dialled) == 4


def test_the_port_and_the_address_stand_in_the_outcome() -> None:
    way_out = WayOut(error.ConnectionRefusedError())
    way_out.routes.known_hops["example.net"] = (Hop("192.0.2.7", 2525),)
    way_out.routes.known_addresses["192.0.2.7"] = ("192.0.2.7",)
    way_out.network.hosts["192.0.2.7"] = error.ConnectionRefusedError()
    (outcome,) = way_out.send(message())
    assert "connect to [192.0.2.7]:2525: connection refused" in str(outcome)


@pytest.mark.parametrize("behind", ["250 2.0.0 another", "421 4.3.2 bye", "garbage"])
def test_a_host_that_ends_the_session_as_it_opens_is_not_asked_again_and_again(behind: str) -> None:
    """Found by fuzzing: connections were opened one after the other, as fast as they came, and without end."""
    hop = NextHop(replies={"EHLO": f"250-hop.example\n250 8BITMIME\n{behind}"})
    way_out = WayOut(hop)
    (outcome,) = way_out.send(message(), "bob@example.net")
    assert isinstance(outcome, Deferred)
    assert hop.sessions == 1
