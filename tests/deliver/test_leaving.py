"""A connection that takes leave carries nothing more."""

from __future__ import annotations

import pytest

from relay.route.tls import NO_TLS, Level, Security
from tests.deliver.way_out import WayOut, message, shown
from tests.fakes.next_hop import NextHop


def test_mail_that_comes_while_a_connection_takes_leave_gets_another() -> None:
    """Scar: until the reply to QUIT came, the connection was given away again and again, without end
    (simulation, seed 7)."""
    hop = NextHop()
    way_out = WayOut(hop)
    way_out.send(message())
    pool = way_out.deliverer.pool
    (connection,) = pool._sockets
    connection.check(way_out.clock.seconds() + pool.settings.idle_s, pool.settings.idle_s)
    assert shown(way_out.send(message())) == ["Delivered 250 2.0.0"]
    assert hop.sessions == 2
    assert hop.commands.count("QUIT") == 1


@pytest.mark.parametrize(
    ("replies", "security", "said"),
    [
        ({"GREETING": "554 5.7.1 not you"}, NO_TLS, ["QUIT"]),
        ({"EHLO": "450 4.7.0 later"}, NO_TLS, ["EHLO relay.example", "QUIT"]),
        ({}, Security(Level.REQUIRE), ["EHLO relay.example", "QUIT"]),  # it offers no TLS
        ({"GREETING": "421 4.3.2 closing"}, NO_TLS, []),  # it has closed
        ({"GREETING": "what?"}, NO_TLS, []),  # it does not speak SMTP
    ],
)
def test_who_is_sound_is_told_that_we_go(replies: dict[str, str], security: Security, said: list[str]) -> None:
    """RFC 5321 §4.1.1.10, §3.1; RFC 8689 §4.2.1."""
    hop = NextHop(replies=replies)
    way_out = WayOut(hop, security=security)
    way_out.send(message())
    assert hop.commands == said
