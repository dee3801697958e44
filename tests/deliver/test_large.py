"""A large content goes out in pieces, never whole in memory, and never half as if it were whole."""

from __future__ import annotations

import pytest

from relay.deliver.deliverer import LOADED_AT_ONCE
from relay.deliver.settings import DeliverySettings
from relay.message.envelope import Body
from relay.queue.store import StoreUnavailable
from tests.deliver.way_out import HEAD, WayOut, large, shown
from tests.fakes.next_hop import EVERYTHING, HANG_UP, SILENCE, NextHop

PIECE = b"." + b"x" * 998 + b"\r\n"
DELIVERED = ["Delivered 250 2.0.0"]
cuts = pytest.mark.parametrize("cut", [0, 1, 5])


@cuts
@pytest.mark.parametrize("body", [Body.SEVENBIT, Body.BINARY])
@pytest.mark.parametrize("extensions", [EVERYTHING, ("CHUNKING", "BINARYMIME")])
def test_all_of_it_arrives(extensions: tuple[str, ...], body: Body, cut: int) -> None:
    hop = NextHop(extensions)
    way_out = WayOut(hop, cut=cut)
    made = large(way_out, *[PIECE] * 50, b"end", body=body)
    assert shown(way_out.send(made)) == DELIVERED
    assert hop.taken[0].content == HEAD + PIECE * 50 + (b"end" if body is Body.BINARY else b"end\r\n")
    assert all(content.is_closed for content in way_out.opened)


def test_no_more_than_a_piece_waits_to_be_taken() -> None:
    """Back-pressure: the next piece is read when the transport has taken the one before."""
    way_out = WayOut(NextHop())
    made = large(way_out, *[b"x" * 65534 + b"\r\n"] * 100)
    assert shown(way_out.send(made)) == DELIVERED
    assert way_out.network.transports[0].largest_unsent <= 2 * 65536 + len(HEAD)


def test_dots_are_doubled_across_the_pieces() -> None:
    hop = NextHop()
    way_out = WayOut(hop)
    made = large(way_out, b"a\r\n", b".", b"\r", b"\n", b".\r\n..", b"\r\n.")
    assert shown(way_out.send(made)) == DELIVERED
    assert hop.taken[0].content == HEAD + b"a\r\n.\r\n.\r\n..\r\n.\r\n"


@pytest.mark.parametrize("lie", [-1, 1, 1000])
def test_a_content_of_the_wrong_size_is_never_ended(lie: int) -> None:
    """A file that was cut off must not be delivered as if it were whole."""
    hop = NextHop()
    way_out = WayOut(hop, NextHop())
    made = large(way_out, *[PIECE] * 5)
    object.__setattr__(made, "size", made.size + lie)
    assert shown(way_out.send(made)) == ["Deferred 451 4.3.0"]
    assert not hop.taken
    assert way_out.told[0][0] == "trouble"
    assert all(content.is_closed for content in way_out.opened)


def test_a_content_that_cannot_be_read_is_our_trouble() -> None:
    """4yz, no rest for the destination, and no other host is asked."""
    hop, other = NextHop(), NextHop()
    way_out = WayOut(hop, other)
    made = large(way_out, PIECE, error=StoreUnavailable("I/O error"))
    assert shown(way_out.send(made)) == ["Deferred 451 4.3.0"]
    assert not hop.taken and not other.sessions
    way_out.contents.clear()
    assert shown(way_out.send(made)) == ["Deferred 451 4.3.0"]
    assert way_out.network.transports[-1].is_lost


def test_stray_line_ends_in_a_large_message_lead_to_conversion() -> None:
    hop = NextHop(("PIPELINING",))
    way_out = WayOut(hop)
    made = large(way_out, b"a: b\r\n\r\n", b"hello\n", b".\r\nQUIT\r\n")
    assert shown(way_out.send(made)) == DELIVERED
    assert len(hop.taken) == 1 and hop.commands.count("QUIT") == 0
    assert way_out.network.transports[0].is_lost


def test_who_waits_for_a_turn_to_read_holds_no_connection_that_others_with_a_turn_wait_for() -> None:
    """Two have read theirs for a host that then hangs up, and want the next one's connections; these were given to two
    who cannot read yet."""
    first, second = NextHop(("PIPELINING",), replies={"MAIL": HANG_UP}), NextHop(("PIPELINING",))
    way_out = WayOut(first, second, settings=DeliverySettings(connections_per_hop=LOADED_AT_ONCE))
    way_out.routes.known_hops["second.example"] = way_out.routes.known_hops["example.net"][1:]  # type: ignore[index]
    text = b"a: b\r\n\r\n", "ü\r\n".encode() * 1000
    both = [
        way_out.start(large(way_out, *text, body=Body.EIGHTBIT), f"bob@{domain}")
        for domain in ("example.net", "second.example")
        for _ in range(LOADED_AT_ONCE)
    ]
    way_out.run(5)
    assert [shown(sending.outcomes) for sending in both] == [DELIVERED] * 2 * LOADED_AT_ONCE


@pytest.mark.parametrize(
    ("replies", "outcome"),
    [
        ({"RCPT": "550 5.1.1 no"}, "Failed 550 5.1.1"),
        ({"DATA": "451 4.3.1 full"}, "Deferred 451 4.3.1"),
        ({"END": "554 5.7.1 spam"}, "Failed 554 5.7.1"),
        ({"END": HANG_UP}, "Deferred 451 4.4.2?"),
    ],
)
def test_it_is_closed_whatever_happens(replies: dict[str, str], outcome: str) -> None:
    way_out = WayOut(NextHop(replies=replies))
    made = large(way_out, *[PIECE] * 5)
    assert shown(way_out.send(made)) == [outcome]
    assert all(content.is_closed for content in way_out.opened)


def test_a_refusal_in_the_middle_stops_the_reading() -> None:
    way_out = WayOut(NextHop())
    sending = way_out.start(large(way_out, *[PIECE] * 1000, stuck_after=10))
    way_out.run()
    assert way_out.opened[0].given == 10
    client = way_out.network.transports[0].client
    assert client is not None
    client.dataReceived(b"552 5.3.4 too big\r\n")
    assert shown(sending.outcomes) == ["Failed 552 5.3.4"]
    assert way_out.opened[0].is_closed


def test_a_drop_in_the_middle_is_not_in_doubt() -> None:
    way_out = WayOut(NextHop())
    sending = way_out.start(large(way_out, *[PIECE] * 1000, stuck_after=10))
    way_out.run()
    assert way_out.opened[0].given == 10
    way_out.network.transports[0].drop()
    assert shown(sending.outcomes) == ["Deferred 451 4.4.2"]
    assert all(content.is_closed for content in way_out.opened)


def test_a_hop_that_stops_taking_is_given_up_after_three_minutes() -> None:
    """RFC 5321 §4.5.3.2.5."""
    way_out = WayOut(NextHop())
    sending = way_out.start(large(way_out, *[PIECE] * 1000, stuck_after=10))
    way_out.run()
    assert way_out.opened[0].given == 10
    way_out.run(170)
    assert not sending.results
    way_out.run(15)
    assert shown(sending.outcomes) == ["Deferred 451 4.4.2"]


def test_a_slow_line_has_as_long_for_each_block_of_a_large_piece() -> None:
    """Else what takes 64 KiB in three minutes would never take a piece of 256 KiB."""
    way_out = WayOut(NextHop())
    large_piece = PIECE * (200_000 // len(PIECE))  # three blocks, and some
    sending = way_out.start(large(way_out, *[large_piece] * 5, stuck_after=2))
    way_out.run(4 * 180 - 20)
    assert not sending.results
    way_out.run(40)
    assert shown(sending.outcomes) == ["Deferred 451 4.4.2"]


def test_after_a_large_one_the_connection_is_used_again() -> None:
    hop = NextHop(replies={"END": ["", ""]})
    way_out = WayOut(hop)
    assert shown(way_out.send(large(way_out, *[PIECE] * 5))) == DELIVERED
    assert shown(way_out.send(large(way_out, *[PIECE] * 5))) == DELIVERED
    assert hop.sessions == 1


def test_silence_after_a_large_one_is_in_doubt_after_ten_minutes() -> None:
    way_out = WayOut(NextHop(replies={"END": SILENCE}))
    sending = way_out.start(large(way_out, *[PIECE] * 5))
    way_out.run(590)
    assert not sending.results
    way_out.run(15)
    assert shown(sending.outcomes) == ["Deferred 451 4.4.2?"]
