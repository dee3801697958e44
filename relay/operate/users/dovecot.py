"""Dovecot's auth service as a source of logins, and with it PAM, LDAP, SQL and whatever else it knows.

One connection carries all requests, each by its number; it is made when it is needed.  What Dovecot says of a user in
``senders`` and ``allow_nets`` counts as in a file of users.  The rule that must not be broken: a request whose answer
does not come is our trouble (454), and nobody is let in by silence.

Source: https://doc.dovecot.org, "Dovecot Authentication Protocol".
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.protocol import connectionDone as CONNECTION_DONE
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from relay.message import reply
from relay.message.reply import Reply
from relay.message.step import Tell
from relay.policy.users import User, extra_of
from relay.receive.logins import Source
from relay.smtp.events import LoginAttempted, Password
from relay.smtp.scram import ScramSecret

ANSWER_WITHIN_S = 30.0  # Dovecot itself holds failures back for some seconds
WAITING_LIMIT = 1000
LINE_LIMIT_OCTETS = 8192


class NoAnswer(Exception):
    """Dovecot cannot be asked now; ``str()`` says why."""


Answer = tuple[str, Mapping[str, str]]
"""``OK`` or ``FAIL``, and what comes with it."""


class _Conversation(LineOnlyReceiver):
    """One connection: a handshake of both sides, then requests and answers in any order."""

    delimiter = b"\n"
    MAX_LENGTH = LINE_LIMIT_OCTETS

    def __init__(self, source: DovecotUsers) -> None:
        self._source = source
        self._asked: dict[int, Deferred[Answer]] = {}
        self._last = 0
        self.is_ready = False

    def connectionMade(self) -> None:
        self._say(b"VERSION\t1\t2")
        self._say(b"CPID\t%d" % os.getpid())

    def lineReceived(self, line: bytes) -> None:
        verb, *words = line.decode("utf-8", "replace").split("\t")
        match verb:
            case "VERSION" if words[:1] != ["1"]:
                self._source.lost(self, f"it speaks version {'.'.join(words)} of its protocol, and not 1")
                self.close()
            case "DONE":
                self.is_ready = True
                self._source.ready(self)
            case "OK" | "FAIL" | "CONT" if words and words[0].isdigit():
                waiting = self._asked.pop(int(words[0]), None)
                if waiting is not None:
                    waiting.callback((verb, _fields(words[1:])))

    def _say(self, line: bytes) -> None:
        assert self.transport is not None
        self.transport.write(line + b"\n")

    def lineLengthExceeded(self, line: bytes) -> None:
        self.close()

    def ask(self, parameters: list[str]) -> tuple[int, Deferred[Answer]]:
        """Sends one AUTH request; its number, and its answer."""
        self._last += 1
        answer: Deferred[Answer] = Deferred()
        self._asked[self._last] = answer
        self._say("\t".join(["AUTH", str(self._last), *parameters]).encode())
        return self._last, answer

    def give_up(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        waiting = self._asked.pop(number, None)
        if waiting is not None:
            self._say(b"CANCEL\t%d" % number)
            waiting.errback(NoAnswer(f"no answer within {ANSWER_WITHIN_S:.0f} s"))

    @property
    def waiting(self) -> int:
        return len(self._asked)

    def close(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = CONNECTION_DONE) -> None:
        asked, self._asked = self._asked, {}
        self._source.lost(self, "it has closed the connection")
        for waiting in asked.values():
            waiting.errback(NoAnswer("it has closed the connection"))


def _fields(words: list[str]) -> Mapping[str, str]:
    return {key: value for key, _, value in (word.partition("=") for word in words)}


class DovecotUsers(Source):
    """A source of logins by PLAIN and LOGIN."""

    mechanisms = frozenset({"PLAIN", "LOGIN"})

    def __init__(self, endpoint: IStreamClientEndpoint, clock: IReactorTime, tell: Tell, place: str) -> None:
        """endpoint  of Dovecot's auth socket for clients, as ``/run/dovecot/auth-client``
        place     what to call it
        """
        self._endpoint = endpoint
        self._clock = clock
        self._tell = tell
        self._place = place
        self._conversation: _Conversation | None = None
        self._wanting: list[Deferred[_Conversation]] = []
        self._is_missed = False

    def start(self) -> None:
        """Nothing is asked before somebody logs in."""

    def stop(self) -> None:
        if self._conversation is not None:
            self._conversation.close()

    def check(self, attempt: LoginAttempted, ip: str) -> Deferred[User | Reply]:
        """Whether the password is right."""
        if not isinstance(attempt.evidence, Password):
            return succeed(reply.LOGIN_REFUSED)
        message = "\0".join((attempt.act_as, attempt.user, attempt.evidence.text)).encode()
        origin = [f"rip={ip}"] if ip else []
        request = ["PLAIN", "service=smtp", "secured", *origin, f"resp={b64encode(message).decode()}"]
        return self._connected().addCallback(self._ask, request).addCallbacks(self._judged, self._no_answer)

    def secret(self, user: str) -> ScramSecret | Reply:
        """Dovecot gives no secret away."""
        return reply.LOGIN_UNAVAILABLE

    def taken_for_right(self, attempt: LoginAttempted) -> User | Reply:
        """Only Dovecot knows who there is: it is taken to be somebody, of whom it says nothing more."""
        return User(attempt.user, place=self._place)

    def _ask(self, conversation: _Conversation, request: list[str]) -> Deferred[Answer]:
        if conversation.waiting >= WAITING_LIMIT:
            raise NoAnswer("too many logins wait for it")
        number, answer = conversation.ask(request)
        late = self._clock.callLater(ANSWER_WITHIN_S, conversation.give_up, number)

        def answered(result: Answer | Failure) -> Answer | Failure:
            if late.active():
                late.cancel()
            return result

        return answer.addBoth(answered)

    def _judged(self, answer: Answer) -> User | Reply:
        verb, fields = answer
        if verb == "OK" and fields.get("user"):
            senders, networks = extra_of(fields)
            return User(fields["user"], "", senders, networks, "nologin" not in fields, self._place)
        if "temp" in fields or fields.get("code") == "temp_fail":
            self._tell("trouble", place=self._place, error="Dovecot cannot tell now whether a login is right")
            return reply.LOGIN_UNAVAILABLE
        # The password was right, and is too old.
        return reply.PASSWORD_TRANSITION if fields.get("code") == "pass_expired" else reply.LOGIN_REFUSED

    def _no_answer(self, failure: Failure) -> Reply:
        self._tell("trouble", place=self._place, error=failure.getErrorMessage())
        return reply.LOGIN_UNAVAILABLE

    # -- the connection ----------------------------------------------------------------------

    def _connected(self) -> Deferred[_Conversation]:
        if self._conversation is not None and self._conversation.is_ready:
            return succeed(self._conversation)
        wanted: Deferred[_Conversation] = Deferred()
        self._wanting.append(wanted)
        if len(self._wanting) == 1:
            factory = Factory.forProtocol(lambda: _Conversation(self))
            factory.noisy = False
            made = self._endpoint.connect(factory).addTimeout(ANSWER_WITHIN_S, self._clock)
            made.addErrback(lambda failure: self._answer_wanting(NoAnswer(failure.getErrorMessage())))
        return wanted

    def ready(self, conversation: _Conversation) -> None:
        """The other side has introduced itself."""
        self._conversation = conversation
        self._answer_wanting(conversation)

    def lost(self, conversation: _Conversation, why: str) -> None:
        """This connection is over."""
        if self._conversation is conversation:
            self._conversation = None
        if not conversation.is_ready:
            self._answer_wanting(NoAnswer(why))

    def _answer_wanting(self, result: _Conversation | NoAnswer) -> None:
        wanting, self._wanting = self._wanting, []
        for one in wanting:
            if isinstance(result, NoAnswer):
                one.errback(result)
            else:
                one.callback(result)
