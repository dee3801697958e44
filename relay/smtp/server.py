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
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from relay.message import reply as replies
from relay.message.envelope import Body
from relay.message.reply import Reply
from relay.smtp.commands import (
    Argument,
    Command,
    CommandRefused,
    Phase,
    chunk_size,
    hello_name,
    path_and_rest,
)
from relay.smtp.data import BareLineEnds, Chunk, DotStuffed, has_bare_line_ends, with_whole_line_ends
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
    RecipientReceived,
    SessionOpened,
    TransactionAborted,
    VerifyReceived,
)
from relay.smtp.extensions import ServerOffer, read_parameters
from relay.smtp.lines import Unread, fault_in, fault_in_unfinished

UNREAD_LIMIT_OCTETS = 64 * 1024
"""More unread octets than this while a question is open, and the carrier is asked to read no more."""

SWALLOWED_LINE_LIMIT_OCTETS = 64 * 1024
"""A line without end is followed so far; then the session is closed."""


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


class _Transaction:
    """What the session must know of an open mail transaction.

    accepted  recipients that were answered 2yz
    tried     a RCPT was answered, whatever the answer
    told      the carrier still has this transaction; when not, nothing more is told of it
    size      octets of content handed on so far
    chunks    octets that BDAT commands declared so far
    held      a CR that ended the last chunk
    """

    __slots__ = ("accepted", "body", "chunks", "held", "size", "smtputf8", "told", "tried")

    def __init__(self, body: Body, smtputf8: bool) -> None:
        self.body = body
        self.smtputf8 = smtputf8
        self.accepted = 0
        self.tried = False
        self.told = True
        self.size = 0
        self.chunks = 0
        self.held = b""


class ServerSession:
    """One client's conversation.

    offer    may be set to another ServerOffer at any time; counts from the next command on
    phase    how far the session has come
    closing  send what is to be sent, then close; nothing more will be read
    """

    __slots__ = (
        "_asked",
        "_discarded",
        "_errors",
        "_events",
        "_framing",
        "_idle",
        "_mails",
        "_out",
        "_refusals",
        "_shutting_down",
        "_swallowed",
        "_then",
        "_transaction",
        "_unread",
        "closing",
        "offer",
        "phase",
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
        self._transaction: _Transaction | None = None
        self._framing: DotStuffed | Chunk | None = None
        self._swallowed: int | None = None  # octets of a refused line whose CRLF has not come
        self._errors = self._refusals = self._idle = self._mails = self._discarded = 0
        self._shutting_down = False
        self._ask(SessionOpened(), self._greeted)

    # -- what the carrier calls ---------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Takes what came from the client, cut anywhere."""
        if not self.closing:
            self._unread.add(data)

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
        return not self.closing and (self._then is None or len(self._unread) < UNREAD_LIMIT_OCTETS)

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
            self._say(replies.timed_out(self.offer.hostname))
            self._close("timed out")

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
        if self.closing:
            return False
        if self._shutting_down and (self._transaction is None or not self._transaction.told):
            self._say(replies.shutting_down(self.offer.hostname))
            self._close("shutting down")
            return False
        if self._swallowed is not None:
            return self._swallow()
        line = self._unread.line()
        if line is None:
            return self._judge_unfinished()
        self._read_command(line)
        return True

    def _read_command(self, line: bytes) -> None:
        verb, _, argument = line.decode("latin-1").rstrip(" \t").partition(" ")
        verb = verb.upper()
        if len(line) > 510 or not (line.isascii() and argument.isprintable() and verb.isprintable()):
            utf8 = verb in _UTF8_VERBS and "SMTPUTF8" in self.offer.extensions
            fault = fault_in(line, self.offer.line_limit(line), utf8)
            if fault is not None:
                self._refuse_line(line, fault)
                return
            argument = line.decode().rstrip(" \t")[len(verb) + 1 :]
        argument = argument.strip(" ")
        command = self.offer.commands.get(verb)
        refusal = self._fault_in_order(command, argument)
        try:
            if verb == "BDAT":  # its octets follow, refused or not
                self._bdat(argument, refusal)
            elif refusal is not None:
                self._respond(refusal)
            elif command is not None and not (command.idle and self._is_too_idle()):
                _DO[verb](self, verb, argument)
        except CommandRefused as refused:
            self._respond(refused.reply, within=verb == "RCPT")

    def _fault_in_order(self, command: Command | None, argument: str) -> Reply | None:
        """Whether this command may not come now, or lacks its argument."""
        if self.phase is Phase.TURNED_AWAY and (command is None or command.verb != "QUIT"):
            return replies.BAD_SEQUENCE  # RFC 5321 §3.1
        if command is None:
            return replies.UNRECOGNIZED
        if not command.implemented:
            return replies.NOT_IMPLEMENTED
        if self.phase not in command.phases:
            return replies.BAD_SEQUENCE
        if command.argument is not Argument.OPTIONAL and bool(argument) is not (command.argument is Argument.REQUIRED):
            return replies.BAD_ARGUMENTS.saying(f"Syntax: {command.usage}")
        return None

    def _judge_unfinished(self) -> bool:
        """Answers a line that is known to be wrong before it has ended."""
        line = self._unread.unfinished()
        fault = fault_in_unfinished(line, self.offer.line_limit(line)) if line else None
        if fault is None:
            return False
        self._swallowed = 0
        self._refuse_line(line, fault)
        return True

    def _refuse_line(self, line: bytes, fault: Reply) -> None:
        self._respond(fault)
        if line[:4].upper() == b"BDAT":
            self._lose_framing()

    def _swallow(self) -> bool:
        """Throws away the rest of a refused line; False when its end has not come."""
        octets, ended = self._unread.swallow_line()
        self._swallowed = None if ended else (self._swallowed or 0) + octets
        if self._swallowed is not None and self._swallowed > SWALLOWED_LINE_LIMIT_OCTETS:
            self._send_away()
        return ended

    def _lose_framing(self) -> None:
        # How many octets of content follow is not known: whatever came next would be content read as commands.
        self._close("a BDAT command was not understood")

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
        greets = f"{self.offer.hostname} greets {asked.name}"
        self._say(Reply(250, "", (greets, *self.offer.keywords) if asked.extended else (greets,)))

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
        text, utf8 = _without_smtputf8(argument, self.offer)
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
        command = self.offer.commands.get(topic)
        if topic == "STATUS":
            self._ask(HelpReceived(topic), self._respond)
        elif not topic:
            offered = [one.verb for one in self.offer.commands.values() if one.implemented]
            self._say(replies.HELP.saying("Commands: " + " ".join(offered), "HELP and a command tells more"))
        elif command is not None and command.implemented:
            self._say(replies.HELP.saying(command.usage, command.meaning))
        else:
            self._respond(replies.PARAMETER_NOT_IMPLEMENTED)

    def _etrn(self, verb: str, argument: str) -> None:
        self._ask(EtrnReceived(argument), self._respond)

    # -- the envelope -----------------------------------------------------------------------------------

    def _mail(self, verb: str, argument: str) -> None:
        offer = self.offer
        path, rest = path_and_rest(argument, "FROM:", replies.BAD_SENDER_SYNTAX)
        event = MailReceived(path, verb, **(read_parameters(rest, offer.mail_parameters) if rest else {}))
        if path is not None and not path.domain:  # <Postmaster> alone is for RCPT only (RFC 5321 §4.1.1.3)
            raise CommandRefused(replies.BAD_SENDER_SYNTAX)
        if event.body is Body.BINARY and "BINARYMIME" not in offer.extensions:
            raise CommandRefused(replies.UNKNOWN_PARAMETER)
        if not (event.smtputf8 or path is None or path.is_ascii):
            raise CommandRefused(_SENDER_NEEDS_SMTPUTF8)
        if offer.message_size_limit and (event.declared_size or 0) > offer.message_size_limit:
            raise CommandRefused(replies.TOO_BIG)
        if offer.mails_limit and self._mails >= offer.mails_limit:
            too_many = replies.too_many_errors(offer.hostname)
            raise CommandRefused(too_many.saying(f"{offer.hostname} No more messages in this session"))
        self._ask(event, self._mail_answered)

    def _mail_answered(self, reply: Reply) -> None:
        if not reply.is_positive:
            self._respond(reply)
            return
        asked = self._asked
        assert isinstance(asked, MailReceived)
        self._transaction = _Transaction(asked.body, asked.smtputf8)
        self.phase = Phase.ENVELOPE
        self._mails += 1
        self._say(reply, asked.smtputf8)

    def _rcpt(self, verb: str, argument: str) -> None:
        transaction = self._transaction
        assert transaction is not None
        transaction.tried = True
        path, rest = path_and_rest(argument, "TO:", replies.BAD_RECIPIENT_SYNTAX)
        if path is None:
            raise CommandRefused(replies.MAILBOX_NAME_NOT_ALLOWED)
        event = RecipientReceived(path, **(read_parameters(rest, self.offer.rcpt_parameters) if rest else {}))
        if not (transaction.smtputf8 or path.is_ascii):
            raise CommandRefused(replies.NEEDS_SMTPUTF8)
        if transaction.accepted >= self.offer.recipients_limit:
            raise CommandRefused(replies.TOO_MANY_RECIPIENTS)
        self._ask(event, self._recipient_answered)

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
        if transaction.body is Body.BINARY:  # RFC 3030 §3
            raise CommandRefused(replies.BAD_SEQUENCE.saying("BODY=BINARYMIME needs BDAT"))
        if not transaction.accepted:
            raise CommandRefused(_no_recipients(transaction))
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
        if refusal is None and transaction is not None:
            refusal = self._fault_in_chunk(transaction, size)
        self._framing = chunk = Chunk(size, last, transaction.held if transaction is not None else b"")
        if refusal is not None:
            self._spoil(chunk, refusal, "a chunk was refused")
        elif self.phase is Phase.ENVELOPE:
            self._ask(ContentStarted(), self._first_chunk_answered)

    def _fault_in_chunk(self, transaction: _Transaction, size: int) -> Reply | None:
        if not transaction.accepted:
            return _no_recipients(transaction)
        transaction.chunks += size
        limit = self.offer.message_size_limit
        return replies.TOO_BIG if limit and transaction.chunks > limit else None

    def _first_chunk_answered(self, reply: Reply) -> None:
        assert self._framing is not None
        if reply.is_positive:
            self.phase = Phase.CHUNKS
        else:
            self._spoil(self._framing, reply, "the content was not wanted")

    def _read_content(self, framing: DotStuffed | Chunk) -> bool:
        piece = framing.take(self._unread)
        if piece and framing.refusal is None:
            self._keep(piece, framing)
        elif piece:
            self._discard(piece, framing.refusal)
        if not framing.ended or self.closing:
            return False
        self._framing = None
        if framing.last:
            self._content_over(framing)
        else:
            self._chunk_over(framing)
        return True

    def _keep(self, piece: bytes, framing: DotStuffed | Chunk) -> None:
        transaction, limit = self._transaction, self.offer.message_size_limit
        assert transaction is not None
        if transaction.body is not Body.BINARY:
            room = limit - transaction.size if limit else len(piece)
            # What is beyond the limit is not judged, so that the verdict does not hang on how the stream was cut.
            if has_bare_line_ends(piece if len(piece) <= room else piece[:room].removesuffix(b"\r")):
                if self.offer.bare_line_ends is BareLineEnds.REFUSE:
                    self._spoil(framing, replies.BARE_LINE_END_IN_CONTENT, "a bare CR or LF")
                    return
                piece = with_whole_line_ends(piece)
        transaction.size += len(piece)
        if limit and transaction.size > limit:
            self._spoil(framing, replies.TOO_BIG, "too big")
        else:
            self._events.append(ContentReceived(piece))

    def _discard(self, piece: bytes, refusal: Reply | None) -> None:
        """Content that is read only to find its end; not for ever."""
        self._discarded += len(piece)
        if self._discarded > self.offer.discard_limit and refusal is not None:
            self._say(refusal)
            self._close("too much content after a refusal")

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
            self.phase = Phase.READY
        for reply in answers:
            self._respond(reply)
        if any(reply.is_positive for reply in answers):
            self._errors = self._refusals = self._idle = self._discarded = 0

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
        if reply.is_permanent:
            if within:
                self._refusals += 1
            else:
                self._errors += 1
            if self._errors > self.offer.errors_limit or self._refusals > self.offer.refusals_limit:
                self._send_away()
                return
        self._say(reply, utf8)
        if reply.code == 421:
            self._close("421")

    def _is_too_idle(self) -> bool:
        """Counts a command that brings no message nearer; one too many ends the session."""
        self._idle += 1
        if self._idle <= self.offer.idle_commands_limit:
            return False
        self._send_away()
        return True

    def _send_away(self) -> None:
        self._say(replies.too_many_errors(self.offer.hostname))
        self._close("too many errors")

    def _forget(self, why: str) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None and transaction.told:
            self._events.append(TransactionAborted(why))

    def _close(self, why: str) -> None:
        self._forget(why)
        self.closing = True
        self._then = None
        self._framing = None
        self._unread.clear()


def _no_recipients(transaction: _Transaction) -> Reply:
    """RFC 5321 §3.3 allows 503 and 554: 554 when all recipients were refused, 503 when none was named."""
    return replies.NO_VALID_RECIPIENTS if transaction.tried else replies.BAD_SEQUENCE


def _without_smtputf8(argument: str, offer: ServerOffer) -> tuple[str, bool]:
    """The argument of VRFY or EXPN, and whether the client takes UTF-8 in the answer (RFC 6531 §3.7.4.2)."""
    text, _, last = argument.rpartition(" ")
    if text and last.upper() == "SMTPUTF8" and "SMTPUTF8" in offer.extensions:
        return text.rstrip(" "), True
    return argument, False


# RFC 6531 §3.5: 550 where a sender, 553 where a recipient would have to be ASCII.
_SENDER_NEEDS_SMTPUTF8 = Reply(550, replies.NEEDS_SMTPUTF8.enhanced, replies.NEEDS_SMTPUTF8.lines)
_UTF8_VERBS = frozenset({"MAIL", "SEND", "SOML", "SAML", "RCPT", "VRFY", "EXPN"})
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
}
