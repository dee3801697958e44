"""Those who wait for a connection to one hop, and the connections that there are.

A waiter gets the first connection that is free: a kept one at once; one that has just sent the end of a content to a
quick hop that offers PIPELINING, right behind that; else one is opened for it, within the limits.

When no connection can be had at all, all who wait hear why.  When some stand and one more is refused, the hop wants
no more of them: the waiters wait for those that there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from relay.deliver.classify import SHUTTING_DOWN
from relay.deliver.connection import Connection, Holder
from relay.deliver.opening import Opening
from relay.message.account import Part
from relay.message.outcome import Deferred
from relay.route.via import Hop
from relay.smtp.client_events import SessionEnded

if TYPE_CHECKING:
    from relay.deliver.pool import Pool

NARROW_S = 60.0
"""How long a hop that refused one more connection is not asked for more."""


class Line:
    """See the module.  The keeper of its connections.

    idle  kept connections, the one used last at the end
    """

    def __init__(self, pool: Pool, hop: Hop) -> None:
        self.hop = hop
        self.idle: list[Connection] = []
        self._pool = pool
        self._addresses: tuple[str, ...] = ()
        self._members: set[Connection] = set()
        self._openings: set[Opening] = set()
        self._waiting: deque[Holder] = deque()
        self._want_fresh: deque[Holder] = deque()
        self._narrow_until = 0.0

    @property
    def is_empty(self) -> bool:
        return not (self._members or self._openings or self._waiting or self._want_fresh)

    def lease(self, addresses: Sequence[str], holder: Holder, *, fresh: bool) -> None:
        """See Pool.lease."""
        while self.idle and not fresh:
            connection = self.idle.pop()
            if self._is_fit(connection):
                connection.give(holder)
                return
            self._part_from(connection)
        most = self._pool.settings.addresses_per_host
        self._addresses = tuple(addresses[:most]) if self.hop.path is None else ("",)
        (self._want_fresh if fresh else self._waiting).append(holder)
        self.fill()

    def fill(self) -> None:
        """Opens a connection for each one that waits, within the limits."""
        settings = self._pool.settings
        while len(self._openings) < len(self._waiting) + len(self._want_fresh):
            if len(self._members) + len(self._openings) >= settings.connections_per_hop:
                self._settle_for_kept()
                return
            if self._members and self._pool.clock.seconds() < self._narrow_until:
                self._settle_for_kept()
                return
            if not self._pool.has_room_for(self):
                return
            self._open()

    def drop_idle(self) -> None:
        """Takes leave of the connection that has been idle for longest."""
        self._part_from(self.idle.pop(0))

    def stop(self) -> None:
        """Takes leave of what is idle, and turns away those who wait."""
        while self.idle:
            self.drop_idle()
        for opening in list(self._openings):
            self._openings.discard(opening)
            self._pool.count -= 1
            opening.cancel()
        self._turn_away(Deferred(SHUTTING_DOWN))
        self._pool.changed(self)

    # -- openings ----------------------------------------------------------------------------

    def _open(self) -> None:
        pool = self._pool
        opening = Opening(
            self.hop,
            self._addresses,
            clock=pool.clock,
            dial=pool.dial,
            settings=self._pool.settings,
            build=lambda opening, label, plain: pool.build(opening, self.hop, label, plain=plain),
            succeeded=self._succeeded,
            failed=self._failed,
            closed=pool.closed,
        )
        self._openings.add(opening)
        pool.count += 1
        opening.start()

    def _succeeded(self, opening: Opening, connection: Connection) -> None:
        self._openings.discard(opening)
        self._members.add(connection)
        connection.keeper = self
        if self._want_fresh:
            connection.give(self._want_fresh.popleft())
        else:
            self.released(connection)

    def _failed(self, opening: Opening, why: Deferred) -> None:
        self._openings.discard(opening)
        self._pool.count -= 1
        if self._members:
            self._narrow_until = self._pool.clock.seconds() + NARROW_S
            self._settle_for_kept()
        elif not self._openings:
            self._turn_away(why, opening.said)
        self._pool.changed(self)

    def _settle_for_kept(self) -> None:
        """Those who want a fresh connection take any, when no more may be opened."""
        if not self._openings and self._want_fresh:
            self._waiting.extendleft(reversed(self._want_fresh))
            self._want_fresh.clear()

    def _turn_away(self, why: Deferred, said: Sequence[Part] = ()) -> None:
        turned_away = [*self._want_fresh, *self._waiting]
        self._want_fresh.clear()
        self._waiting.clear()
        for holder in turned_away:
            holder.unreachable(why, said)

    # -- the keeper of its connections -------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Its Opening heard that."""

    def released(self, connection: Connection) -> None:
        # When other hops wait for room, one connection is enough for this.
        is_wanted = bool(self._waiting) and (len(self._members) == 1 or not self._pool.is_short)
        if not self._is_fit(connection):
            self._part_from(connection)
            self._go_on()
        elif is_wanted:
            connection.give(self._waiting.popleft())
        elif self._pool.is_short:
            self._part_from(connection)
            self._go_on()
        else:
            self.idle.append(connection)

    def nearly_free(self, connection: Connection) -> None:
        if self._waiting and connection.session.may_begin and self._is_fit(connection):
            connection.give(self._waiting.popleft())

    def ended(self, connection: Connection, how: SessionEnded) -> None:
        if connection in self._members:
            self._forget(connection)
            self._go_on()

    def closed(self, connection: Connection) -> None:
        self._pool.closed(connection)

    def _forget(self, connection: Connection) -> None:
        self._members.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        self._pool.count -= 1

    def _part_from(self, connection: Connection) -> None:
        self._forget(connection)
        connection.quit()

    def _go_on(self) -> None:
        self._pool.changed(self)  # first those who have waited for room
        self.fill()

    def _is_fit(self, connection: Connection) -> bool:
        """Whether it may carry one more message."""
        settings = self._pool.settings
        offer = connection.session.offer
        limit = offer.mail_max if offer is not None and offer.mail_max else settings.messages_per_connection
        return (
            connection.session.may_begin  # it may be taking leave
            and connection.served < min(limit, settings.messages_per_connection)
            and self._pool.clock.seconds() - connection.opened_at < settings.connection_age_s
            and not self._pool.is_stopping
        )
