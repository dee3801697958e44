"""The server's half of AUTH (RFC 4954): SASL exchanges (RFC 4422), without sockets or clocks.

A mechanism is a generator.  It gives a challenge and gets the client's response, or a question of the session and
gets the answer to it; what it returns is the reply that ends the exchange.  235 comes from the carrier alone: a
mechanism only brings the evidence.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64encode
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

from relay.message import reply
from relay.message.reply import Reply
from relay.smtp.commands import CommandRefused
from relay.smtp.events import LoginAttempted, Password, Proof, SecretWanted, Shown, Token
from relay.smtp.scram import ScramFault, ScramSecret, ScramServer

LINE_LIMIT_OCTETS = 12288  # RFC 4954 §4, with the CRLF
NAME_LIMIT = 255  # characters of a user name

Step = bytes | SecretWanted | LoginAttempted
"""A challenge, or a question for the carrier."""

Sent = bytes | Reply | tuple[ScramSecret, str]
"""The client's response, or the carrier's answer: to SecretWanted, the secret and a fresh nonce."""

Steps = Generator[Step, Sent, Reply]


class AuthLines:
    """What a line within an exchange may be: base64, so ASCII, and long."""

    def line_limit(self, line: bytes) -> int:
        return LINE_LIMIT_OCTETS

    def line_takes_utf8(self, line: bytes) -> bool:
        return False


AUTH_LINES = AuthLines()


@dataclass(frozen=True, slots=True)
class Channel:
    """What a mechanism may know of the connection.

    bindings  what it can be bound to, by name (RFC 5929, RFC 9266); empty without TLS or when -PLUS is not offered
    scope     what a bearer token must be good for (RFC 7628 §3.2.2); empty for anything
    """

    bindings: Mapping[str, bytes]
    scope: str = ""


class Exchange:
    """One AUTH command, from its mechanism to its last reply."""

    __slots__ = ("_steps",)

    def __init__(self, mechanism: str, channel: Channel) -> None:
        """mechanism  a name in MECHANISMS"""
        self._steps = MECHANISMS[mechanism](channel)

    def begin(self, initial: str | None) -> Step | Reply:
        """The first step; with the initial response as it stood behind the mechanism, if there was one."""
        try:
            first = next(self._steps)
        except StopIteration as ended:
            return _final(ended)
        if initial is None:
            return first
        # A mechanism that asks first (LOGIN) gets it as the answer to that question, as everybody takes it.
        return self.respond("" if initial == "=" else initial)

    def respond(self, line: str) -> Step | Reply:
        """The next step, after a line from the client (RFC 4954 §4)."""
        if line == "*":
            return reply.LOGIN_CANCELLED
        try:
            response = binascii.a2b_base64(line, strict_mode=True) if line else b""
        except (binascii.Error, ValueError):
            return reply.BAD_BASE64
        return self.answer(response)

    def answer(self, sent: Sent) -> Step | Reply:
        """The next step, after the carrier's answer to a question."""
        try:
            return self._steps.send(sent)
        except StopIteration as ended:
            return _final(ended)


def _final(ended: StopIteration) -> Reply:
    assert isinstance(ended.value, Reply)
    return ended.value


def challenge_line(challenge: bytes) -> bytes:
    """A challenge as it stands on the wire; it may be longer than other replies (RFC 4954 §4)."""
    return b"334 " + b64encode(challenge) + b"\r\n"


def chosen_mechanism(name: str, offered: Sequence[str], needs_tls: bool) -> str:
    """The mechanism that a client names.  Raises CommandRefused: 504 for one that is unknown or not offered (RFC 4954
    §4), 538 for one that needs TLS, which is not there, 534 for one that is weaker than all that we offer (§6)."""
    mechanism = name.upper()
    if mechanism in offered:
        return mechanism
    if mechanism in MECHANISMS and needs_tls:
        raise CommandRefused(reply.ENCRYPTION_REQUIRED)
    best_first = list(MECHANISMS)
    is_weak = mechanism in MECHANISMS and best_first.index(mechanism) > best_first.index(offered[-1])
    raise CommandRefused(reply.MECHANISM_TOO_WEAK if is_weak else reply.MECHANISM_UNKNOWN)


# -- the mechanisms --------------------------------------------------------------------------------------------


def _response(challenge: bytes) -> Generator[Step, Sent, bytes]:
    sent = yield challenge
    assert isinstance(sent, bytes)
    return sent


def _verdict(attempt: LoginAttempted) -> Generator[Step, Sent, Reply]:
    sent = yield attempt
    assert isinstance(sent, Reply)
    return sent


def _external(channel: Channel) -> Steps:
    """RFC 4422 Appendix A: the certificate has said already who it is; the message, as whom to act."""
    names = _texts((yield from _response(b"")))
    if names is None or not (names[0] == "" or _is_name(names[0])):
        return reply.BAD_RESPONSE
    return (yield from _verdict(LoginAttempted(EXTERNAL, "", Shown(), names[0])))


def _plain(channel: Channel) -> Steps:
    """RFC 4616."""
    parts = _texts((yield from _response(b"")), b"\0")
    if parts is None or len(parts) != 3 or not (_is_name(parts[1]) and parts[2]):
        return reply.BAD_RESPONSE
    act_as, user, password = parts
    return (yield from _verdict(LoginAttempted("PLAIN", user, Password(password), act_as)))


def _login(channel: Channel) -> Steps:
    """LOGIN, which has no RFC: two questions, whose words old clients know by heart."""
    names = _texts((yield from _response(b"Username:")))
    passwords = _texts((yield from _response(b"Password:")))
    if not (names and passwords and _is_name(names[0]) and passwords[0]):
        return reply.BAD_RESPONSE
    return (yield from _verdict(LoginAttempted("LOGIN", names[0], Password(passwords[0]))))


def _scram(channel: Channel) -> Steps:
    return _scram_exchange("SCRAM-SHA-256", channel, plus=False)


def _scram_plus(channel: Channel) -> Steps:
    return _scram_exchange("SCRAM-SHA-256-PLUS", channel, plus=True)


def _scram_exchange(mechanism: str, channel: Channel, plus: bool) -> Steps:
    """RFC 5802 §5, RFC 7677."""
    first = yield from _response(b"")
    try:
        scram = ScramServer(first, channel.bindings, plus)
        if not _is_name(scram.user):
            return reply.BAD_RESPONSE
        known = yield SecretWanted(scram.user)
        if isinstance(known, Reply):
            return known
        assert isinstance(known, tuple)
        proven = scram.proves((yield from _response(scram.challenge(*known))))
    except ScramFault:
        return reply.BAD_RESPONSE
    if proven:
        # SMTP has no room for data in its last reply (RFC 4954 §4): it goes as one more challenge, answered by nothing.
        yield from _response(scram.verifier())
    return (yield from _verdict(LoginAttempted(mechanism, scram.user, Proof(proven), scram.act_as)))


_XOAUTH2 = re.compile("user=([^\x01]*)\x01auth=Bearer +([!-~]+)\x01\x01", re.IGNORECASE)
_OAUTHBEARER = re.compile(
    "[yn],(?:a=((?:[^,=\0\x01]|=2C|=3D)*))?,\x01((?:[A-Za-z]+=[\t\r\n -~]*\x01)*)\x01"  # RFC 7628 §3.1
)
_BEARER = re.compile("(?:\\A|\x01)auth=(?:Bearer +([!-~]+))?", re.IGNORECASE)


def _xoauth2(channel: Channel) -> Steps:
    """The forerunner of OAUTHBEARER, which large providers and many devices know only."""
    message = _texts((yield from _response(b"")))
    found = _XOAUTH2.fullmatch(message[0]) if message else None
    if found is None or not _is_name(found[1]):
        return reply.BAD_RESPONSE
    return (yield from _bearer("XOAUTH2", found[1], found[2], channel))


def _oauthbearer(channel: Channel) -> Steps:
    """RFC 7628."""
    message = _texts((yield from _response(b"")))
    found = _OAUTHBEARER.fullmatch(message[0]) if message else None
    bearer = _BEARER.search(found[2]) if found else None
    if found is None or bearer is None:
        return reply.BAD_RESPONSE
    if bearer[1] is None:  # by which a client asks what a token must be good for (RFC 7628 §4.3)
        return (yield from _not_with_this_token(reply.LOGIN_REFUSED, channel))
    user = (found[1] or "").replace("=2C", ",").replace("=3D", "=")
    return (yield from _bearer("OAUTHBEARER", user, bearer[1], channel))


def _bearer(mechanism: str, user: str, token: str, channel: Channel) -> Steps:
    verdict = yield from _verdict(LoginAttempted(mechanism, user, Token(token)))
    return (yield from _not_with_this_token(verdict, channel)) if verdict.is_permanent else verdict


def _not_with_this_token(verdict: Reply, channel: Channel) -> Steps:
    """RFC 7628 §3.2.2: what is wrong goes as a challenge, and the client's answer to it says nothing."""
    scope = {"scope": channel.scope} if channel.scope else {}
    yield from _response(json.dumps({"status": "invalid_token", "schemes": "bearer", **scope}).encode())
    return verdict


def _texts(message: bytes, separator: bytes | None = None) -> list[str] | None:
    """The parts of a message as text, or None when it is not UTF-8, or holds a NUL where none belongs."""
    try:
        parts = [part.decode() for part in (message.split(separator) if separator else [message])]
    except UnicodeDecodeError:
        return None
    return None if any("\0" in part for part in parts) else parts


def _is_name(text: str) -> bool:
    return 0 < len(text) <= NAME_LIMIT and text.isprintable()


EXTERNAL = "EXTERNAL"

MECHANISMS: Mapping[str, Callable[[Channel], Steps]] = {
    EXTERNAL: _external,
    "SCRAM-SHA-256-PLUS": _scram_plus,
    "SCRAM-SHA-256": _scram,
    "OAUTHBEARER": _oauthbearer,
    "XOAUTH2": _xoauth2,
    "PLAIN": _plain,
    "LOGIN": _login,
}
"""In the order in which they are announced: the best first."""

OF_USERS = tuple(name for name in MECHANISMS if name != EXTERNAL)
"""Those by which users log in; who has shown a certificate is none of them."""
