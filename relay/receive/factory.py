"""A listener: how many sessions there may be, how long they may take, and how they end.

One clock serves the time-outs of all sessions: every few seconds it looks at each, so that no message
costs a timer.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory

from relay.message import reply
from relay.message.reply import Reply
from relay.message.step import Tell, tell_nobody
from relay.policy.policy import Policy, Service
from relay.queue.store import Store
from relay.receive.attendance import Attendance
from relay.receive.intake import Intake
from relay.receive.logins import Logins
from relay.receive.protocol import SmtpProtocol
from relay.receive.reception import Reception
from relay.receive.scribe import Scribe
from relay.receive.settings import (
    Enqueue,
    Entrance,
    Flush,
    HasRoom,
    ReceiveSettings,
    ReverseName,
    TellCounts,
    always_room,
    no_reverse_name,
)
from relay.receive.tls import ServerTls, TrustedCertificates
from relay.wire import Switchboard

TICK_S = 5.0
"""How often time-outs are looked at, and so how exact they are."""


class SmtpServerFactory(Factory):
    """Makes the sessions of one listener.

    house  what they share
    now    the time when time-outs were last looked at, seconds since the epoch
    """

    noisy = False

    def __init__(
        self,
        *,
        clock: IReactorTime,
        settings: ReceiveSettings,
        policy: Policy,
        store: Store,
        enqueue: Enqueue,
        flush: Flush,
        service: Service = Service.RELAY,
        tell: Tell = tell_nobody,
        reverse_name: ReverseName = no_reverse_name,
        counts: TellCounts | None = None,
        has_room: HasRoom = always_room,
        attendance: Attendance | None = None,
        entrance: Entrance | None = None,
        tls: ServerTls | None = None,
        logins: Logins | None = None,
        trusted_certificates: TrustedCertificates | None = None,
        switchboard: Switchboard | None = None,
        scribe: Scribe | None = None,
    ) -> None:
        """counts      the queue in numbers; by default the store's own
        attendance  shared by listeners whose limits of connections hold for all of them together
        tls         how STARTTLS is answered; None when there is no certificate
        logins      shared likewise; None when nobody can log in
        scribe      shared likewise; writes the journal
        """
        self.house = Reception(
            clock,
            settings,
            policy,
            store,
            enqueue,
            tell,
            service,
            reverse_name,
            counts if counts is not None else store.counts,
            flush,
            has_room,
            entrance or Entrance(),
            tls,
            logins,
            trusted_certificates or TrustedCertificates(),
            scribe,
        )
        self.now = clock.seconds()
        self.switchboard = switchboard
        self._clock = clock
        self._sessions: set[SmtpProtocol] = set()
        self._attendance = attendance if attendance is not None else Attendance()
        self._tick: IDelayedCall | None = None
        self._patience: IDelayedCall | None = None  # with sessions that do not end when we shut down
        self._all_gone: Deferred[None] | None = None

    def reconfigure(self, settings: ReceiveSettings, policy: Policy) -> None:
        """New rules and limits, for sessions that are open too; what a transaction was already told stays so.  To be
        called after ``admit_by``."""
        self.house.reconfigure(settings, policy)
        for session in self._sessions:
            session.reconsider()

    def admit_by(self, tls: ServerTls | None, logins: Logins | None, trusted_certificates: TrustedCertificates) -> None:
        """From now on, TLS is this and these know the users."""
        house = self.house
        house.tls, house.logins, house.trusted_certificates = tls, logins, trusted_certificates

    @property
    def sessions(self) -> int:
        """How many are open."""
        return len(self._sessions)

    # -- sessions come and go ----------------------------------------------------------------

    def buildProtocol(self, addr: IAddress | None) -> SmtpProtocol:
        if self._tick is None:
            self.now = self._clock.seconds()
            self._tick = self._clock.callLater(TICK_S, self._look_at_the_time)
        return SmtpProtocol(self)

    def admit(self, session: SmtpProtocol, ip: str) -> Intake:
        """Counts a session that begins; one too many is greeted with 421."""
        house = self.house
        self._sessions.add(session)
        client = house.policy.client(ip)
        group = self._attendance.come(client)
        turn_away = self._turn_away(group)
        if turn_away is None:
            house.tell("connected", client=client.ip)
        else:
            house.tell("refused", client=client.ip, reply=str(turn_away))
        return Intake(house, client, group, turn_away)

    def _turn_away(self, group: str) -> Reply | None:
        settings = self.house.settings
        if self._all_gone is not None:
            return reply.shutting_down(settings.hostname)
        here = self._attendance
        if here.total > settings.connections_limit or here.of_group(group) > settings.client_limit:
            return reply.too_many_connections(settings.hostname)
        return None

    def gone(self, session: SmtpProtocol, error: str | None = None) -> None:
        """Counts a session that ended.

        error  why there was no TLS, where that ended it
        """
        self._sessions.discard(session)
        intake = session.intake
        self._attendance.go(intake.group)
        if intake.turn_away is None:
            about = {"error": f"no TLS: {error}"} if error is not None else {}
            self.house.tell("disconnected", client=intake.client.ip, **about)
        if not self._sessions:
            self._nobody_left()

    def _nobody_left(self) -> None:
        if self._all_gone is not None and not self._all_gone.called:
            self._stop_the_clocks()
            self._all_gone.callback(None)

    # -- time --------------------------------------------------------------------------------

    def _look_at_the_time(self) -> None:
        self._tick = None
        if not self._sessions:
            return
        before, self.now = self.now, self._clock.seconds()
        # A clock that was set back or ahead (NTP, suspend) is not the client's fault.
        passed = self.now - before
        if not 0 <= passed <= 3 * TICK_S:
            for session in self._sessions:
                session.shift_time(passed - TICK_S)
            passed = TICK_S
        self._tick = self._clock.callLater(TICK_S, self._look_at_the_time)
        for session in tuple(self._sessions):
            session.check_time(self.now, passed, self.house.settings)

    def _stop_the_clocks(self) -> None:
        for call in (self._tick, self._patience):
            if call is not None and call.active():
                call.cancel()
        self._tick = None

    # -- the end -----------------------------------------------------------------------------

    def shut_down(self, within_s: float) -> Deferred[None]:
        """Says 421 to the idle and to newcomers, and lets transactions that were begun come to their end.

        Fires when no session is left, at the latest after within_s (and a moment for the last words).
        """
        if self._all_gone is None:
            self._all_gone = Deferred()
            for session in tuple(self._sessions):
                session.shut_down()
            self._patience = self._clock.callLater(within_s, self._dismiss_all)
            if not self._sessions:
                self._nobody_left()
        answer: Deferred[None] = Deferred()
        self._all_gone.addCallback(lambda _: answer.callback(None))
        return answer

    def _dismiss_all(self) -> None:
        words = reply.shutting_down(self.house.settings.hostname)
        for session in tuple(self._sessions):
            session.dismiss(words)
        if self._sessions:
            self._patience = self._clock.callLater(1.0, self._abort_all)

    def _abort_all(self) -> None:
        for session in tuple(self._sessions):
            session.abort()
