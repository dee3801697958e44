"""The server's half of an SMTP or LMTP conversation, without sockets or clocks.

A session asks one question at a time.  Until it is answered, ``next_event`` gives no other question and no
command is read, so replies leave in the order of the commands however slow a decision is (RFC 2920 §3.2).

How a carrier uses it, whenever octets have come, a question was answered, or it called ``time_out`` and its like::

    while (event := session.next_event()) is not None:
        ...                                  # a question: session.answer(reply), now or later
    transport.write(session.data_to_send())
    if session.closing: transport.loseConnection()
    elif not session.wants_data: transport.pauseProducing()

What is held is bounded: unread octets by ``wants_data``, content is never kept here, and a client that only
makes errors or small talk is sent away with 421 4.7.0 (limits in ServerOffer).

Whenever the session ends but by QUIT, a lost connection, or a greeting that turns the client away, 421 is the last
reply (RFC 5321 §3.8).
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from relay.message import reply as replies
from relay.message.reply import REPLY_LINE_LIMIT_OCTETS, Reply
from relay.smtp.auth import AUTH_LINES, Channel, Exchange, Step, challenge_line, chosen_mechanism
from relay.smtp.commands import Argument, Command, CommandRefused, Phase, chunk_size, hello_name
from relay.smtp.data import Chunk, DotStuffed
from relay.smtp.events import (
    ContentEnded,
    ContentReceived,
    ContentStarted,
    EtrnReceived,
    Event,
    ExpandReceived,
    HelloReceived,
    HelpReceived,
    MailReceived,
    SecretWanted,
    SessionOpened,
    TlsRequested,
    TransactionAborted,
    VerifyReceived,
)
from relay.smtp.extensions import ServerOffer, without_smtputf8
from relay.smtp.incoming import Incoming, sender_named
from relay.smtp.lines import LineEndless, LineRefused, Unread
from relay.smtp.patience import Patience
from relay.smtp.scram import ScramSecret

_OPTIONAL, _REQUIRED = Argument.OPTIONAL, Argument.REQUIRED
_READY, _ENVELOPE, _TURNED_AWAY = Phase.READY, Phase.ENVELOPE, Phase.TURNED_AWAY  # to look one up costs like a call

UNREAD_LIMIT_OCTETS = 64 * 1024
"""More unread octets than this, since an answer or the disk is waited for, and the carrier is to read no more."""


class Awaiting(enum.Enum):
    """What a session waits for, and so which time-out applies (RFC 5321 §4.5.3.2).

    command  the next command: 5 minutes at least (§4.5.3.2.7)
    content  more of the content: 3 minutes a block (§4.5.3.2.5)
    answer   our own decision: the client is not to blame, no time-out
    nothing  the session is over
    """

    COMMAND = "command"
    CONTENT = "content"
    ANSWER = "answer"
    NOTHING = "nothing"


class ServerSession:
    """One client's conversation.

    offer         may be set to another ServerOffer at any time; counts from the next command on
    phase         how far the session has come
    closing       send what is to be sent, then close; nothing more will be read
    switching     send what is to be sent, then begin TLS and say ``tls_started``
    is_logged_in  AUTH was answered 235
    """

    __slots__ = (
        "_asked",
        "_bindings",
        "_events",
        "_exchange",
        "_framing",
        "_mails",
        "_out",
        "_patience",
        "_shutting_down",
        "_then",
        "_transaction",
        "_unread",
        "closing",
        "is_logged_in",
        "offer",
        "phase",
        "switching",
    )

    def __init__(self, offer: ServerOffer) -> None:
        self.offer = offer
        self.phase = Phase.OPENED
        self.closing = False
        self._unread = Unread()
        self._out: list[bytes] = []
        self._events: deque[Event] = deque()
        self._asked: Event
        self._then: Callable[[Reply], None] | None = None
        self._transaction: Incoming | None = None
        self._framing: DotStuffed | Chunk | None = None
        self._patience = Patience()
        self._mails = 0
        self._shutting_down = False
        self._exchange: Exchange | None = None  # an AUTH command that has not come to its end
        self._bindings: Mapping[str, bytes] = {}
        self.switching = False
        self.is_logged_in = False
        self._ask(SessionOpened(), self._greeted)

    # -- what the carrier calls ---------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Takes what came from the client, cut anywhere."""
        if not self.closing:
            self._unread.add(data)

    def tls_started(self) -> None:
        """TLS has begun in answer to STARTTLS.  What was said before is forgotten (RFC 3207 §4.2); what the client
        is offered now, the carrier sets in ``offer``."""
        self.switching = False
        self.is_logged_in = False
        self.phase = Phase.CONNECTED
        self._unread.clear()

    def bind(self, bindings: Mapping[str, bytes]) -> None:
        """The channel is this one, as far as a login can be bound to it (RFC 5929, RFC 9266)."""
        self._bindings = bindings

    def next_event(self) -> Event | None:
        """The next question or piece of news; None when a question is open or more octets are needed."""
        events = self._events
        while not events and self._then is None and self._advance():
            pass
        return events.popleft() if events else None

    def answer(self, reply: Reply) -> None:
        """Answers the open question.  With LMTP, after the content, each recipient gets this reply.

        An answer that comes after the connection was lost is dropped.
        """
        then, self._then = self._then, None
        if then is None:
            if not self.closing:
                raise RuntimeError("no question is open")
        elif reply.code == 421:
            self._respond(reply)
        else:
            then(reply)

    def answer_secret(self, secret: ScramSecret, nonce: str) -> None:
        """Answers SecretWanted.

        nonce  random, printable, without comma, for this exchange alone
        """
        if self._then is None and self.closing:
            return
        if self._then is None or self._exchange is None or not isinstance(self._asked, SecretWanted):
            raise RuntimeError("SecretWanted is not the open question")
        self._then = None
        self._step(self._exchange.answer((secret, nonce)))

    def answer_each(self, answers: Sequence[Reply]) -> None:
        """Answers LMTP's ContentEnded: one reply for each accepted recipient, in their order (RFC 2033 §4.2)."""
        if self._then is None and self.closing:
            return
        if not (self.offer.lmtp and self._then is not None and isinstance(self._asked, ContentEnded)):
            raise RuntimeError("ContentEnded of LMTP is not the open question")
        if self._transaction is None or len(answers) != self._transaction.accepted:
            raise ValueError("one reply for each accepted recipient")
        self._then = None
        self._conclude(answers)

    def data_to_send(self) -> bytes:
        """All replies that are due, for one write."""
        if not self._out:
            return b""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data

    @property
    def wants_data(self) -> bool:
        """Whether the carrier should go on reading from the client."""
        return not self.closing and len(self._unread) < UNREAD_LIMIT_OCTETS

    @property
    def awaiting(self) -> Awaiting:
        """Whose turn it is."""
        if self.closing:
            return Awaiting.NOTHING
        if self._then is not None:
            return Awaiting.ANSWER
        return Awaiting.COMMAND if self._framing is None else Awaiting.CONTENT

    def time_out(self) -> None:
        """The client kept us waiting too long: 421 4.4.2."""
        if not self.closing:
            self._send_away(replies.timed_out, "timed out")

    def shut_down(self) -> None:
        """Says 421 4.3.2 as soon as no transaction is open (RFC 5321 §3.8); one that is may be finished."""
        self._shutting_down = True

    def connection_lost(self) -> None:
        """The client is gone; an open question need not be answered."""
        self._close("connection lost")

    # -- reading --------------------------------------------------------------------------------------

    def _advance(self) -> bool:
        """Goes one step on; False when nothing can be done without more octets."""
        if self._framing is not None:
            return self._read_content(self._framing)
        if self.closing or self.switching:
            return False
        if self._shutting_down and (self._transaction is None or not self._transaction.told):
            self._send_away(replies.shutting_down, "shutting down")
            return False
        try:
            line = self._unread.command_line(self.offer if self._exchange is None else AUTH_LINES)
        except LineRefused as refused:
            self._exchange = None
            self._respond(refused.reply)
            if refused.line[:4].upper() == b"BDAT":
                self._lose_framing()
            return True
        except LineEndless:
            self._send_away(replies.too_many_errors, "too many errors")
            return False
        if line is None:
            return False
        if self._exchange is None:
            self._read_command(line)
        else:
            self._step(self._exchange.respond(line))
        return True

    def _read_command(self, line: str) -> None:
        verb, _, argument = line.rstrip(" \t").partition(" ")
        verb = verb.upper()
        argument = argument.strip(" ")
        command = self.offer.commands.get(verb)
        refusal = self._fault_in_order(command, argument)
        try:
            if verb == "BDAT":  # its octets follow, refused or not
                self._bdat(argument, refusal)
            elif refusal is not None:
                self._respond(refusal, within=verb == "RCPT")
            elif command is not None and not (command.idle and self._is_idle(command) and self._is_too_idle()):
                _DO[verb](self, verb, argument)
        except CommandRefused as refused:
            self._respond(refused.reply, within=verb == "RCPT")

    def _fault_in_order(self, command: Command | None, argument: str) -> Reply | None:
        """Whether this command may not come now, or lacks its argument."""
        phase = self.phase
        if command is not None and command.refusal is None and phase in command.phases:
            wanted = command.argument
            if wanted is _OPTIONAL or bool(argument) is (wanted is _REQUIRED):
                return None
            return replies.BAD_ARGUMENTS.saying(f"Syntax: {command.usage}")
        if phase is _TURNED_AWAY:
            return replies.BAD_SEQUENCE  # RFC 5321 §3.1
        if command is None:
            return replies.UNRECOGNIZED
        return command.refusal or replies.BAD_SEQUENCE

    def _lose_framing(self) -> None:
        # How many octets of content follow is not known: whatever came next would be content read as commands.
        if not self.closing:
            self._send_away(replies.cannot_go_on, "a BDAT command was not understood")

    # -- the session ------------------------------------------------------------------------------------

    def _greeted(self, reply: Reply) -> None:
        self._say(reply)
        if reply.is_positive:
            self.phase = Phase.CONNECTED
        elif reply.is_permanent:
            self.phase = Phase.TURNED_AWAY
        else:
            self._close("turned away")

    def _hello(self, verb: str, argument: str) -> None:
        self._ask(HelloReceived(hello_name(argument), extended=verb != "HELO"), self._hello_answered)

    def _hello_answered(self, reply: Reply) -> None:
        if not reply.is_positive:  # RFC 5321 §4.1.4: stay as before
            self._respond(reply)
            return
        self._forget("a new EHLO or HELO")
        self.phase = Phase.READY
        asked = self._asked
        assert isinstance(asked, HelloReceived)
        greets = f"{self.offer.hostname} greets {asked.name}".encode("ascii", "replace")[: REPLY_LINE_LIMIT_OCTETS - 6]
        keywords = self.offer.keyword_lines if asked.extended else b""
        self._out.append(b"250%s%s\r\n%s" % (b"-" if keywords else b" ", greets, keywords))

    def _rset(self, verb: str, argument: str) -> None:
        self._forget("RSET")
        if self.phase is not Phase.CONNECTED:
            self.phase = Phase.READY
        self._say(replies.RESET)

    def _noop(self, verb: str, argument: str) -> None:
        self._say(replies.NOTHING_DONE)

    def _quit(self, verb: str, argument: str) -> None:
        self._say(self.offer.closing)
        self._close("QUIT")

    def _vrfy(self, verb: str, argument: str) -> None:
        text, utf8 = without_smtputf8(argument, self.offer)
        if verb == "EXPN":
            self._ask(ExpandReceived(text, utf8), self._directory_answered)
        elif "VRFY" in self.offer.extensions:
            self._ask(VerifyReceived(text, utf8), self._directory_answered)
        else:
            self._say(replies.CANNOT_VERIFY)

    def _directory_answered(self, reply: Reply) -> None:
        asked = self._asked
        self._respond(reply, utf8=isinstance(asked, VerifyReceived | ExpandReceived) and asked.smtputf8)

    def _help(self, verb: str, argument: str) -> None:
        topic = argument.upper()
        if topic == "STATUS":
            self._ask(HelpReceived(topic), self._respond)
        else:
            self._respond(self.offer.help(topic))

    def _etrn(self, verb: str, argument: str) -> None:
        self._ask(EtrnReceived(argument), self._respond)

    # -- TLS and logging in -----------------------------------------------------------------------------

    def _starttls(self, verb: str, argument: str) -> None:
        if self._is_followed():
            return
        self._ask(TlsRequested(), self._tls_answered)

    def _tls_answered(self, reply: Reply) -> None:
        if not reply.is_positive:
            self._respond(reply)
        elif not self._is_followed():
            self._say(reply)
            self.switching = True

    def _is_followed(self) -> bool:
        """RFC 3207 §4.2, CVE-2011-0411: what came in the clear behind STARTTLS was put there by who knows whom.  It is
        neither done nor kept."""
        followed = len(self._unread) > 0
        if followed:
            self._say(replies.BEHIND_STARTTLS)
            self._send_away(replies.cannot_go_on, "octets behind STARTTLS")
        return followed

    def _auth(self, verb: str, argument: str) -> None:
        if self.is_logged_in:  # RFC 4954 §4
            raise CommandRefused(replies.BAD_SEQUENCE.saying("You are logged in already"))
        name, space, initial = argument.partition(" ")
        mechanism = chosen_mechanism(name, self.offer.mechanisms, self.offer.login_needs_tls)
        bindings = self._bindings if "SCRAM-SHA-256-PLUS" in self.offer.mechanisms else {}
        self._exchange = Exchange(mechanism, Channel(bindings, self.offer.token_scope))
        self._step(self._exchange.begin(initial.strip(" ") if space else None))

    def _step(self, step: Step | Reply) -> None:
        """What comes next in an exchange: a challenge, a question, or its end."""
        if isinstance(step, Reply):
            self._exchange = None
            self.is_logged_in = step.code == replies.LOGGED_IN.code
            self._respond(step)
        elif isinstance(step, bytes):
            self._out.append(challenge_line(step))
        else:
            self._ask(step, self._step_answered)

    def _step_answered(self, reply: Reply) -> None:
        assert self._exchange is not None
        self._step(self._exchange.answer(reply))

    # -- the envelope -----------------------------------------------------------------------------------

    def _mail(self, verb: str, argument: str) -> None:
        named = sender_named(self.offer, verb, argument)
        if self.offer.mails_limit and self._mails >= self.offer.mails_limit:
            hostname = self.offer.hostname
            self._respond(replies.too_many_errors(hostname).saying(f"{hostname} No more messages in this session"))
        else:
            self._ask(named, self._mail_answered)

    def _mail_answered(self, reply: Reply) -> None:
        if not reply.is_positive:
            self._respond(reply)
            return
        asked = self._asked
        assert isinstance(asked, MailReceived)
        self._transaction = Incoming(self.offer, asked.body, asked.smtputf8)
        self.phase = _ENVELOPE
        self._mails += 1
        self._say(reply, asked.smtputf8)

    def _rcpt(self, verb: str, argument: str) -> None:
        transaction = self._transaction
        assert transaction is not None
        self._ask(transaction.recipient_named(argument), self._recipient_answered)

    def _recipient_answered(self, reply: Reply) -> None:
        transaction = self._transaction
        assert transaction is not None
        if reply.is_positive:
            transaction.accepted += 1
        self._respond(reply, within=True, utf8=transaction.smtputf8)

    # -- the content ------------------------------------------------------------------------------------

    def _data(self, verb: str, argument: str) -> None:
        transaction = self._transaction
        assert transaction is not None
        refusal = transaction.fault_in_data()
        if refusal is not None:
            raise CommandRefused(refusal)
        self._ask(ContentStarted(), self._data_answered)

    def _data_answered(self, reply: Reply) -> None:
        if reply.is_positive:
            self._framing = DotStuffed()
            self._say(replies.START_INPUT)
        else:
            self._respond(reply)

    def _bdat(self, argument: str, refusal: Reply | None) -> None:
        """Begins a chunk; ``refusal`` is what will be said after its octets when it came out of order."""
        understood = chunk_size(argument)
        if understood is None:
            self._respond(replies.BAD_ARGUMENTS.saying("Syntax: BDAT octets [LAST]"))
            self._lose_framing()
            return
        size, last = understood
        if size == 0 and not last and self._is_too_idle():
            return
        transaction = self._transaction
        if transaction is not None and transaction.refusal is not None:
            refusal = transaction.refusal  # who sends all chunks at once goes by the reply to the last
        elif refusal is None and transaction is not None:
            refusal = transaction.fault_in_chunk(size)
        self._framing = chunk = Chunk(size, last, transaction.held if transaction is not None else b"")
        if refusal is not None:
            self._spoil(chunk, refusal, "a chunk was refused")
        elif self.phase is Phase.ENVELOPE:
            self._ask(ContentStarted(), self._first_chunk_answered)

    def _first_chunk_answered(self, reply: Reply) -> None:
        assert self._framing is not None
        if reply.is_positive:
            self.phase = Phase.CHUNKS
        else:
            self._spoil(self._framing, reply, "the content was not wanted")

    def _read_content(self, framing: DotStuffed | Chunk) -> bool:
        piece = framing.take(self._unread)
        if piece:
            self._receive_piece(piece, framing)
        if not framing.ended or self.closing:
            return False
        self._framing = None
        if framing.last:
            self._content_over(framing)
        else:
            self._chunk_over(framing)
        return True

    def _receive_piece(self, piece: bytes, framing: DotStuffed | Chunk) -> None:
        if framing.refusal is not None:  # read only to find its end, and not for ever
            if self._patience.discarded(self.offer, len(piece)):
                self._say(framing.refusal)
                self._send_away(replies.cannot_go_on, "too much content after a refusal")
            return
        assert self._transaction is not None
        kept = self._transaction.kept(piece, framing.ended and framing.is_dotless)
        if isinstance(kept, Reply):
            self._spoil(framing, kept, str(kept))
        else:
            self._events.append(ContentReceived(kept))

    def _spoil(self, framing: DotStuffed | Chunk, refusal: Reply, why: str) -> None:
        """The content will be read to its end and then refused; the carrier may forget it now."""
        framing.refusal = refusal
        if self._transaction is not None and self._transaction.told:
            self._transaction.told = False
            self._events.append(TransactionAborted(why))

    def _chunk_over(self, chunk: DotStuffed | Chunk) -> None:
        transaction = self._transaction
        if chunk.refusal is not None:
            if transaction is not None:
                self.phase = Phase.SPOILED
                transaction.refusal = chunk.refusal
            self._respond(chunk.refusal, within=transaction is not None)
        elif transaction is not None and isinstance(chunk, Chunk):
            transaction.held = chunk.held
            self._say(replies.CHUNK_OK.saying(f"{chunk.size} octets received"))

    def _content_over(self, framing: DotStuffed | Chunk) -> None:
        transaction = self._transaction
        if framing.refusal is None and transaction is not None:
            self._ask(ContentEnded(transaction.size), self._content_answered)
        elif framing.refusal is not None:
            self._conclude(self._for_each(framing.refusal))

    def _content_answered(self, reply: Reply) -> None:
        self._conclude(self._for_each(reply))

    def _for_each(self, reply: Reply) -> Sequence[Reply]:
        """The reply as often as it must be said (RFC 2033 §4.2)."""
        accepted = self._transaction.accepted if self._transaction is not None and self.offer.lmtp else 1
        return [reply] * (accepted or 1)

    def _conclude(self, answers: Sequence[Reply]) -> None:
        """The transaction is over, one way or the other."""
        if self._transaction is not None:
            self._transaction = None
            self.phase = _READY
        is_taken = False
        for reply in answers:
            self._respond(reply)
            is_taken = is_taken or reply.code < 400
        if is_taken:
            self._patience.renew()

    # -- speaking ---------------------------------------------------------------------------------------

    def _ask(self, event: Event, then: Callable[[Reply], None]) -> None:
        self._asked = event
        self._then = then
        self._events.append(event)

    def _say(self, reply: Reply, utf8: bool = False) -> None:
        self._out.append(reply.encode() if utf8 else reply.wire)

    def _respond(self, reply: Reply, within: bool = False, utf8: bool = False) -> None:
        """Says what was decided; too many refusals end the session.

        within  it refuses a part of a transaction: one wrong recipient of many is no bad behaviour
        """
        if reply.is_permanent and self._patience.refused(self.offer, within):
            self._send_away(replies.too_many_errors, "too many errors")
            return
        self._say(reply, utf8)
        if reply.code == 421:
            self._close("421")

    def _is_idle(self, command: Command) -> bool:
        """Whether it brings no message nearer.  RSET after an accepted recipient ends what was asked in earnest: so do
        those who verify recipients."""
        transaction = self._transaction
        return not (command.verb == "RSET" and transaction is not None and transaction.accepted)

    def _is_too_idle(self) -> bool:
        """Counts a command that brings no message nearer; one too many ends the session."""
        too_idle = self._patience.idled(self.offer)
        if too_idle:
            self._send_away(replies.too_many_idle_commands, "too many commands without mail")
        return too_idle

    def _send_away(self, goodbye: Callable[[str], Reply], why: str) -> None:
        """RFC 5321 §3.8: whoever is to be closed upon without a QUIT hears 421 first."""
        self._say(goodbye(self.offer.hostname))
        self._close(why)

    def _forget(self, why: str) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None and transaction.told:
            self._events.append(TransactionAborted(why))

    def _close(self, why: str) -> None:
        self._forget(why)
        self.closing = True
        self._then = None
        self._framing = None
        self._exchange = None
        self._unread.clear()


_DO: Mapping[str, Callable[[ServerSession, str, str], None]] = {
    "EHLO": ServerSession._hello,
    "HELO": ServerSession._hello,
    "LHLO": ServerSession._hello,
    "MAIL": ServerSession._mail,
    "SEND": ServerSession._mail,
    "SOML": ServerSession._mail,
    "SAML": ServerSession._mail,
    "RCPT": ServerSession._rcpt,
    "DATA": ServerSession._data,
    "RSET": ServerSession._rset,
    "NOOP": ServerSession._noop,
    "QUIT": ServerSession._quit,
    "VRFY": ServerSession._vrfy,
    "EXPN": ServerSession._vrfy,
    "HELP": ServerSession._help,
    "ETRN": ServerSession._etrn,
    "STARTTLS": ServerSession._starttls,
    "AUTH": ServerSession._auth,
}
