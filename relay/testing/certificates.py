"""The certificates of the simulated world: made from their names alone, so that they are the same in each run.

Ed25519, for its signatures have one length; valid while any world lasts, for OpenSSL looks at the real clock.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from zope.interface import implementer

AUTHORITY, STRANGER = "Authority of the world", "Authority of nobody"
_SINCE, _UNTIL = datetime.datetime(2020, 1, 1), datetime.datetime(2120, 1, 1)
_LONG_AGO = datetime.datetime(2021, 1, 1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Ed25519PrivateKey

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@lru_cache(maxsize=64)
def pair(name: str, by: str = AUTHORITY, *, expired: bool = False) -> Pair:
    """A certificate for this name or address; of an authority when ``name`` is ``by``."""
    key, issuer_key = _key(name), _key(by)
    is_authority = name == by
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(by))
        .public_key(key.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(f"{name}/{by}".encode()).digest()[:8], "big") >> 2 | 1 << 61)
        .not_valid_before(_SINCE)
        .not_valid_after(_LONG_AGO if expired else _UNTIL)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if not is_authority:
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(name)]), critical=False)
    return Pair(builder.sign(issuer_key, None), key)


def _key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@implementer(IOpenSSLServerConnectionCreator)
class Server:
    """TLS as a host of the world does it.

    is_old  it speaks only what nobody should speak any more: no handshake comes about
    """

    def __init__(self, shown: Pair, *, is_old: bool = False) -> None:
        self._context = context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(shown.certificate)
        context.use_privatekey(shown.key)
        context.set_options(SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        if is_old:
            context.set_max_proto_version(SSL.TLS1_1_VERSION)

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return SSL.Connection(self._context, None)


@implementer(IOpenSSLClientConnectionCreator)
class Client:
    """TLS as a client of the world does it: with anybody."""

    def __init__(self) -> None:
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return SSL.Connection(self._context, None)


@lru_cache(maxsize=64)
def server(name: str, kind: str) -> Server:
    """The context of a host.

    kind  "good" (the world's authority vouches for its name), "unknown" (another one does), "wrong name", "expired",
          or "old" (see Server)
    """
    shown = {
        "unknown": lambda: pair(name, STRANGER),
        "wrong name": lambda: pair(f"not-{name}" if not name[0].isdigit() else "192.0.2.254"),
        "expired": lambda: pair(name, expired=True),
    }.get(kind, lambda: pair(name))()
    return Server(shown, is_old=kind == "old")


@lru_cache(maxsize=1)
def client() -> Client:
    return Client()
