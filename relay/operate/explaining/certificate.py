"""A client certificate that is only pretended: whole, or as much as is known of one.

The rule that must not be broken: whom the configuration does not trust is not trusted here either; that there is such a
certificate, and that the client has its key, is all that is taken for granted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from relay.receive.tls import TrustedCertificates, authority_name, fingerprint_of
from relay.route.tls import parse_fingerprint

PEM_LIMIT_CHARACTERS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Pretended:
    """What the client shows.

    chain        the certificate, and those that come along; empty where less is known:
    fingerprint  its SHA-256, hexadecimal, in lower case
    authority    who has signed it, as relay.receive.tls.authority_name has it
    """

    chain: tuple[x509.Certificate, ...] = ()
    fingerprint: str = ""
    authority: str = ""

    def __bool__(self) -> bool:
        return bool(self.chain or self.fingerprint or self.authority)

    def judged_by(self, trusted: TrustedCertificates) -> TrustedCertificates:
        """Who judges it: those that are trusted, as a whole certificate is judged; else by what is known of it."""
        if self.chain or not self:
            return trusted
        return _InPart(trusted.fingerprints, trusted.authorities, self)

    def __str__(self) -> str:
        if self.chain:
            return self.chain[0].subject.rfc4514_string() or f"sha256:{fingerprint_of(self.chain[0])}"
        return f"sha256:{self.fingerprint}" if self.fingerprint else f"signed by {self.authority}"


NO_CERTIFICATE = Pretended()


def pretended(text: str) -> Pretended:
    """``sha256:`` and a fingerprint, or certificates as PEM; nothing at all is no certificate.

    Raises ValueError, whose text says what would be right.
    """
    if not text:
        return NO_CERTIFICATE
    if "-----BEGIN" not in text:
        return Pretended(fingerprint=parse_fingerprint(text).hex())
    if len(text) > PEM_LIMIT_CHARACTERS:
        raise ValueError(f"more than {PEM_LIMIT_CHARACTERS // 1024} KiB of certificates")
    try:
        return Pretended(tuple(x509.load_pem_x509_certificates(text.encode())))
    except ValueError:
        raise ValueError("there is no certificate in it (PEM)") from None


@dataclass(frozen=True, slots=True)
class _InPart(TrustedCertificates):
    """Judges a certificate of which only a part is known."""

    pretended: Pretended = NO_CERTIFICATE

    def trusts(self, chain: Sequence[x509.Certificate]) -> str | None:
        """See TrustedCertificates.trusts."""
        known = self.pretended
        if known.fingerprint and known.fingerprint in self.fingerprints:
            return f"sha256:{known.fingerprint}"
        if known.authority and known.authority in map(authority_name, self.authorities):
            return f"signed by {known.authority}"
        return None
