"""Connections that are kept and used again: a Line for each hop, one bound and one timer for all."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from relay.deliver.classify import SHUTTING_DOWN
from relay.deliver.connection import Connection, Holder, Keeper
from relay.deliver.guard import Guards
from relay.deliver.line import Line
from relay.deliver.opening import Dial
from relay.deliver.settings import DeliverySettings
from relay.message.outcome import Deferred
from relay.route.via import Hop
from relay.smtp.client import ClientSession
from relay.smtp.client_events import Encryption
from relay.wire import Switchboard

SWEEP_S = 1.0
"""How often time-outs are looked for."""


class Pool:
    """All connections of a deliverer.

    count  sessions that are open or being opened
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        dial: Dial,
        hostname: str,
        settings: DeliverySettings,
        guards: Guards,
        switchboard: Switchboard | None = None,
    ) -> None:
        self.clock = clock
        self.dial = dial
        self.settings = settings
        self.is_stopping = False
        self.count = 0
        self._hostname = hostname
        self._guards = guards
        self._switchboard = switchboard
        self._lines: dict[Hop, Line] = {}
        self._starved: dict[Hop, Line] = {}  # in the order in which they began to wait for room
        self._sockets: set[Connection] = set()
        self._timer: IDelayedCall | None = None
        self._stopped: list[defer.Deferred[None]] = []

    def lease(self, hop: Hop, addresses: Sequence[str], holder: Holder, *, fresh: bool = False) -> None:
        """Gives the holder a connection to the hop, now or later, or tells it that there is none.

        addresses  textual IP addresses in order; of no meaning for a hop with a path
        fresh      a new connection: a kept one has just turned out to be closed
        """
        if self.is_stopping:
            holder.unreachable(Deferred(SHUTTING_DOWN))
            return
        line = self._lines.get(hop)
        if line is None:
            line = self._lines[hop] = Line(self, hop)
        line.lease(addresses, holder, fresh=fresh)

    def reconfigure(self, settings: DeliverySettings) -> None:
        """Other limits hold from now on."""
        self.settings = settings
        for line in list(self._lines.values()):
            line.fill()

    def stop(self) -> defer.Deferred[None]:
        """Takes leave of idle hops and turns away those who wait; fires when what is under way has ended."""
        self.is_stopping = True
        self._starved.clear()
        for line in list(self._lines.values()):
            line.stop()
        done: defer.Deferred[None] = defer.Deferred()
        self._stopped.append(done)
        self._see_whether_stopped()
        return done

    # -- for the lines -----------------------------------------------------------------------

    @property
    def is_short(self) -> bool:
        """Whether some hop waits for room."""
        return bool(self._starved)

    def has_room_for(self, line: Line) -> bool:
        """Whether one more may be opened.  An idle one of another hop makes room; else the line is filled later."""
        if self.count < self.settings.connections:
            return True
        for other in self._lines.values():
            if other is not line and other.idle:
                other.drop_idle()
                self.changed(other)
                return True
        self._starved[line.hop] = line
        return False

    def build(self, keeper: Keeper, hop: Hop, label: str, *, plain: bool = False) -> Connection:
        """A connection whose time-outs are looked after.

        plain  without TLS, where that was only an opportunity
        """
        guard = self._guards.guard(hop, label, plain=plain)
        encryption = guard.encryption if guard is not None else Encryption.NEVER
        session = ClientSession(
            self._hostname, lmtp=hop.protocol == "lmtp", encryption=encryption, login=hop.login is not None
        )
        connection = Connection(keeper, session, label, self.clock, guard, self._switchboard)
        self._sockets.add(connection)
        if self._timer is None:
            self._timer = self.clock.callLater(SWEEP_S, self._sweep)
        return connection

    def closed(self, connection: Connection) -> None:
        self._sockets.discard(connection)
        self._see_whether_stopped()

    def changed(self, line: Line) -> None:
        """Something of the line has ended."""
        if line.is_empty and self._lines.get(line.hop) is line:
            del self._lines[line.hop]
            self._starved.pop(line.hop, None)
        if self._starved and self.count < self.settings.connections:
            self._starved.pop(next(iter(self._starved))).fill()
        self._see_whether_stopped()

    def _sweep(self) -> None:
        self._timer = None
        now = self.clock.seconds()
        for connection in list(self._sockets):
            connection.check(now, self.settings.idle_s)
        if self._sockets:
            self._timer = self.clock.callLater(SWEEP_S, self._sweep)

    def _see_whether_stopped(self) -> None:
        if self.is_stopping and not self._sockets and not self.count:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            stopped, self._stopped = self._stopped, []
            for done in stopped:
                done.callback(None)
