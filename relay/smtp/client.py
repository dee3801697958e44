"""The client's half of an SMTP or LMTP conversation, without sockets or clocks.

Replies are matched to commands by counting (RFC 2920 §3.1): ``_awaited`` holds one Step for each reply that is
owed to us, in the order of the commands.  A reply that nobody waits for, or that is none, ends the session,
for from there on nothing it says can be trusted.

    state      waits for                       on yes                            on no
    opening    GREETING                        EHLO (LHLO)                       session ends
               HELLO                           securing, logging in or ready     5yz: HELO, once; else session ends
    securing   STARTTLS                        TlsWanted                         as HELLO without it, or session ends
               HANDSHAKE                       ``secured``: EHLO again           the carrier closes
    logging in CREDENTIALS                     ``log_in``: AUTH                  session ends
               AUTH                            ready, with an Offer              session ends
    ready      nothing                         ``begin``: RSET if needed, MAIL, RCPT…, DATA in one group when the
                                               server offers PIPELINING, else one by one
    envelope   RESET MAIL RECIPIENT… DATA      ContentWanted                     transaction ends
                                               (one that ``asks_only``: ends)
    content    nothing, or CHUNK               ``content_end``                   transaction ends
    ending     END, for LMTP one a recipient   transaction ends                  transaction ends
    over       nothing                         SessionEnded was the last event

While one transaction is ending the next may begin, where PIPELINING is offered: its commands go out right
behind the final dot (RFC 2920 §3.1 allows the content as first of a group).  At most one follows so.  If the
session ends before the server has answered any of its commands, ``Transaction.heard`` is 0.

The rules that must not be broken: every recipient of a transaction that began gets exactly one Answer, whatever
the server does, and it says END without a reply exactly when the content had gone out whole.  Nothing that came before
TLS counts within it, and no octet from before it is read within it (RFC 3207 §4.2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from relay.message.reply import Reply, printable
from relay.smtp.client_events import (
    TIMEOUT_S,
    ContentWanted,
    CredentialsWanted,
    Encryption,
    Event,
    Opened,
    SessionEnded,
    TlsWanted,
    TransactionEnded,
)
from relay.smtp.login import Exchange, LoggingIn
from relay.smtp.offer import NOTHING_OFFERED, Offer, offer_of
from relay.smtp.replies import ReplyFault, ReplyReader
from relay.smtp.stuffing import DotStuffing
from relay.smtp.transaction import Answer, Step, Transaction

_AUTH, _DATA, _END, _MAIL, _QUIT = (
    Step.AUTH,
    Step.DATA,
    Step.END,
    Step.MAIL,
    Step.QUIT,
)  # to look one up costs like a call
_RECIPIENT, _RESET = Step.RECIPIENT, Step.RESET


class ClientSession:
    """One session.  Feed ``receive_data``, take every ``next_event``, write ``data_to_send``; in this order, each time.

    hostname    our name in ASCII, for EHLO
    lmtp        speak LMTP (RFC 2033)
    encryption  what to do about STARTTLS
    login       whether to log in

    takes_leave  it is over because we do not go on: the server is to be told QUIT (RFC 5321 §4.1.1.10)
    """

    def __init__(
        self,
        hostname: str,
        *,
        lmtp: bool = False,
        encryption: Encryption = Encryption.NEVER,
        login: bool = False,
    ) -> None:
        self._hostname = hostname.encode("ascii")
        self._lmtp = lmtp
        self._reader = ReplyReader()
        self._awaited: deque[Step] = deque((Step.GREETING,))
        self._events: deque[Event] = deque()
        self._out: list[bytes] = []
        self._unsent: deque[bytes] = deque()  # commands that wait for their turn, without PIPELINING
        self._current: Transaction | None = None
        self._following: Transaction | None = None
        self._content: DotStuffing | None = None
        self._sending = False
        self._needs_reset = False
        self._said_helo = False
        self._encryption = encryption
        self._login = login
        self._pausing: Step | None = None  # what the carrier owes us
        self._greeted_with = NOTHING_OFFERED
        self._logging_in: LoggingIn | None = None
        self._now = 0.0
        self.offer: Offer | None = None
        self.over = False
        self.takes_leave = False
        self.replies = 0  # whole replies so far
        self.record: list[tuple[float, bytes | Reply | str]] = []

    # -- the carrier's side ------------------------------------------------------------------

    def receive_data(self, data: bytes, at: float = 0.0) -> None:
        """Takes what came from the server.  ``at`` is noted in the records."""
        if self.over:
            return
        self._now = at
        self._reader.feed(data)
        # A reply to a command that we have not sent yet was not meant for it.
        owed = len(self._awaited)
        try:
            while not self.over and (reply := self._reader.next_reply()) is not None:
                owed -= 1
                self.replies += 1
                if owed < 0:
                    self._unasked(reply)
                else:
                    self._take(self._awaited.popleft(), reply)
        except ReplyFault as fault:
            self._fail(f"the server sent {printable(str(fault))}")

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> list[bytes]:
        """What is to be written now, in order."""
        out, self._out = self._out, []
        return out

    def lost(self, why: str) -> None:
        """The connection is gone."""
        if not self.over:
            self._fail(why)

    def timed_out(self) -> None:
        """What was waited for did not come in ``timeout_s``."""
        if not self.over:
            step = self.step
            self._fail(f"timed out waiting for {step.value}" if step else "idle for too long")

    @property
    def step(self) -> Step | None:
        """What the session waits for; None when for nothing."""
        if self._awaited:
            return self._awaited[0]
        return Step.CONTENT if self._sending else self._pausing

    @property
    def timeout_s(self) -> float | None:
        """How long to wait for ``step``, from the last progress on (RFC 5321 §4.5.3.2); None when idle."""
        step = self.step
        return None if step is None else TIMEOUT_S[step]

    @property
    def is_idle(self) -> bool:
        """Open, with nothing under way."""
        return self.offer is not None and not self.over and self._current is None and not self._awaited

    @property
    def may_begin(self) -> bool:
        """Whether ``begin`` may be called: when idle, or when the one transaction's content has gone out whole."""
        awaited = self._awaited
        if self.over or self.offer is None or _QUIT in awaited:
            return False
        if self._current is None:
            return True
        return (
            self._following is None
            and self.offer.pipelining
            and not self._sending
            and bool(awaited)
            and awaited[0] is _END
            and bool(self._current.accepted)
        )

    # -- what the carrier wants --------------------------------------------------------------

    def begin(self, transaction: Transaction, at: float = 0.0) -> None:
        """Begins a transaction; see ``may_begin``.  Raises ValueError for an envelope that cannot be said."""
        assert self.offer is not None and self.may_begin
        commands = transaction.commands(self.offer)
        if self._needs_reset:
            commands.insert(0, b"RSET\r\n")
            self._needs_reset = False
        if self._current is None:
            self._current = transaction
        else:
            self._following = transaction
        self._now = at
        if not self.offer.pipelining:
            self._unsent.extend(commands)
            self._next_command()
            return
        group = b"".join(commands)
        if commands[0] == b"RSET\r\n":
            self._awaited.append(_RESET)
        self._awaited.append(_MAIL)
        self._awaited.extend([_RECIPIENT] * len(transaction.recipients))
        if transaction.says_data:
            self._awaited.append(_DATA)
        self._out.append(group)
        transaction.record.append((at, group))

    def content(self, *pieces: bytes) -> None:
        """What comes next of the content.  For a chunked transaction, more only when ContentWanted comes again.

        Raises StrayLineEnd: then close the connection, nothing else.
        """
        current = self._wanted()
        if current.chunked:
            self._chunk(b"BDAT %d\r\n" % sum(map(len, pieces)), *pieces)
        else:
            assert self._content is not None
            self._out.extend(map(self._content.stuff, pieces))

    def content_end(self) -> None:
        """All of the content was sent.  Raises StrayLineEnd."""
        current = self._wanted()
        if current.chunked:
            end = b"BDAT 0 LAST\r\n"
        else:
            assert self._content is not None
            end = self._content.end()
        self._out.append(end)
        self._ended_with(current, end)

    def whole_content(self, *pieces: bytes) -> None:
        """The content and its end, at once.  Raises StrayLineEnd."""
        current = self._wanted()
        if current.chunked:
            end = b"BDAT %d LAST\r\n" % sum(map(len, pieces))
            self._out.append(end)
            self._out.extend(pieces)
        else:
            assert self._content is not None
            self._out.extend(map(self._content.stuff, pieces))
            end = self._content.end()
            self._out.append(end)
        self._ended_with(current, end)

    def note(self, remark: str) -> None:
        """A remark for the record."""
        self.record.append((self._now, remark))

    def secured(self) -> None:
        """TLS has begun, with a server that is who it must be: all is said anew (RFC 3207 §4.2)."""
        assert self._pausing is Step.HANDSHAKE
        self._pausing = None
        self._encryption = Encryption.NEVER
        self._reader = ReplyReader()
        self._say((b"LHLO " if self._lmtp else b"EHLO ") + self._hostname + b"\r\n", Step.HELLO)

    def log_in(self, exchange: Exchange) -> None:
        """Begins to log in (RFC 4954 §4)."""
        assert self._pausing is Step.CREDENTIALS
        self._pausing = None
        self._logging_in = LoggingIn(exchange)
        self._say(*self._logging_in.command())

    def cannot_log_in(self, why: str) -> None:
        """There are no credentials, or none that fit."""
        if not self.over:
            self._leave(Step.AUTH, None, why)

    def distrust(self, why: str) -> None:
        """The handshake failed, or the server is not who it must be: nothing more is said to it."""
        if not self.over:
            self._close(Step.HANDSHAKE, None, why)

    def quit(self) -> None:
        """Takes leave (RFC 5321 §4.1.1.10); only when idle."""
        if self.is_idle:
            self._out.append(b"QUIT\r\n")
            self.record.append((self._now, b"QUIT\r\n"))
            self._awaited.append(Step.QUIT)

    # -- sending -----------------------------------------------------------------------------

    def _wanted(self) -> Transaction:
        assert self._current is not None and self._sending and not self._awaited
        return self._current

    def _chunk(self, command: bytes, *pieces: bytes) -> None:
        assert self._current is not None
        self._out += (command, *pieces)
        self._current.record.append((self._now, command))
        self._awaited.append(Step.CHUNK)

    def _ended_with(self, current: Transaction, end: bytes) -> None:
        current.record.append((self._now, end))
        self._sending = False
        self._awaited.extend([_END] * (len(current.accepted) if self._lmtp else 1))

    def _say(self, line: bytes, step: Step, shown: bytes = b"") -> None:
        """``shown`` stands in the record in place of a line with credentials."""
        self._out.append(line)
        self._awaited.append(step)
        (self._current.record if self._current else self.record).append((self._now, shown or line))

    def _next_command(self) -> None:
        """Without PIPELINING: the next command of the transaction, now that the one before was answered."""
        if self._unsent:
            line = self._unsent.popleft()
            self._say(line, _STEP_OF[line[:4]])

    # -- receiving ---------------------------------------------------------------------------

    def _take(self, step: Step, reply: Reply) -> None:
        """The reply to the oldest command that has none."""
        current = self._current
        (self.record if current is None else current.record).append((self._now, reply))
        if reply.code == 421:
            self._turned_away(step, reply)
        elif (reply.code // 100 == 3) != (step is _DATA) and reply.code < 400 and step is not _AUTH:
            self._awaited.appendleft(step)  # it is still unanswered
            self._fail(f"the server answered {reply.code} where that makes no sense")
        else:
            if current is not None and step is not _RESET:
                current.heard += 1
            self._ON[step](self, reply)

    def _on_greeting(self, reply: Reply) -> None:
        if reply.is_positive:
            self._say((b"LHLO " if self._lmtp else b"EHLO ") + self._hostname + b"\r\n", Step.HELLO)
        else:
            self._leave(Step.GREETING, reply)

    def _on_hello(self, reply: Reply) -> None:
        if reply.is_positive:
            self._greeted_with = NOTHING_OFFERED if self._said_helo else offer_of(reply)
            self._secure()
        elif reply.is_permanent and not self._said_helo and not self._lmtp:
            self._said_helo = True  # RFC 5321 §3.2: a server of before 1993
            self._say(b"HELO " + self._hostname + b"\r\n", Step.HELLO)
        else:
            self._leave(Step.HELLO, reply)

    def _secure(self) -> None:
        """STARTTLS, where there is something to be done about it."""
        if self._encryption is Encryption.NEVER:
            self._authenticate()
        elif self._greeted_with.starttls:
            self._say(b"STARTTLS\r\n", Step.STARTTLS)
        elif self._encryption is Encryption.MUST:
            self._leave(Step.STARTTLS, None, "TLS is required, and the server does not offer STARTTLS")
        else:
            self._authenticate()

    def _on_starttls(self, reply: Reply) -> None:
        if reply.is_positive:
            if not self._reader.is_empty:
                # Whoever stands between us could have put it there, to be read as said within TLS (CVE-2011-0411).
                self._close(Step.HANDSHAKE, None, "the server sent octets behind its reply to STARTTLS")
                return
            self._pausing = Step.HANDSHAKE
            self._events.append(TlsWanted())
        elif self._encryption is Encryption.MUST:
            self._leave(Step.STARTTLS, reply)
        else:
            self._authenticate()

    def _authenticate(self) -> None:
        """AUTH, where we are to log in."""
        if self._login:
            self._pausing = Step.CREDENTIALS
            self._events.append(CredentialsWanted(self._greeted_with.auth))
        else:
            self._open()

    def _on_auth(self, reply: Reply) -> None:
        logging_in = self._logging_in
        assert logging_in is not None
        if reply.code // 100 == 3:
            self._say(*logging_in.respond(reply.lines[0]))
            return
        if reply.is_positive:
            logging_in.accepted()
        if reply.is_positive and not logging_in.fault:
            self._open()
        else:
            self._leave(Step.AUTH, None if logging_in.fault else reply, logging_in.fault)

    def _open(self) -> None:
        self._logging_in = None
        self.offer = replace(self._greeted_with, logged_in=True) if self._login else self._greeted_with
        self._events.append(Opened(self.offer))

    def _on_reset(self, reply: Reply) -> None:
        if reply.is_positive:
            self._next_command()
        else:
            self._leave(Step.RESET, reply)

    def _on_mail(self, reply: Reply) -> None:
        assert self._current is not None
        if reply.is_positive:
            self._next_command()
            return
        self._current.decide(Answer(Step.MAIL, reply))
        if not self._awaited:
            self._end_transaction()

    def _on_recipient(self, reply: Reply) -> None:
        current = self._current
        assert current is not None and self.offer is not None
        # Replies come in the order of the commands; MAIL's was the first.
        place = current.heard - 2
        if current.answers[place] is None:
            if reply.is_positive:
                current.accepted.append(place)
            if not reply.is_positive or current.asks_only:
                current.answers[place] = Answer(Step.RECIPIENT, reply)
        if self.offer.pipelining and current.says_data:
            return  # the reply to DATA is still to come
        if place + 1 < len(current.recipients):
            self._next_command()
        elif not current.accepted or current.asks_only:
            self._needs_reset = True
            self._end_transaction()
        elif current.chunked:
            self._want_content()
        else:
            self._next_command()

    def _on_data(self, reply: Reply) -> None:
        current = self._current
        assert current is not None
        if not reply.is_positive:
            self._needs_reset = True
            current.decide(Answer(Step.DATA, reply))
            self._end_transaction()
        elif current.accepted:
            self._want_content()
        elif self._lmtp:
            self._fail("the server wants content for no recipient")
        else:
            # RFC 2920 §3.1: every recipient was refused, and yet the server waits for content.
            self._say(b".\r\n", Step.END)

    def _want_content(self) -> None:
        assert self._current is not None
        self._sending = True
        self._content = DotStuffing()
        self._events.append(ContentWanted(self._current))

    def _on_chunk(self, reply: Reply) -> None:
        current = self._current
        assert current is not None
        if reply.is_positive:
            self._events.append(ContentWanted(current))
            return
        self._needs_reset = True  # RFC 3030 §2: the state is indeterminate
        self._sending = False
        current.decide(Answer(Step.CHUNK, reply))
        self._end_transaction()

    def _on_end(self, reply: Reply) -> None:
        current = self._current
        assert current is not None
        if not self._lmtp:
            current.decide(Answer(_END, reply))
            self._end_transaction()
            return
        self._answered_in_turn(current, reply)
        if None not in current.answers:
            self._end_transaction()

    def _answered_in_turn(self, current: Transaction, reply: Reply) -> None:
        """RFC 2033 §4.2: one reply for each accepted recipient, in their order."""
        place = next(each for each in current.accepted if current.answers[each] is None)
        current.answers[place] = Answer(_END, reply)

    def _on_quit(self, reply: Reply) -> None:
        self.over = True
        self._events.append(SessionEnded(Step.QUIT, reply))

    _ON: ClassVar[dict[Step, Callable[[ClientSession, Reply], None]]] = {
        Step.GREETING: _on_greeting,
        Step.HELLO: _on_hello,
        Step.STARTTLS: _on_starttls,
        Step.AUTH: _on_auth,
        Step.RESET: _on_reset,
        Step.MAIL: _on_mail,
        Step.RECIPIENT: _on_recipient,
        Step.DATA: _on_data,
        Step.CHUNK: _on_chunk,
        Step.END: _on_end,
        Step.QUIT: _on_quit,
    }

    # -- endings -----------------------------------------------------------------------------

    def _end_transaction(self) -> None:
        ended = self._current
        assert ended is not None
        self._unsent.clear()
        self._current, self._following = self._following, None
        self._events.append(TransactionEnded(ended))

    def _unasked(self, reply: Reply) -> None:
        """A reply that no command asked for."""
        if self._current is not None:
            self._current.record.append((self._now, reply))
        if reply.code == 421 or (self._sending and reply.code >= 400):
            # RFC 5321 §3.8 allows 421 at any time.  A refusal in the middle of the content is out of order, but its
            # sense is plain, and without it a message that is too big would be sent again for days.
            self._turned_away(Step.CONTENT if self._sending else None, reply)
        else:
            self._fail(f"the server sent a reply that nothing asked for: {reply}")

    def _turned_away(self, step: Step | None, reply: Reply) -> None:
        """The server ends the session and says so."""
        current = self._current
        if current is not None and step is _END and self._lmtp:
            self._answered_in_turn(current, reply)  # what became of the others is not known
        elif current is not None:
            current.decide(Answer(step if step not in (None, Step.RESET) else Step.MAIL, reply))
        self._close(step, reply)

    def _fail(self, why: str) -> None:
        self._close(self.step, None, why)

    def _leave(self, step: Step, reply: Reply | None, why: str = "") -> None:
        """The server is sound, and we do not go on with it."""
        self._close(step, reply, why)
        self.takes_leave = True
        self.record.append((self._now, b"QUIT\r\n"))

    def _close(self, step: Step | None, reply: Reply | None, why: str = "") -> None:
        """Ends the session.  Whoever is still undecided is so without a reply."""
        self.over = True
        # What a server said and took back in one breath was never said: who heard that the session is open would open
        # the next one at once, without end, and who sends the content would take its own failure for the reason.
        self._events = deque(event for event in self._events if isinstance(event, TransactionEnded))
        for transaction in (self._current, self._following):
            if transaction is not None:
                transaction.decide(Answer(self._reached(transaction), None, why or str(reply)))
                self._events.append(TransactionEnded(transaction))
        self._current = self._following = None
        self._sending = False
        self._pausing = None
        self._awaited.clear()
        self._unsent.clear()
        self._out.clear()
        self._events.append(SessionEnded(step, reply, why))

    def _reached(self, transaction: Transaction) -> Step:
        """How far a transaction came."""
        if transaction is self._following:
            return Step.MAIL
        if self._sending:
            return Step.CONTENT
        waits_for = self._awaited[0] if self._awaited else None
        return waits_for if waits_for in _OF_TRANSACTION else Step.MAIL


_STEP_OF = {b"RSET": Step.RESET, b"MAIL": Step.MAIL, b"RCPT": Step.RECIPIENT, b"DATA": Step.DATA}
_OF_TRANSACTION = frozenset((Step.MAIL, Step.RECIPIENT, Step.DATA, Step.CHUNK, Step.END))
