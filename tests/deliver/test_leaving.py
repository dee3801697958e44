"""A connection that takes leave carries nothing more."""

from __future__ import annotations

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
