"""Next hops that do what a test tells them: well, badly, or not at all.

    hop.greylists(minutes=5)
    hop.refuses("ann@example.org", "550 5.1.1 No such user")
    hop.drops_after_the_dot()
    hop.is_well()                                # again

What is told holds for commands from now on, also of conversations under way, until it is told otherwise.  Several
things may be told at once.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IReactorTime

from relay.testing.arrived import Arrived
from relay.testing.conversation import Conversation

EXTENSIONS = ("PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING", "SMTPUTF8")
STEPS = ("GREETING", "EHLO", "HELO", "LHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "END", "RSET", "QUIT")
"""What can be answered: a greeting, a command, or END, the end of the content."""

SILENCE, HANG_UP = object(), object()

Answer = str | object


class NextHop:
    """A host; see the module.

    name        its name in the DNS
    address     its IP address
    messages    what it took, in order
    dialogue    what was said, ``C: `` by the relay and ``S: `` by the host, without content and passwords
    sessions    how many conversations there were
    """

    def __init__(self, name: str, address: str, clock: IReactorTime, *, lmtp: bool = False, secure: Any = None) -> None:
        """secure  gives the TLS of a kind of certificate; None: it cannot have any"""
        self.name = name
        self.address = address
        self.clock = clock
        self.lmtp = lmtp
        self.messages: list[Arrived] = []
        self.dialogue: list[str] = []
        self.sessions = 0
        self._secure = secure
        self._extensions: list[str] | None = list(EXTENSIONS)
        self._context: Any = None
        self._logins: dict[str, str] = {}
        self._well()

    def _well(self) -> None:
        self._reach: object | None = True
        self._slow_s = 0.0
        self._greylist_s = 0.0
        self._seen: dict[tuple[str, str], float] = {}
        self._refused: dict[str, str] = {}
        self._answers: dict[str, list[Answer]] = {}
        self._drops_after_the_dot = False

    # -- what it is to do -----------------------------------------------------------------------

    def is_well(self) -> None:
        """It takes everything again, at once.  What it offers stays."""
        self._well()

    def is_down(self) -> None:
        """Connections are refused."""
        self._reach = False

    def is_away(self) -> None:
        """Nothing answers: connecting takes as long as the relay is willing to wait."""
        self._reach = None

    def is_slow(self, seconds: float = 30.0) -> None:
        """Each reply takes that long: a tarpit."""
        self._slow_s = seconds

    def greylists(self, minutes: float = 5.0) -> None:
        """A sender and a recipient that it has not seen together so long ago are told 451."""
        self._greylist_s = minutes * 60
        self._seen.clear()

    def refuses(self, recipient: str, reply: str = "550 5.1.1 No such user here") -> None:
        """This recipient, or with ``*`` each of them, is answered so; 4yz: for now."""
        self._refused[recipient.lower()] = _checked(reply)

    def refuses_content(self, reply: str = "554 5.6.0 Not this message") -> None:
        """Whatever comes is answered so at its end."""
        self.says("END", reply)

    def says(self, step: str, *replies: str) -> None:
        """Is answered so, the first time, the second …; the last holds for all that follow.  A step is one of STEPS."""
        self._answers[_step(step)] = [_checked(reply) for reply in replies]

    def is_busy(self, step: str = "MAIL") -> None:
        """Says 421 to this step, and closes the connection."""
        self.says(step, "421 4.3.2 Too busy, come again later")

    def says_garbage(self, step: str = "EHLO") -> None:
        """What it says to this step is no reply."""
        self._answers[_step(step)] = ["\x00\x7f this is no reply"]

    def hangs(self, step: str = "RCPT") -> None:
        """To this step, and all after it, it says nothing; the connection stays."""
        self._answers[_step(step)] = [SILENCE]

    def drops(self, step: str = "DATA") -> None:
        """Closes the connection where this would be answered.  ``END`` is before the message is taken."""
        self._answers[_step(step)] = [HANG_UP]

    def drops_after_the_dot(self) -> None:
        """Takes the message, and closes the connection in place of saying so (RFC 1047)."""
        self._drops_after_the_dot = True

    def offers(self, *extensions: str) -> None:
        """Says these to EHLO, and ``STARTTLS`` and ``AUTH`` as they are set; without any it knows only HELO."""
        self._extensions = list(extensions) if extensions else None

    def offers_not(self, extension: str) -> None:
        """Leaves this one out: ``PIPELINING``, ``STARTTLS`` …"""
        if extension.upper() == "STARTTLS":
            self._context = None
        if self._extensions is not None:
            self._extensions = [one for one in self._extensions if one.split()[0] != extension.upper()]

    def has_tls(self, certificate: str = "good") -> None:
        """Offers STARTTLS, with a certificate that is ``good`` (of the world's own authority), ``unknown`` (of
        another), for a ``wrong name``, or ``expired``."""
        assert self._secure is not None, "there is no TLS here"
        self._context = self._secure(self.name, certificate)

    def wants_login(self, user: str, password: str) -> None:
        """Takes mail from this user only."""
        self._logins[user] = password

    # -- what it got ----------------------------------------------------------------------------

    def took(self, recipient: str) -> list[Arrived]:
        """The messages for this recipient."""
        return [one for one in self.messages if recipient in one.recipients]

    # -- for the network ------------------------------------------------------------------------

    def answer(self) -> Any:
        """What happens to one who dials: a conversation, the exception with which it fails, or None: nothing ever."""
        if not self._reach:
            return None if self._reach is None else ConnectionRefusedError()
        self.sessions += 1
        return _Session(self)

    def reply_to(self, step: str, usual: str) -> Answer:
        """What it says to this step."""
        told = self._answers.get(step)
        if not told:
            return usual
        return told.pop(0) if len(told) > 1 else told[0]


class _Session(Conversation):
    """A conversation with the host."""

    def __init__(self, host: NextHop) -> None:
        super().__init__(host.clock, lmtp=host.lmtp)
        self.host = host
        self._is_secure = False
        self._login = ""
        self._has_begun = False
        self._late = 0.0

    def dataReceived(self, data: bytes) -> None:
        if self.host._reach:
            super().dataReceived(data)
        elif self.host._reach is False:  # it was well when this conversation began
            self.abort()

    def heard(self, line: str, *, secret: bool) -> None:
        shown = line if not secret else "AUTH …" if line[:5].upper() == "AUTH " else "…"
        self.host.dialogue.append(f"C: {shown}")

    def extensions(self) -> Sequence[str] | None:
        host = self.host
        if host._extensions is None:
            return None
        secure = ["STARTTLS"] if host._context is not None and not self._is_secure else []
        return [*host._extensions, *secure, *(["AUTH PLAIN LOGIN"] if host._logins else [])]

    def command(self, verb: str, argument: str) -> None:
        if verb == "STARTTLS" and self.host._context is not None:
            self._switch()
        elif verb == "AUTH" and self.host._logins:
            self._log_in(argument)
        elif verb in ("STARTTLS", "AUTH"):
            self.say(verb, "502 5.5.1 not here")
        else:
            super().command(verb, argument)

    def mail(self, argument: str) -> None:
        if self.host._logins and not self._login:
            self.say("MAIL", "530 5.7.0 Authentication required")
        else:
            self.sender, self.recipients = argument[6 : argument.index(">")], []
            self._has_begun = self.say("MAIL", "250 2.1.0 Ok") == "2"

    def recipient(self, address: str) -> None:
        host = self.host
        if not self._has_begun:  # MAIL was refused, and this had been sent by then
            self.say("RCPT", "503 5.5.1 MAIL first")
            return
        refused = host._refused.get(address.lower()) or host._refused.get("*")
        if refused is None and host._greylist_s:
            now = self.clock.seconds()
            if now < host._seen.setdefault((self.sender, address), now) + host._greylist_s:
                refused = "451 4.7.1 Greylisted, please try again later"
        if self.say("RCPT", refused or "250 2.1.5 Ok") == "2":
            self.recipients.append(address)

    def data(self) -> bool:
        if not self.recipients:
            self.say("DATA", "554 5.5.1 No valid recipients")
            return False
        return self.say("DATA", "354 Go ahead") == "3"

    def content(self, content: bytes) -> None:
        host, recipients = self.host, self.recipients
        self.recipients, self._has_begun = [], False
        taken: list[str] = []
        for group in [[one] for one in recipients] if self.lmtp else [recipients]:
            reply = host.reply_to("END", "250 2.0.0 Taken")
            if host._drops_after_the_dot or (isinstance(reply, str) and reply[0] == "2"):
                taken += group
            if not host._drops_after_the_dot:
                self._give(reply)
        if taken:
            tls, now = self._is_secure, self.clock.seconds()
            host.messages.append(Arrived(self.sender, taken, content, now, host.name, tls, self._login))
        if host._drops_after_the_dot:
            host.dialogue.append("S: (hangs up)")
            self.hang_up()

    # -- TLS and logins -------------------------------------------------------------------------

    def _switch(self) -> None:
        if self.say("STARTTLS", "220 2.0.0 Go ahead") == "2":
            self.begin_tls(self.host._context)
            self._is_secure = True

    def _log_in(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if mechanism.upper() == "LOGIN":
            self._ask("VXNlcm5hbWU6", lambda user: self._ask("UGFzc3dvcmQ6", lambda word: self._judge(user, word)))
        elif initial:
            self._judge_plain(_decoded(initial))
        else:
            self._ask("", self._judge_plain)

    def _ask(self, challenge: str, then: Callable[[str], None]) -> None:
        if self.say("AUTH", f"334 {challenge}") == "3":
            self.read_line(lambda line: then(_decoded(line)))

    def _judge_plain(self, response: str) -> None:
        _, _, named = response.partition("\0")  # whom to act as, is nobody's business here
        user, _, password = named.partition("\0")
        self._judge(user, password)

    def _judge(self, user: str, password: str) -> None:
        if not user or self.host._logins.get(user) != password:
            self.say("AUTH", "535 5.7.8 Wrong user or password")
        elif self.say("AUTH", "235 2.7.0 Welcome") == "2":
            self._login = user

    # -- answering ------------------------------------------------------------------------------

    def say(self, step: str, reply: str) -> str:
        """Answers, as the host was told to."""
        return self._give(self.host.reply_to(step, reply))

    def _give(self, reply: Answer) -> str:
        if self.is_deaf or self.transport is None:
            return ""
        if reply is SILENCE:
            self.is_deaf = True
            return ""
        if not isinstance(reply, str):
            self.host.dialogue.append("S: (hangs up)")
            self.hang_up()
            return ""
        self.host.dialogue += [f"S: {line}" for line in reply.split("\r\n")]
        self._write_in_time(reply.encode("utf-8", "replace") + b"\r\n")
        if reply.startswith("421"):
            self._close_in_time()
        return reply[:1]

    def _write_in_time(self, data: bytes) -> None:
        """Each reply waits behind the one before."""
        now = self.clock.seconds()
        self._late = max(self._late, now) + self.host._slow_s
        if self._late <= now:
            self.write(data)
        else:
            self.clock.callLater(self._late - now, self.write, data)

    def _close_in_time(self) -> None:
        self.is_deaf = True
        self.clock.callLater(max(0.0, self._late - self.clock.seconds()), self.hang_up)


def _step(step: str) -> str:
    assert step.upper() in STEPS, f"{step} is none of {', '.join(STEPS)}"
    return step.upper()


def _checked(reply: str) -> str:
    assert reply[:3].isdigit() and reply[3:4] in (" ", "-"), f"{reply!r} is no reply; write it like 450 4.2.0 Busy"
    return reply.replace("\r\n", "\n").replace("\n", "\r\n")


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
