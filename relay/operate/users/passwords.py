"""What is kept of a password: the schemes of Dovecot and htpasswd, checked and made with libpass.

All of this is slow on purpose, and belongs aside from the reactor's thread.  The rule that must not be broken: a
scheme that is not known is a fault of the file, and lets nobody in.
"""

from __future__ import annotations

import binascii
import hmac
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any

import passlib.hash
from passlib.utils import saslprep

from relay.smtp.login import ITERATIONS_LEAST
from relay.smtp.scram import KEY_OCTETS, ScramSecret, scram_secret

PASSWORD_LIMIT = 1024  # characters: nobody shall make us hash a megabyte
DEFAULT_SCHEME = "ARGON2ID"
SCRAM_SCHEME = "SCRAM-SHA-256"
SCRAM_ITERATIONS = 100_000
BCRYPT_ROUNDS = 12  # of these, each is twice the work
SHA512_ROUNDS = 50_000
ARGON2_KIB = 19 * 1024  # with two passes, what OWASP's password storage cheat sheet asks for at least

_SCHEME = re.compile(r"\{([A-Za-z0-9-]+)\}(.*)", re.DOTALL)
_SCRAM = re.compile(r"([1-9][0-9]{3,7}),([A-Za-z0-9+/=]+),([A-Za-z0-9+/=]+),([A-Za-z0-9+/=]+)")

libpass: Any = passlib.hash  # makes its classes when they are asked for, which no annotation can say

Verify = Callable[[str, str], bool]
"""Password and what is kept of it."""


def _by(algorithm: Any, prefix: str = "") -> Verify:
    return lambda password, kept: bool(algorithm.verify(password, prefix + kept))


def _plain(password: str, kept: str) -> bool:
    return hmac.compare_digest(password.encode(), kept.encode())


def _scram(password: str, kept: str) -> bool:
    return _scram_secret(kept).is_of(password.encode())


# scheme -> how to compare, and what a hash of it begins with
_SCHEMES: Mapping[str, tuple[Verify, str]] = {
    "ARGON2ID": (_by(libpass.argon2), "$argon2id$"),
    "ARGON2I": (_by(libpass.argon2), "$argon2i$"),
    "BLF-CRYPT": (_by(libpass.bcrypt), "$2"),
    "BCRYPT": (_by(libpass.bcrypt), "$2"),
    "SHA512-CRYPT": (_by(libpass.sha512_crypt), "$6$"),
    "SHA256-CRYPT": (_by(libpass.sha256_crypt), "$5$"),
    "MD5-CRYPT": (_by(libpass.md5_crypt), "$1$"),
    "APR1": (_by(libpass.apr_md5_crypt), "$apr1$"),
    "SSHA512": (_by(libpass.ldap_salted_sha512, "{SSHA512}"), ""),
    "SSHA256": (_by(libpass.ldap_salted_sha256, "{SSHA256}"), ""),
    "SSHA": (_by(libpass.ldap_salted_sha1, "{SSHA}"), ""),
    "SHA": (_by(libpass.ldap_sha1, "{SHA}"), ""),
    "SCRAM-SHA-256": (_scram, ""),
    "PLAIN": (_plain, ""),
    "CLEARTEXT": (_plain, ""),
}


class UnknownScheme(ValueError):
    """Nothing is known of how this was made; ``str()`` shows no secret."""


def scheme_of(secret: str) -> tuple[str, str]:
    """The scheme and the rest.  Without ``{…}`` in front the hash itself tells, as crypt(3) and htpasswd have it.

    Raises UnknownScheme.
    """
    found = _SCHEME.fullmatch(secret)
    scheme, kept = (found[1].upper(), found[2]) if found else ("CRYPT", secret)
    if scheme == "CRYPT":
        scheme = next((name for name, (_, start) in _SCHEMES.items() if start and kept.startswith(start)), "CRYPT")
    if scheme not in _SCHEMES:
        known = ", ".join(_SCHEMES)
        raise UnknownScheme(f"the scheme of this password is not known ({known} are)")
    if not kept.startswith(_SCHEMES[scheme][1]):
        raise UnknownScheme(f"this is no hash of the scheme {scheme}")
    if scheme == SCRAM_SCHEME:
        _scram_secret(kept)
    return scheme, kept


def is_right(secret: str, password: str) -> bool:
    """Whether what is kept was made of this password.  Slow."""
    scheme, kept = scheme_of(secret)
    if len(password) > PASSWORD_LIMIT:
        return False
    verify, _ = _SCHEMES[scheme]
    return any(_verified(verify, form, kept) for form in dict.fromkeys((prepared(password), password)))


def _verified(verify: Verify, password: str, kept: str) -> bool:
    try:
        return verify(password, kept)
    except (ValueError, TypeError):  # a hash that is cut off, or a password that its algorithm cannot take
        return False


def prepared(password: str) -> str:
    """The password in the form in which it is compared (RFC 4013), or as it is when it has none."""
    if password.isascii():
        return password
    try:
        return str(saslprep(password))
    except ValueError:
        return password


def kept_of(password: str, scheme: str = DEFAULT_SCHEME) -> str:
    """What to keep of a new password.  Raises UnknownScheme for one that is not made here, ValueError for a password
    that cannot be used."""
    password = prepared(password)
    if not password or len(password) > PASSWORD_LIMIT or not password.isprintable():
        raise ValueError(f"a password has 1 to {PASSWORD_LIMIT} characters, all of them printable")
    match scheme.upper():
        case "ARGON2ID":
            made = libpass.argon2.using(type="ID", time_cost=2, memory_cost=ARGON2_KIB, parallelism=1).hash(password)
        case "BCRYPT" | "BLF-CRYPT":
            if len(password.encode()) > 72:
                raise ValueError("bcrypt looks at 72 octets only; take another scheme, or a shorter password")
            made, scheme = libpass.bcrypt.using(rounds=BCRYPT_ROUNDS).hash(password), "BLF-CRYPT"
        case "SHA512-CRYPT":
            made = libpass.sha512_crypt.using(rounds=SHA512_ROUNDS).hash(password)
        case "SCRAM-SHA-256":
            made = _scram_text(scram_secret(password.encode(), os.urandom(16), SCRAM_ITERATIONS))
        case _:
            raise UnknownScheme(f"{scheme} is not made here; take {', '.join(MADE)}")
    return f"{{{scheme.upper()}}}{made}"


MADE = ("ARGON2ID", "SCRAM-SHA-256", "BLF-CRYPT", "SHA512-CRYPT")
"""The schemes of new passwords."""


# -- SCRAM -----------------------------------------------------------------------------------------------------


def scram_of(secret: str) -> ScramSecret | None:
    """What SCRAM needs, when it was kept in that form, and with as many rounds as RFC 7677 §4 asks for."""
    scheme, kept = scheme_of(secret)
    found = _scram_secret(kept) if scheme == SCRAM_SCHEME else None
    return found if found is not None and found.iterations >= ITERATIONS_LEAST else None


def _scram_secret(kept: str) -> ScramSecret:
    """Dovecot's form: ``iterations,salt,stored key,server key``."""
    found = _SCRAM.fullmatch(kept)
    try:
        if found is not None:
            salt, stored, server = (b64decode(part, validate=True) for part in found.groups()[1:])
            if salt and len(stored) == len(server) == KEY_OCTETS:
                return ScramSecret(salt, int(found[1]), stored, server)
    except binascii.Error:
        pass
    raise UnknownScheme(f"this is no hash of the scheme {SCRAM_SCHEME}")


def _scram_text(secret: ScramSecret) -> str:
    parts = (secret.salt, secret.stored_key, secret.server_key)
    return ",".join([str(secret.iterations), *(b64encode(part).decode() for part in parts)])
