"""SCRAM-SHA-256, the server's computations (RFC 5802, RFC 7677), and channel binding (RFC 5929, RFC 9266).

What a server keeps of a password lets it check who knows it, and does not let a thief of the file log in.  The
rule that must not be broken: whether a user exists shows in no octet of the exchange before its end.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass

NONCE_LIMIT = 512  # characters of the client's: it comes back in our challenge
KEY_OCTETS = hashlib.sha256().digest_size

# RFC 5802 §7.  Attributes behind the known ones are extensions that may be ignored; "m" may not, wherever it stands
# (§5.1).
_CLIENT_FIRST = re.compile(
    r"(?P<gs2>(?P<flag>[yn]|p=(?P<type>[A-Za-z0-9.-]+)),(?:a=(?P<as>(?:[^,=\0]|=2C|=3D)*))?,)"
    r"(?P<bare>n=(?P<user>(?:[^,=\0]|=2C|=3D)+),r=(?P<nonce>[!-+\--~]+)(?:,[A-Za-ln-z]=[^,\0]*)*)"
)
_CLIENT_FINAL = re.compile(
    r"(?P<unproven>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[!-+\--~]+)(?:,[A-Za-ln-z]=[^,\0]*)*)"
    r",p=(?P<proof>[A-Za-z0-9+/=]+)"
)


class ScramFault(Exception):
    """This is no SCRAM message, or not one that can be answered; ``str()`` says why."""


@dataclass(frozen=True, slots=True)
class ScramSecret:
    """What is kept of a password (RFC 5802 §3)."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def is_of(self, password: bytes) -> bool:
        """Whether it was made of this password (already prepared by SASLprep).  Slow."""
        return hmac.compare_digest(scram_secret(password, self.salt, self.iterations).stored_key, self.stored_key)


def scram_secret(password: bytes, salt: bytes, iterations: int) -> ScramSecret:
    """What to keep of this password.  Slow, as it must be: ``iterations`` hashes."""
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    stored_key = hashlib.sha256(_mac(salted, b"Client Key")).digest()
    return ScramSecret(salt, iterations, stored_key, _mac(salted, b"Server Key"))


class ScramServer:
    """One exchange, from the client's first message on.

    user    who wants to log in
    act_as  as whom; empty for the same
    """

    __slots__ = ("_bare", "_cbind_input", "_challenge", "_nonce", "_secret", "act_as", "user")

    def __init__(self, message: bytes, bindings: Mapping[str, bytes], plus: bool) -> None:
        """message   the client's first
        bindings  what the channel can be bound to, by the type's name; empty when the -PLUS variant is not offered
        plus      whether the mechanism is the -PLUS variant

        Raises ScramFault.
        """
        found = _CLIENT_FIRST.fullmatch(_text(message))
        if found is None:
            raise ScramFault("not a client's first message")
        if len(found["nonce"]) > NONCE_LIMIT:
            raise ScramFault("the nonce is too long")
        self._cbind_input = found["gs2"].encode() + _binding(found["flag"], found["type"], bindings, plus)
        self._bare = found["bare"]
        self._nonce = found["nonce"]
        self.user = _unescaped(found["user"])
        self.act_as = _unescaped(found["as"] or "")

    def challenge(self, secret: ScramSecret, nonce: str) -> bytes:
        """Our first message.

        nonce  random, printable, without comma
        """
        self._secret = secret
        self._nonce += nonce
        self._challenge = f"r={self._nonce},s={b64encode(secret.salt).decode()},i={secret.iterations}"
        return self._challenge.encode()

    def proves(self, message: bytes) -> bool:
        """Whether the client's final message proves that it knows the password.  Raises ScramFault."""
        found = _CLIENT_FINAL.fullmatch(_text(message))
        if found is None:
            raise ScramFault("not a client's final message")
        try:
            binding = binascii.a2b_base64(found["binding"], strict_mode=True)
            proof = binascii.a2b_base64(found["proof"], strict_mode=True)
        except binascii.Error:
            raise ScramFault("not base64") from None
        self._challenge = f"{self._bare},{self._challenge},{found['unproven']}"
        signature = _mac(self._secret.stored_key, self._challenge.encode())
        client_key = bytes(one ^ other for one, other in zip(proof.ljust(KEY_OCTETS, b"\0"), signature, strict=False))
        is_right = hmac.compare_digest(hashlib.sha256(client_key).digest(), self._secret.stored_key)
        is_bound = hmac.compare_digest(binding, self._cbind_input)
        return is_right and is_bound and found["nonce"] == self._nonce and len(proof) == KEY_OCTETS

    def verifier(self) -> bytes:
        """Our final message, by which the client knows that we know its password too."""
        return b"v=" + b64encode(_mac(self._secret.server_key, self._challenge.encode()))


def _binding(flag: str, kind: str | None, bindings: Mapping[str, bytes], plus: bool) -> bytes:
    """The channel's data that the client binds to (RFC 5802 §6)."""
    if plus:
        if kind is None or kind not in bindings:
            raise ScramFault("a binding that this channel does not have")
        return bindings[kind]
    if kind is not None:
        raise ScramFault("a binding belongs to the -PLUS variant")
    if flag == "y" and bindings:
        # The client could bind and did not see that we can: somebody has taken it out of our list.
        raise ScramFault("channel binding was offered, and the client did not see it")
    return b""


def _text(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise ScramFault("not UTF-8") from None


def _unescaped(name: str) -> str:
    return name.replace("=2C", ",").replace("=3D", "=")


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
