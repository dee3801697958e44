"""TLS to a hop: the handshake lets everybody through, and then it is judged whom we have.

So that one place decides for every level, and can say in words what was wrong.  Nothing is sent between the handshake
and the judgement.  No session is ever resumed: what one level has proved does not pass to another.

    Handshake  lets OpenSSL do it, and keeps what it has shown
    judge      whether that is enough, for the TLS that a hop must have

The rule that must not be broken: for a level that verifies, what was not proved is not believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate, load_der_x509_certificate
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from relay.route import dane
from relay.route.dane import DANE_EE, Tlsa
from relay.route.tls import Level, Security
from relay.route.via import Hop, is_ip

CHAIN_LIMIT = 16
"""Certificates of a peer's chain that are looked at."""
_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED

# Of the failures that RFC 8460 §4.3 names.
EXPIRED = "certificate-expired"
WRONG_HOST = "certificate-host-mismatch"
UNTRUSTED = "certificate-not-trusted"
OTHER_FAILURE = "validation-failure"


class UnusableAuthorities(Exception):
    """The file of authorities that a route names cannot be used."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a handshake has shown.

    chain    the certificates that the peer sent, its own first
    fault    why no known authority vouches for them; empty when one does
    failure  that, as TLS reports name it
    how      version and cipher, for people
    """

    chain: tuple[Certificate, ...]
    fault: str = ""
    failure: str = ""
    how: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a hop is who it must be.

    is_known  it has proved who it is
    by        what has proved it, for people
    why       what is missing; empty when it is known
    failure   that, as TLS reports name it (RFC 8460 §4.3)
    """

    is_known: bool
    by: str = ""
    why: str = ""
    failure: str = ""


@implementer(IOpenSSLClientConnectionCreator)
class Handshake:
    """One handshake: makes its OpenSSL connection, and hears what verifying the chain finds."""

    def __init__(self, context: SSL.Context, asks_for: str) -> None:
        """asks_for  a name for SNI, or an IP address, which has none"""
        self._context = context
        self._asks_for = asks_for
        self._fault = ""
        self._failure = ""
        self._connection: SSL.Connection | None = None

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        self._connection = connection = SSL.Connection(self._context, None)
        connection.set_app_data(tlsProtocol)  # where Twisted looks for it
        connection.set_verify(SSL.VERIFY_PEER, self._verified)
        if self._asks_for and not is_ip(self._asks_for):
            connection.set_tlsext_host_name(self._asks_for.encode("ascii"))  # RFC 6066 §3
        return connection

    def _verified(self, connection: object, certificate: object, error: int, depth: int, ok: int) -> bool:
        if not ok and not self._fault:
            self._fault = _WORDS.get(error, f"OpenSSL's verification error {error}")
            self._failure = EXPIRED if error == _EXPIRED else UNTRUSTED
        return True

    def evidence(self) -> Evidence:
        """What it has shown, now that it is complete."""
        connection = self._connection
        assert connection is not None
        chain = connection.get_peer_cert_chain(as_cryptography=True) or []
        how = f"{connection.get_protocol_version_name()} {connection.get_cipher_name()}"
        return Evidence(tuple(chain[:CHAIN_LIMIT]), self._fault, self._failure, how)


class Handshakes:
    """Makes connections of OpenSSL for hops; contexts are kept, one for each file of authorities."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[str, int], SSL.Context] = {}

    def handshake(self, hop: Hop) -> Handshake:
        """For one connection to this hop.  Raises UnusableAuthorities."""
        # With DANE the name where the TLSA records are (RFC 7672 §8.1), else the host's (RFC 8461 §7.1).
        asks_for = next(iter(hop.security.names), hop.host)
        return Handshake(self._context(hop.security.authorities), asks_for)

    def _context(self, authorities: str) -> SSL.Context:
        try:
            key = (authorities, Path(authorities).stat().st_mtime_ns if authorities else 0)
            context = self._contexts.get(key)
            if context is None:
                self._contexts = {other: kept for other, kept in self._contexts.items() if other[0] != authorities}
                context = self._contexts[key] = _context(authorities)
        except (OSError, SSL.Error) as error:
            raise UnusableAuthorities(f"the certificates in {authorities} cannot be used: {_text(error)}") from None
        return context


def _context(authorities: str) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)  # RFC 8996
    context.set_options(SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if authorities:
        context.load_verify_locations(authorities)
    else:
        context.set_default_verify_paths()
    return context


def judge(security: Security, host: str, evidence: Evidence) -> Judgement:
    """Whether the peer is who it must be by this policy; for levels that do not verify, whether it happens to be.

    host  the hop's name or textual IP address
    """
    if not evidence.chain:
        return Judgement(False, why="it shows no certificate", failure=UNTRUSTED)
    if security.level is Level.DANE:
        return _by_dane(security.tlsa, security.names or (host,), evidence.chain)
    if security.level is Level.FINGERPRINT:
        return _by_fingerprint(security.fingerprints, evidence.chain[0])
    if evidence.fault:
        return Judgement(False, why=f"its certificate is not trusted: {evidence.fault}", failure=evidence.failure)
    wrong = _wrong_name(evidence.chain[0], security.names or (host,))
    return wrong or Judgement(True, by="a known authority")


def _by_dane(records: Sequence[Tlsa], names: Sequence[str], chain: Sequence[Certificate]) -> Judgement:
    """RFC 7672 §3.1: DANE-EE vouches for the certificate alone, without names and dates; DANE-TA for its issuer."""
    refused: Judgement | None = None
    for record in dane.agile(records):
        if record.usage == DANE_EE:
            if dane.matches(record, *_octets(chain[0])):
                return Judgement(True, by=f"TLSA {record}")
            continue
        for issuer in _meant(record, chain):
            refused = _issued(issuer, chain) or _wrong_name(chain[0], names)
            if refused is None:
                return Judgement(True, by=f"TLSA {record}")
    return refused or Judgement(False, why="no TLSA record means its certificate", failure=OTHER_FAILURE)


def _meant(record: Tlsa, chain: Sequence[Certificate]) -> Sequence[Certificate]:
    """The authorities that a record of DANE-TA means: of those that the peer shows, or the one that is the record
    itself, which need not be shown (RFC 7671 §5.2.2)."""
    shown = [one for one in chain if dane.matches(record, *_octets(one))]
    if shown or record.selector or record.matching:
        return shown
    try:
        return [load_der_x509_certificate(record.data)]
    except ValueError:
        return []


def _issued(issuer: Certificate, chain: Sequence[Certificate]) -> Judgement | None:
    """What is wrong with the chain from the peer's own certificate up to this one, or None."""
    store = crypto.X509Store()
    store.add_cert(crypto.X509.from_cryptography(issuer))
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # the TLSA record may mean an intermediate
    others = [crypto.X509.from_cryptography(one) for one in chain[1:]]
    try:
        crypto.X509StoreContext(store, crypto.X509.from_cryptography(chain[0]), others).verify_certificate()
    except crypto.X509StoreContextError as error:
        why = f"its certificate was not issued by the one that TLSA means: {error}"
        return Judgement(False, why=why, failure=EXPIRED if "expired" in str(error) else UNTRUSTED)
    return None


def _by_fingerprint(fingerprints: Sequence[bytes], certificate: Certificate) -> Judgement:
    found = [hashlib.sha256(octets).digest() for octets in _octets(certificate)]
    if any(one in fingerprints for one in found):
        return Judgement(True, by="its fingerprint")
    return Judgement(False, why=f"its certificate has the fingerprint {found[0].hex()}", failure=UNTRUSTED)


def _wrong_name(certificate: Certificate, names: Sequence[str]) -> Judgement | None:
    """What is wrong with the certificate's names, or None (RFC 9525; RFC 7817 §3)."""
    for name in names:
        try:
            if is_ip(name):
                verify_certificate_ip_address(certificate, str(ip_address(name)))
            else:
                verify_certificate_hostname(certificate, name)
        except (VerificationError, CertificateError, ValueError):
            continue
        return None
    return Judgement(False, why=f"its certificate is not for {' or '.join(names)}", failure=WRONG_HOST)


def _octets(certificate: Certificate) -> tuple[bytes, bytes]:
    """The certificate and its public key, as DER."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return certificate.public_bytes(Encoding.DER), key


_WORDS = {  # of x509_vfy.h, those that a mail host can have
    9: "it is not valid yet",
    _EXPIRED: "it has expired",
    18: "it is signed by itself",
    19: "an authority that nobody here knows",
    20: "the authority that issued it is not known here",
    21: "the authority that issued it is not known here",
    23: "it was revoked",
    24: "an authority in its chain is none",
    26: "it is not meant for servers",
    66: "its key is too weak",
    67: "a key in its chain is too weak",
    68: "a signature in its chain is too weak",
}


def _text(error: Exception) -> str:
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return str(error.args[0][0][-1])
    return getattr(error, "strerror", None) or str(error) or "there are none"
