"""Logging in: who is asked, how often one may fail, and how long the answer to a failure is held back.

The rules that must not be broken: a wrong password and an unknown user get the same answer after the same time; our own
trouble is 454 and counts against nobody; no password and no token is ever told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.message import reply
from relay.message.reply import Reply
from relay.message.step import Tell
from relay.policy.attempts import AttemptLimits, Attempts
from relay.policy.client import Client
from relay.policy.users import User, user_key
from relay.receive.attendance import client_group
from relay.smtp.auth import MECHANISMS
from relay.smtp.events import LoginAttempted
from relay.smtp.login import ITERATIONS_LEAST
from relay.smtp.scram import ScramSecret, scram_secret

Nonce = Callable[[], str]

REHEARSED_PASSWORD = "rehearsal"
"""Of everybody in a rehearsal, and of nobody else."""


class Source(Protocol):
    """Somebody who knows users: a file, another server."""

    @property
    def mechanisms(self) -> frozenset[str]:
        """Those by which its users can log in now."""
        ...

    def check(self, attempt: LoginAttempted, ip: str) -> Deferred[User | Reply]:
        """The user, or the refusal: 535, 432; 454 for trouble.  A failure of the Deferred is trouble too."""
        ...

    def secret(self, user: str) -> ScramSecret | Reply:
        """What is kept of this user's password; made up for an unknown one.  454 when it cannot be told now."""
        ...

    def taken_for_right(self, attempt: LoginAttempted) -> User | Reply:
        """What ``check`` would say if the evidence were right; asks nobody.  A source that does not know its users by
        itself takes it that there is this one."""
        ...


class Logins:
    """The sources of one relay, shared by its listeners.

    token_scope  what a bearer token must be good for; empty for anything
    """

    def __init__(
        self,
        sources: Sequence[Source],
        clock: IReactorTime,
        tell: Tell,
        nonce: Nonce,
        limits: AttemptLimits | None = None,
        allowed: Sequence[str] = (),
    ) -> None:
        """nonce    random, printable, without comma
        allowed  mechanisms that may be used at all; empty for all that the sources can
        """
        self._sources = tuple(sources)
        self._clock = clock
        self._tell = tell
        self._nonce = nonce
        self._attempts = Attempts(limits or AttemptLimits())
        self._allowed = frozenset(allowed or MECHANISMS)
        self.token_scope = ""
        self._offered: dict[frozenset[str], tuple[str, ...]] = {}

    def reconfigure(self, sources: Sequence[Source], limits: AttemptLimits, allowed: Sequence[str]) -> None:
        """Others are asked from now on; what was counted is kept."""
        self._sources = tuple(sources)
        self._attempts.limits = limits
        self._allowed = frozenset(allowed or MECHANISMS)
        self._offered.clear()

    def rehearsed(self, clock: IReactorTime, tell: Tell) -> Logins:
        """The same as it is now, for a rehearsal: who comes with REHEARSED_PASSWORD is believed, nobody is asked, and
        what is counted in one does not count in the other."""
        sources = [_Rehearsed(source) for source in self._sources]
        logins = Logins(sources, clock, tell, lambda: "rehearsal", allowed=tuple(self._allowed))
        logins._attempts = self._attempts.copy()
        logins.token_scope = self.token_scope
        return logins

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """Those that can be used now, the best first.  The same object as long as they are the same."""
        usable = frozenset[str]().union(*(source.mechanisms for source in self._sources))
        found = self._offered.get(usable)
        if found is None:
            found = self._offered[usable] = tuple(
                name for name in MECHANISMS if name in usable and name in self._allowed
            )
        return found

    def secret(self, user: str, client: Client) -> tuple[ScramSecret, str] | Reply:
        """For SCRAM: what is kept of the user's password, and a nonce."""
        if self._attempts.is_locked_out(client_group(client.ip), user_key(user), self._clock.seconds()):
            return self._locked_out(user, client)
        found = self._source("SCRAM-SHA-256").secret(user)
        return found if isinstance(found, Reply) else (found, self._nonce())

    def attempt(self, attempt: LoginAttempted, client: Client) -> Deferred[User | Reply]:
        """Is it so?  Fires late when it is not."""
        group, key = client_group(client.ip), user_key(attempt.user)
        if self._attempts.is_locked_out(group, key, self._clock.seconds()):
            return succeed(self._locked_out(attempt.user, client))
        asked = maybeDeferred(self._source(attempt.mechanism).check, attempt, client.ip)
        return asked.addCallbacks(self._answered, self._trouble, (attempt, client, group), {}, (attempt,))

    def taken_for_right(self, attempt: LoginAttempted) -> User | Reply:
        """What the source that would be asked says, if the evidence were right."""
        return self._source(attempt.mechanism).taken_for_right(attempt)

    def _source(self, mechanism: str) -> Source:
        for source in self._sources:
            if mechanism in source.mechanisms:
                return source
        return _Nobody()  # the mechanism was taken away since EHLO

    def _answered(
        self, answer: User | Reply, attempt: LoginAttempted, client: Client, group: str
    ) -> User | Reply | Deferred[User | Reply]:
        if isinstance(answer, User):
            if answer.may_log_in and answer.may_come_from(client.ip):
                self._attempts.succeeded(group, answer.key)
                self._tell("logged_in", client=client.ip, login=answer.name, mechanism=attempt.mechanism)
                return answer
            answer = reply.LOGIN_REFUSED
        self._tell("refused", client=client.ip, login=attempt.user, reply=str(answer), mechanism=attempt.mechanism)
        if answer.code == reply.LOGIN_UNAVAILABLE.code:
            return answer
        delay_s = self._attempts.failed(group, user_key(attempt.user), self._clock.seconds())
        later: Deferred[User | Reply] = Deferred()
        self._clock.callLater(delay_s, later.callback, answer)
        return later

    def _locked_out(self, user: str, client: Client) -> Reply:
        answer = reply.TOO_MANY_FAILED_LOGINS
        self._tell("refused", client=client.ip, login=user, reply=str(answer))
        return answer

    def _trouble(self, failure: Failure, attempt: LoginAttempted) -> Reply:
        self._tell("trouble", place="login", login=attempt.user, error=failure.getErrorMessage())
        return reply.LOGIN_UNAVAILABLE


class _Rehearsed:
    """Asked in place of a source when nothing is to be proved."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def mechanisms(self) -> frozenset[str]:
        return self._source.mechanisms

    def check(self, attempt: LoginAttempted, ip: str) -> Deferred[User | Reply]:
        return succeed(self.taken_for_right(attempt))

    def secret(self, user: str) -> ScramSecret | Reply:
        return scram_secret(REHEARSED_PASSWORD.encode(), b"rehearsal", ITERATIONS_LEAST)

    def taken_for_right(self, attempt: LoginAttempted) -> User | Reply:
        return self._source.taken_for_right(attempt)


class _Nobody:
    """Asked in place of a source that is there no more."""

    mechanisms: frozenset[str] = frozenset()

    def taken_for_right(self, attempt: LoginAttempted) -> User | Reply:
        return reply.LOGIN_UNAVAILABLE

    def check(self, attempt: LoginAttempted, ip: str) -> Deferred[User | Reply]:
        return succeed(reply.LOGIN_UNAVAILABLE)

    def secret(self, user: str) -> ScramSecret | Reply:
        return reply.LOGIN_UNAVAILABLE
