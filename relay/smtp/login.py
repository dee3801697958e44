"""The client's half of SASL, without sockets: one Exchange for each mechanism (RFC 4422, RFC 4954).

    SCRAM-SHA-256  the server proves itself too, and never hears the password (RFC 5802, RFC 7677)
    OAUTHBEARER    an access token in place of a password (RFC 7628)
    XOAUTH2        the same, as Google and Microsoft wrote it down before there was a standard
    CRAM-MD5       the password itself is not sent (RFC 2195); weak
    PLAIN, LOGIN   the password itself is sent (RFC 4616; LOGIN was never standardised)

The rule that must not be broken: what an Exchange answers holds credentials, and stands in no record or log.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import unicodedata
from base64 import b64encode
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relay.message.reply import printable
from relay.smtp.transaction import Step

WITH_PASSWORD = ("SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN")
"""Mechanisms that use a password, the safest first."""
WITH_TOKEN = ("OAUTHBEARER", "XOAUTH2")
"""Mechanisms that use an access token."""
ITERATIONS_LEAST = 4096
"""Fewer rounds of SCRAM than RFC 7677 §4 asks for would make the proof cheap to try passwords on."""
ITERATIONS_LIMIT = 200_000
"""A server that asks for more wants to keep us busy: they are counted on our processor."""

_COMMAND_LIMIT_OCTETS = 512  # RFC 5321 §4.5.3.1.4, with the CRLF
# RFC 5802 §7; attributes behind the known ones may be ignored, "m" may not, wherever it stands (§5.1).
_SERVER_FIRST = re.compile(rb"r=([!-+\--~]+),s=([A-Za-z0-9+/=]+),i=([1-9][0-9]{0,8})(?:,[A-Za-ln-z]=[^,\0]*)*")
_SERVER_FINAL = re.compile(rb"([ev])=([^,\0]+)(?:,[A-Za-ln-z]=[^,\0]*)*")


class LoginFault(Exception):
    """The server's half makes no sense, or does not prove what it must; ``str()`` says what."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who logs in.

    secret    the password, or the access token
    is_token  which of both
    """

    user: str
    secret: str = field(repr=False)
    is_token: bool = False


class Exchange(Protocol):
    """One attempt to log in."""

    @property
    def mechanism(self) -> str: ...

    def initial(self) -> bytes | None:
        """What the client says first, or None when the server begins."""

    def answer(self, challenge: bytes) -> bytes:
        """What the client says to this.  Raises LoginFault."""

    def accepted(self) -> None:
        """The server says yes.  Raises LoginFault when it has not shown that it is the right one."""


def choose(offered: Collection[str], allowed: Sequence[str], credentials: Credentials) -> str | None:
    """The first mechanism of ``allowed`` (by default the safest) that the server offers and the credentials fit."""
    fitting = WITH_TOKEN if credentials.is_token else WITH_PASSWORD
    return next((one for one in allowed or fitting if one in fitting and one in offered), None)


def exchange(mechanism: str, credentials: Credentials, host: str, port: int, nonce: str) -> Exchange:
    """An attempt by a mechanism of WITH_PASSWORD or WITH_TOKEN.  Raises LoginFault for credentials that it cannot take.

    host, port  where to, which OAUTHBEARER says (RFC 7628 §3.1)
    nonce       random, printable, without comma; for SCRAM
    """
    if "\0" in credentials.user or "\0" in credentials.secret:
        raise LoginFault("the user or the password holds a NUL")
    if mechanism == "SCRAM-SHA-256":
        return _Scram(credentials, nonce)
    if mechanism == "OAUTHBEARER":
        return _Token("OAUTHBEARER", _oauthbearer(credentials, host, port), b"\1")
    if mechanism == "XOAUTH2":
        return _Token("XOAUTH2", _xoauth2(credentials), b"")
    if mechanism == "PLAIN":
        return _Scripted("PLAIN", f"\0{credentials.user}\0{credentials.secret}".encode())
    if mechanism == "LOGIN":
        return _Scripted("LOGIN", None, lambda _: credentials.user.encode(), lambda _: credentials.secret.encode())
    return _Scripted("CRAM-MD5", None, lambda challenge: _cram_md5(credentials, challenge))


class LoggingIn:
    """An Exchange on its way through AUTH (RFC 4954 §4).

    Its lines come with what to write in a record in their place.  ``fault`` is what was wrong with the server's half.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.fault = ""
        self._exchange = exchange
        self._postponed: bytes | None = None

    def command(self) -> tuple[bytes, Step, bytes]:
        """The line that begins it."""
        command = b"AUTH " + self._exchange.mechanism.encode("ascii")
        initial = self._exchange.initial()
        if initial is None:
            return command + b"\r\n", Step.AUTH, command + b"\r\n"
        line = command + b" " + (b64encode(initial) or b"=") + b"\r\n"
        if len(line) <= _COMMAND_LIMIT_OCTETS:
            return line, Step.AUTH, command + b" ...\r\n"
        self._postponed = initial  # until it is asked for, for a command is shorter
        return command + b"\r\n", Step.AUTH, command + b"\r\n"

    def respond(self, challenge: str) -> tuple[bytes, Step, bytes]:
        """The answer to a challenge, in base64 both; or the cancellation, when there is none."""
        response, self._postponed = self._postponed, None
        try:
            if self.fault:
                raise LoginFault(self.fault)
            if response is None:
                response = self._exchange.answer(binascii.a2b_base64(challenge, strict_mode=True) if challenge else b"")
        except (LoginFault, ValueError) as fault:
            self.fault = str(fault)
            return b"*\r\n", Step.AUTH, b"*\r\n"
        return b64encode(response) + b"\r\n", Step.AUTH, b"...\r\n"

    def accepted(self) -> None:
        """The server says yes; ``fault`` is set when that must not be believed."""
        try:
            self._exchange.accepted()
        except LoginFault as fault:
            self.fault = self.fault or str(fault)


class _Scripted:
    """A mechanism whose answers follow from the challenges one by one."""

    def __init__(self, mechanism: str, first: bytes | None, *answers: Callable[[bytes], bytes]) -> None:
        self.mechanism = mechanism
        self._first = first
        self._answers = list(answers)

    def initial(self) -> bytes | None:
        return self._first

    def answer(self, challenge: bytes) -> bytes:
        if not self._answers:
            raise LoginFault(f"the server asks for more than {self.mechanism} has")
        return self._answers.pop(0)(challenge)

    def accepted(self) -> None:
        """Nothing is proved; TLS has done that."""


class _Token(_Scripted):
    """A bearer token; a refusal comes as a challenge with the reason, which wants an answer (RFC 7628 §3.2.3)."""

    def __init__(self, mechanism: str, first: bytes, dismissal: bytes) -> None:
        super().__init__(mechanism, first, lambda _: dismissal)


class _Scram:
    """RFC 5802 §3, §5, without channel binding."""

    mechanism = "SCRAM-SHA-256"

    def __init__(self, credentials: Credentials, nonce: str) -> None:
        # Of SASLprep (RFC 4013) what matters with names and passwords that people have: one form for each letter.
        user = unicodedata.normalize("NFKC", credentials.user).replace("=", "=3D").replace(",", "=2C")
        self._password = unicodedata.normalize("NFKC", credentials.secret).encode()
        self._nonce = nonce
        self._bare = f"n={user},r={nonce}"
        self._steps = [self._prove, self._check]
        self._verifier = b""
        self._has_proved = False

    def initial(self) -> bytes | None:
        return f"n,,{self._bare}".encode()

    def answer(self, challenge: bytes) -> bytes:
        if not self._steps:
            raise LoginFault("the server asks for more than SCRAM has")
        return self._steps.pop(0)(challenge)

    def _prove(self, challenge: bytes) -> bytes:
        found = _SERVER_FIRST.fullmatch(challenge)
        if found is None or not found[1].startswith(self._nonce.encode()) or len(found[1]) == len(self._nonce):
            raise LoginFault("SCRAM: the server's first message makes no sense")
        rounds = int(found[3])
        if not ITERATIONS_LEAST <= rounds <= ITERATIONS_LIMIT:
            raise LoginFault(f"SCRAM: {rounds} rounds are not between {ITERATIONS_LEAST} and {ITERATIONS_LIMIT}")
        try:
            salt = binascii.a2b_base64(found[2], strict_mode=True)
        except binascii.Error:
            raise LoginFault("SCRAM: the salt is not base64") from None
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, rounds)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        unproven = b"c=biws,r=" + found[1]  # "n,," in base64
        said = b",".join((self._bare.encode(), challenge, unproven))
        signature = hmac.digest(hashlib.sha256(client_key).digest(), said, "sha256")
        proof = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
        self._verifier = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), said, "sha256")
        return unproven + b",p=" + b64encode(proof)

    def _check(self, challenge: bytes) -> bytes:
        found = _SERVER_FINAL.fullmatch(challenge)
        if found is not None and found[1] == b"e":
            raise LoginFault(f"SCRAM: the server says {printable(found[2].decode('utf-8', 'replace'))}")
        if found is None or not hmac.compare_digest(found[2], b64encode(self._verifier)):
            raise LoginFault("SCRAM: the server does not know the password")
        self._has_proved = True
        return b""

    def accepted(self) -> None:
        if not self._has_proved:
            raise LoginFault("SCRAM: the server has not proved that it knows the password")


def _oauthbearer(credentials: Credentials, host: str, port: int) -> bytes:
    """RFC 7628 §3.1: a GS2 header, then key=value pairs, each ended by ^A."""
    user = credentials.user.replace("=", "=3D").replace(",", "=2C")
    return f"n,a={user},\1host={host}\1port={port}\1auth=Bearer {credentials.secret}\1\1".encode()


def _xoauth2(credentials: Credentials) -> bytes:
    return f"user={credentials.user}\1auth=Bearer {credentials.secret}\1\1".encode()


def _cram_md5(credentials: Credentials, challenge: bytes) -> bytes:
    """RFC 2195 §2."""
    digest = hmac.new(credentials.secret.encode(), challenge, "md5").hexdigest()
    return f"{credentials.user} {digest}".encode()
