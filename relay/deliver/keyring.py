"""Where credentials come from: a password from its file, an access token from its provider.

Files are read at each login, so that a changed password counts at once.  A refused login is our own trouble, and loud:
one line when it begins, and again from time to time.

The rule that must not be broken: no secret stands in what is told or raised.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from relay.message.step import Tell, tell_nobody
from relay.route.cache import Cache
from relay.route.credentials import Login
from relay.route.via import Hop
from relay.smtp.login import Credentials

SECRET_LIMIT_OCTETS = 64 * 1024
REFUSALS_LIMIT = 100
TELL_AGAIN_S = 900.0
"""How often a login that stays refused is told again."""
_NONCE_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class NoCredentials(Exception):
    """There is nothing to log in with; ``str()`` says why."""


class Tokens(Protocol):
    """Gets access tokens."""

    def token(self, login: Login) -> defer.Deferred[str]:
        """An access token that is valid now.  Fails with NoCredentials."""

    def forget(self, login: Login) -> None:
        """The token was refused: the next is to be a new one."""


class Keyring:
    """See the module.

    chance    for nonces; a source that nobody can foretell
    refusals  who does not let us in just now: hop -> user, and why
    """

    def __init__(self, clock: IReactorTime, chance: random.Random, tell: Tell, tokens: Tokens | None = None) -> None:
        self._clock = clock
        self._chance = chance
        self._tell = tell
        self._tokens = tokens
        self.refusals: dict[Hop, tuple[str, str]] = {}
        self._told: Cache[tuple[Hop, str], bool] = Cache(1000)

    def apart(self, chance: random.Random) -> Keyring:
        """Another with the same credentials, whose refusals nobody is told of."""
        return Keyring(self._clock, chance, tell_nobody, self._tokens)

    def credentials(self, login: Login) -> defer.Deferred[Credentials]:
        """What to log in with.  Fails with NoCredentials."""
        if login.oauth is None:
            try:
                return defer.succeed(Credentials(login.user, read_secret(login.secret_file)))
            except NoCredentials as none:
                return defer.fail(none)
        if self._tokens is None:
            return defer.fail(NoCredentials("access tokens cannot be fetched here"))
        token = self._tokens.token(login)
        bearer: Callable[[str], Credentials] = lambda said: Credentials(login.user, said, is_token=True)  # noqa: E731
        return token.addCallback(bearer)

    def refused(self, hop: Hop, label: str, why: str) -> None:
        """The hop did not let us in."""
        login = hop.login
        if login is None:
            return
        if self._tokens is not None and login.oauth is not None:
            self._tokens.forget(login)
        self.refusals.pop(hop, None)
        self.refusals[hop] = (login.user, why)
        if len(self.refusals) > REFUSALS_LIMIT:
            del self.refusals[next(iter(self.refusals))]
        now = self._clock.seconds()
        if self._told.get((hop, why), now) is None:
            self._told.put((hop, why), True, now + TELL_AGAIN_S)
            self._tell(
                "trouble",
                hop=label,
                login=login.user,
                error=f"the login was refused, and mail for this hop waits: {why}",
            )

    def accepted(self, hop: Hop) -> None:
        """The hop lets us in."""
        self.refusals.pop(hop, None)

    def nonce(self) -> str:
        return "".join(self._chance.choices(_NONCE_LETTERS, k=24))


def read_secret(path: str) -> str:
    """The first line of a file with a secret.  Raises NoCredentials."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(SECRET_LIMIT_OCTETS).decode("utf-8")
    except OSError as error:
        raise NoCredentials(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise NoCredentials(f"{path} is not UTF-8") from None
    secret = text.partition("\n")[0].rstrip("\r")
    if not secret:
        raise NoCredentials(f"{path} is empty; its first line is to be the secret")
    return secret
