"""Connections are kept, shared, bounded, and let go politely."""

from __future__ import annotations

import pytest
from twisted.internet import error

from relay.deliver.settings import DeliverySettings
from relay.message.address import parse_mailbox
from relay.message.envelope import Recipient
from tests.deliver.way_out import WayOut, message, shown
from tests.fakes.next_hop import EVERYTHING, HANG_UP, SILENCE, NextHop

cuts = pytest.mark.parametrize("cut", [0, 1, 5])
DELIVERED = ["Delivered 250 2.0.0"]


@cuts
@pytest.mark.parametrize("extensions", [EVERYTHING, (), None])
def test_a_connection_is_used_again(extensions: tuple[str, ...] | None, cut: int) -> None:
    hop = NextHop(extensions)
    way_out = WayOut(hop, cut=cut)
    for _ in range(3):
        assert shown(way_out.send(message())) == DELIVERED
    assert hop.sessions == 1
    assert len(hop.taken) == 3
    assert "RSET" not in hop.commands


def test_an_idle_connection_is_left_politely() -> None:
    """RFC 5321 §4.1.1.10: with QUIT."""
    hop = NextHop()
    way_out = WayOut(hop)
    way_out.send(message())
    way_out.run(8)
    assert hop.commands[-1] != "QUIT"
    way_out.run(4)
    assert hop.commands[-1] == "QUIT"
    assert way_out.network.transports[0].is_lost
    assert not way_out.clock.getDelayedCalls()
    assert way_out.deliverer.pool.count == 0


def test_a_hop_that_does_not_answer_quit_is_not_waited_for() -> None:
    way_out = WayOut(NextHop(replies={"QUIT": SILENCE}))
    way_out.send(message())
    way_out.run(30)
    assert way_out.network.transports[0].is_lost
    assert not way_out.clock.getDelayedCalls()


def test_after_so_many_messages_a_new_connection_is_made() -> None:
    hop = NextHop()
    way_out = WayOut(hop, settings=DeliverySettings(messages_per_connection=2))
    for _ in range(4):
        assert shown(way_out.send(message())) == DELIVERED
    assert hop.sessions == 2
    assert hop.commands.count("QUIT") == 2


def test_a_hop_may_say_how_many_messages_it_takes() -> None:
    """RFC 9422 §4.1, MAILMAX."""
    hop = NextHop((*EVERYTHING, "LIMITS MAILMAX=1"))
    way_out = WayOut(hop)
    for _ in range(3):
        assert shown(way_out.send(message())) == DELIVERED
    assert hop.sessions == 3


def test_an_old_connection_is_not_used_again() -> None:
    hop = NextHop()
    way_out = WayOut(hop, settings=DeliverySettings(connection_age_s=60, idle_s=1000))
    for _ in range(3):
        way_out.send(message())
        way_out.run(40)
    assert hop.sessions == 2


# -- kept connections that were closed meanwhile ---------------------------------------------


@pytest.mark.parametrize("end", [HANG_UP, "421 4.4.2 idle for too long"])
def test_a_kept_connection_that_was_closed_is_no_failed_attempt(end: str) -> None:
    """The hop had given it up; the message just takes a fresh one."""
    hop = NextHop(replies={"MAIL": ["", end, ""]})
    way_out = WayOut(hop)
    assert shown(way_out.send(message())) == DELIVERED
    assert shown(way_out.send(message())) == DELIVERED
    assert hop.sessions == 2
    assert len(hop.taken) == 2


def test_a_fresh_connection_that_is_closed_too_is_trouble() -> None:
    hop = NextHop(replies={"MAIL": ["", HANG_UP]})
    way_out = WayOut(hop)
    way_out.send(message())
    hop.replies = {"MAIL": HANG_UP}
    assert shown(way_out.send(message())) == ["Deferred 451 4.4.2!"]
    assert hop.sessions == 2


def test_a_closed_idle_connection_is_forgotten() -> None:
    hop = NextHop()
    way_out = WayOut(hop)
    way_out.send(message())
    way_out.network.transports[0].drop()
    assert way_out.deliverer.pool.count == 0
    assert shown(way_out.send(message())) == DELIVERED
    assert hop.sessions == 2


def test_what_was_heard_on_a_kept_connection_is_not_forgotten() -> None:
    """Only a transaction that the hop has not looked at may be repeated silently."""
    hop = NextHop((), replies={"RCPT": ["", HANG_UP]})
    way_out = WayOut(hop)
    way_out.send(message())
    assert shown(way_out.send(message())) == ["Deferred 451 4.4.2"]


# -- bounds ----------------------------------------------------------------------------------


def test_no_more_connections_to_a_hop_than_allowed() -> None:
    hop = NextHop(("8BITMIME",))
    way_out = WayOut(hop, settings=DeliverySettings(connections_per_hop=3))
    sendings = [way_out.start(message()) for _ in range(20)]
    way_out.run()
    assert [shown(sending.outcomes) for sending in sendings] == [DELIVERED] * 20
    assert hop.sessions == 3


def test_no_more_connections_in_all_than_allowed() -> None:
    """An idle one of another hop makes room; nobody waits for ever."""
    hops = [NextHop() for _ in range(4)]
    way_out = WayOut(*hops, settings=DeliverySettings(connections=2))
    way_out.routes.known_hops = {
        f"{n}.example": (hop,) for n, hop in enumerate(way_out.routes.known_hops["example.net"])
    }
    sendings = [way_out.start(message(), f"a@{n}.example") for n in range(4) for _ in range(3)]
    assert way_out.deliverer.pool.count == 2
    way_out.run()
    assert [shown(sending.outcomes) for sending in sendings] == [DELIVERED] * 12
    assert way_out.deliverer.pool.count <= 2


def test_a_long_line_for_one_hop_leaves_room_for_another() -> None:
    busy, other = NextHop(("8BITMIME",)), NextHop()
    way_out = WayOut(busy, other, settings=DeliverySettings(connections=2))
    first, second = way_out.routes.known_hops["example.net"]  # type: ignore[misc]
    way_out.routes.known_hops = {"busy.example": (first,), "other.example": (second,)}
    line = [way_out.start(message(), "a@busy.example") for _ in range(100)]
    wanted = [Recipient(parse_mailbox("a@other.example"))]
    before: list[int] = []
    way_out.deliverer.deliver(message(), wanted, "").addCallback(lambda _: before.append(len(busy.taken)))
    way_out.run()
    assert before[0] < 10
    assert [shown(sending.outcomes) for sending in line] == [DELIVERED] * 100


def test_a_hop_that_refuses_one_more_connection_is_served_by_those_it_has() -> None:
    """ "Too many connections" is no trouble of the messages."""
    hop = NextHop()
    way_out = WayOut(hop, settings=DeliverySettings(idle_s=1000))
    first = way_out.start(message())
    way_out.run()
    hop.replies = {"GREETING": "421 4.7.0 too many connections"}
    sendings = [way_out.start(message()) for _ in range(8)]
    way_out.run()
    assert shown(first.outcomes) == DELIVERED
    assert [shown(sending.outcomes) for sending in sendings] == [DELIVERED] * 8
    assert 1 < hop.sessions <= 10
    asked = hop.sessions
    for still in (True, False):  # for a minute it is not asked for more
        sendings = [way_out.start(message()) for _ in range(8)]
        way_out.run(70)
        assert [shown(sending.outcomes) for sending in sendings] == [DELIVERED] * 8
        assert (hop.sessions == asked) is still


def test_all_who_wait_hear_that_a_host_cannot_be_reached() -> None:
    way_out = WayOut(error.ConnectionRefusedError())
    sendings = [way_out.start(message()) for _ in range(30)]
    way_out.run()
    assert {shown(sending.outcomes)[0] for sending in sendings} == {"Deferred 451 4.4.1!"}
    assert way_out.deliverer.pool.count == 0


def test_one_hung_hop_stops_no_other() -> None:
    hung, good = NextHop(replies={"EHLO": SILENCE}), NextHop()
    way_out = WayOut(hung, good)
    first, second = way_out.routes.known_hops["example.net"]  # type: ignore[misc]
    way_out.routes.known_hops = {"hung.example": (first,), "good.example": (second,)}
    stuck = [way_out.start(message(), "a@hung.example") for _ in range(50)]
    assert shown(way_out.send(message(), "a@good.example")) == DELIVERED
    assert not any(sending.results for sending in stuck)


# -- the next message right behind -----------------------------------------------------------


@cuts
def test_the_next_message_goes_right_behind_the_final_dot(cut: int) -> None:
    """RFC 2920 §3.1; one write carries a content, its end and the next envelope."""
    hop = NextHop()
    way_out = WayOut(hop, cut=cut, settings=DeliverySettings(connections_per_hop=1))
    sendings = [way_out.start(message()) for _ in range(5)]
    way_out.run()
    assert [shown(sending.outcomes) for sending in sendings] == [DELIVERED] * 5
    behind = [data for data in way_out.network.transports[0].written if b"\r\n.\r\nMAIL" in data]
    assert len(behind) == 3  # not the first: whether the hop is quick was not yet known


def test_nothing_goes_behind_a_slow_answer() -> None:
    """A message behind one that takes minutes would wait for them."""
    way_out = WayOut(NextHop(replies={"END": ["", SILENCE]}), settings=DeliverySettings(connections_per_hop=1))
    sendings = [way_out.start(message()) for _ in range(4)]
    way_out.run(60)
    transport = way_out.network.transports[0]
    assert transport.client is not None
    transport.written.clear()
    transport.client.dataReceived(b"250 2.0.0 at last\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    assert [len(sending.results) for sending in sendings] == [1, 1, 0, 0]
    (content,) = transport.written
    assert content.endswith(b"\r\n.\r\n")  # the third, and not the fourth's MAIL behind it


@pytest.mark.parametrize("end", [HANG_UP, "421 4.3.2 closing", "garbage"])
def test_a_message_behind_one_that_fails_takes_another_connection(end: str) -> None:
    hop = NextHop(replies={"END": ["", end, ""]})
    way_out = WayOut(hop, settings=DeliverySettings(connections_per_hop=1))
    sendings = [way_out.start(message()) for _ in range(3)]
    way_out.run()
    assert shown(sendings[0].outcomes) == DELIVERED
    assert shown(sendings[1].outcomes)[0].startswith("Deferred")
    assert shown(sendings[2].outcomes) == DELIVERED
    assert len(hop.taken) == 2


# -- the end ---------------------------------------------------------------------------------


def test_stop_takes_leave_and_lets_what_is_under_way_finish() -> None:
    idle, busy = NextHop(), NextHop(replies={"END": SILENCE})
    way_out = WayOut(idle, busy)
    first, second = way_out.routes.known_hops["example.net"]  # type: ignore[misc]
    way_out.routes.known_hops = {"idle.example": (first,), "busy.example": (second,)}
    way_out.send(message(), "a@idle.example")
    sending = way_out.start(message(), "a@busy.example")
    way_out.run()
    stopped: list[None] = []
    way_out.deliverer.stop().addCallback(stopped.append)
    way_out.run()
    assert idle.commands[-1] == "QUIT"
    assert not stopped
    assert shown(way_out.send(message(), "a@idle.example")) == ["Deferred 451 4.3.2"]
    client = way_out.network.transports[1].client
    assert client is not None
    client.dataReceived(b"250 2.0.0 taken\r\n")
    way_out.run()
    assert shown(sending.outcomes) == DELIVERED
    assert busy.commands[-1] == "QUIT"
    assert len(stopped) == 1
    assert not way_out.clock.getDelayedCalls()


def test_stop_turns_away_those_who_wait_for_a_connection() -> None:
    way_out = WayOut(None)
    sendings = [way_out.start(message()) for _ in range(3)]
    stopped: list[None] = []
    way_out.deliverer.stop().addCallback(stopped.append)
    assert [shown(sending.outcomes) for sending in sendings] == [["Deferred 451 4.3.2"]] * 3
    way_out.run()
    assert len(stopped) == 1


def test_stop_with_nothing_to_do_is_done_at_once() -> None:
    stopped: list[None] = []
    WayOut(NextHop()).deliverer.stop().addCallback(stopped.append)
    assert len(stopped) == 1
