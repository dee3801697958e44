"""The byte carrier of one session: octets from the transport to the session, replies back, and nothing else.

One read is one pass: its octets go to the session, its events to the intake, and all replies leave in one
write.  While an answer or a write to disk is waited for, the client is read from up to a bound.
"""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, cast

from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.internet.protocol import connectionDone as CONNECTION_DONE
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.message.reply import Reply
from relay.policy.users import User
from relay.receive.settings import ReceiveSettings
from relay.receive.tls import Encryption, agreed, tls_words
from relay.smtp.commands import Phase
from relay.smtp.server import Awaiting, ServerSession
from relay.wire import wire_of

if TYPE_CHECKING:
    from relay.receive.factory import SmtpServerFactory


class Transport(typing.Protocol):
    """What of a stream transport is used, be it TCP, a unix socket or TLS."""

    def write(self, data: bytes) -> None: ...
    def getPeer(self) -> object: ...
    def setTcpNoDelay(self, enabled: bool) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def registerProducer(self, producer: object, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def startTLS(self, contextFactory: object) -> object: ...
    def getHandle(self) -> object: ...


HANDSHAKE_LIMIT_S = 60.0
"""How long a client may take to begin TLS."""


@implementer(IPushProducer, IHandshakeListener)
class SmtpProtocol(Protocol):
    """One connection.

    active_at  when the client last did what it was waited for; seconds since the epoch, as coarse as the factory's
               clock of time-outs
    octets     received since then ``since`` ...
    since      ... which is when the session was opened or a message was last brought to its end
    """

    lives_on_wire = True

    def __init__(self, factory: SmtpServerFactory) -> None:
        self._factory = factory
        self._waiting: Deferred[Reply | None] | None = None
        self._is_running = False
        self._is_paused = False  # we do not read from the client
        self._is_choked = False  # the client does not read from us
        self._is_closed = False
        self._is_handshaking = False  # TLS was begun, and is not there yet
        self._ended_seen = 0
        self.is_gone = False
        self.active_at = self.since = factory.now
        self.octets = 0

    # -- what the transport calls ------------------------------------------------------------

    def connectionMade(self) -> None:
        self._transport = cast(Transport, self.transport)
        self._wire = wire_of(self._transport, self._factory.switchboard, self.dataReceived)
        peer = self._transport.getPeer()
        if isinstance(peer, (IPv4Address, IPv6Address)) and ITCPTransport.providedBy(self.transport):
            self._transport.setTcpNoDelay(True)  # a reply must not wait for the next one to fill the segment
        self.intake = self._factory.admit(self, _ip_of(peer))
        self.session = ServerSession(self.intake.offer)
        if isinstance(self.transport, TLSMemoryBIOProtocol):
            # What is written before the handshake is over is held, and the holder tells us to read no more: from a
            # client that waits for us to read its half of the handshake.  So the greeting waits.
            self._is_handshaking = True
        else:
            self._begin()

    def _begin(self) -> None:
        # So that a client who never reads its replies cannot make us hold them all.
        self._wire.registerProducer(self, True)
        self._run()

    def dataReceived(self, data: bytes) -> None:
        if self.session.closing:
            return
        self.octets += len(data)
        self.session.receive_data(data)
        if self._waiting is None and not self._is_choked:
            self._run()
        else:
            self._read_or_pause()

    def handshakeCompleted(self) -> None:
        """TLS has begun: after STARTTLS, or from the first octet."""
        self.encrypted(agreed(cast(SSL.Connection, cast(Transport, self.transport).getHandle())))

    def encrypted(self, encryption: Encryption) -> None:
        """All that follows is within this."""
        self.intake.encrypted(encryption)
        self.session.bind(encryption.bindings)
        self.session.offer = self.intake.offer
        self._is_handshaking = False
        self.active_at = self._factory.now
        if self.session.phase is Phase.OPENED:
            self._begin()

    def connectionLost(self, reason: Failure = CONNECTION_DONE) -> None:
        self.is_gone = True
        self._wire.lost()
        self.session.connection_lost()
        self.intake.leave()
        no_tls = self._is_handshaking and reason.check(SSL.Error) is not None
        self._factory.gone(self, tls_words(reason.value) if no_tls else None)

    def pauseProducing(self) -> None:
        """The transport holds enough of what the client does not read."""
        self._is_choked = True
        self._read_or_pause()

    def resumeProducing(self) -> None:
        self._is_choked = False
        if self._waiting is None and not self.is_gone:
            self._run()

    def stopProducing(self) -> None:
        """The connection is lost; ``connectionLost`` comes."""

    # -- the pass ----------------------------------------------------------------------------

    def _run(self) -> None:
        session, intake = self.session, self.intake
        self._is_running = True
        while (event := session.next_event()) is not None:
            self.active_at = self._factory.now
            answer = intake.answer(event)
            if answer is None:
                continue
            if isinstance(answer, Reply):
                session.answer(answer)
            elif isinstance(answer, tuple):
                session.answer_secret(*answer)
            elif self._wait_for(answer):
                break
        self._is_running = False
        self._send()

    def _wait_for(self, answer: Deferred[Reply | None]) -> bool:
        """Whether there is something to wait for: it may have come already."""
        self._waiting = answer
        answer.addCallbacks(self._answered, self._failed)
        return self._waiting is not None

    def _answered(self, reply: Reply | None) -> None:
        self._waiting = None
        if self.is_gone:
            return
        if reply is not None:
            self.session.offer = self.intake.offer  # a login changes it, for the very next command
            self.session.answer(reply)
        if not self._is_running and not self._is_choked:
            self._run()

    def _failed(self, failure: Failure) -> None:
        # The intake answers for all that it expects; this is a defect, and must leave no session without an answer.
        reply = self._factory.house.trouble("intake", failure)
        self._answered(reply if self.session.awaiting is Awaiting.ANSWER else None)

    def _send(self) -> None:
        session = self.session
        out = session.data_to_send()
        if out:
            self.active_at = self._factory.now
            self._wire.write(out)
        if session.closing:
            self.close()
        elif session.switching:
            self._begin_tls()
        elif self._waiting is not None or self._is_paused:  # else all was read that there is
            self._read_or_pause()

    def _begin_tls(self) -> None:
        tls = self._factory.house.tls
        assert tls is not None, "STARTTLS was answered 220"
        self._is_handshaking = True
        self._wire.startTLS(tls)
        self.session.tls_started()

    def _read_or_pause(self) -> None:
        pause = self._is_choked or not self.session.wants_data
        if pause is not self._is_paused and not self.session.closing:
            self._is_paused = pause
            if pause:
                self._wire.pause()
            else:
                self._wire.resume()

    def close(self) -> None:
        """Sends what is to be sent, and closes."""
        if self._is_closed:
            return
        self._is_closed = True
        self.intake.leave()
        self._wire.unregisterProducer()
        self._wire.close()

    def vouch(self, user: User) -> None:
        """Whoever opened this session without a socket knows that it is this user (relay.receive.visit)."""
        self.intake.vouch(user)
        self.session.is_logged_in = True
        self.session.offer = self.intake.offer

    # -- what the factory calls --------------------------------------------------------------

    def check_time(self, now: float, tick_s: float, settings: ReceiveSettings) -> None:
        """Ends the session when the client has kept us waiting too long (RFC 5321 §4.5.3.2)."""
        awaiting = self.session.awaiting
        if self.intake.ended != self._ended_seen:
            self._ended_seen, self.since, self.octets = self.intake.ended, now, 0
        if self._is_handshaking:
            if now - self.active_at - tick_s > HANDSHAKE_LIMIT_S:
                self._wire.abort()
            return
        if self._waiting is not None or awaiting is Awaiting.ANSWER:
            # It is our turn; the time that we take is not the client's.
            self.active_at = now
            self.since += tick_s
            return
        idle_s = now - self.active_at - tick_s  # for our stamps are as coarse as that, and nobody is ended too early
        if awaiting is Awaiting.NOTHING:
            if idle_s > settings.content_timeout_s:
                self._wire.abort()  # it takes neither our last reply nor our leave
            return
        limit_s = settings.content_timeout_s if awaiting is Awaiting.CONTENT else settings.command_timeout_s
        whole_s = settings.transaction_limit_s + self.octets / settings.least_octets_per_s
        if idle_s > limit_s or now - self.since > whole_s:
            self.session.time_out()
            self._run()

    def shift_time(self, by_s: float) -> None:
        """The clock was set: what was counted from before moves with it."""
        self.active_at += by_s
        self.since += by_s

    def reconsider(self) -> None:
        """The rules have changed."""
        self.intake.reconsider()
        self.session.offer = self.intake.offer

    def shut_down(self) -> None:
        """Ends the session as soon as no transaction is open."""
        self.session.shut_down()
        if self._is_handshaking:
            self._wire.abort()  # nobody could hear us
        elif self._waiting is None:
            self._run()

    def dismiss(self, reply: Reply) -> None:
        """Ends the session now, whatever is under way in it."""
        if not self.session.closing:
            self._wire.write(reply.wire)
            self.session.connection_lost()
            self.close()

    def abort(self) -> None:
        """Drops the connection."""
        self._wire.abort()


def _ip_of(peer: object) -> str:
    """The client's address as text; empty for a unix socket."""
    return "" if isinstance(peer, UNIXAddress) else str(getattr(peer, "host", "unknown"))
