"""Bearer tokens, shown to who gave them: token introspection (RFC 7662) over HTTPS.

A token that was good a moment ago is not shown again.  The rule that must not be broken: only ``"active": true`` from
the configured endpoint lets anybody in, and no token is ever told.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import quote, urlencode

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.protocol import Protocol as Receiver
from twisted.internet.protocol import connectionDone as CONNECTION_DONE
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from relay.message import reply
from relay.message.reply import Reply
from relay.message.step import Tell
from relay.policy.users import User, user_key
from relay.receive.logins import Source
from relay.smtp.events import LoginAttempted, Token
from relay.smtp.scram import ScramSecret

FORM = "application/x-www-form-urlencoded"
ANSWER_WITHIN_S = 10.0
ANSWER_LIMIT_OCTETS = 64 * 1024
GOOD_FOR_S = 60.0
GOOD_LIMIT = 1000
UNDER_WAY_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Introspection:
    """Who tells what a token is worth.

    url            the endpoint
    client_id      by which we are known there, with its secret (RFC 7662 §2.1); empty for none
    client_secret  gives the secret, read when it is needed, so that it can be changed
    user           the member of the answer that names the user: ``username``, ``email``, ``sub``
    scope          what the token must be good for; empty for anything
    """

    url: str
    client_id: str
    client_secret: Callable[[], str]
    user: str = "username"
    scope: str = ""


class FindUser(Protocol):
    """What else is known of a user by this name; None for nothing."""

    def __call__(self, name: str, /) -> User | None: ...


class _Refused(Exception):
    """The endpoint does not answer as it should; ``str()`` says how, without the token."""


class TokenUsers(Source):
    """A source of logins by OAUTHBEARER and XOAUTH2."""

    mechanisms = frozenset({"OAUTHBEARER", "XOAUTH2"})

    def __init__(
        self, settings: Introspection, agent: IAgent, clock: IReactorTime, tell: Tell, key: bytes, find: FindUser
    ) -> None:
        """agent  verifies the endpoint's certificate, follows no redirection
        key    random: tokens are remembered by keyed hashes
        find   where the senders of a user are known
        """
        self._settings = settings
        self._agent = agent
        self._clock = clock
        self._tell = tell
        self._key = key
        self._find = find
        self._good: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._under_way = 0

    def start(self) -> None:
        """Nothing is asked before somebody logs in."""

    def stop(self) -> None:
        """Nothing is kept open."""

    def secret(self, user: str) -> ScramSecret | Reply:
        return reply.LOGIN_UNAVAILABLE

    def check(self, attempt: LoginAttempted, ip: str) -> Deferred[User | Reply]:
        """Whether the token is good, and whose it is."""
        if not isinstance(attempt.evidence, Token):
            return succeed(reply.LOGIN_REFUSED)
        token = attempt.evidence.text
        name = hmac.digest(self._key, token.encode(), "sha256")
        until, user = self._good.get(name, (0.0, ""))
        if 0 < until - self._clock.seconds() <= GOOD_FOR_S:
            return succeed(self._user(user, attempt.user))
        if self._under_way >= UNDER_WAY_LIMIT:
            return succeed(reply.LOGIN_UNAVAILABLE)
        self._under_way += 1
        return Deferred.fromCoroutine(self._shown(token, name, attempt.user))

    def taken_for_right(self, attempt: LoginAttempted) -> User | Reply:
        """Whom a token names is known only from the token: it is taken to be this one."""
        return self._user(attempt.user, attempt.user)

    async def _shown(self, token: str, name: bytes, wanted: str) -> User | Reply:
        try:
            asked = Deferred.fromCoroutine(self._ask(token)).addTimeout(ANSWER_WITHIN_S, self._clock)
            return self._told(await asked, name, wanted)
        except Exception as error:
            self._tell("trouble", place=self._settings.url, error=str(error) or repr(error))
            return reply.LOGIN_UNAVAILABLE
        finally:
            self._under_way -= 1

    async def _ask(self, token: str) -> Mapping[str, object]:
        settings = self._settings
        form = _Form({"token": token, "token_type_hint": "access_token"})
        headers = Headers({"Content-Type": [FORM], "Accept": ["application/json"], "User-Agent": ["relay"]})
        if settings.client_id:
            # RFC 6749 §2.3.1: both are form-encoded before they are joined.
            pair = f"{quote(settings.client_id, safe='')}:{quote(settings.client_secret(), safe='')}"
            headers.addRawHeader("Authorization", "Basic " + b64encode(pair.encode()).decode())
        response = await self._agent.request(b"POST", settings.url.encode(), headers, form)
        if response.code != 200:
            raise _Refused(f"the introspection endpoint answered {response.code}")
        try:
            found = json.loads(await _read(response))
        except ValueError:
            raise _Refused("the introspection endpoint answered no JSON") from None
        if not isinstance(found, dict):
            raise _Refused("the introspection endpoint answered no JSON object")
        return cast(Mapping[str, object], found)

    def _told(self, found: Mapping[str, object], name: bytes, wanted: str) -> User | Reply:
        settings, now = self._settings, self._clock.seconds()
        user, expires, scopes = found.get(settings.user), found.get("exp"), str(found.get("scope", "")).split()
        is_over = isinstance(expires, (int, float)) and expires <= now
        if found.get("active") is not True or is_over or (settings.scope and settings.scope not in scopes):
            return reply.LOGIN_REFUSED
        if not isinstance(user, str) or not user.isprintable() or not 0 < len(user) <= 255:
            raise _Refused(f'the answer for a good token names no user: it has no member "{settings.user}"')
        until = min(now + GOOD_FOR_S, float(expires)) if isinstance(expires, (int, float)) else now + GOOD_FOR_S
        self._good[name] = (until, user)
        self._good.move_to_end(name)
        if len(self._good) > GOOD_LIMIT:
            self._good.popitem(last=False)
        return self._user(user, wanted)

    def _user(self, name: str, wanted: str) -> User | Reply:
        """The token's user, if the client named no other."""
        if user_key(wanted) not in ("", user_key(name)):
            return reply.LOGIN_REFUSED
        return self._find(name) or User(name, place=self._settings.url)


@implementer(IBodyProducer)
class _Form:
    """A body of some hundred octets, written in one go."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._body = urlencode(fields).encode()
        self.length = len(self._body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def stopProducing(self) -> None:
        """It is over already."""

    def pauseProducing(self) -> None:
        """As before."""

    def resumeProducing(self) -> None:
        """As before."""


class _Body(Receiver):
    def __init__(self, done: Deferred[bytes]) -> None:
        self._done = done
        self._pieces: list[bytes] = []
        self._octets = 0

    def dataReceived(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > ANSWER_LIMIT_OCTETS:
            assert self.transport is not None
            self.transport.loseConnection()
        else:
            self._pieces.append(data)

    def connectionLost(self, reason: Failure = CONNECTION_DONE) -> None:
        if self._octets > ANSWER_LIMIT_OCTETS:
            self._done.errback(_Refused("the introspection endpoint's answer is too long"))
        elif reason.check(ResponseDone):
            self._done.callback(b"".join(self._pieces))
        else:
            self._done.errback(_Refused("the introspection endpoint's answer was cut off"))


def _read(response: IResponse) -> Deferred[bytes]:
    done: Deferred[bytes] = Deferred()
    response.deliverBody(_Body(done))
    return done
