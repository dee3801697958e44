"""A session without a socket: somebody within this program brings mail, and is treated as any client.

Commands go as octets into the very protocol, session, intake and rules that a client on the wire meets, and the replies
come back as they would on the wire::

    with Visit(factory, "192.0.2.1") as visit:
        sent = await visit.send(Envelope(sender), [Recipient(address)], pieces)
    sent.id                                   # of the queue; empty when it was refused, and sent.reply says why

The rules that must not be broken: a visitor is let off nothing but what whoever opens the visit vouches for (who it is,
and that it is as good as within TLS); and content is taken no faster than it is written, whatever its size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall

from relay.message.envelope import Envelope, Recipient
from relay.message.reply import Reply, reply
from relay.policy.client import Client
from relay.policy.policy import Service
from relay.policy.users import User
from relay.receive.factory import SmtpServerFactory
from relay.receive.protocol import SmtpProtocol
from relay.receive.tls import Encryption
from relay.smtp.extensions import ServerOffer
from relay.smtp.offer import NOTHING_OFFERED, Offer, offer_of
from relay.smtp.replies import ReplyReader
from relay.smtp.transaction import Transaction

CHUNK_OCTETS = 32 * 1024
"""Content goes in no larger pieces, and the next one when the one before was answered: when it is written."""

AS_IF_BY_TLS = Encryption("TLSv1.3", "TLS_AES_256_GCM_SHA384")
"""What to pretend where only it matters that there is TLS."""

ENDED = reply(451, "4.4.2", "The session was ended; whether the message was taken is not known")
"""In place of a reply that did not come."""

Pieces = Iterable[bytes] | AsyncIterable[bytes]


class VisitOver(Exception):
    """The relay has ended the session, and nothing more can be said in it; ``str()`` is its last word, if any."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a message.

    reply       the one that decided: to the content, or to what came before it and was refused
    recipients  the replies to them, in their order, as far as they were named
    id          the message's queue id; empty unless it is in the queue
    """

    reply: Reply
    recipients: tuple[Reply, ...] = ()
    id: str = ""


class Visit:
    """One session, of one visitor who says one thing after the other.  A context manager that leaves at its end; who
    does not use it as one calls ``leave``.

    factory     the listener whose rules hold; the visit counts among its sessions
    ip          the client's address; empty for this machine itself, as by a unix socket, which is trusted
    user        it is this one, as if logged in; whether that is so, whoever opens the visit has made sure of
    encryption  as if within this; None: in the clear, until STARTTLS, after which it is as if within ``pretended``
    helo        what it calls itself, in ASCII
    """

    def __init__(
        self,
        factory: SmtpServerFactory,
        ip: str = "",
        *,
        user: User | None = None,
        encryption: Encryption | None = None,
        pretended: Encryption = AS_IF_BY_TLS,
        helo: str = "localhost",
    ) -> None:
        self.helo = helo
        self._is_lmtp = factory.house.service is Service.LMTP
        self._pretended = pretended
        self._inside = _Inside(factory, _peer(ip))
        self._greeting: Reply | None = None
        self._offer: Offer | None = None
        protocol = self._inside.protocol
        cast(Any, protocol).makeConnection(self._inside)
        if encryption is not None and not self._inside.is_closed:
            protocol.encrypted(encryption)
        if user is not None and not self._inside.is_closed:
            protocol.vouch(user)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Goes, without a word; what was not brought to its end is forgotten.  May be called again."""
        self._inside.lose()

    @property
    def offered(self) -> ServerOffer:
        """What is offered now, and what is asked for first."""
        return self._inside.protocol.session.offer

    @property
    def client(self) -> Client:
        """Whom the relay takes the visitor for."""
        return self._inside.protocol.intake.client

    # -- word by word ------------------------------------------------------------------------

    async def greeting(self) -> Reply:
        """What the relay said first.  Raises VisitOver."""
        if self._greeting is None:
            self._greeting = await self._inside.reply()
        return self._greeting

    async def hello(self) -> Reply:
        """EHLO, or LHLO.  Raises VisitOver."""
        answer = await self.say(f"{'LHLO' if self._is_lmtp else 'EHLO'} {self.helo}")
        self._offer = offer_of(answer) if answer.is_positive else None
        return answer

    async def say(self, line: str) -> Reply:
        """Says one command line, or one line within AUTH; gives its reply.  For BDAT see ``content``; DATA, whose
        content has another form, is not for a visit.

        Raises VisitOver, and ValueError for what is not one line.
        """
        if "\r" in line or "\n" in line:
            raise ValueError("a line end within a line")
        await self.greeting()
        inside = self._inside
        answer = await inside.ask(line.encode("utf-8", "replace") + b"\r\n")
        if inside.is_switching:
            inside.is_switching = False
            self._offer = None
            inside.protocol.encrypted(self._pretended)
        return answer

    async def content(self, pieces: Pieces) -> Reply:
        """The content, octets as they are, and its end; gives the reply to it, or to the piece that was refused.

        Unless the envelope says BINARYMIME, lines end with CRLF.  After a refusal in the midst, RSET is to be said.
        With LMTP every recipient has the same reply.  Raises VisitOver, and what ``pieces`` raises.
        """
        async for piece in _in_chunks(pieces):
            answer = await self._inside.ask(b"BDAT %d\r\n" % len(piece) + piece)
            if not answer.is_positive:
                return answer
        return await self._inside.ask(b"BDAT 0 LAST\r\n")

    # -- a message at once -------------------------------------------------------------------

    async def send(
        self, envelope: Envelope, recipients: Sequence[Recipient], pieces: Pieces, size: int | None = None
    ) -> Sent:
        """Brings a message: to all recipients that are not refused, if there are any.  Never raises VisitOver.

        envelope  what it declares of the content must be so: EIGHTBIT when there is an octet above 127
        size      octets of the content where that is known; too much is then refused before it comes

        Raises ValueError for an address that no parser made, and what ``pieces`` raises: the message is forgotten then,
        and the visit is over.
        """
        told: list[Reply] = []
        try:
            answer = await self._send(envelope, recipients, pieces, size, told)
        except VisitOver:
            last = self._inside.last
            answer = last if last is not None and not last.is_positive else ENDED
        except BaseException:
            self.leave()
            raise
        return Sent(answer, tuple(told), answer.lines[0].rpartition(" ")[2] if answer.is_positive else "")

    async def _send(
        self,
        envelope: Envelope,
        recipients: Sequence[Recipient],
        pieces: Pieces,
        size: int | None,
        told: list[Reply],
    ) -> Reply:
        """Gives the reply that decided; a positive one means that the message is in the queue.  Those to the recipients
        go into ``told``."""
        refusal = await self._not_let_in()
        if refusal is not None:
            return refusal
        mail, *to = self._commands(envelope, recipients, size)
        answer = await self.say(mail)
        if not answer.is_positive:
            return answer
        for line in to:
            answer = await self.say(line)
            told.append(answer)
        if not told or any(one.is_positive for one in told):
            answer = await self.content(pieces)
        if not answer.is_positive:
            await self.say("RSET")
        return answer

    async def _not_let_in(self) -> Reply | None:
        """Why no transaction can begin, or None."""
        greeting = await self.greeting()
        if not greeting.is_positive:
            return greeting
        if self._offer is None:
            answer = await self.hello()
            if not answer.is_positive:
                return answer
        return None

    def _commands(self, envelope: Envelope, recipients: Sequence[Recipient], size: int | None) -> list[str]:
        """MAIL and each RCPT, with the parameters that the relay offers."""
        offer = self._offer or NOTHING_OFFERED
        said = Transaction(
            envelope,
            recipients,
            size or 0,
            body=envelope.body,
            smtputf8=envelope.smtputf8,
            chunked=True,
            require_tls=envelope.require_tls,
        )
        lines = said.commands(offer if size is not None else replace(offer, size=None))
        return [line.decode().removesuffix("\r\n") for line in lines]


class _Inside:
    """The transport: what the session writes becomes replies.

    last          the last reply there was
    is_closed     the session has closed the connection, or is gone
    is_switching  TLS is to begin
    """

    def __init__(self, factory: SmtpServerFactory, peer: IAddress) -> None:
        self.last: Reply | None = None
        self.is_closed = False
        self.is_switching = False
        self.protocol: SmtpProtocol = factory.buildProtocol(peer)
        self._clock = factory.house.clock
        self._peer = peer
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._changed: Deferred[None] | None = None  # there while somebody waits for a change of anything here
        self._losing: IDelayedCall | None = None
        self._is_lost = False

    # -- the visitor's side ------------------------------------------------------------------

    async def ask(self, octets: bytes) -> Reply:
        """Says this; gives the one reply, or the first of several that are equal (LMTP)."""
        if not self.is_closed:
            self.protocol.dataReceived(octets)
        answer = await self.reply()
        self._replies.clear()
        return answer

    async def reply(self) -> Reply:
        """The next reply.  Raises VisitOver."""
        while not self._replies:
            if self.is_closed:
                raise VisitOver(str(self.last or ""))
            await self._change()
        return self._replies.popleft()

    async def _change(self) -> None:
        self._changed = Deferred()
        await self._changed

    def _has_changed(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.called:  # it is called already when its waiter was cancelled
            changed.callback(None)

    def lose(self) -> None:
        """The connection is gone."""
        if self._losing is not None and self._losing.active():
            self._losing.cancel()
        if not self._is_lost:
            self._is_lost = self.is_closed = True
            self.protocol.connectionLost()
            self._has_changed()

    # -- the session's side ------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self._reader.feed(data)
        while (answer := self._reader.next_reply()) is not None:
            self.last = answer
            self._replies.append(answer)
        self._has_changed()

    def getPeer(self) -> IAddress:
        return self._peer

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is delayed here."""

    def loseConnection(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            # As any transport does it: the end is told when whoever ended it has done what it was at.
            self._losing = self._clock.callLater(0, self.lose)
            self._has_changed()

    abortConnection = loseConnection

    def pauseProducing(self) -> None:
        """Nothing more is said before there is a reply, so nothing piles up."""

    def resumeProducing(self) -> None:
        """See pauseProducing."""

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Every reply is taken at once: the session is never told to wait."""

    def unregisterProducer(self) -> None:
        """See registerProducer."""

    def startTLS(self, contextFactory: object) -> None:
        self.is_switching = True


def _peer(ip: str) -> IAddress:
    if not ip:
        return UNIXAddress(None)
    return IPv6Address("TCP", ip, 0) if ":" in ip else IPv4Address("TCP", ip, 0)


async def _in_chunks(pieces: Pieces) -> AsyncIterator[bytes]:
    if isinstance(pieces, AsyncIterable):
        async for piece in pieces:
            for start in range(0, len(piece), CHUNK_OCTETS):
                yield piece[start : start + CHUNK_OCTETS]
    else:
        for piece in pieces:
            for start in range(0, len(piece), CHUNK_OCTETS):
                yield piece[start : start + CHUNK_OCTETS]
