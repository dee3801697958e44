"""Access tokens for next hops: a refresh token is exchanged for one, which is used until shortly before it expires
(RFC 6749 §6, §5.1).

Providers hand out a new refresh token now and then; it takes the place of the old one in its file where we may write
there, else in memory until the restart.

The rule that must not be broken: no token stands in what is told or raised.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.deliver.keyring import NoCredentials, read_secret
from relay.message.reply import printable
from relay.message.step import Tell
from relay.route.credentials import Login, OAuth
from relay.route.https import Fetched, HttpsFault

ANSWER_LIMIT_OCTETS = 64 * 1024
TIMEOUT_S = 20.0
EARLY_S = 60.0
"""A token is not used in its last minute: it must still hold when it has arrived."""
LIFE_S = 300.0
"""Of a token whose life the provider does not tell (RFC 6749 §5.1 only recommends it)."""
FORM = "application/x-www-form-urlencoded"


class Request(Protocol):
    """One HTTPS request; see relay.route.https.Https.request."""

    def __call__(
        self,
        method: str,
        url: str,
        *,
        limit_octets: int,
        timeout_s: float,
        body: bytes | None = None,
        kind: str = "",
        ours: bool = False,
    ) -> defer.Deferred[Fetched]: ...


@dataclass(slots=True)
class _Account:
    """What is known for one login.

    refresh   a newer refresh token than the file has, or empty
    replaced  what the file had when it came
    """

    access: str = ""
    until: float = 0.0
    refresh: str = ""
    replaced: str = ""


class TokenSource:
    """See the module.  Fits ``keyring.Tokens``."""

    def __init__(self, clock: IReactorTime, request: Request, tell: Tell) -> None:
        self._clock = clock
        self._request = request
        self._tell = tell
        self._accounts: dict[Login, _Account] = {}
        self._asking: dict[Login, list[defer.Deferred[str]]] = {}

    def token(self, login: Login) -> defer.Deferred[str]:
        """See keyring.Tokens."""
        account = self._accounts.get(login)
        if account is not None and account.until > self._clock.seconds():
            return defer.succeed(account.access)
        waiting: defer.Deferred[str] = defer.Deferred()
        if login in self._asking:
            self._asking[login].append(waiting)
            return waiting
        self._asking[login] = [waiting]
        defer.Deferred.fromCoroutine(self._fetch(login)).addBoth(self._fetched, login)
        return waiting

    def forget(self, login: Login) -> None:
        """See keyring.Tokens."""
        account = self._accounts.get(login)
        if account is not None:
            account.until = 0.0

    def _fetched(self, result: str | Failure, login: Login) -> None:
        for waiting in self._asking.pop(login):
            if isinstance(result, Failure):
                waiting.errback(result)
            else:
                waiting.callback(result)

    async def _fetch(self, login: Login) -> str:
        oauth = login.oauth
        assert oauth is not None
        account = self._accounts.setdefault(login, _Account())
        stored = read_secret(login.secret_file)
        refresh = account.refresh if account.refresh and account.replaced == stored else stored
        form = {"grant_type": "refresh_token", "refresh_token": refresh, **client_of(oauth)}
        if oauth.scope:
            form["scope"] = oauth.scope
        try:
            answer = await self._request(
                "POST",
                oauth.token_url,
                limit_octets=ANSWER_LIMIT_OCTETS,
                timeout_s=TIMEOUT_S,
                body=urlencode(form).encode(),
                kind=FORM,
                ours=True,
            )
        except HttpsFault as fault:
            raise NoCredentials(f"{oauth.token_url} gives no access token: {fault}") from None
        said = members(answer.body)
        access = said.get("access_token")
        if answer.status != 200 or not isinstance(access, str) or not access.isprintable() or not access:
            raise NoCredentials(f"{oauth.token_url} gives no access token: {refusal(answer.status, said)}")
        kind = said.get("token_type", "Bearer")
        if str(kind).lower() != "bearer":  # RFC 6749 §7.1
            raise NoCredentials(f"{oauth.token_url} gives a token of the kind {printable(str(kind)[:100])}, not Bearer")
        life = said.get("expires_in")
        life_s = float(life) if isinstance(life, (int, float)) and life > 0 else LIFE_S
        account.access, account.until = access, self._clock.seconds() + max(life_s - EARLY_S, life_s / 2)
        newer = said.get("refresh_token")
        if isinstance(newer, str) and newer and newer != refresh and newer.isprintable():
            account.refresh, account.replaced = newer, stored
            self._keep(login, newer)
        return access

    def _keep(self, login: Login, newer: str) -> None:
        try:
            write_secret(Path(login.secret_file), newer)
        except OSError as error:
            why = f"{login.secret_file} cannot take the new refresh token: {error.strerror}"
            self._tell("trouble", login=login.user, error=f"{why}; after a restart the old one is used")


def client_of(oauth: OAuth) -> dict[str, str]:
    """How we name ourselves to the provider (RFC 6749 §2.3.1).  Raises NoCredentials."""
    secret = {"client_secret": read_secret(oauth.client_secret_file)} if oauth.client_secret_file else {}
    return {"client_id": oauth.client_id, **secret}


def members(body: bytes) -> Mapping[str, object]:
    """A JSON object's members; none when it is no object."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def refusal(status: int, said: Mapping[str, object]) -> str:
    """What a provider says against it, in one line (RFC 6749 §5.2)."""
    words = [said[key] for key in ("error", "error_description") if isinstance(said.get(key), str)]
    return printable(" ".join([str(status), *(str(word)[:300] for word in words)]))


def write_secret(path: Path, secret: str) -> None:
    """Puts a secret in a file that only its owner can read, in place of the old one.  Raises OSError."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
