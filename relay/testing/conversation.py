"""One conversation that a next hop has, of SMTP or LMTP: it reads as it is sent to, and asks itself what to say.

What is read is here; what is answered is for a class of its own to decide, by the methods of the second half.  By
itself it takes everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

IDLE_S = 1800.0


class Conversation:
    """See the module.  A protocol, as far as a transport goes.

    transport   None before it is connected and afterwards
    sender      the argument of MAIL up to ``>``; recipients likewise, those that were said yes to
    is_deaf     whatever comes is not even looked at
    """

    def __init__(self, clock: IReactorTime, *, lmtp: bool = False) -> None:
        self.clock = clock
        self.lmtp = lmtp
        self.transport: Any = None
        self.sender = ""
        self.recipients: list[str] = []
        self.is_deaf = False
        self._buffer = b""
        self._is_content = False
        self._chunk_left: int | None = None
        self._is_last_chunk = False
        self._chunks: list[bytes] = []
        self._next_line: Callable[[str], None] | None = None
        self._idle: IDelayedCall

    # -- what a transport calls -----------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self._idle = self.clock.callLater(IDLE_S, self.hang_up)
        self.greet()

    def dataReceived(self, data: bytes) -> None:
        if self.is_deaf:
            return
        self._idle.reset(IDLE_S)
        self._buffer += data
        while not self.is_deaf and self._step():
            pass

    def connectionLost(self, reason: object) -> None:
        self.is_deaf = True
        self.transport = None
        if self._idle.active():
            self._idle.cancel()

    # -- reading --------------------------------------------------------------------------------

    def _step(self) -> bool:
        if self._chunk_left is not None:
            return self._read_chunk()
        if self._is_content:
            return self._read_content()
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return False
        self._buffer = rest
        text = line.decode("utf-8", "replace")
        awaited, self._next_line = self._next_line, None
        if awaited is not None:
            self.heard(text, secret=True)
            awaited(text)
        else:
            self._command(text)
        return True

    def _command(self, line: str) -> None:
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        self.heard(line, secret=verb == "AUTH")
        match verb:
            case "EHLO" | "LHLO" | "HELO":
                self.hello(verb)
            case "MAIL":
                self.mail(argument)
            case "RCPT":
                self.recipient(argument[4 : argument.index(">")])
            case "DATA":
                self._is_content = self.data()
            case "BDAT":
                size, _, last = argument.partition(" ")
                self._chunk_left, self._is_last_chunk = int(size), bool(last)
            case "RSET":
                self.recipients, self._chunks = [], []
                self.say("RSET", "250 2.0.0 ok")
            case "QUIT":
                self.say("QUIT", "221 2.0.0 bye")
                self.hang_up()
            case _:
                self.command(verb, argument)

    def _read_content(self) -> bool:
        start = b"\r\n" + self._buffer
        end = start.find(b"\r\n.\r\n")
        if end < 0:
            return False
        self._buffer = start[end + 5 :]
        self._is_content = False
        self.content(start[: end + 2].replace(b"\r\n.", b"\r\n")[2:])
        return True

    def _read_chunk(self) -> bool:
        assert self._chunk_left is not None
        piece, self._buffer = self._buffer[: self._chunk_left], self._buffer[self._chunk_left :]
        self._chunks.append(piece)
        self._chunk_left -= len(piece)
        if self._chunk_left:
            return False
        self._chunk_left = None
        if not self.recipients:
            self._chunks.clear()
            self.say("BDAT", "554 5.5.1 nobody to send it to")
        elif self._is_last_chunk:
            content = b"".join(self._chunks)
            self._chunks.clear()
            self.content(content)
        else:
            self.say("BDAT", "250 2.0.0 go on")
        return True

    def read_line(self, then: Callable[[str], None]) -> None:
        """The next line is no command, but for this."""
        self._next_line = then

    def begin_tls(self, context: Any) -> None:
        """From now on within TLS; what was read before is forgotten (RFC 3207 §4.2)."""
        self._buffer = b""
        self.transport.startTLS(context)

    # -- answering ------------------------------------------------------------------------------

    def say(self, step: str, reply: str) -> str:
        """Answers; ``step`` is what is answered: GREETING, a verb, or END.  Gives the first digit of what was said;
        empty when nothing was."""
        if self.is_deaf:
            return ""
        self.write(reply.encode() + b"\r\n")
        return reply[:1]

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def hang_up(self) -> None:
        """Closes the connection."""
        self.is_deaf = True
        if self.transport is not None:
            self.transport.loseConnection()

    def abort(self) -> None:
        """Breaks it off."""
        self.is_deaf = True
        if self.transport is not None:
            self.transport.abortConnection()

    # -- what to answer -------------------------------------------------------------------------

    def heard(self, line: str, *, secret: bool) -> None:
        """A line came; secret: with credentials."""

    def greet(self) -> None:
        self.say("GREETING", "220 hop.example ESMTP")

    def extensions(self) -> Sequence[str] | None:
        """What EHLO is told; None: it is not even known."""
        return ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES")

    def hello(self, verb: str) -> None:
        extensions = self.extensions()
        if extensions is None and verb == "EHLO":
            self.say(verb, "500 5.5.1 what?")
        elif verb == "HELO" or extensions is None:
            self.say(verb, "250 hop.example")
        else:
            lines = ["hop.example", *extensions]
            self.say(verb, "\r\n".join([f"250-{one}" for one in lines[:-1]] + [f"250 {lines[-1]}"]))

    def mail(self, argument: str) -> None:
        self.sender, self.recipients = argument[6 : argument.index(">")], []
        self.say("MAIL", "250 2.1.0 ok")

    def recipient(self, address: str) -> None:
        if self.say("RCPT", "250 2.1.5 ok") == "2":
            self.recipients.append(address)

    def data(self) -> bool:
        """Whether content comes now."""
        if not self.recipients:
            self.say("DATA", "554 5.5.1 nobody to send it to")
            return False
        return self.say("DATA", "354 go ahead") == "3"

    def content(self, content: bytes) -> None:
        """The content is whole; dots are as they were before it was sent."""
        recipients, self.recipients = self.recipients, []
        for _ in recipients if self.lmtp else [recipients]:
            self.say("END", "250 2.0.0 taken")

    def command(self, verb: str, argument: str) -> None:
        """Any other command."""
        self.say(verb, "250 2.0.0 ok")
