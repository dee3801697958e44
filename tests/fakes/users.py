"""A source of logins that knows some users by their passwords in the clear."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred, succeed

from relay.message import reply
from relay.message.reply import Reply
from relay.policy.users import User, user_key
from relay.smtp.events import LoginAttempted, Password, Proof, Token
from relay.smtp.scram import ScramSecret, scram_secret


class FakeUsers:
    """Everybody logs in with ``geheim``, or the token ``token``.

    asked     every attempt that got through to here
    trouble   given in place of every answer: a reply, or what to raise
    waiting   answers wait for ``answer`` while it is a list
    """

    def __init__(self, *users: User, mechanisms: frozenset[str] = frozenset({"PLAIN", "LOGIN"})) -> None:
        self.users: Mapping[str, User] = {user.key: user for user in users}
        self.mechanisms = mechanisms
        self.asked: list[LoginAttempted] = []
        self.trouble: Reply | Exception | None = None
        self.waiting: list[Deferred[User | Reply]] | None = None

    def check(self, attempt: LoginAttempted, ip: str) -> Deferred[User | Reply]:
        self.asked.append(attempt)
        if isinstance(self.trouble, Exception):
            raise self.trouble
        if self.waiting is not None:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        user = self.users.get(user_key(attempt.user))
        match attempt.evidence:
            case Password(text):
                right = text == "geheim"
            case Token(text):
                right = text == "token"
            case Proof(is_valid):
                right = is_valid
        return succeed(self.trouble or (user if user is not None and right else reply.LOGIN_REFUSED))

    def taken_for_right(self, attempt: LoginAttempted) -> User | Reply:
        return self.users.get(user_key(attempt.user), reply.LOGIN_REFUSED)

    def secret(self, user: str) -> ScramSecret | Reply:
        if isinstance(self.trouble, Reply):
            return self.trouble
        password = b"geheim" if user_key(user) in self.users else b"\0made up"
        return scram_secret(password, b"saltsaltsaltsalt", 4096)
