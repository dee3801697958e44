"""One connection to a next hop: carries octets between a transport and a ClientSession.

A connection is held by whoever was given it (Holder).  While one transaction's final dot waits for its answer
a second holder may have been given it too, so that its commands leave in the same write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

from twisted.internet import protocol
from twisted.internet.interfaces import IConsumer, IHandshakeListener, IReactorTime, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.deliver.classify import refuses_parameter
from relay.deliver.guard import Guard
from relay.deliver.pump import Content, Pump
from relay.message.account import Part
from relay.message.outcome import Deferred
from relay.smtp.client import ClientSession
from relay.smtp.client_events import (
    TIMEOUT_S,
    ContentWanted,
    CredentialsWanted,
    Event,
    Opened,
    SessionEnded,
    TlsWanted,
    TransactionEnded,
)
from relay.smtp.stuffing import StrayLineEnd
from relay.smtp.transaction import Step, Transaction
from relay.wire import Switchboard, wire_of

QUICK_S = 1.0
"""A hop that answers the end of a content within this gets the next message right behind it."""
BLOCK_OCTETS = 64 * 1024
"""RFC 5321 §4.5.3.2.5 gives a peer three minutes for each piece that it is sent, and does not say how large one is.  So
it has as long for each so many octets, however we cut them: a slow line is no hung peer."""
BLOCK_S = TIMEOUT_S[Step.CONTENT]
CLOSING_S = 5.0
"""How long a connection that we close may take to let go of what is not yet written."""


class Holder(Protocol):
    """Who wants a connection, and uses it.  May call ``run`` and ``release`` from within any of these."""

    def connected(self, connection: Connection) -> None:
        """It is yours until you release it."""
        ...

    def unreachable(self, why: Deferred, said: Sequence[Part] = ()) -> None:
        """There is none to be had.

        said  what was said in the sessions that did not come to be
        """
        ...

    def wants_more(self, transaction: Transaction) -> bool:
        """Whether you may run another transaction after this one, whose content has just gone out."""
        ...

    def ended(self, connection: Connection, transaction: Transaction, trouble: Exception | None) -> None:
        """A transaction of yours has ended.

        trouble  of our own, for which it was cut short, or None
        """
        ...


class Keeper(Protocol):
    """Who keeps a connection while nobody holds it."""

    def opened(self, connection: Connection) -> None: ...

    def released(self, connection: Connection) -> None: ...

    def nearly_free(self, connection: Connection) -> None:
        """The last content of its holder has gone out: another may be given it now, and be in the same write."""
        ...

    def ended(self, connection: Connection, how: SessionEnded) -> None:
        """Nothing more goes over it."""
        ...

    def closed(self, connection: Connection) -> None:
        """Its socket is gone."""
        ...


class Errand:
    """A transaction to be run, with its content.

    pieces   the content; or its beginning, when there is more to be read
    rest     opens what comes after them, or None
    """

    __slots__ = ("holder", "pieces", "pump", "rest", "transaction", "trouble")

    def __init__(
        self,
        holder: Holder,
        transaction: Transaction,
        pieces: tuple[bytes, ...],
        rest: Callable[[], Content] | None = None,
    ) -> None:
        self.holder = holder
        self.transaction = transaction
        self.pieces = pieces
        self.rest = rest
        self.pump: Pump | None = None
        self.trouble: Exception | None = None


@implementer(IHandshakeListener)
class Connection(protocol.Protocol):
    """See the module.

    label   whom it goes to, as ``name [address]``
    guard   sees to TLS and to the login, where there is any
    served  transactions begun
    before  what was said in sessions with this hop that did not come to be, just before this one
    """

    def __init__(
        self,
        keeper: Keeper,
        session: ClientSession,
        label: str,
        clock: IReactorTime,
        guard: Guard | None = None,
        switchboard: Switchboard | None = None,
    ) -> None:
        self.keeper = keeper
        self.session = session
        self.label = label
        self.guard = guard
        self.served = 0
        self._switchboard = switchboard
        self.before: Sequence[Part] = ()
        self.opened_at = clock.seconds()
        self._seconds = clock.seconds
        self._progress_at = self.opened_at
        self._more_s = 0.0  # for what was written last, if it was large
        self._replies = 0
        self._holders = 0
        self._current: Errand | None = None
        self._following: Errand | None = None
        self._is_turning = False
        self._is_leaving = False
        self._closing_at: float | None = None
        self._content_sent_at = 0.0
        self._is_quick = False

    @property
    def carrier(self) -> IConsumer:
        return cast(IConsumer, self.transport)

    # -- from the transport ------------------------------------------------------------------

    def connectionMade(self) -> None:
        self._wire = wire_of(cast(Any, self.transport), self._switchboard, self.dataReceived)
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        if self.guard is not None:
            self.guard.own_ip = getattr(cast(Any, self.transport).getHost(), "host", "")
        if self.guard is not None and self.guard.begins_at_once:
            self.guard.begin(self._wire, self.session)
            self._turn()

    def handshakeCompleted(self) -> None:
        """TLS is there.  Nothing has been said within it."""
        assert self.guard is not None
        self.guard.shaken(self.session)
        self._progress_at = self._seconds()
        if self.session.over and not self.guard.begins_at_once:
            self._wire.write(b"QUIT\r\n")  # RFC 3207 §4.1: the one word for who is not the hop
            self._is_leaving = True
        self._turn()

    def dataReceived(self, data: bytes) -> None:
        now = self._seconds()
        session = self.session
        session.receive_data(data, now)
        # Progress is a whole reply: octets that dribble in do not keep a session alive.
        if session.replies != self._replies:
            self._replies = session.replies
            self._progress_at = now
        self._turn()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self._wire.lost()
        self.session.lost(_words(reason))
        self._turn()
        self.keeper.closed(self)

    # -- from the holder ---------------------------------------------------------------------

    def give(self, holder: Holder) -> None:
        """From now on it is this holder's, too."""
        self._holders += 1
        holder.connected(self)

    def release(self) -> None:
        """The holder is done with it."""
        self._holders -= 1
        if not self._holders and not self.session.over:
            self.keeper.released(self)

    def run(self, errand: Errand) -> None:
        """Begins a transaction; only when ``session.may_begin``."""
        self.session.begin(errand.transaction, self._seconds())
        self.served += 1
        if self._current is None:
            self._current = errand
        else:
            self._following = errand
        self._turn()

    def does_without_auth(self, transaction: Transaction) -> bool:
        """Whether MAIL was refused for its AUTH=, and may be said again: it will be without.

        The host offers AUTH and does not know its parameter, against RFC 4954 §5; that is no reason to bounce.
        """
        offer = self.session.offer
        if offer is None or not (transaction.says_auth and refuses_parameter(transaction.answers)):
            return False
        if not self.session.may_begin:
            return False  # to say it on a new connection would never end
        self.session.offer = replace(offer, auth=frozenset())
        return True

    # -- from the pump -----------------------------------------------------------------------

    def send_pieces(self, *pieces: bytes, ended: bool) -> None:
        """What comes next of the current content; with ``ended`` the last."""
        try:
            if any(pieces):
                self.session.content(*pieces)
            if ended:
                self.session.content_end()
        except StrayLineEnd as stray:
            self.cut_short(stray)
            return
        if ended:
            self._content_gone()
        self._turn()

    def cut_short(self, trouble: Exception) -> None:
        """Trouble of our own in the middle of the content: only closing keeps half a message from arriving."""
        if self._current is not None:
            self._current.trouble = trouble
        self.session.lost("we cut it short")
        self._turn()

    # -- from the keeper ---------------------------------------------------------------------

    def quit(self) -> None:
        """Takes leave, politely when there is nothing under way."""
        if self.session.step is Step.QUIT:
            return  # it does already
        if self.session.is_idle:
            self.session.quit()
            self._turn()
        else:
            self.abort()

    def abort(self) -> None:
        self.session.lost("closed by us")
        self._turn()

    def check(self, now: float, idle_s: float) -> None:
        """Looks whether something has taken too long."""
        if self._closing_at is not None:
            if now - self._closing_at >= CLOSING_S:
                self._cut()
            return
        limit_s = self.session.timeout_s
        if limit_s is None:
            if not self._holders and now - self._progress_at >= idle_s:
                self.quit()
        elif now - self._progress_at >= limit_s + self._more_s:
            self.session.timed_out()
            self._turn()

    # -- the turn ----------------------------------------------------------------------------

    def _turn(self) -> None:
        """Acts on what the session has found out, then writes what it wants to say, all at once."""
        if self._is_turning:
            return  # who turns already goes on until nothing is left
        session = self.session
        self._is_turning = True
        try:
            while (event := session.next_event()) is not None:
                self._act(event)
        finally:
            self._is_turning = False
        out = session.data_to_send()
        if out and self._closing_at is None:
            data = out[0] if len(out) == 1 else b"".join(out)
            self._progress_at = self._seconds()
            self._more_s = len(data) // BLOCK_OCTETS * BLOCK_S
            self._wire.write(data)

    def _act(self, event: Event) -> None:
        match event:
            case TransactionEnded():
                self._transaction_ended(event.transaction)
            case ContentWanted():
                self._content_wanted()
            case Opened():
                if self.guard is not None:
                    self.guard.opened()
                self.keeper.opened(self)
            case TlsWanted():
                assert self.guard is not None
                self.guard.begin(self._wire, self.session)
            case CredentialsWanted():
                assert self.guard is not None
                self.guard.log_in(event.mechanisms, self.session, self._turn)
            case SessionEnded():
                if self.session.takes_leave:
                    self._wire.write(b"QUIT\r\n")
                    self._is_leaving = True
                self.keeper.ended(self, event)
                self._close(politely=event.reply is not None or event.step is Step.QUIT or self._is_leaving)

    def _content_wanted(self) -> None:
        errand = self._current
        assert errand is not None
        try:
            if errand.rest is None:
                self.session.whole_content(*errand.pieces)
            elif errand.pump is None:
                errand.pump = Pump(self, errand, errand.rest())
                errand.pump.start()
            else:
                errand.pump.read_on()
        except Exception as trouble:  # a StrayLineEnd, or the store has no such content
            self.cut_short(trouble)
            return
        if errand.rest is None:
            self._content_gone()

    def _content_gone(self) -> None:
        self._content_sent_at = self._seconds()
        assert self._current is not None
        if self._is_quick and not self._current.holder.wants_more(self._current.transaction):
            self.keeper.nearly_free(self)

    def _transaction_ended(self, transaction: Transaction) -> None:
        errand = self._current
        assert errand is not None and errand.transaction is transaction
        self._current, self._following = self._following, None
        if errand.pump is not None:
            errand.pump.stop()
        self._is_quick = self._progress_at - self._content_sent_at < QUICK_S
        errand.holder.ended(self, transaction, errand.trouble)

    def _close(self, *, politely: bool) -> None:
        if self._closing_at is None:
            self._closing_at = self._seconds()
            if politely:
                self._wire.close()
            else:
                self._cut()

    def _cut(self) -> None:
        self._wire.abort()


def _words(reason: Failure) -> str:
    return f"the connection was lost: {reason.getErrorMessage().rstrip('.')}"
