"""``accept.users`` as a file: who its users are, and whether a password is right.

Checking is slow and is done aside, a few at a time; a password that was right a moment ago is not checked again.  The
rule that must not be broken: a name that is not in the file costs what one that is costs, and is answered alike.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from statistics import mode

from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.interfaces import IReactorTime

from relay.message import reply
from relay.message.reply import Reply
from relay.message.step import Tell
from relay.operate.users.passwords import UnknownScheme, is_right, scheme_of, scram_of
from relay.policy.users import User, UserFault, UserList, UsersFault, parse_users, user_key
from relay.receive.watched import InThread, Watched, at_once
from relay.smtp.events import LoginAttempted, Password, Proof
from relay.smtp.scram import KEY_OCTETS, ScramSecret

WITH_PASSWORD = frozenset({"PLAIN", "LOGIN"})
WITH_SCRAM = frozenset({"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"})

CHECKED_AT_ONCE = 2
WAITING_LIMIT = 200
"""More passwords than this waiting to be checked, and the next is answered 454."""

RIGHT_FOR_S = 60.0
RIGHT_LIMIT = 1000


def read_users(path: Path) -> UserList:
    """The users of a file.  Raises UsersFault with every line that is wrong, OSError, UnicodeDecodeError."""
    users = parse_users(path.read_text(encoding="utf-8-sig"), str(path))
    faults: list[UserFault] = []
    for user in users.users.values():
        try:
            scheme_of(user.secret)
        except UnknownScheme as fault:
            faults.append(UserFault(int(user.place.rpartition(":")[2]), f'the user "{user.name}": {fault}'))
    if faults:
        raise UsersFault(tuple(faults))
    return users


class _RecentlyRight:
    """Passwords that were right a moment ago, as keyed hashes; so a device that logs in for each message is quick."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def name(self, user: User, password: str) -> bytes:
        """What it is remembered by.  A changed secret has another."""
        return hmac.digest(self._key, f"{user.key}\0{user.secret}\0{password}".encode(), "sha256")

    def has(self, name: bytes, now: float) -> bool:
        return 0 < self._until.get(name, now) - now <= RIGHT_FOR_S

    def remember(self, name: bytes, now: float) -> None:
        self._until[name] = now + RIGHT_FOR_S
        self._until.move_to_end(name)
        if len(self._until) > RIGHT_LIMIT:
            self._until.popitem(last=False)


class UserFile:
    """A source of logins.

    users  as last read; None when the file was never readable
    """

    def __init__(
        self,
        path: Path,
        clock: IReactorTime,
        tell: Tell,
        key: bytes,
        in_thread: InThread = at_once,
        scram_for_some: bool = False,
    ) -> None:
        """key             random and kept: from it comes what is made up for unknown users, always the same
        scram_for_some  offer SCRAM also while not everybody has a password that is kept in its form
        """
        self.users: UserList | None = None
        self._clock = clock
        self._key = key
        self._in_thread = in_thread
        self._scram_for_some = scram_for_some
        self._checking = DeferredSemaphore(CHECKED_AT_ONCE)
        self._right = _RecentlyRight(key)
        self._secrets: Sequence[str] = ()
        self._scrams: dict[str, ScramSecret] = {}
        self._watched = Watched((path,), lambda: read_users(path), self._learned, clock, tell, in_thread, "the users")

    def start(self) -> None:
        """Reads the file, and goes on watching it."""
        self._watched.start()

    def stop(self) -> None:
        self._watched.stop()

    @property
    def trouble(self) -> str:
        """Why the file cannot be read as it is now."""
        return self._watched.trouble

    def _learned(self, users: UserList) -> None:
        self.users = users
        self._secrets = [user.secret for user in users.users.values()]
        found = {key: scram_of(user.secret) for key, user in users.users.items()}
        self._scrams = {key: scram for key, scram in found.items() if scram is not None}

    # -- what a Source has -------------------------------------------------------------------

    @property
    def mechanisms(self) -> frozenset[str]:
        """SCRAM only when it works for everybody: a client takes the best that is offered, and would fail with it."""
        everybody = self._scrams and len(self._scrams) == len(self._secrets)
        return WITH_PASSWORD | WITH_SCRAM if everybody or self._scram_for_some else WITH_PASSWORD

    def check(self, attempt: LoginAttempted, ip: str) -> Deferred[User | Reply]:
        """Whether the evidence is right."""
        if self.users is None:
            return succeed(reply.LOGIN_UNAVAILABLE)
        user = self.users.find(attempt.user)
        is_own = user_key(attempt.act_as) in ("", user_key(attempt.user))
        if isinstance(attempt.evidence, Proof):
            proven = user is not None and is_own and attempt.evidence.is_valid
            return succeed(user if proven and user is not None else self._not_proven())
        if not isinstance(attempt.evidence, Password):
            return succeed(reply.LOGIN_REFUSED)
        return self._compare(user if is_own else None, attempt.user, attempt.evidence.text)

    def secret(self, user: str) -> ScramSecret | Reply:
        """For SCRAM.  For whoever has none it is made up, and always the same."""
        if self.users is None:
            return reply.LOGIN_UNAVAILABLE
        key = user_key(user)
        return self._scrams.get(key) or self._made_up(key)

    def taken_for_right(self, attempt: LoginAttempted) -> User | Reply:
        """The user, if there is one, and the mechanism works for it."""
        if self.users is None:
            return reply.LOGIN_UNAVAILABLE
        user = self.users.find(attempt.user)
        if isinstance(attempt.evidence, Proof):
            return user if user is not None and user.key in self._scrams else self._not_proven()
        return user or reply.LOGIN_REFUSED

    # -- how -------------------------------------------------------------------------------

    def _not_proven(self) -> Reply:
        # While some have no secret for SCRAM, whoever fails is told to try another mechanism: were it only these, one
        # could learn who exists.
        everybody = len(self._scrams) == len(self._secrets)
        return reply.LOGIN_REFUSED if everybody else reply.PASSWORD_TRANSITION

    def _made_up(self, key: str) -> ScramSecret:
        kept = self._scrams.values()
        iterations = mode(scram.iterations for scram in kept) if kept else 4096
        octets = mode(len(scram.salt) for scram in kept) if kept else 16
        salt = hmac.digest(self._key, f"salt\0{key}".encode(), "sha512")[:octets]
        keys = hmac.digest(self._key, f"keys\0{key}".encode(), "sha512")
        return ScramSecret(salt, iterations, keys[:KEY_OCTETS], keys[KEY_OCTETS:])

    def _compare(self, user: User | None, name: str, password: str) -> Deferred[User | Reply]:
        if not self._secrets:
            return succeed(reply.LOGIN_REFUSED)
        remembered = self._right.name(user, password) if user is not None else b""
        if user is not None and self._right.has(remembered, self._clock.seconds()):
            return succeed(user)
        if len(self._checking.waiting) >= WAITING_LIMIT:
            return succeed(reply.LOGIN_UNAVAILABLE)
        secret = user.secret if user is not None else self._somebodys(name)
        checked = self._checking.run(self._in_thread, lambda: is_right(secret, password))

        def judged(right: bool) -> User | Reply:
            if user is None or not right:
                return reply.LOGIN_REFUSED
            self._right.remember(remembered, self._clock.seconds())
            return user

        return checked.addCallback(judged)

    def _somebodys(self, name: str) -> str:
        """Somebody's secret, for one unknown name always the same: comparing with it costs what it costs for a user."""
        picked = hmac.digest(self._key, f"whose\0{user_key(name)}".encode(), "sha256")
        return self._secrets[int.from_bytes(picked[:8], "big") % len(self._secrets)]
