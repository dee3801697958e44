"""TLS on the way in: certificates by name, read again when their files change, and what a client shows of itself.

A connection has the context that was in force when it began; a new certificate is for those that come after.  No
session is ever resumed, so nothing that was agreed with one listener counts at another.

The rule that must not be broken: a certificate file that cannot be used changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

MINIMA: Mapping[str, int] = {
    "1.0": SSL.TLS1_VERSION,
    "1.1": SSL.TLS1_1_VERSION,
    "1.2": SSL.TLS1_2_VERSION,
    "1.3": SSL.TLS1_3_VERSION,
}

# RFC 9325 §4.2: ephemeral keys and AEAD, with which no finding of the last twenty years is possible.
_STRONG = b"ECDHE+AESGCM:ECDHE+CHACHA20"
# For devices of before 2008; OpenSSL 3 has TLS 1.0 only at level 0.  Still none without encryption or authentication.
_OLD = b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:AES:!aNULL:!eNULL:!PSK:!SRP:@SECLEVEL=0"

_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_TICKET

ServerKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey | Ed448PrivateKey

_EXPORTER_LABEL = b"EXPORTER-Channel-Binding"  # RFC 9266 §2
_EXPORTED_OCTETS = 32


class TlsFault(ValueError):
    """This certificate or key cannot be used; ``str()`` names the file and says why."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with the chain that follows it, and its private key; both may be in one file (PEM)."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Loaded:
    """A key pair as read.  ``names`` are those that clients may ask for by SNI, in lower case."""

    chain: tuple[x509.Certificate, ...]
    key: ServerKey = field(repr=False)
    names: tuple[str, ...]


def load(pairs: Sequence[KeyPair]) -> tuple[Loaded, ...]:
    """Reads all of them.  Raises TlsFault."""
    return tuple(_load(pair) for pair in pairs)


def _load(pair: KeyPair) -> Loaded:
    certificates, octets = _certificates(pair.certificate), _octets(pair.key)
    try:
        key = load_pem_private_key(octets, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TlsFault(pair.key, "there is no private key in it that can be read without a passphrase") from None
    if not isinstance(key, ServerKey):
        raise TlsFault(pair.key, "a key of this kind is of no use for TLS")
    loaded = Loaded(certificates, key, _names(certificates[0]))
    try:
        _context(loaded, "1.2", asks=False)
    except (SSL.Error, TypeError):
        raise TlsFault(pair.key, f"this is not the key of the certificate in {pair.certificate}") from None
    return loaded


def _octets(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsFault(path, f"cannot be read: {error.strerror}") from None


def _certificates(path: Path) -> tuple[x509.Certificate, ...]:
    octets = _octets(path)
    try:
        return tuple(x509.load_pem_x509_certificates(octets))
    except ValueError:
        raise TlsFault(path, "there is no certificate in it (PEM)") from None


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return tuple(str(one.value).lower() for one in common)
    return tuple(name.lower() for name in alternative.get_values_for_type(x509.DNSName))


# -- who a client is -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrustedCertificates:
    """The certificates by which a client is trusted.

    fingerprints  SHA-256 of the certificate, hexadecimal, in lower case
    authorities   whose certificates are trusted, if they are for clients
    """

    fingerprints: frozenset[str] = frozenset()
    authorities: tuple[x509.Certificate, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.fingerprints or self.authorities)

    def trusts(self, chain: Sequence[x509.Certificate]) -> str | None:
        """By what this certificate, with those that came along, is trusted; None when it is not."""
        if not chain:
            return None
        fingerprint = fingerprint_of(chain[0])
        if fingerprint in self.fingerprints:
            return f"sha256:{fingerprint}"
        if not self.authorities or not _is_for_clients(chain[0]):
            return None
        store = crypto.X509Store()
        for authority in self.authorities:
            store.add_cert(crypto.X509.from_cryptography(authority))
        leaf, *others = map(crypto.X509.from_cryptography, chain)
        try:
            path = crypto.X509StoreContext(store, leaf, others).get_verified_chain()
        except crypto.X509StoreContextError:
            return None
        return f"signed by {authority_name(path[-1].to_cryptography())}"


def load_authorities(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a file, as authorities.  Raises TlsFault."""
    return _certificates(path)


def authority_name(authority: x509.Certificate) -> str:
    """What an authority is called where it is told by whom a certificate is signed."""
    return authority.subject.rfc4514_string() or "an authority without a name"


def fingerprint_of(certificate: x509.Certificate) -> str:
    """SHA-256, in hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _is_for_clients(certificate: x509.Certificate) -> bool:
    """RFC 5280 §4.2.1.12: where the use is told, it must be this one."""
    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in uses


# -- contexts --------------------------------------------------------------------------------------------------


class Certificates:
    """The certificates in force, and the contexts made of them.  ``replace`` puts others in their place."""

    def __init__(self, loaded: Sequence[Loaded]) -> None:
        self.replace(loaded)

    def replace(self, loaded: Sequence[Loaded]) -> None:
        """From now on these; the first is for clients that name nobody, or nobody of ours."""
        self.loaded = tuple(loaded)
        self._contexts: dict[tuple[str, bool], SSL.Context] = {}

    def context(self, minimum: str, asks: bool) -> SSL.Context:
        """A context for a new connection."""
        found = self._contexts.get((minimum, asks))
        if found is None:
            found = self._contexts[minimum, asks] = self._make(minimum, asks)
        return found

    def _make(self, minimum: str, asks: bool) -> SSL.Context:
        by_name: dict[str, SSL.Context] = {}
        for loaded in self.loaded:
            context = _context(loaded, minimum, asks)
            for name in loaded.names:
                by_name.setdefault(name, context)
        return _context(self.loaded[0], minimum, asks, lambda name: _named(by_name, name))


def _named(by_name: Mapping[str, SSL.Context], name: bytes | None) -> SSL.Context | None:
    text = (name or b"").decode("ascii", "replace").lower().rstrip(".")
    return by_name.get(text) or by_name.get("*." + text.partition(".")[2])


def _context(
    loaded: Loaded,
    minimum: str,
    asks: bool,
    by_name: Callable[[bytes | None], SSL.Context | None] | None = None,
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(MINIMA[minimum])
    context.set_cipher_list(_OLD if minimum in ("1.0", "1.1") else _STRONG)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # an idle session costs 34 KiB less
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.use_certificate(loaded.chain[0])
    for certificate in loaded.chain[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(loaded.key)
    context.check_privatekey()
    if by_name is not None:
        context.set_tlsext_servername_callback(lambda connection: _switch(connection, by_name))
    if asks:
        # Whoever shows none, or one that we do not know, is a stranger like others: the handshake goes on.
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    return context


def _switch(connection: SSL.Connection, by_name: Callable[[bytes | None], SSL.Context | None]) -> None:
    """Takes the context for the name that the client asks for (RFC 6066 §3)."""
    context = by_name(connection.get_servername())
    if context is not None:
        connection.set_context(context)


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """TLS as one listener does it."""

    def __init__(self, certificates: Certificates, minimum: str = "1.2", asks: bool = False) -> None:
        """minimum  the oldest version that is spoken: a key of MINIMA
        asks     clients are asked for a certificate
        """
        self._certificates = certificates
        self._minimum = minimum
        self.asks = asks

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """A connection of OpenSSL, not yet begun."""
        return SSL.Connection(self._certificates.context(self._minimum, self.asks), None)


# -- what was agreed -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Encryption:
    """What was agreed in a handshake.

    version   ``TLSv1.3``
    cipher    OpenSSL's name of it
    shown     the client's certificate, and those that came along; empty when it has shown none
    bindings  what a login can be bound to (RFC 5929 §4, RFC 9266)
    """

    version: str
    cipher: str
    shown: tuple[x509.Certificate, ...] = ()
    bindings: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """For a Received field: ``TLS_AES_256_GCM_SHA384 (TLSv1.3)``."""
        return f"{registered_name(self.cipher)} ({self.version})"


@lru_cache(maxsize=100)
def registered_name(cipher: str) -> str:
    """The name of a cipher suite in IANA's registry, of OpenSSL's name for it: TLS 1.3 has but one for each."""
    if cipher.startswith("TLS_"):
        return cipher
    exchange, _, rest = cipher.rpartition("AES") if "AES" in cipher else cipher.rpartition("CHACHA20")
    exchange = exchange.rstrip("-").replace("-", "_") or "RSA"
    if not rest[:1].isdigit():
        return f"TLS_{exchange}_WITH_CHACHA20_POLY1305_SHA256"
    bits, *mode = rest.replace("CCM8", "CCM-8").split("-")
    if mode[:1] != ["GCM"] and mode[:1] != ["CCM"]:
        mode = ["CBC", *mode]  # which OpenSSL does not name
    return "_".join((f"TLS_{exchange}_WITH_AES_{bits}", *mode))


def agreed(connection: SSL.Connection) -> Encryption:
    """What was agreed, when the handshake is over."""
    version = connection.get_protocol_version_name()
    leaf = connection.get_peer_certificate(as_cryptography=True)
    others = connection.get_peer_cert_chain(as_cryptography=True) or [] if leaf is not None else []
    shown = (leaf, *others) if leaf is not None else ()
    return Encryption(version, connection.get_cipher_name() or "", shown, _bindings(connection, version))


def tls_words(error: BaseException | None) -> str:
    """Why there is no TLS: OpenSSL's own words for what it found first."""
    try:
        return str(cast(Any, error).args[0][0][-1])
    except (IndexError, TypeError, AttributeError):
        return str(error) or "the client hung up"


def _bindings(connection: SSL.Connection, version: str) -> Mapping[str, bytes]:
    if version != "TLSv1.3":  # before it, the exporter is unique only with extensions that we cannot ask for
        return {}
    exported = connection.export_keying_material(_EXPORTER_LABEL, _EXPORTED_OCTETS, b"")
    own = connection.get_certificate(as_cryptography=True)
    end_point = _end_point(own) if own is not None else None
    return {"tls-exporter": exported, **({"tls-server-end-point": end_point} if end_point else {})}


def _end_point(certificate: x509.Certificate) -> bytes | None:
    """RFC 5929 §4.1: the certificate's own hash function, but SHA-256 for MD5 and SHA-1."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    return certificate.fingerprint(hashes.SHA256() if algorithm.name in ("md5", "sha1") else algorithm)
